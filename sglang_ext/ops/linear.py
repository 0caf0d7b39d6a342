"""Matrix products with a weight of the usual torch layout [n, k], and what is fused into their end."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Operand, Result

BF16 = (torch.bfloat16,)
X, W = Operand("x", BF16, ("m", "k")), Operand("weight", BF16, ("n", "k"))
Y = Result("y", torch.bfloat16, ("m", "n"))


def product(x: Tensor, weight: Tensor) -> Tensor:
    return x.float() @ weight.float().t()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [m, k] bf16, weight [n, k] bf16 -> x weight^T, bf16; sums in fp32, one rounding."""
    return product(x, weight).bfloat16()


def linear_f32(x: Tensor, weight: Tensor) -> Tensor:
    """x [m, k] bf16, weight [n, k] bf16 -> x weight^T, fp32, not rounded (logits)."""
    return product(x, weight)


def linear_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """bias [n] bf16 -> x weight^T + bias, bf16; one rounding."""
    return (product(x, weight) + bias.float()).bfloat16()


def linear_residual(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """residual [m, n] bf16 -> x weight^T + residual, bf16; one rounding."""
    return (product(x, weight) + residual.float()).bfloat16()


def linear_silu_mul(x: Tensor, weight: Tensor) -> Tensor:
    """weight [2 n, k] bf16, n gate rows and n up rows -> silu(x gate^T) * (x up^T), bf16; one rounding."""
    gate, up = product(x, weight).chunk(2, dim=-1)
    return (gate * torch.sigmoid(gate) * up).bfloat16()


OPS = (
    Op("linear", "y = x w^T", (X, W), linear, (Y,)),
    Op("linear_f32", "y = x w^T in fp32 (logits)", (X, W), linear_f32, (Result("y", torch.float32, ("m", "n")),)),
    Op("linear_bias", "y = x w^T + bias", (X, W, Operand("bias", BF16, ("n",))), linear_bias, (Y,)),
    Op("linear_residual", "y = x w^T + residual", (X, W, Operand("residual", BF16, ("m", "n"))), linear_residual, (Y,)),
    Op("linear_silu_mul", "y = silu(x gate^T) * (x up^T)", (X, Operand("weight", BF16, ("2*n", "k"))), linear_silu_mul, (Y,)),
)
