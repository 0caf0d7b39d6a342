"""Rotary position embedding (Su et al., 2021), halves rotated against each other as in GPT-NeoX and Llama."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Check, Index, Operand, Scalar


def rope(q: Tensor, k: Tensor, positions: Tensor, cos_sin: Tensor, head_dim: int) -> None:
    """Rotates q [t, heads * head_dim] and k [t, kv_heads * head_dim], bf16, in place.

    positions [t] int64 are rows of cos_sin [p, r] fp32: r / 2 cosines, then r / 2 sines, for the first r elements of every head.
    """
    table = cos_sin[positions]
    half = cos_sin.shape[1] // 2
    cos, sin = table[:, None, :half], table[:, None, half:]
    for tensor in (q, k):
        heads = tensor.view(tensor.shape[0], -1, head_dim)
        first, second = heads[..., :half].float(), heads[..., half : 2 * half].float()
        heads[..., :half] = (first * cos - second * sin).bfloat16()
        heads[..., half : 2 * half] = (second * cos + first * sin).bfloat16()


OPS = (
    Op(
        "rope",
        "rotates q and k in place (neox style)",
        (
            Operand("q", (torch.bfloat16,), ("t", "heads*head_dim"), mutable=True),
            Operand("k", (torch.bfloat16,), ("t", "kv_heads*head_dim"), mutable=True),
            Operand("positions", (torch.int64,), ("t",)),
            Operand("cos_sin", (torch.float32,), ("p", "r")),
        ),
        rope,
        scalars=(Scalar("head_dim", int, selects=True),),
        derived={"width": lambda s: s["heads"] * s["head_dim"], "kv_width": lambda s: s["kv_heads"] * s["head_dim"]},
        indices=(Index("positions", "p", "dimension 0 of 'cos_sin'"),),
        checks=(
            Check(
                lambda s: s["r"] % 2 == 0 and s["r"] <= s["head_dim"],
                "cos_sin has {r} columns; an even number up to head_dim = {head_dim} is allowed",
            ),
        ),
    ),
)
