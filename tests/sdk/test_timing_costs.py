"""What every class of instruction costs, by hand: busy and latency from section 4 of the chip manual (sdk_sim/README.md).

The figures are written out on purpose: if one of them changes by accident, the sums below no longer hold.
"""

from __future__ import annotations

import pytest
from timing_bench import DMA_LATENCY, LAUNCH, RunProgram

from benchmarks.timing.program_data import (
    COL,
    GROUP_ALL,
    ROW,
    ROW_BIAS,
    ROW_SUMS,
    TRANS_B,
    D,
    Instr,
    Op,
    imm,
)
from benchmarks.timing.short_names import alone, everywhere, only, sram


def block(rows: int, size: int, pitch: int = 0) -> dict[str, int]:
    return {"rows": rows, "cols": size, "hbm_stride": pitch or size}


DMA = [
    # 16 + bytes / 256, rounded up; latency 600
    (Instr(Op.LOAD, **block(1, 1), dst=sram(0)), 17, 600),
    (Instr(Op.LOAD, **block(1, 256), dst=sram(0)), 17, 600),
    (Instr(Op.LOAD, **block(1, 257), dst=sram(0)), 18, 600),
    (Instr(Op.LOAD, **block(4, 1024, 4096), dst=sram(0, 2048)), 32, 600),
    (Instr(Op.LOAD, **block(3, 100), dst=sram(0, 128)), 18, 600),  # 300 bytes
    (Instr(Op.LOAD_MULTICAST, **block(1, 2560), dst=sram(0), fn=GROUP_ALL), 26, 600),
    (Instr(Op.STORE, **block(2, 1024), a=sram(0, 1024)), 24, 600),
    (Instr(Op.STORE_ADD, **block(2, 1024), a=sram(0, 1024)), 24, 600),
    (Instr(Op.SEND, 2, 1024, a=sram(0, 1024), dst=sram(0, 1024), target=9), 24, 50),
    (Instr(Op.FILL, 10, 100, dst=sram(0, 512, D.F32), scale=1.0), 32, 0),  # 4000 bytes
    (Instr(Op.FILL, 10, 100, dst=sram(0, 512, D.I8), scale=1.0), 20, 0),  # 1000 bytes
]


@pytest.mark.parametrize("instr, busy, latency", DMA, ids=[f"{i.op.name}-{i.rows}x{i.cols}" for i, *_ in DMA])
def test_dma_cost(run: RunProgram, hbm: int, instr: Instr, busy: int, latency: int) -> None:
    instr = Instr(**{**vars(instr), "hbm": 0 if instr.op in (Op.FILL, Op.SEND) else hbm})
    program = [everywhere([instr])] if instr.op == Op.LOAD_MULTICAST else alone(instr)
    assert run(program).times(5, 0) == (LAUNCH, LAUNCH, LAUNCH + busy, LAUNCH + busy + latency)


@pytest.mark.parametrize("op, busy", [(Op.GATHER, 41), (Op.SCATTER, 41)])
def test_rows_by_index_cost_two_cycles_each(run: RunProgram, hbm: int, op: Op, busy: int) -> None:
    """10 rows of 128 bytes: 16 + 1280 / 256 + 2 * 10. The index list (40 bytes) must be there first: a fill, 17 cycles, latency 0."""
    index = Instr(Op.FILL, 1, 10, dst=sram(0, 40, D.I32), scale=3.0)
    rows = {"dst": sram(64, 128), "a": sram(0, 4, D.I32)} if op == Op.GATHER else {"a": sram(64, 128), "b": sram(0, 4, D.I32)}
    result = run([only({2: [index, Instr(op, 10, 128, hbm=hbm, hbm_stride=256, **rows)]})])
    assert result.times(2, 0) == (1250, 1250, 1267, 1267)
    assert result.times(2, 1) == (1251, 1267, 1267 + busy, 1267 + busy + DMA_LATENCY)


MMA = [
    # ceil(K / Kp) * ceil(N / 128) * max(M, 128)
    ((1, 1, 1, D.BF16), 128),
    ((128, 128, 128, D.BF16), 128),
    ((129, 128, 128, D.F16), 129),
    ((1, 129, 128, D.BF16), 256),
    ((1, 128, 129, D.F16), 256),
    ((200, 300, 300, D.BF16), 3 * 3 * 200),
    ((128, 128, 256, D.E4M3), 128),
    ((128, 128, 257, D.E5M2), 256),
    ((64, 64, 256, D.I8), 128),
]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape, busy", MMA, ids=[f"{m}x{n}x{k}-{d.name}" for (m, n, k, d), _ in MMA])
def test_mma_cost(run: RunProgram, shape: tuple[int, int, int, D], busy: int, transposed: bool) -> None:
    m, n, k, dtype = shape
    c = sram(0, 4 * n, D.I32 if dtype == D.I8 else D.F32)
    a, b = sram(1 << 19, 1024, dtype), sram(1 << 20, 1024, dtype)
    instr = Instr(Op.MMA, m, n, k, dst=c, a=a, b=b, flags=TRANS_B if transposed else 0)
    assert run(alone(instr)).times(5, 0) == (LAUNCH, LAUNCH, LAUNCH + busy, LAUNCH + busy + 256)


