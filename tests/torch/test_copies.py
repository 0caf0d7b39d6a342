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


def test_layouts_and_float_types_change_on_the_chip() -> None:
    """One launch each, and nothing on the host."""
    host = torch.randn(300, 520)
    x = host.to("rigi")
    torch.rigi.statistics()
    assert torch.equal(x.t().contiguous().cpu(), host.t())
    assert torch.equal(x[:, 8:200].contiguous().cpu(), host[:, 8:200])
    assert torch.equal(x[:, ::3].contiguous().cpu(), host[:, ::3])
    assert torch.equal(x[:5].expand(7, 5, 520).contiguous().cpu(), host[:5].expand(7, 5, 520))
    assert torch.equal(x.view(300, 4, 130).permute(1, 0, 2).contiguous().cpu(), host.view(300, 4, 130).permute(1, 0, 2))
    assert torch.equal(x.bfloat16().cpu(), host.bfloat16())
    assert torch.equal(x.t().half().float().cpu(), host.t().half().float())
    assert torch.equal(torch.arange(-5, 9000).to("rigi").int().cpu(), torch.arange(-5, 9000).int())
    assert torch.equal((host > 0).to("rigi").float().cpu(), (host > 0).float())
    assert torch.rigi.fallbacks() == {}
    assert torch.rigi.statistics()["kernels"]["copy"]["launches"] == 10


def test_conversions_round_as_torch_does() -> None:
    bits = torch.randint(-(1 << 31), 1 << 31, (100_000,)).int().view(torch.float32)
    specials = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-45, 65504.0, 65520.0, 3.3895314e38, 3.4e38, 1.00390625, 1.01171875])
    host = torch.cat([bits[~bits.isnan()], specials])
    for dtype in (torch.bfloat16, torch.float16):
        down = host.to("rigi").to(dtype)
        assert torch.equal(down.cpu(), host.to(dtype))
        assert torch.equal(down.float().cpu(), host.to(dtype).float())
    assert torch.tensor([float("nan")]).to("rigi").bfloat16().cpu().isnan().all()
    assert torch.rigi.fallbacks() == {}


INTEGERS = [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("source,target", [(s, t) for s in INTEGERS[1:] for t in INTEGERS[:2]] + [(torch.int64, torch.int32)])
def test_integers_widen_on_the_chip(source: torch.dtype, target: torch.dtype) -> None:
    edges = torch.tensor([-(1 << 31), -129, -1, 0, 1, 127, 255, (1 << 31) - 1, 1 << 35, -(1 << 40) - 3])
    host = torch.cat([edges, torch.randint(-(1 << 31), 1 << 31, (100_001,))]).to(source)
    assert torch.equal(host.to("rigi").to(target).cpu(), host.to(target))
    assert torch.equal(host[:99].view(9, 11).to("rigi").t().to(target).cpu(), host[:99].view(9, 11).t().to(target))
    assert torch.rigi.fallbacks() == {}


def test_other_conversions_on_the_chip_are_counted() -> None:
    x = torch.randn(64, 64).to("rigi")
    assert torch.equal(x.double().cpu(), x.cpu().double())
    assert torch.equal(x.int().cpu(), x.cpu().int())
    assert torch.equal(x.to(torch.bool).cpu(), x.cpu().bool())
    y = torch.arange(8.0).to("rigi")
    y[:4].copy_(y.view(4, 2).t()[0])  # shares memory with its source
    assert y.cpu().tolist() == [0, 2, 4, 6, 4, 5, 6, 7]
    assert torch.rigi.fallbacks() == {"aten::_copy_from(convert)": 3, "aten::_copy_from(strided)": 1}


def test_scalars() -> None:
    assert torch.tensor(3.5).to("rigi").item() == 3.5
    assert torch.arange(10).to("rigi")[7].item() == 7
    assert bool(torch.tensor([True]).to("rigi"))
    with pytest.raises(RuntimeError):
        torch.ones(2).to("rigi").item()
    assert torch.rigi.fallbacks() == {}


FILLS = [
    (torch.int64, [0, -1, 7, -300, 1 << 24]),
    (torch.int32, [0, 5, -(1 << 24)]),
    (torch.uint8, [0, 255]),
    (torch.int8, [-128, 127]),
    (torch.bool, [True, False]),
    (torch.float32, [0, 1.5, -float("inf"), 0.1, float("nan")]),
    (torch.bfloat16, [1, -2.7]),
    (torch.float16, [1e-7, 65504.0]),
]


@pytest.mark.parametrize("dtype,values", FILLS)
def test_constants_are_set_by_the_chip(dtype: torch.dtype, values: list) -> None:
    for value in values:
        for shape in ((1,), (33, 7), (3, 40_000)):
            want = torch.full(shape, value, dtype=dtype)
            assert torch.equal(torch.full(shape, value, dtype=dtype, device="rigi").cpu().nan_to_num(5), want.nan_to_num(5))
        x, y = torch.zeros(9, 8, dtype=dtype, device="rigi"), torch.zeros(9, 8, dtype=dtype)
        x[2:, ::3].fill_(value)
        y[2:, ::3].fill_(value)
        assert torch.equal(x.cpu().nan_to_num(5), y.nan_to_num(5))
    assert torch.rigi.fallbacks() == {}


def test_constants_beyond_the_chip_fall_back() -> None:
    assert torch.full((2,), (1 << 40) + 1, device="rigi").cpu().tolist() == [(1 << 40) + 1] * 2
    assert torch.full((2,), 0.1, dtype=torch.float64, device="rigi").cpu().tolist() == [0.1, 0.1]
    with pytest.raises(RuntimeError):
        torch.empty(2, dtype=torch.uint8, device="rigi").fill_(300)
    assert torch.zeros(1, device="rigi").expand(3).fill_(2.0).cpu().tolist() == [2.0] * 3
    assert torch.rigi.fallbacks()["aten::fill_.Scalar"] >= 2
