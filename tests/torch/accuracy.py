"""How results are compared: with the exact value in fp64, up to one rounding to bf16 and the error of fp32 sums."""

import torch
from torch import Tensor

BF16 = torch.bfloat16
HALF_ULP = 2.0**-8  # of bf16: one rounding to nearest is off by at most this, relative


def bf16(*shape: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape) * scale).bfloat16()


def assert_rounded_once(got: Tensor, exact: Tensor, magnitude: Tensor | float = 0.0) -> None:
    """`got` is bf16 (or fp32) of an fp64 `exact`, computed in fp32 from terms whose absolute values sum up to `magnitude`."""
    assert got.shape == exact.shape
    ulp = HALF_ULP if got.dtype == BF16 else 2.0**-24
    allowed = ulp * exact.abs() + torch.as_tensor(magnitude, dtype=torch.float64) * 2.0**-18 + 2.0**-126
    error = (got.double() - exact).abs()
    worst = int((error - allowed).argmax())
    assert (error <= allowed).all(), f"{got.flatten()[worst]} for {exact.flatten()[worst]}, allowed error {allowed.flatten()[worst]}"
