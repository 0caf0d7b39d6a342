"""Indices from outside, on the chip: nothing else is touched, the next wait raises with op, index and size, and the device goes on."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from accuracy import BF16, bf16

R = "rigi"
OUTSIDE = [10, -11, 1 << 31, 1 << 32, (1 << 40) + 3, -(1 << 32), -(1 << 63), (1 << 63) - 1]
Wait = Callable[[torch.Tensor], object]
WAITS: dict[str, Wait] = {
    "synchronize": lambda _: torch.rigi.synchronize(),
    "stream": lambda _: torch.rigi.current_stream().synchronize(),
    "event": lambda _: torch.rigi.current_stream().record_event().synchronize(),
    "item": lambda x: x.flatten()[0].item(),
    "to the host": lambda x: x.cpu(),
    "strided to the host": lambda x: x.t().cpu(),
    "fallback": lambda x: torch.cumprod(x, 0),
}


def usable() -> bool:
    torch.rigi.synchronize()
    return torch.rigi.device_error() is None and bool(torch.equal((torch.arange(5, device=R) + 1).cpu(), torch.arange(1, 6)))


def says(op: str, index: int, size: int, low: int) -> str:
    return rf"{op}: index {index} in '.*' is out of bounds for dimension 0 of '.*' with size {size}; allowed: {low} to {size - 1}$"


@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_raises_once(wait: str) -> None:
    x = torch.arange(40).view(10, 4).to(R)
    y = x[torch.tensor([3, 10]).to(R)]
    with pytest.raises(IndexError, match=says("aten::index", 10, 10, -10)):
        WAITS[wait](y)
    WAITS[wait](y)
    assert torch.equal(y[0].cpu(), x[3].cpu()) and usable()
    assert torch.rigi.fallbacks().keys().isdisjoint({"aten::index.Tensor_out"})


@pytest.mark.parametrize(
    "kind, index", [*((torch.int64, i) for i in OUTSIDE), *((torch.int32, i) for i in (10, -11, (1 << 31) - 1, -(1 << 31)))]
)
def test_reading_and_writing_by_index(kind: torch.dtype, index: int) -> None:
    for dtype in (torch.int64, torch.int32, torch.float32, BF16, torch.uint8):
        host = torch.arange(10).to(dtype)
        x, i = host.to(R), torch.tensor([2, index, 5], dtype=kind)
        y = x[i.to(R)]
        with pytest.raises(IndexError, match=says("aten::index", index, 10, -10)):
            y.cpu()
        with pytest.raises(IndexError, match=f"index {index} is out of bounds for dimension 0 with size 10"):
            host[i]  # the CPU's own
        assert y[0].item() == 2 and y[2].item() == 5
        x[i.to(R)] = torch.ones(3, dtype=dtype).to(R)
        with pytest.raises(IndexError, match=says("aten::index_put_", index, 10, -10)):
            torch.rigi.synchronize()
        assert torch.equal(x.cpu(), host)  # a write with an index outside does not happen
    assert usable()


def test_the_dimension_is_named() -> None:
    x, good = torch.arange(42).view(6, 7).to(R), torch.tensor([1, 2]).to(R)
    for indices, text in (
        ((good, good + 5), "7 in .*dimension 1 of 'self' with size 7"),
        ((good + 5, good), "7 in .*dimension 0 .*size 6"),
    ):
        y = x[indices]
        with pytest.raises(IndexError, match=text):
            y.cpu()


def test_a_wide_table_of_one_byte_elements() -> None:
    host = torch.randint(0, 200, (300, 37), dtype=torch.uint8)
    x = host.to(R)
    x[torch.tensor([299, 300]).to(R)] = torch.zeros(2, 37, dtype=torch.uint8).to(R)
    with pytest.raises(IndexError, match="index 300 in"):
        torch.rigi.synchronize()
    assert torch.equal(x.cpu(), host)


@pytest.mark.parametrize("index", [70, 64, -1, 1 << 30, 1 << 40, -(1 << 40)])
def test_embedding(index: int) -> None:
    weight, ids = bf16(64, 64), torch.tensor([5, index])
    y = F.embedding(ids.to(R), weight.to(R))
    assert torch.rigi.fallbacks() == {}
    with pytest.raises(IndexError, match=says("rigi.embedding", index, 64, 0)):
        y.cpu()
    with pytest.raises(IndexError, match=says("rigi.embedding", index, 64, 0)):
        torch.ops.rigi.embedding(ids, weight)
    assert torch.equal(y[0].cpu(), weight[5]) and usable()


@pytest.mark.parametrize("t", [1, 3, 20, 400])
@pytest.mark.parametrize("index", [500, -1, 1 << 40])
def test_kv_write_leaves_out_what_is_outside(t: int, index: int) -> None:
    slots = torch.randperm(500)[:t]
    slots[t // 2] = index
    k, v, k_cache, v_cache = bf16(t, 48), bf16(t, 48), bf16(500, 48), bf16(500, 48)
    chip = [tensor.to(R) for tensor in (k, v, slots, k_cache, v_cache)]
    torch.ops.rigi.kv_write(*chip)
    with pytest.raises(
        IndexError, match=r"rigi.kv_write: index .* in 'slots' is out of bounds for dimension 0 of the caches with size 500"
    ):
        torch.rigi.synchronize()
    with pytest.raises(IndexError, match=f"rigi.kv_write: index {index} in 'slots'"):
        torch.ops.rigi.kv_write(k, v, slots, k_cache, v_cache)
    good = torch.arange(t) != t // 2
    k_cache[slots[good]], v_cache[slots[good]] = k[good], v[good]
    assert torch.equal(chip[3].cpu(), k_cache) and torch.equal(chip[4].cpu(), v_cache) and usable()


@pytest.mark.parametrize("index", [100, -1, 1 << 33])
def test_rope(index: int) -> None:
    q, cos_sin, positions = bf16(3, 128), torch.rand(100, 64), torch.tensor([4, index, 99])
    torch.ops.rigi.rope(q.to(R), q.to(R), positions.to(R), cos_sin.to(R), 64)
    with pytest.raises(IndexError, match=says("rigi.rope", index, 100, 0)):
        torch.rigi.synchronize()
    with pytest.raises(IndexError, match=says("rigi.rope", index, 100, 0)):
        torch.ops.rigi.rope(q.clone(), q.clone(), positions, cos_sin, 64)
    assert usable()


def test_each_op_with_an_index_outside_is_named() -> None:
    x, weight, far = torch.arange(10).to(R), bf16(64, 64).to(R), torch.tensor([77]).to(R)
    x[far]
    torch.ops.rigi.embedding(far, weight)
    with pytest.raises(IndexError) as caught:
        torch.rigi.synchronize()
    assert all(f"{op}: index 77" in str(caught.value) for op in ("aten::index", "rigi.embedding"))
    assert usable()


def test_replays_of_a_graph() -> None:
    weight, ids, x = bf16(64, 64).to(R), torch.tensor([1]).to(R), torch.arange(70).to(R)
    graph = torch.accelerator.Graph()
    with graph:
        rows, picked = torch.ops.rigi.embedding(ids, weight), x[ids]
    for index in (63, 64, 5, 1 << 40, 7):
        ids.copy_(torch.tensor([index]))
        graph.replay()
        if index < 64:
            torch.rigi.synchronize()
            assert torch.equal(rows[0].cpu(), weight[index].cpu()) and picked.item() == index
            continue
        with pytest.raises(IndexError, match=f"rigi.embedding: index {index} in 'ids'"):
            torch.rigi.synchronize()
    assert usable()


def test_reset_forgets() -> None:
    torch.arange(10).to(R)[torch.tensor([10]).to(R)]
    torch.rigi.reset_device()
    assert usable()


@pytest.fixture
def strict() -> Iterator[None]:
    before = torch.rigi.set_mode("strict")
    yield
    torch.rigi.synchronize()
    torch.rigi.set_mode(before)


TABLE = torch.arange(4 * 64, dtype=torch.int32).view(4, 64)  # four requests of 64 slots


def table(slot: int = 16) -> torch.Tensor:
    return TABLE.where(TABLE != 16, slot)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    "rows, lengths, slot, said",
    [
        (
            [0, 4],
            [5, 64],
            16,
            "index 4 in 'req_pool_indices' is out of bounds for dimension 0 of 'req_to_token' with size 4; allowed: 0 to 3",
        ),
        ([0, 1 << 32], [5, 64], 16, "index 4294967296 in 'req_pool_indices'"),
        ([2, 3], [65, 5], 16, "index 65 in 'seq_lens' is out of bounds for dimension 1 of 'req_to_token' with size 64; allowed: 0 to 64"),
        ([2, 3], [-1, 5], 16, "index -1 in 'seq_lens'"),
        (
            [3, 0],
            [64, 17],
            256,
            "index 256 in 'req_to_token' .* dimension 0 of the caches with size 256; allowed: 0 to 255$",
        ),
        ([3, 0], [64, 16], 256, ""),  # one that no request reaches
    ],
)
def test_strict_mode_checks_what_decode_attention_trusts(rows: list[int], lengths: list[int], slot: int, said: str) -> None:
    args = (bf16(2, 128), bf16(256, 64), bf16(256, 64), table(slot), torch.tensor(rows), torch.tensor(lengths))
    for operands in (args, [x.to(R) for x in args]):
        with pytest.raises(IndexError, match=f"rigi.attention_decode: {said}") if said else contextlib.nullcontext():
            torch.ops.rigi.attention_decode(*operands, 32, 16, 0.2)
        assert usable()


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    "row, prefix, extend, start, said",
    [
        (-1, 0, 10, 10, "index -1 in 'req_pool_indices'"),
        (3, 55, 10, 10, "index 65 in 'prefix_lens \\+ extend_lens' is out of bounds for dimension 1 of 'req_to_token'"),
        (1, -1, 10, 10, "index -1 in 'prefix_lens'"),
        (1, 0, 11, 10, "index 21 in 'start_locs \\+ extend_lens' is out of bounds for dimension 0 of 'q' with size 20; allowed: 0 to 20"),
        (1, 0, 10, -1, "index -1 in 'start_locs'"),
        (1, 54, 10, 10, ""),
    ],
)
def test_strict_mode_checks_what_extend_attention_trusts(row: int, prefix: int, extend: int, start: int, said: str) -> None:
    integers = [torch.tensor(x) for x in ([0, row], [3, prefix], [10, extend], [0, start])]
    args = (bf16(20, 128), bf16(256, 64), bf16(256, 64), table(), *integers)
    for operands in (args, [x.to(R) for x in args]):
        with pytest.raises(IndexError, match=f"rigi.attention_extend: {said}") if said else contextlib.nullcontext():
            torch.ops.rigi.attention_extend(*operands, 32, 16, 0.2)
        assert usable()


@pytest.mark.usefixtures("strict")
def test_strict_mode_finds_nothing_else() -> None:
    x, weight = torch.arange(10).to(R), bf16(64, 64).to(R)
    for _ in range(2):
        x[torch.tensor([3, 12]).to(R)] = torch.tensor([1, 2]).to(R)
        rows = torch.ops.rigi.embedding(torch.arange(60, 67).to(R), weight)
        with pytest.raises(IndexError, match="aten::index_put_.*; and rigi.embedding|rigi.embedding.*; and aten::index_put_"):
            rows.cpu()
    assert usable()
