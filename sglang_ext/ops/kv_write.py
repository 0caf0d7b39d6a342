"""New keys and values into the paged cache."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Index, Operand

BF16 = (torch.bfloat16,)


def kv_write(k: Tensor, v: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor) -> None:
    """Writes k, v [t, width] bf16 to the rows `slots` [t] int64 of k_cache, v_cache [s, width], in place. Slots differ from each other."""
    k_cache[slots] = k
    v_cache[slots] = v


OPS = (
    Op(
        "kv_write",
        "k_cache[slots] = k; v_cache[slots] = v",
        (
            Operand("k", BF16, ("t", "width")),
            Operand("v", BF16, ("t", "width")),
            Operand("slots", (torch.int64,), ("t",)),
            Operand("k_cache", BF16, ("s", "width"), mutable=True),
            Operand("v_cache", BF16, ("s", "width"), mutable=True),
        ),
        kv_write,
        indices=(Index("slots", "s", "dimension 0 of the caches"),),
    ),
)
