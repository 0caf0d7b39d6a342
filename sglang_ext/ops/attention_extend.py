"""Causal attention of the new tokens of each request over its cached prefix and themselves."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sglang_ext.ops.attention import BF16, CACHES, CHECKS, DERIVED, I64, REQUESTS, SCALARS, attend, reached
from sglang_ext.registry import Bound, Op
from sglang_ext.shapes import Operand, Result


def attention_extend(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    req_to_token: Tensor,
    req_pool_indices: Tensor,
    prefix_lens: Tensor,
    extend_lens: Tensor,
    start_locs: Tensor,
    head_dim: int,
    page: int,
    scale: float,
) -> Tensor:
    """q [t, heads * head_dim] bf16, caches [slots, kv_heads * head_dim] bf16 -> [t, heads * head_dim] bf16.

    Request i: its new tokens are rows start_locs[i] .. + extend_lens[i] of q; their keys and values are in the cache already, after
    prefix_lens[i] earlier ones. Slots as in attention_decode. Rows of no request are left undefined.
    """
    out = torch.empty_like(q)
    requests = zip(req_pool_indices.tolist(), prefix_lens.tolist(), extend_lens.tolist(), start_locs.tolist(), strict=True)
    for row, prefix, extend, start in requests:
        slots = req_to_token[row, : prefix + extend].long()
        out[start : start + extend] = attend(q[start : start + extend], k_cache[slots], v_cache[slots], prefix, head_dim, scale)
    return out


def trusted(
    s: dict[str, int], req_to_token: Tensor, req_pool_indices: Tensor, prefix_lens: Tensor, extend_lens: Tensor, start_locs: Tensor
) -> Iterator[Bound]:
    for name, values in (("extend_lens", extend_lens), ("start_locs", start_locs), ("start_locs + extend_lens", start_locs + extend_lens)):
        yield name, values, "dimension 0 of 'q'", s["t"], True
    yield "prefix_lens", prefix_lens, "dimension 1 of 'req_to_token'", s["context"], True
    yield from reached(s, req_to_token, req_pool_indices, prefix_lens + extend_lens, "prefix_lens + extend_lens")


OPS = (
    Op(
        "attention_extend",
        "paged attention of new tokens: prefix and causal",
        (
            Operand("q", BF16, ("t", "heads*head_dim")),
            *CACHES,
            *REQUESTS,
            Operand("prefix_lens", I64, ("batch",)),
            Operand("extend_lens", I64, ("batch",)),
            Operand("start_locs", I64, ("batch",)),
        ),
        attention_extend,
        (Result("out", torch.bfloat16, ("t", "heads*head_dim")),),
        SCALARS,
        derived=DERIVED,
        checks=CHECKS,
        trusted=trusted,
    ),
)
