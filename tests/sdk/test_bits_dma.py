"""DMA engines: what load, gather, fill, store, scatter, store_add and send move, and the faults that only data can raise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from bits_machine import FLOATS, INTS, NUMPY, Array, Bench, device
from bits_reference import canonical, narrow, same, samples, widen

from benchmarks.timing.program_data import CORES, ROW, D, Instr, Op, Operand
from benchmarks.timing.short_names import only

SIZE = 1 << 20


@pytest.fixture
def hbm() -> Iterator[int]:
    pointer = device().malloc(SIZE)
    yield pointer
    device().free(pointer)


def fill_hbm(hbm: int, values: Array) -> None:
    device().write(hbm, np.ascontiguousarray(values).tobytes())


def read_hbm(hbm: int, like: Array) -> Array:
    return np.frombuffer(device().read(hbm, like.nbytes), like.dtype).reshape(like.shape)


@pytest.mark.parametrize("cols", [1, 15, 64, 100, 4096])
@pytest.mark.parametrize("op", [Op.LOAD, Op.LOAD_MULTICAST])
def test_load_strided_rows(hbm: int, op: Op, cols: int) -> None:
    source = np.random.default_rng(1).integers(0, 256, (6, 5000), dtype=np.uint8)
    fill_hbm(hbm, source)
    for pad in (0, 60):
        bench = Bench()
        block = bench.space(6, cols, D.U8, pad=pad)
        load = Instr(op, 6, cols, dst=block, hbm=hbm, hbm_stride=5000, fn=0)
        if op == Op.LOAD:
            bench.run(load)
            assert np.array_equal(bench.view(block, 6, cols), source[:, :cols])
            continue
        store = Instr(Op.STORE, 6, cols, a=block, hbm=hbm + 500_000, hbm_stride=cols)
        device().launch([only({0: [load, store], 1: [load], 2: [load], 3: [load]})])
        device().synchronize()
        assert np.array_equal(read_hbm(hbm + 500_000, np.zeros((6, cols), np.uint8)), source[:, :cols])


def test_store_strided_rows(hbm: int) -> None:
    values = np.random.default_rng(2).integers(0, 256, (7, 130), dtype=np.uint8)
    fill_hbm(hbm, np.zeros((7, 256), np.uint8))
    bench = Bench()
    bench.run(Instr(Op.STORE, 7, 130, a=bench.put(values, D.U8, pad=30), hbm=hbm, hbm_stride=256), wrote=[(Operand(), 0, 0)])
    got = read_hbm(hbm, np.zeros((7, 256), np.uint8))
    assert np.array_equal(got[:, :130], values) and not got[:, 130:].any()


def test_gather_and_scatter_by_an_index_list(hbm: int) -> None:
    rng = np.random.default_rng(3)
    table = rng.integers(0, 256, (50, 96), dtype=np.uint8)
    fill_hbm(hbm, table)
    index = rng.permutation(50)[:20].astype(np.int32)
    bench = Bench()
    names, block = bench.put(index, D.I32), bench.space(20, 96, D.U8, pad=32)
    bench.run(
        Instr(Op.GATHER, 20, 96, dst=block, a=names, hbm=hbm, hbm_stride=96),
        Instr(Op.SCATTER, 20, 96, a=block, b=names, hbm=hbm + 65536, hbm_stride=96),
        wrote=[(block, 20, 96)],
    )
    assert np.array_equal(bench.view(block, 20, 96), table[index])
    scattered = read_hbm(hbm + 65536, table)
    assert np.array_equal(scattered[index], table[index])


def fault(*instrs: Instr) -> str:
    with pytest.raises(RuntimeError) as caught:
        device().launch([only({0: list(instrs)})])
        device().synchronize()
    device().reset()
    return str(caught.value)


@pytest.mark.parametrize("op", [Op.GATHER, Op.SCATTER])
def test_an_index_outside_hbm_is_a_fault_that_names_it(hbm: int, op: Op) -> None:
    for bad in (-1, 2**31 - 1):
        index = np.array([0, 1, bad, 2], np.int32)
        fill_hbm(hbm, index)
        load = Instr(Op.LOAD, 1, 16, dst=Operand(0, 16, D.I32), hbm=hbm, hbm_stride=16)
        names, block = Operand(0, 16, D.I32), Operand(64, 64, D.U8)
        moved = {"dst": block, "a": names} if op == Op.GATHER else {"a": block, "b": names}
        text = fault(load, Instr(Op.FILL, 4, 64, dst=block, scale=0.0), Instr(op, 4, 64, hbm=hbm, hbm_stride=1 << 16, **moved))
        assert op.name.lower() in text and "row 2" in text and str(bad) in text


def test_a_take_outside_its_row_is_a_fault_that_names_it() -> None:
    for bad in (-3, 8):
        iota = Instr(Op.IOTA, 1, 4, dst=Operand(0, 16, D.I32), a=Operand(imm=0.0), scale=0.0, bias=float(bad))
        source = Instr(Op.FILL, 1, 8, dst=Operand(64, 32, D.F32), scale=1.0)
        take = Instr(Op.TAKE, 1, 4, 8, dst=Operand(128, 16, D.F32), a=Operand(64, 32, D.F32), b=Operand(0, 16, D.I32))
        text = fault(iota, source, take)
        assert "take" in text and "row 0" in text and str(bad) in text and "8" in text


@pytest.mark.parametrize("kind", (*FLOATS, *INTS), ids=lambda d: d.name.lower())
def test_fill_converts_the_constant(kind: D) -> None:
    for value in (0.0, -0.0, 1.0, 0.1, -3.75, 1e9, np.inf, np.nan):
        bench = Bench()
        got = bench.one(Op.FILL, 3, 70, kind, pad=64, scale=value)
        same(got, np.full((3, 70), narrow(np.array([value], np.float32), kind)[0]))


def test_send_copies_into_another_core(hbm: int) -> None:
    values = np.random.default_rng(4).integers(0, 256, (4, 100), dtype=np.uint8)
    fill_hbm(hbm, values)
    there, here = Operand(4096, 128, D.U8), Operand(0, 104, D.U8)
    load = Instr(Op.LOAD, 4, 100, dst=here, hbm=hbm, hbm_stride=100)
    sends = [Instr(Op.SEND, 4, 100, dst=there, a=here, target=t) for t in (1, 7, 15)]
    stores = {t: [Instr(Op.STORE, 4, 100, a=there, hbm=hbm + 4096 * t, hbm_stride=100)] for t in (1, 7, 15)}
    device().launch([only({0: [load, *sends]}), only(stores)])
    device().synchronize()
    for t in (1, 7, 15):
        assert np.array_equal(read_hbm(hbm + 4096 * t, values), values)


@pytest.mark.parametrize("kind", [D.F32, D.BF16], ids=lambda d: d.name.lower())
@pytest.mark.parametrize("cols", [1, 16, 301])
def test_store_adds_are_applied_in_core_then_program_order(hbm: int, kind: D, cols: int) -> None:
    rng = np.random.default_rng(5)
    width = NUMPY[kind].itemsize
    start = samples(rng, kind, (2, cols), edges=0.02)
    parts = [samples(rng, kind, (2, cols), edges=0.02) for _ in range(2 * CORES)]
    fill_hbm(hbm, start)
    fill_hbm(hbm + 65536, np.stack(parts))
    program: dict[int, list[Instr]] = {}
    for core in range(CORES):
        program[core] = []
        for turn in range(2):
            block = Operand(turn * 8192, cols * width, kind)
            source = hbm + 65536 + (2 * core + turn) * parts[0].nbytes
            program[core].append(Instr(Op.LOAD, 2, cols * width, dst=block, hbm=source, hbm_stride=cols * width))
            program[core].append(Instr(Op.STORE_ADD, 2, cols * width, a=block, hbm=hbm, hbm_stride=cols * width))
    device().launch([only(program)])
    device().synchronize()
    want = widen(start)
    with np.errstate(all="ignore"):
        for part in parts:
            want = widen(narrow(want + widen(part), kind))
    same(read_hbm(hbm, start), canonical(narrow(want, kind), kind))


def test_a_gather_may_repeat_a_row(hbm: int) -> None:
    table = np.arange(64, dtype=np.uint8).reshape(4, 16)
    fill_hbm(hbm, table)
    bench = Bench()
    index = bench.put(np.array([[3, 3, 0]], np.int32), D.I32, ROW)
    block = bench.space(3, 16, D.U8)
    bench.run(Instr(Op.GATHER, 3, 16, dst=block, a=Operand(index.addr, index.stride, D.I32), hbm=hbm, hbm_stride=16))
    assert np.array_equal(bench.view(block, 3, 16), table[[3, 3, 0]])
