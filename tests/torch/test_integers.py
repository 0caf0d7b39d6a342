"""The small integer ops around a forward (lengths, positions, slots) on the chip: torch's results, and no fallback."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

WIDE = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-70000, 70000),
    st.sampled_from([0, -1, (1 << 31) - 1, 1 << 31, 1 << 32, -(1 << 31)]),
)
WORD = st.integers(-(1 << 31), (1 << 31) - 1)
SMALL = st.one_of(st.integers(-3, 3), st.integers(-(1 << 24), 1 << 24))


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(WIDE, WIDE), min_size=1, max_size=50), number=SMALL)
def test_int64(pairs: list[tuple[int, int]], number: int) -> None:
    a, b = (torch.tensor(column) for column in zip(*pairs))
    x, y = a.to("rigi"), b.to("rigi")
    torch.rigi.reset_fallbacks()
    for ours, theirs in (
        (x + y, a + b), (x - y, a - b), (x + number, a + number), (x - number, a - number), (x.clone().add_(y), a + b),
        (x.clamp(min=number), a.clamp(min=number)), (x.clamp(max=number), a.clamp(max=number)), (x.clamp(-5, number), a.clamp(-5, number)),
    ):  # fmt: skip
        assert ours.dtype == torch.int64 and torch.equal(ours.cpu(), theirs)
    assert torch.rigi.fallbacks() == {}


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(WORD, WORD), min_size=1, max_size=50), number=SMALL)
def test_int32(pairs: list[tuple[int, int]], number: int) -> None:
    a, b = (torch.tensor(column, dtype=torch.int32) for column in zip(*pairs))
    x, y = a.to("rigi"), b.to("rigi")
    torch.rigi.reset_fallbacks()
    for ours, theirs in ((x + y, a + b), (x - y, a - b), (x + number, a + number), (x.clamp(min=number), a.clamp(min=number))):
        assert ours.dtype == torch.int32 and torch.equal(ours.cpu(), theirs)
    assert torch.rigi.fallbacks() == {}


@settings(max_examples=40, deadline=None)
@given(values=st.lists(WIDE, min_size=1, max_size=30), factor=SMALL)
def test_products(values: list[int], factor: int) -> None:
    torch.rigi.reset_fallbacks()
    for host in (torch.tensor(values), torch.tensor(values).int()):
        assert torch.equal((host.to("rigi") * factor).cpu(), host * factor)
    assert torch.rigi.fallbacks() == {}


def test_the_longest_product() -> None:
    host = torch.arange(1024) * 123456789
    assert torch.equal((host.to("rigi") * -((1 << 24) - 1)).cpu(), host * -((1 << 24) - 1))
    assert torch.rigi.fallbacks() == {}


def test_what_does_not_fit_falls_back() -> None:
    x = torch.arange(10).to("rigi")
    assert torch.equal((x + (1 << 40)).cpu(), torch.arange(10) + (1 << 40))
    assert torch.equal(torch.add(x, x, alpha=3).cpu(), torch.arange(10) * 4)
    assert torch.equal((x + x.int()).cpu(), torch.arange(10) * 2)
    assert torch.equal((x.view(2, 5) + x[:5]).cpu(), torch.arange(10).view(2, 5) + torch.arange(5))
    assert torch.equal((x + 0.5).cpu(), torch.arange(10) + 0.5)
    assert torch.equal((x[::2] + 1).cpu(), torch.arange(10)[::2] + 1)
    assert torch.rigi.fallbacks()["aten::add.out"] == 6
    assert torch.equal((torch.arange(5000).to("rigi") - 1).cpu(), torch.arange(5000) - 1)
    with pytest.raises(RuntimeError, match="rigi"):
        x + torch.arange(10)


DTYPES = [torch.int64, torch.int32, torch.bfloat16, torch.float32, torch.uint8]


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), inner=st.sampled_from([(), (1,), (7,), (3, 5)]), dtype=st.sampled_from(DTYPES), data=st.data())
def test_rows_by_index(rows: int, inner: tuple[int, ...], dtype: torch.dtype, data: st.DataObject) -> None:
    torch.rigi.reset_fallbacks()
    table = torch.randint(0, 100, (rows, *inner)).to(dtype)
    kind = data.draw(st.sampled_from([torch.int64, torch.int32]))
    index = torch.tensor(data.draw(st.lists(st.integers(-rows, rows - 1), min_size=1, max_size=60)), dtype=kind)
    chip = table.to("rigi")
    assert torch.equal(chip[index.to("rigi")].cpu(), table[index])
    distinct = torch.randperm(rows)[: data.draw(st.integers(1, rows))]
    values = torch.randint(0, 100, (len(distinct), *inner)).to(dtype)
    chip[distinct.to("rigi")] = values.to("rigi")
    table[distinct] = values
    assert torch.equal(chip.cpu(), table)
    assert torch.rigi.fallbacks() == {}


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(st.integers(1, 30), st.integers(1, 200)), data=st.data())
def test_slots_of_requests(shape: tuple[int, int], data: st.DataObject) -> None:
    """The scheduler's own pattern: an int32 table of [requests, context], by request and position."""
    torch.rigi.reset_fallbacks()
    table = torch.randint(0, 1 << 30, shape, dtype=torch.int32)
    n = data.draw(st.integers(1, shape[0]))
    requests, places = torch.randperm(shape[0])[:n], torch.randint(-shape[1], shape[1], (n,))
    chip = [t.to("rigi") for t in (table, requests, places)]
    assert torch.equal(chip[0][chip[1], chip[2]].cpu(), table[requests, places])
    values = torch.randint(0, 1 << 30, (n,), dtype=torch.int32)
    chip[0][chip[1], chip[2]] = values.to("rigi")
    table[requests, places] = values
    assert torch.equal(chip[0].cpu(), table)
    assert torch.rigi.fallbacks() == {}


def test_of_equal_indices_the_last_counts() -> None:
    x = torch.zeros(4, dtype=torch.int64, device="rigi")
    x[torch.tensor([1, 1, 1]).to("rigi")] = torch.tensor([5, 6, 7]).to("rigi")
    assert x.cpu().tolist() == [0, 7, 0, 0]


def test_other_indexing_falls_back() -> None:
    x = torch.arange(24).view(4, 6)
    chip = x.to("rigi")
    i = torch.tensor([1, 2]).to("rigi")
    assert torch.equal(chip[:, i].cpu(), x[:, i.cpu()])
    assert torch.equal(chip[i.view(2, 1), i].cpu(), x[i.cpu().view(2, 1), i.cpu()])
    assert torch.equal(chip[chip > 7].cpu(), x[x > 7])
    chip[i] = 5
    x[i.cpu()] = 5
    assert torch.equal(chip.cpu(), x)
    chip.index_put_((i,), torch.ones(2, 6, dtype=torch.int64).to("rigi"), accumulate=True)
    x.index_put_((i.cpu(),), torch.ones(2, 6, dtype=torch.int64), accumulate=True)
    assert torch.equal(chip.cpu(), x)
    assert {"aten::index.Tensor_out", "aten::_index_put_impl_"} <= set(torch.rigi.fallbacks())
