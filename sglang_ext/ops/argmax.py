"""Greedy sampling."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Operand, Result


def argmax(logits: Tensor) -> Tensor:
    """logits [b, v] fp32 -> index of each row's largest value, [b] int64; the lowest index of equals; NaN counts as the largest."""
    return torch.argmax(logits, dim=-1)


OPS = (
    Op(
        "argmax",
        "index of each row's largest",
        (Operand("logits", (torch.float32,), ("b", "v")),),
        argmax,
        (Result("ids", torch.int64, ("b",)),),
    ),
)