X, Y, Z, W = (sram(n << 18, 2048) for n in range(4))
VECTOR = [
    # 16 + passes * ceil(n / 256), n = rows * columns padded to 16
    ("add", Instr(Op.BINARY, 1, 256, dst=X, a=Y, b=Z, fn=0), 17),
    ("add, padded", Instr(Op.BINARY, 17, 1, dst=X, a=Y, b=Z, fn=0), 18),  # 17 * 16 = 272
    ("mul by a row", Instr(Op.BINARY, 32, 100, dst=X, a=Y, b=sram(0x80000, 0, bcast=ROW), fn=2), 30),  # 32 * 112 = 3584 = 14 * 256
    ("div", Instr(Op.BINARY, 2, 300, dst=X, a=Y, b=imm(3.0), fn=3), 28),  # 608 -> 3, four passes
    ("max", Instr(Op.BINARY, 4, 64, dst=X, a=Y, b=sram(0x80000, 64, bcast=COL), fn=4), 17),
    ("compare", Instr(Op.COMPARE, 4, 65, dst=X, a=Y, b=Z, fn=0), 18),  # 4 * 80 = 320
    ("select", Instr(Op.SELECT, 4, 256, dst=X, a=Y, b=Z, c=W), 20),
    ("cast", Instr(Op.CAST, 4, 256, dst=sram(0, 512, D.BF16), a=Y), 20),
    ("copy", Instr(Op.COPY, 4, 250, dst=X, a=Y), 20),
    ("transpose", Instr(Op.TRANSPOSE, 32, 64, dst=X, a=Y), 32),  # 2048 -> 8, two passes
    ("transpose, the result larger", Instr(Op.TRANSPOSE, 1, 64, dst=sram(0, 64), a=Y), 24),  # 64 rows of 16: 4, two passes
    ("row sum", Instr(Op.REDUCE, 8, 128, dst=sram(0, 4), a=Y, fn=0), 20),
    ("row maximum", Instr(Op.REDUCE, 8, 129, dst=sram(0, 4), a=Y, fn=1), 21),  # 8 * 144 = 1152
    ("iota", Instr(Op.IOTA, 3, 100, dst=X, a=imm(1.0)), 18),  # 336
    ("top-k", Instr(Op.TOPK, 2, 500, 5, dst=X, a=Y, c=sram(0x80000, 64, D.I32)), 36),  # 1024 -> 4, five passes
]


@pytest.mark.parametrize("instr, busy", [v[1:] for v in VECTOR], ids=[v[0] for v in VECTOR])
def test_vector_cost(run: RunProgram, instr: Instr, busy: int) -> None:
    assert run(alone(instr)).times(5, 0) == (LAUNCH, LAUNCH, LAUNCH + busy, LAUNCH + busy + 32)


def test_take_counts_the_rows_it_takes_from(run: RunProgram) -> None:
    """4 rows of 10 out of rows of 200: the largest operand is 4 x 208 = 832 elements."""
    zeros = Instr(Op.FILL, 4, 10, dst=sram(0x80000, 40, D.I32), scale=0.0)
    take = Instr(Op.TAKE, 4, 10, 200, dst=X, a=Y, b=sram(0x80000, 40, D.I32))
    assert run([only({0: [zeros, take]})]).times(0, 1) == (1251, 1267, 1267 + 20, 1267 + 20 + 32)


ACT = [
    ("exp", Instr(Op.ACT, 4, 256, dst=X, a=Y, fn=1), 20),
    ("sine", Instr(Op.ACT, 1, 257, dst=X, a=Y, fn=12), 18),
    ("bias and sums", Instr(Op.ACT, 64, 8, dst=X, a=Y, b=sram(0x80000, 4, bcast=COL), c=sram(0x90000, 4), flags=ROW_BIAS | ROW_SUMS), 20),
]


@pytest.mark.parametrize("instr, busy", [a[1:] for a in ACT], ids=[a[0] for a in ACT])
def test_act_cost(run: RunProgram, instr: Instr, busy: int) -> None:
    assert run(alone(instr)).times(5, 0) == (LAUNCH, LAUNCH, LAUNCH + busy, LAUNCH + busy + 64)
