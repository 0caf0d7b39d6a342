"""Matrix products with their epilogues, over odd sizes, against fp64."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from accuracy import BF16, assert_rounded_once, bf16
from hypothesis import given, settings

SIZES = {"m": st.integers(1, 40), "n": st.integers(1, 300), "k": st.integers(1, 200)}
LARGE = [(1, 1536, 576), (16, 576, 1536), (17, 192, 576), (128, 100, 72), (129, 2050, 64), (200, 576, 576), (1024, 96, 80), (1030, 130, 33)]


def check(m: int, n: int, k: int) -> None:
    x, w, bias, residual = bf16(m, k), bf16(n, k), bf16(n), bf16(m, n)
    exact = x.double() @ w.double().t()
    magnitude = x.double().abs() @ w.double().abs().t()
    chip = [t.to("rigi") for t in (x, w, bias, residual)]
    ops = torch.ops.rigi
    assert_rounded_once(ops.linear(chip[0], chip[1]).cpu(), exact, magnitude)
    assert_rounded_once(ops.linear_f32(chip[0], chip[1]).cpu(), exact, magnitude)
    assert_rounded_once(ops.linear_bias(chip[0], chip[1], chip[2]).cpu(), exact + bias.double(), magnitude)
    assert_rounded_once(ops.linear_residual(chip[0], chip[1], chip[3]).cpu(), exact + residual.double(), magnitude)
    # The references hold to the same bound.
    assert_rounded_once(ops.linear(x, w), exact, magnitude)
    assert_rounded_once(ops.linear_bias(x, w, bias), exact + bias.double(), magnitude)


def check_silu_mul(m: int, n: int, k: int) -> None:
    x, w = bf16(m, k), bf16(2 * n, k, scale=k**-0.5)
    gate, up = (x.double() @ w.double().t()).chunk(2, dim=-1)
    magnitude = (x.double().abs() @ w.double().abs().t()).chunk(2, dim=-1)
    exact = F.silu(gate) * up
    spread = magnitude[0] * up.abs() * 1.1 + magnitude[1] * F.silu(gate).abs() + magnitude[0] * magnitude[1] * 2.0**-10
    assert_rounded_once(torch.ops.rigi.linear_silu_mul(x.to("rigi"), w.to("rigi")).cpu(), exact, spread)


@settings(max_examples=40, deadline=None)
@given(**SIZES)
def test_odd_sizes(m: int, n: int, k: int) -> None:
    check(m, n, k)


@settings(max_examples=25, deadline=None)
@given(**SIZES)
def test_silu_mul_odd_sizes(m: int, n: int, k: int) -> None:
    check_silu_mul(m, n, k)


@pytest.mark.parametrize(("m", "n", "k"), LARGE)
def test_every_row_of_the_kernel_table(m: int, n: int, k: int) -> None:
    check(m, n, k)
    check_silu_mul(m, n // 2, k)


@pytest.mark.parametrize("n", [192, 575])
def test_a_row_gives_the_same_bits_alone_or_in_a_batch(n: int) -> None:
    x, w = bf16(300, 576).to("rigi"), bf16(n, 576).to("rigi")
    rows = {m: torch.ops.rigi.linear(x[:m], w).cpu() for m in (1, 5, 16, 17, 64, 128, 200, 300)}
    for m, y in rows.items():
        assert torch.equal(y, rows[300][:m]), f"m = {m}"


def test_operands_may_be_views_with_an_offset() -> None:
    base = bf16(10, 64).to("rigi")
    w = bf16(8, 64).to("rigi")
    y = torch.ops.rigi.linear(base[3:6], w[2:7])
    assert_rounded_once(y.cpu(), base.cpu()[3:6].double() @ w.cpu()[2:7].double().t(), 64.0)


def test_specials_pass_through() -> None:
    x = torch.ones(2, 64, dtype=BF16)
    x[0, 3] = float("inf")
    x[1, 5] = float("nan")
    y = torch.ops.rigi.linear(x.to("rigi"), torch.ones(4, 64, dtype=BF16).to("rigi")).cpu()
    assert y[0].isinf().all() and y[1].isnan().all()
