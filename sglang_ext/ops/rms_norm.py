"""RMSNorm (Zhang and Sennrich, 2019), alone or of a sum."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Operand, Result, Scalar

BF16 = (torch.bfloat16,)
X, W = Operand("x", BF16, ("t", "h")), Operand("weight", BF16, ("h",))
Y = Result("y", torch.bfloat16, ("t", "h"))
EPS = Scalar("eps", float)


def normalize(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.float()).bfloat16()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [t, h] bf16, weight [h] bf16 -> x / sqrt(mean(x^2) + eps) * weight, bf16; fp32 inside, one rounding."""
    return normalize(x.float(), weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x, residual [t, h] bf16 -> (norm of their sum, the sum), bf16; the sum is rounded to bf16 before the norm."""
    total = (x.float() + residual.float()).bfloat16()
    return normalize(total.float(), weight, eps), total


OPS = (
    Op("rms_norm", "y = x / rms(x) * w", (X, W), rms_norm, (Y,), (EPS,)),
    Op(
        "add_rms_norm",
        "sum = x + residual; y = sum / rms(sum) * w",
        (X, Operand("residual", BF16, ("t", "h")), W),
        add_rms_norm,
        (Y, Result("residual_out", torch.bfloat16, ("t", "h"))),
        (EPS,),
    ),
)
