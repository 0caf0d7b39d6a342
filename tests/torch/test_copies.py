"""Copies between host and chip and on the chip, against the same copy on the CPU."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool]


def numbers(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.randint(-100 if dtype.is_floating_point else 0, 100, shape).to(dtype)


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[slice, ...], tuple[int, ...]]:
    """A base shape, slices of it and an order of its dimensions."""
    base = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    slices = []
    for size in base:
        start = draw(st.integers(0, size - 1))
        slices.append(slice(start, draw(st.integers(start + 1, size)), draw(st.integers(1, 3))))
    return base, tuple(slices), tuple(draw(st.permutations(range(len(base)))))


def cut(tensor: torch.Tensor, view: tuple) -> torch.Tensor:
    return tensor[view[1]].permute(view[2])


@settings(max_examples=120, deadline=None)
@given(view=views(), source=st.sampled_from(DTYPES), target=st.sampled_from(DTYPES), way=st.sampled_from(["up", "down", "on"]))
def test_any_layout_and_dtype(view: tuple, source: torch.dtype, target: torch.dtype, way: str) -> None:
    """Source and destination are both odd views; elements around the destination stay as they are."""
    src, dst = numbers(view[0], source), numbers(view[0], target)
    want = dst.clone()
    cut(want, view).copy_(cut(src, view))
    src_place = src if way == "up" else src.to("rigi")
    dst_place = dst if way == "down" else dst.to("rigi")
    cut(dst_place, view).copy_(cut(src_place, view))
    assert torch.equal(dst_place.cpu(), want)


@settings(max_examples=60, deadline=None)
@given(view=views(), dtype=st.sampled_from(DTYPES))
def test_moving_off_the_chip_is_never_a_fallback(view: tuple, dtype: torch.dtype) -> None:
    src = numbers(view[0], dtype)
    torch.rigi.reset_fallbacks()
    assert torch.equal(cut(src.to("rigi"), view).cpu(), cut(src, view))
    assert torch.equal(cut(src, view).to("rigi").cpu(), cut(src, view))
    assert torch.rigi.fallbacks() == {}


@pytest.mark.parametrize("size", [1, 63, 4096, 300_000, 3_000_001])
@pytest.mark.parametrize("non_blocking", [False, True])
def test_round_trip(size: int, non_blocking: bool) -> None:
    host = torch.randn(size)
    x = host.to("rigi", non_blocking=non_blocking)
    if not non_blocking:
        want = host.clone()
        host.fill_(0)  # a blocking copy has read its source
    else:
        want = host
    y = x.clone()
    assert torch.equal(y.cpu(), want) and y.data_ptr() != x.data_ptr()
    assert torch.rigi.fallbacks() == {}


def test_pageable_source_may_change_after_a_non_blocking_copy() -> None:
    host = torch.ones(1000)
    x = host.to("rigi", non_blocking=True)
    host.fill_(7)
    assert x.cpu().sum() == 1000


def test_broadcasting_copy() -> None:
    x = torch.zeros(4, 3, device="rigi")
    x.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(x.cpu(), torch.tensor([[1.0, 2.0, 3.0]] * 4))
    x.copy_(torch.tensor([4.0, 5.0, 6.0]).to("rigi"))
    assert torch.equal(x.cpu(), torch.tensor([[4.0, 5.0, 6.0]] * 4))


def test_complex_conjugates() -> None:
    host = torch.randn(5, dtype=torch.complex64)
    x = host.to("rigi")
    assert torch.equal(x.conj().cpu(), host.conj().resolve_conj())
    y = torch.empty_like(x)
    y.copy_(x.conj())
    assert torch.equal(y.cpu(), host.conj().resolve_conj())


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError):
        torch.zeros(3, device="rigi").copy_(torch.zeros(4))
    with pytest.raises(RuntimeError):
        torch.zeros(3, device="rigi").copy_(torch.zeros(4, device="rigi"))


def test_copies_on_the_chip_that_convert_are_counted() -> None:
    x = torch.randn(64, 64).to("rigi")
    x.t().contiguous()
    x.to(torch.float64)
    counted = torch.rigi.fallbacks()
    assert counted == {"aten::_copy_from(strided)": 1, "aten::_copy_from(convert)": 1}


def test_scalars() -> None:
    assert torch.tensor(3.5).to("rigi").item() == 3.5
    assert torch.arange(10).to("rigi")[7].item() == 7
    assert bool(torch.tensor([True]).to("rigi"))
    with pytest.raises(RuntimeError):
        torch.ones(2).to("rigi").item()
    assert torch.rigi.fallbacks() == {}


@pytest.mark.parametrize("value", [0, -1])
def test_constant_bytes_are_set_by_the_chip(value: int) -> None:
    x = torch.empty(33, 7, dtype=torch.int64, device="rigi").fill_(value)
    assert torch.equal(x.cpu(), torch.full((33, 7), value))
    x[:, 2:].zero_()  # not dense: falls back
    assert x.cpu()[:, :2].eq(value).all() and not x.cpu()[:, 2:].any()
    assert list(torch.rigi.fallbacks()) == ["aten::zero_"]
