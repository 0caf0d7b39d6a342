"""What the two attention ops share: operands, sizes, and attention of one request in fp32."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sglang_ext.registry import Bound
from sglang_ext.shapes import Check, Operand, Scalar

BF16, I32, I64 = (torch.bfloat16,), (torch.int32,), (torch.int64,)
CACHES = (Operand("k_cache", BF16, ("slots", "kv_heads*head_dim")), Operand("v_cache", BF16, ("slots", "kv_heads*head_dim")))
REQUESTS = (Operand("req_to_token", I32, ("reqs", "context")), Operand("req_pool_indices", I64, ("batch",)))
SCALARS = (Scalar("head_dim", int, selects=True), Scalar("page", int, selects=True), Scalar("scale", float))
DERIVED = {
    "width": lambda s: s["heads"] * s["head_dim"],
    "kv_width": lambda s: s["kv_heads"] * s["head_dim"],
    "group": lambda s: s["heads"] // s["kv_heads"],
}
CHECKS = (
    Check(
        lambda s: s["kv_heads"] > 0 and s["heads"] % s["kv_heads"] == 0,
        "q has {heads} heads and the cache {kv_heads}; heads must be a multiple",
    ),
    Check(lambda s: s["slots"] % s["page"] == 0, "the cache has {slots} slots, which is not a multiple of the page size {page}"),
)


def reached(sizes: dict[str, int], table: Tensor, rows: Tensor, lengths: Tensor, name: str) -> Iterator[Bound]:
    """What a kernel reaches through req_to_token: rows of requests, so many tokens of each (`name`, for messages), and their slots."""
    yield "req_pool_indices", rows, "dimension 0 of 'req_to_token'", sizes["reqs"], False
    yield name, lengths, "dimension 1 of 'req_to_token'", sizes["context"], True
    for row, length in zip(rows.tolist(), lengths.tolist()):
        yield "req_to_token", table[row, :length], "dimension 0 of the caches", sizes["slots"], False


def attend(q: Tensor, keys: Tensor, values: Tensor, first: int, head_dim: int, scale: float) -> Tensor:
    """q [t, heads * head_dim] at positions first, first + 1, ... over keys and values [n, kv_heads * head_dim]: causal, fp32."""
    t, n = q.shape[0], keys.shape[0]
    heads, kv_heads = q.shape[1] // head_dim, keys.shape[1] // head_dim
    queries = q.float().view(t, kv_heads, heads // kv_heads, head_dim)
    keys, values = (cache.float().view(n, kv_heads, head_dim) for cache in (keys, values))
    scores = torch.einsum("tkgd,nkd->kgtn", queries, keys) * scale
    visible = torch.arange(n)[None, :] <= first + torch.arange(t)[:, None]
    weights = torch.softmax(scores.masked_fill(~visible, float("-inf")), dim=-1)
    return torch.einsum("kgtn,nkd->tkgd", weights, values).reshape(t, heads * head_dim).to(q.dtype)
