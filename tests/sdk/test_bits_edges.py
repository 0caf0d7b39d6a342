"""Edge values: all pairs of them for every dtype, all pairs of 8-bit values, and results halfway between two representable ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bits_elementwise import BINARY_NAMES, all_integers, binary_reference, compare_reference
from bits_machine import FLOATS, INTS, NUMPY, Array, Bench, device
from bits_reference import bits, canonical, chain, edge_values, from_bits, narrow, row_sums, same, widen, wrap

from benchmarks.timing.program_data import ACCUMULATE, D, Instr, Op, Operand
from benchmarks.timing.short_names import only

DTYPES = (*FLOATS, *INTS)
KINDS = list(itertools.product(DTYPES, DTYPES))


def named(kinds: tuple[D, D]) -> str:
    return f"{kinds[0].name}-{kinds[1].name}".lower()


def grid(a: Array, b: Array) -> tuple[Array, Array]:
    """Every pair, each side as one row."""
    x, y = np.meshgrid(a.view(bits(a).dtype), b.view(bits(b).dtype))
    return (np.ascontiguousarray(x.reshape(1, -1)).view(a.dtype), np.ascontiguousarray(y.reshape(1, -1)).view(b.dtype))


def check_pairs(a: Array, b: Array, left: D, right: D, results: set[D]) -> None:
    bench = Bench()
    x, y = bench.put(a, left), bench.put(b, right)
    work = [(op, fn, dst, bench.space(1, a.size, dst)) for op in (Op.BINARY, Op.COMPARE) for fn in range(6) for dst in sorted(results)]
    bench.run(*(Instr(op, 1, a.size, dst=block, a=x, b=y, fn=fn) for op, fn, _, block in work))
    for op, fn, dst, block in work:
        reference = binary_reference if op == Op.BINARY else compare_reference
        same(bench.view(block, 1, a.size), reference(fn, a, b, dst, all_integers(left, right, dst)))


@pytest.mark.parametrize("kinds", KINDS, ids=named)
def test_binary_and_compare_over_all_pairs_of_edge_values(kinds: tuple[D, D]) -> None:
    check_pairs(*grid(edge_values(kinds[0]), edge_values(kinds[1])), *kinds, {*kinds, D.F32, D.I32})


@pytest.mark.parametrize("kind", [D.E4M3, D.E5M2, D.I8, D.U8], ids=lambda d: d.name.lower())
def test_binary_and_compare_over_all_pairs_of_8_bit_values(kind: D) -> None:
    every = from_bits(np.arange(256), kind)
    check_pairs(*grid(every, every), kind, kind, {kind})


@pytest.mark.parametrize("dst", [D.F16, D.BF16, D.E4M3, D.E5M2], ids=lambda d: d.name.lower())
def test_results_halfway_between_two_values_go_to_the_even_one(dst: D) -> None:
    """x + d, where x is a value of dst and d half the distance to the next: the sum is exact in fp32. Subtracted likewise."""
    width = NUMPY[dst].itemsize
    raw = np.arange(256**width // 2 - 1, step=1 if width == 1 else 7, dtype=np.uint32)
    here, there = (widen(from_bits(r.astype({1: np.uint8, 2: np.uint16}[width]), dst)) for r in (raw, raw + 1))
    with np.errstate(invalid="ignore"):
        half = ((there.astype(np.float64) - here) / 2).astype(np.float32)
    keep = np.isfinite(here) & np.isfinite(there)
    a, d = (np.concatenate([v[keep], -v[keep]]).reshape(1, -1) for v in (here, half))
    bench = Bench()
    x, y = bench.put(a, D.F32), bench.put(d, D.F32)
    for fn in (0, 1):
        got = bench.one(Op.BINARY, 1, a.size, dst, x, y, fn=fn)
        same(got, binary_reference(fn, a, d, dst, False))
    even = bits(bench.one(Op.BINARY, 1, a.size, dst, x, y, fn=0)) & 1
    assert not even.any(), f"{BINARY_NAMES[0]}: a tie went to an odd value"


@pytest.mark.parametrize("kinds", [(D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E5M2), (D.E5M2, D.E4M3), (D.I8, D.I8)], ids=named)
def test_products_of_all_pairs_of_edge_values(kinds: tuple[D, D]) -> None:
    """K = 1: each element of C is one product added to one of the edge values."""
    out = D.I32 if kinds[0] == D.I8 else D.F32
    a, b = edge_values(kinds[0]).reshape(-1, 1), edge_values(kinds[1]).reshape(1, -1)
    for start in edge_values(out):
        c = np.full((a.size, b.size), start, NUMPY[out])
        bench = Bench()
        block = bench.put(c, out)
        instr = Instr(Op.MMA, a.size, b.size, 1, dst=block, a=bench.put(a, kinds[0]), b=bench.put(b, kinds[1]), flags=ACCUMULATE)
        bench.run(instr)
        want = wrap(a.astype(np.int64) @ b.astype(np.int64) + c) if out == D.I32 else chain(widen(a), widen(b), c)
        same(bench.view(block, a.size, b.size), want)


@pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())
def test_rows_of_two_edge_values_reduce(kind: D) -> None:
    a, b = (v.ravel() for v in grid(edge_values(kind), edge_values(kind)))
    rows = np.stack([a.view(bits(a).dtype), b.view(bits(b).dtype)], axis=1).view(NUMPY[kind])
    for dst, fn in itertools.product({kind, D.F32, D.I32}, (0, 1)):
        bench = Bench()
        block = bench.space(len(rows), 1, dst)
        bench.run(Instr(Op.REDUCE, len(rows), 2, dst=block, a=bench.put(rows, kind), fn=fn), wrote=[(block, len(rows), 1)])
        ints = all_integers(kind, dst)
        if fn == 1:
            want = binary_reference(4, rows[:, :1], rows[:, 1:], dst, ints)
        else:
            want = wrap(row_sums(rows.astype(np.int32)), dst) if ints else narrow(canonical(row_sums(widen(rows)), D.F32), dst)
        same(bench.view(block, len(rows), 1), want)


@pytest.mark.parametrize("kind", DTYPES, ids=lambda d: d.name.lower())
def test_fill_with_every_edge_value(kind: D) -> None:
    for value in [float(v) for v in edge_values(D.F32)]:
        with np.errstate(over="ignore"):
            constant = np.array([value], np.float32)
        same(Bench().one(Op.FILL, 1, 5, kind, scale=value), np.full((1, 5), narrow(constant, kind)[0]))


@pytest.mark.parametrize("kind", [D.F32, D.BF16], ids=lambda d: d.name.lower())
def test_store_add_of_all_pairs_of_edge_values(kind: D) -> None:
    start, more = grid(edge_values(kind), edge_values(kind))
    hbm = device().malloc(2 * start.nbytes)
    device().write(hbm, start.tobytes() + more.tobytes())
    block = Operand(0, start.nbytes, kind)
    load = Instr(Op.LOAD, 1, start.nbytes, dst=block, hbm=hbm + start.nbytes, hbm_stride=start.nbytes)
    device().launch([only({0: [load, Instr(Op.STORE_ADD, 1, start.nbytes, a=block, hbm=hbm, hbm_stride=start.nbytes)]})])
    device().synchronize()
    got = np.frombuffer(device().read(hbm, start.nbytes), NUMPY[kind]).reshape(start.shape)
    device().free(hbm)
    same(got, binary_reference(0, start, more, kind, False))
