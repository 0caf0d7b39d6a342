"""Softmax with a temperature a row."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Operand, Result

F32 = (torch.float32,)


def softmax(logits: Tensor, temperature: Tensor) -> Tensor:
    """logits [b, v] fp32, temperature [b, 1] fp32 -> softmax(logits / temperature) of each row, fp32."""
    return torch.softmax(logits / temperature, dim=-1)


OPS = (
    Op(
        "softmax",
        "probs = softmax(logits / temperature)",
        (Operand("logits", F32, ("b", "v")), Operand("temperature", F32, ("b", "1"))),
        softmax,
        (Result("probs", torch.float32, ("b", "v")),),
    ),
)
