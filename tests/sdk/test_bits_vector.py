"""Vector engine: arithmetic, comparisons, selection, reductions, iota, copies, gathers inside SRAM and top-k."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bits_elementwise import ADD, MUL, SUB, binary_reference, compare_reference, maximum
from bits_machine import FLOATS, INTS, NUMPY, Array, Bench, imm, spread
from bits_reference import canonical, edge_values, narrow, row_sums, same, samples, widen, wrap

from benchmarks.timing.program_data import COL, FULL, IMM, ROW, D, Instr, Op, Operand

DTYPES = (*FLOATS, *INTS)
COLS = (1, 15, 16, 17, 255, 256, 300)


@pytest.mark.parametrize("fn", range(6), ids=["add", "sub", "mul", "div", "max", "min"])
@pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())
def test_binary_of_one_dtype(fn: int, kind: D) -> None:
    rng = np.random.default_rng(fn)
    for cols in COLS:
        bench = Bench()
        a, b = samples(rng, kind, (3, cols)), samples(rng, kind, (3, cols))
        got = bench.one(Op.BINARY, 3, cols, kind, bench.put(a, kind), bench.put(b, kind, pad=64), pad=64 * (cols % 2), fn=fn)
        same(got, binary_reference(fn, a, b, kind, kind in INTS))


@pytest.mark.parametrize("fn", range(6), ids=["add", "sub", "mul", "div", "max", "min"])
def test_binary_of_all_pairs_of_edge_values(fn: int) -> None:
    values = edge_values(D.F32)
    a, b = (np.ascontiguousarray(x.reshape(1, -1)) for x in np.meshgrid(values, values))
    bench = Bench()
    same(bench.one(Op.BINARY, 1, a.size, D.F32, bench.put(a, D.F32), bench.put(b, D.F32), fn=fn), binary_reference(fn, a, b, D.F32, False))


@pytest.mark.parametrize("kinds", itertools.product(DTYPES, DTYPES), ids=lambda k: f"{k[0].name}+{k[1].name}".lower())
def test_mixed_dtypes_widen_to_fp32_unless_all_are_integers(kinds: tuple[D, D]) -> None:
    rng = np.random.default_rng(7)
    bench, work = Bench(), []
    a, b = samples(rng, kinds[0], (2, 37)), samples(rng, kinds[1], (2, 37))
    left, right = bench.put(a, kinds[0]), bench.put(b, kinds[1])
    for dst in DTYPES:
        work.append((dst, bench.space(2, 37, dst)))
    bench.run(*(Instr(Op.BINARY, 2, 37, dst=block, a=left, b=right, fn=MUL) for _, block in work))
    for dst, block in work:
        same(bench.view(block, 2, 37), binary_reference(MUL, a, b, dst, all(k in INTS for k in (*kinds, dst))))


@pytest.mark.parametrize("shapes", itertools.product((FULL, ROW, COL, IMM), repeat=2), ids=str)
@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.I32])
def test_broadcasts(shapes: tuple[int, int], kind: D) -> None:
    rng = np.random.default_rng(8)
    for rows, cols in ((1, 1), (5, 16), (4, 47), (3, 530)):
        bench = Bench()
        operands: list[Operand] = []
        values: list[Array] = []
        for shape in shapes:
            if shape == IMM:
                operands.append(imm(3.0))
                values.append(np.full((rows, cols), 3, NUMPY[kind]))
            else:
                block = samples(rng, kind, (1 if shape == ROW else rows, 1 if shape == COL else cols))
                operands.append(bench.put(block, kind, shape, pad=64 if shape == COL else 0))
                values.append(spread(block, shape, rows, cols))
        got = bench.one(Op.BINARY, rows, cols, kind, *operands, fn=SUB)
        same(got, binary_reference(SUB, values[0], values[1], kind, kind in INTS))


def test_a_fractional_immediate_makes_the_arithmetic_fp32() -> None:
    bench = Bench()
    a = np.array([[-5, 3, 7, 100, 2147483647]], np.int32)
    got = bench.one(Op.BINARY, 1, 5, D.I32, bench.put(a, D.I32), imm(0.5), fn=MUL)
    same(got, narrow(a.astype(np.float32) * np.float32(0.5), D.I32))


def test_the_destination_may_be_an_operand() -> None:
    rng = np.random.default_rng(9)
    for kind in (D.F32, D.BF16, D.I8):
        bench = Bench()
        a, b = samples(rng, kind, (3, 533)), samples(rng, kind, (1, 533))
        block = bench.put(a, kind)
        bench.run(Instr(Op.BINARY, 3, 533, dst=block, a=block, b=bench.put(b, kind, ROW), fn=ADD))
        same(bench.view(block, 3, 533), binary_reference(ADD, a, spread(b, ROW, 3, 533), kind, kind in INTS))
    bench = Bench()  # a narrower result over its own source
    a = samples(rng, D.F32, (3, 533))
    block = bench.put(a, D.F32)
    narrower = Operand(block.addr, block.stride, D.BF16)
    bench.run(Instr(Op.CAST, 3, 533, dst=narrower, a=block))
    same(bench.view(narrower, 3, 533), narrow(canonical(a, D.F32), D.BF16))


@pytest.mark.parametrize("fn", range(6), ids=["lt", "le", "gt", "ge", "eq", "ne"])
@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.E5M2, D.I32, D.U8], ids=lambda d: d.name.lower())
def test_compare(fn: int, kind: D) -> None:
    rng = np.random.default_rng(10)
    a, b = samples(rng, kind, (4, 70), edges=0.4), samples(rng, kind, (4, 70), edges=0.4)
    for dst in (D.F32, D.BF16, D.U8, D.I32):
        bench = Bench()
        ints = kind in INTS and dst in INTS
        got = bench.one(Op.COMPARE, 4, 70, dst, bench.put(a, kind), bench.put(b, kind), fn=fn)
        same(got, compare_reference(fn, a, b, dst, ints))


@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.F16, D.I32, D.I8], ids=lambda d: d.name.lower())
def test_select(kind: D) -> None:
    rng = np.random.default_rng(11)
    for condition, shape in itertools.product((D.F32, D.U8, D.I32, D.BF16), (FULL, ROW, COL, IMM)):
        bench = Bench()
        a, b = samples(rng, kind, (3, 50)), samples(rng, kind, (3, 50))
        if shape == IMM:
            chosen, operand = np.ones((3, 50), bool), imm(-0.25)
        else:
            c = samples(rng, condition, (1 if shape == ROW else 3, 1 if shape == COL else 50), edges=0.5)
            chosen, operand = spread(c.astype(np.float32) != 0, shape, 3, 50), bench.put(c, condition, shape)
        got = bench.one(Op.SELECT, 3, 50, kind, bench.put(a, kind), bench.put(b, kind), operand)
        same(got, canonical(np.where(chosen, a, b), kind))


@pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())
@pytest.mark.parametrize("cols", (*COLS, 4100))
def test_row_sum_and_max(kind: D, cols: int) -> None:
    rng = np.random.default_rng(12)
    a = samples(rng, kind, (5, cols), edges=0.0 if cols > 20 else 0.1)
    bench = Bench()
    block = bench.put(a, kind, pad=64)
    for dst in (D.F32, D.BF16, D.I32):
        ints = kind in INTS and dst in INTS
        sums = row_sums(a.astype(np.int32)) if ints else narrow(canonical(row_sums(widen(a)), D.F32), dst)
        same(bench.one(Op.REDUCE, 5, cols, dst, block, fn=0)[:, :1] if cols == 1 else reduced(bench, block, 5, cols, dst, 0), sums)
        if ints:
            largest = a.max(axis=1, keepdims=True).astype(np.int32)
        else:
            largest = widen(a[:, :1])
            for c in range(1, min(cols, 300)):
                largest = maximum(largest, widen(a[:, c : c + 1]))
            if cols > 300:
                largest = widen(a).max(axis=1, keepdims=True)
            largest = narrow(canonical(largest, D.F32), dst)
        same(reduced(bench, block, 5, cols, dst, 1), largest)


def reduced(bench: Bench, a: Operand, rows: int, cols: int, dst: D, fn: int) -> Array:
    block = bench.space(rows, 1, dst)
    bench.run(Instr(Op.REDUCE, rows, cols, dst=block, a=a, fn=fn), wrote=[(block, rows, 1)])
    return bench.view(block, rows, 1)


@pytest.mark.parametrize("dst", DTYPES, ids=lambda d: d.name.lower())
def test_iota(dst: D) -> None:
    for start, row_step, col_step in ((0.0, 0.0, 1.0), (-3.0, 100.0, 2.0), (0.5, 0.25, -1.5), (2e9, 2e9, 7.0)):
        bench = Bench()
        got = bench.one(Op.IOTA, 3, 37, dst, Operand(imm=col_step), scale=row_step, bias=start)
        r, c = np.arange(3, dtype=np.int64)[:, None], np.arange(37, dtype=np.int64)[None, :]
        if dst in INTS:
            first, down, across = (int(narrow(np.float32([x]), D.I32)[0]) for x in (start, row_step, col_step))
            same(got, wrap((first + r * down + c * across) & 0xFFFFFFFF, dst))
        else:
            row = np.float32(start) + r.astype(np.float32) * np.float32(row_step)
            same(got, narrow(row + c.astype(np.float32) * np.float32(col_step), dst))


@pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())
def test_copy_and_transpose_keep_every_bit(kind: D) -> None:
    rng = np.random.default_rng(13)
    raw = rng.integers(0, 256, (37, 66 * NUMPY[kind].itemsize), dtype=np.uint8).view(NUMPY[kind])
    bench = Bench()
    block = bench.put(raw, kind, pad=64)
    assert bench.one(Op.COPY, 37, 66, kind, block, pad=64).tobytes() == raw.tobytes()
    turned = bench.space(66, 37, kind, pad=64)
    bench.run(Instr(Op.TRANSPOSE, 37, 66, dst=turned, a=block), wrote=[(turned, 66, 37)])
    assert bench.view(turned, 66, 37).tobytes() == np.ascontiguousarray(raw.T).tobytes()
    for shape in (ROW, COL):
        got = bench.one(Op.COPY, 37, 66, kind, Operand(block.addr, block.stride, kind, shape))
        assert got.tobytes() == np.ascontiguousarray(spread(raw, shape, 37, 66)).tobytes()


@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.I8], ids=lambda d: d.name.lower())
def test_take(kind: D) -> None:
    rng = np.random.default_rng(14)
    a = samples(rng, kind, (4, 50))
    index = rng.integers(0, 50, (4, 33)).astype(np.int32)
    for a_shape, b_shape in itertools.product((FULL, ROW), (FULL, ROW, COL)):
        bench = Bench()
        got = bench.one(Op.TAKE, 4, 33, kind, bench.put(a, kind, a_shape), bench.put(index, D.I32, b_shape), depth=50)
        want = np.take_along_axis(spread(a, a_shape, 4, 50), spread(index, b_shape, 4, 33), axis=1)
        assert got.tobytes() == np.ascontiguousarray(want).tobytes()


def order_of(a: Array) -> Array:
    """Descending; NaN first, lower index first among equals."""
    with np.errstate(invalid="ignore"):
        values = a.astype(np.float64)
    return np.lexsort((np.arange(a.size), -np.nan_to_num(values, nan=0.0, posinf=1e300, neginf=-1e300), ~np.isnan(values)))


@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.F16, D.E4M3, D.I32, D.I8], ids=lambda d: d.name.lower())
@pytest.mark.parametrize("k", [1, 2, 5, 64, 200])
def test_topk(kind: D, k: int) -> None:
    rng = np.random.default_rng(15)
    for cols in (k, k + 1, 211, 1000):
        a = samples(rng, kind, (3, cols), edges=0.02)
        bench = Bench()
        values, index = bench.space(3, k, kind), bench.space(3, k, D.I32)
        instr = Instr(Op.TOPK, 3, cols, k, dst=values, a=bench.put(a, kind), c=index)
        bench.run(instr, wrote=[(values, 3, k), (index, 3, k)])
        want = np.stack([order_of(row)[:k] for row in a]).astype(np.int32)
        same(bench.view(index, 3, k), want)
        assert bench.view(values, 3, k).tobytes() == np.take_along_axis(a, want, axis=1).tobytes()


def test_topk_of_a_vocabulary_and_of_equal_elements() -> None:
    rng = np.random.default_rng(16)
    for a in (
        rng.standard_normal((1, 49152)).astype(np.float32),
        np.full((1, 1000), -np.inf, np.float32),
        np.array([[-0.0, 0.0] * 20], np.float32),
    ):
        bench = Bench()
        values, index = bench.space(1, 1, D.F32), bench.space(1, 1, D.I32)
        bench.run(Instr(Op.TOPK, 1, a.size, 1, dst=values, a=bench.put(a, D.F32), c=index), wrote=[(values, 1, 1), (index, 1, 1)])
        assert bench.view(index, 1, 1)[0, 0] == np.argmax(a)
    bench = Bench()
    values, index = bench.space(1, 1, D.I32), bench.space(1, 1, D.I32)
    lowest = np.full((1, 40), -(2**31), np.int32)
    bench.run(Instr(Op.TOPK, 1, 40, 1, dst=values, a=bench.put(lowest, D.I32), c=index), wrote=[(values, 1, 1), (index, 1, 1)])
    assert bench.view(index, 1, 1)[0, 0] == 0
