"""The gate of SwiGLU (Shazeer, 2020)."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Operand, Result


def silu_mul(x: Tensor) -> Tensor:
    """x [t, 2 i] bf16, gate first -> silu(gate) * up, bf16; fp32 inside, one rounding."""
    gate, up = x.float().chunk(2, dim=-1)
    return (gate * torch.sigmoid(gate) * up).bfloat16()


OPS = (
    Op(
        "silu_mul",
        "y = silu(gate) * up",
        (Operand("x", (torch.bfloat16,), ("t", "2*i")),),
        silu_mul,
        (Result("y", torch.bfloat16, ("t", "i")),),
    ),
)
