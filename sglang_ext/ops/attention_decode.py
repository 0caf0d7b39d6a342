"""Attention of one new token a request over its paged cache."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sglang_ext.ops.attention import BF16, CACHES, CHECKS, DERIVED, I64, REQUESTS, SCALARS, attend, reached
from sglang_ext.registry import Bound, Op
from sglang_ext.shapes import Operand, Result, Workspace


def attention_decode(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    req_to_token: Tensor,
    req_pool_indices: Tensor,
    seq_lens: Tensor,
    head_dim: int,
    page: int,
    scale: float,
) -> Tensor:
    """q [batch, heads * head_dim] bf16, caches [slots, kv_heads * head_dim] bf16 -> [batch, heads * head_dim] bf16.

    req_to_token [reqs, context] int32 holds the slots of each request's tokens; a page of `page` tokens has neighbouring slots.
    Request i is row req_pool_indices[i] with seq_lens[i] tokens, the last of which is the query's own.
    """
    out = torch.empty_like(q)
    for i, (row, length) in enumerate(zip(req_pool_indices.tolist(), seq_lens.tolist(), strict=True)):
        slots = req_to_token[row, :length].long()
        out[i : i + 1] = attend(q[i : i + 1], k_cache[slots], v_cache[slots], length - 1, head_dim, scale)
    return out


def trusted(s: dict[str, int], req_to_token: Tensor, req_pool_indices: Tensor, seq_lens: Tensor) -> Iterator[Bound]:
    return reached(s, req_to_token, req_pool_indices, seq_lens, "seq_lens")


def workspace_floats(sizes: dict[str, int], config: dict[str, Any]) -> int:
    """Unnormalised results, maxima and sums of every chunk that a request of the full context can have."""
    chunks = -(-sizes["context"] // config["chunk"])
    return sizes["batch"] * chunks * (sizes["width"] + 2 * sizes["heads"])


OPS = (
    Op(
        "attention_decode",
        "paged attention, one new token a request",
        (Operand("q", BF16, ("batch", "heads*head_dim")), *CACHES, *REQUESTS, Operand("seq_lens", I64, ("batch",))),
        attention_decode,
        (Result("out", torch.bfloat16, ("batch", "heads*head_dim")),),
        SCALARS,
        (Workspace("workspace", workspace_floats),),
        DERIVED,
        CHECKS,
        trusted=trusted,
    ),
)
