"""A million random values through every instruction: ordinary ones, raw bit patterns and edge values mixed, seeded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from bits_elementwise import all_integers, binary_reference, compare_reference
from bits_machine import FLOATS, INTS, NUMPY, Array, Bench, device
from bits_reference import canonical, chain, from_bits, narrow, row_sums, same, samples, widen, wrap

from benchmarks.timing.program_data import D, Instr, Op, Operand
from benchmarks.timing.short_names import only

pytestmark = pytest.mark.slow
DTYPES = (*FLOATS, *INTS)
MILLION = 1_000_000
CHUNK = 125_000  # two operands and a result of four bytes fit the scratchpad
dtypes = pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())


def chunks(kind: D, seed: int, count: int = 1, edges: float = 0.1) -> Iterator[list[Array]]:
    """`count` blocks of [1, CHUNK] at a time, a million of each in all."""
    rng = np.random.default_rng(seed)
    for _ in range(MILLION // CHUNK):
        yield [samples(rng, kind, (1, CHUNK), edges) for _ in range(count)]


@dtypes
def test_binary_and_compare(kind: D) -> None:
    for a, b in chunks(kind, 1, 2):
        bench = Bench()
        x, y, block = bench.put(a, kind), bench.put(b, kind), bench.space(1, CHUNK, kind)
        for op, reference in ((Op.BINARY, binary_reference), (Op.COMPARE, compare_reference)):
            for fn in range(6):
                bench.run(Instr(op, 1, CHUNK, dst=block, a=x, b=y, fn=fn))
                same(bench.view(block, 1, CHUNK), reference(fn, a, b, kind, all_integers(kind)))


@dtypes
def test_cast_to(kind: D) -> None:
    """From fp32 and int32; the other sources are exhaustive in test_bits_cast.py."""
    for source in (D.F32, D.I32):
        for (a,) in chunks(source, 2):
            want = wrap(a, kind) if all_integers(source, kind) else narrow(canonical(widen(a), D.F32), kind)
            bench = Bench()
            same(bench.one(Op.CAST, 1, CHUNK, kind, bench.put(a, source)), want)


@dtypes
def test_select_and_copy(kind: D) -> None:
    for a, b, c in chunks(kind, 3, 3):
        bench = Bench()
        blocks = [bench.put(v, kind) for v in (a, b, c)]
        same(bench.one(Op.SELECT, 1, CHUNK, kind, *blocks), canonical(np.where(c.astype(np.float32) != 0, a, b), kind))
        bench = Bench()
        assert bench.one(Op.COPY, 1, CHUNK, kind, bench.put(a, kind)).tobytes() == a.tobytes()


@dtypes
def test_transpose_and_take(kind: D) -> None:
    rng = np.random.default_rng(4)
    for (a,) in chunks(kind, 5):
        a = a.reshape(125, 1000)
        bench = Bench()
        block, turned = bench.put(a, kind), bench.space(1000, 125, kind)
        bench.run(Instr(Op.TRANSPOSE, 125, 1000, dst=turned, a=block), wrote=[(turned, 1000, 125)])
        assert bench.view(turned, 1000, 125).tobytes() == np.ascontiguousarray(a.T).tobytes()
        index = rng.integers(0, 1000, (125, 1000)).astype(np.int32)
        bench = Bench()
        got = bench.one(Op.TAKE, 125, 1000, kind, bench.put(a, kind), bench.put(index, D.I32), depth=1000)
        assert got.tobytes() == np.take_along_axis(a, index, axis=1).tobytes()


@dtypes
def test_reduce(kind: D) -> None:
    for edges in (0.0, 0.002):
        for n, (a,) in enumerate(chunks(kind, 6, edges=edges)):
            a = a.reshape((1000, 125) if n % 2 else (125, 1000))
            bench = Bench()
            x, block = bench.put(a, kind), bench.space(len(a), 1, D.F32)
            for fn in (0, 1):
                bench.run(Instr(Op.REDUCE, *a.shape, dst=block, a=x, fn=fn), wrote=[(block, len(a), 1)])
                wide = canonical(widen(a), D.F32)
                with np.errstate(invalid="ignore"):
                    # np.max knows no order of the zeros: where it is zero, it is +0 if any is
                    top = wide.max(axis=1, keepdims=True)
                zero = np.where(((wide == 0) & ~np.signbit(wide)).any(axis=1, keepdims=True), np.float32(0.0), np.float32(-0.0))
                want = row_sums(wide) if fn == 0 else np.where(top == 0, zero, top)
                same(bench.view(block, len(a), 1), canonical(want.astype(np.float32), D.F32))


@dtypes
def test_topk(kind: D) -> None:
    for (a,) in chunks(kind, 7, edges=0.02):
        a = a.reshape(250, 500)
        with np.errstate(invalid="ignore"):
            values = a.astype(np.float64)
        key = np.where(np.isnan(values), np.inf, np.clip(values, -1e300, 1e300))  # NaN above infinity
        want = np.argsort(-key, axis=1, kind="stable")[:, :9].astype(np.int32)
        bench = Bench()
        found, index = bench.space(250, 9, kind), bench.space(250, 9, D.I32)
        instr = Instr(Op.TOPK, 250, 500, 9, dst=found, a=bench.put(a, kind), c=index)
        bench.run(instr, wrote=[(found, 250, 9), (index, 250, 9)])
        same(bench.view(index, 250, 9), want)
        assert bench.view(found, 250, 9).tobytes() == np.take_along_axis(a, want, axis=1).tobytes()


@dtypes
def test_iota_and_fill(kind: D) -> None:
    rng = np.random.default_rng(8)
    r, c = np.arange(1000, dtype=np.int64)[:, None], np.arange(125, dtype=np.int64)[None, :]
    for _ in range(MILLION // CHUNK):
        bias, down, across = (np.float32(v) for v in rng.uniform(-300, 300, 3))
        if kind in INTS:
            first, row, col = (int(narrow(np.array([v]), D.I32)[0]) for v in (bias, down, across))
            want = wrap((first + r * row + c * col) & 0xFFFFFFFF, kind)
        else:
            want = narrow((bias + r.astype(np.float32) * down) + c.astype(np.float32) * across, kind)
        got = Bench().one(Op.IOTA, 1000, 125, kind, Operand(imm=float(across)), scale=float(down), bias=float(bias))
        same(got, want)
        same(Bench().one(Op.FILL, 125, 1000, kind, scale=float(bias)), np.full((125, 1000), narrow(np.array([bias]), kind)[0]))


@pytest.mark.parametrize("kinds", [(D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E5M2), (D.I8, D.I8)], ids=lambda k: k[0].name.lower())
def test_mma(kinds: tuple[D, D]) -> None:
    """A million chains of several steps from a million accumulators."""
    rng = np.random.default_rng(9)
    out = D.I32 if kinds[0] == D.I8 else D.F32
    for depth in (1, 2, 3, 5, 8, 9, 13, 16):
        a, b = samples(rng, kinds[0], (250, depth), 0.003), samples(rng, kinds[1], (depth, 500), 0.003)
        c = samples(rng, out, (250, 500), 0.003)
        bench = Bench()
        block = bench.put(c, out)
        bench.run(Instr(Op.MMA, 250, 500, depth, dst=block, a=bench.put(a, kinds[0]), b=bench.put(b, kinds[1]), flags=1))
        want = wrap(a.astype(np.int64) @ b.astype(np.int64) + c) if out == D.I32 else chain(widen(a), widen(b), c)
        same(bench.view(block, 250, 500), want)


@pytest.mark.parametrize("kind", [D.F32, D.BF16], ids=lambda d: d.name.lower())
def test_store_add(kind: D) -> None:
    for start, one, two in chunks(kind, 10, 3, edges=0.02):
        size = start.nbytes
        hbm = device().malloc(3 * size)
        device().write(hbm, start.tobytes() + one.tobytes() + two.tobytes())
        block = Operand(0, size, kind)
        program = {}
        for core, turn in ((3, 1), (9, 2)):
            load = Instr(Op.LOAD, 1, size, dst=block, hbm=hbm + turn * size, hbm_stride=size)
            program[core] = [load, Instr(Op.STORE_ADD, 1, size, a=block, hbm=hbm, hbm_stride=size)]
        device().launch([only(program)])
        device().synchronize()
        got = np.frombuffer(device().read(hbm, size), NUMPY[kind]).reshape(start.shape)
        device().free(hbm)
        same(got, binary_reference(0, binary_reference(0, start, one, kind, False), two, kind, False))


def test_every_way_of_moving_bytes() -> None:
    """A million bytes by load, multicast, gather, send, scatter and store, through four cores, in rows of odd widths."""
    rng = np.random.default_rng(11)
    for width in (1, 63, 64, 333, 4096):
        rows = MILLION // width // (250 if width == 1 else 1)
        raw, order = rng.integers(0, 256, (rows, width), dtype=np.uint8), rng.permutation(rows).astype(np.int32)
        size, names = rows * width, 4 * rows
        hbm = device().malloc(4 * size + names)
        device().write(hbm, raw.tobytes() + order.tobytes())
        by, there, list_at = hbm + size, [hbm + names + k * size for k in (1, 2, 3)], 5 << 18
        block, index = Operand(0, width, D.U8), Operand(list_at, names, D.I32)
        get = Instr(Op.LOAD, 1, names, dst=index, hbm=by, hbm_stride=names)
        lines = {"rows": rows, "cols": width, "hbm_stride": width}
        cast = Instr(Op.LOAD_MULTICAST, dst=block, hbm=hbm, fn=0, **lines)
        gather = Instr(Op.GATHER, dst=block, a=index, hbm=hbm, **lines)
        send = Instr(Op.SEND, rows, width, a=block, dst=block, target=5)
        first = only({0: [cast], 1: [cast], 2: [cast], 3: [get, cast], 4: [get, gather, send]})
        store, scatter = Instr(Op.STORE, a=block, hbm=there[0], **lines), Instr(Op.SCATTER, a=block, b=index, hbm=there[1], **lines)
        last = Instr(Op.STORE, a=block, hbm=there[2], **lines)
        device().launch([first, only({2: [store], 3: [scatter], 5: [last]})])
        device().synchronize()
        stored, scattered, sent = (np.frombuffer(device().read(at, size), np.uint8).reshape(rows, width) for at in there)
        device().free(hbm)
        assert np.array_equal(stored, raw) and np.array_equal(scattered[order], raw) and np.array_equal(sent, raw[order])


def test_patterns_of_every_kind_were_among_them() -> None:
    """The samples themselves: denormals, infinities, NaNs, both zeros."""
    for kind in FLOATS:
        (a,) = next(chunks(kind, 1))
        wide = widen(a)
        tiny = float(widen(from_bits([1], kind))[0])
        zero, minus = wide == 0, np.signbit(wide)
        found = [np.isnan(wide), wide == tiny, zero & minus, zero & ~minus, np.isinf(wide)]
        assert [v.any() for v in found] == [True] * 4 + [kind != D.E4M3]
