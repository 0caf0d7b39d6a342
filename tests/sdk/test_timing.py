"""The clock, by hand: small programs whose cycles are worked out here from the chip manual (sdk_sim/README.md, sections 4 and 5).

The figures are written out on purpose: if one of them, or a rule, changes by accident, the sums below no longer hold. Every trace
is also held against the reference schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program_data import (
    COL,
    FULL,
    GROUP_ALL,
    GROUP_COL,
    GROUP_ROW,
    ROW,
    ROW_BIAS,
    ROW_SUMS,
    TRANS_B,
    D,
    Instr,
    Op,
    Operand,
    Program,
    imm,
)
from reference_schedule import compare, read_trace
from timed_device import TIMED, Device, Run, everywhere, only

LAUNCH = 1250  # cycles before a sequencer starts
BARRIER = 100
DMA_LATENCY = 600
KIB = 1 << 10
HBM_BYTES = 64 << 20

RunProgram = Callable[[Program], Run]


@pytest.fixture(scope="module")
def device() -> Device:
    device = Device()
    device.set_mode(TIMED)
    return device


@pytest.fixture(scope="module")
def hbm(device: Device) -> Iterator[int]:
    """The address of 64 MiB that nobody minds."""
    pointer = device.malloc(HBM_BYTES)
    yield pointer
    device.reset()
    device.free(pointer)


@pytest.fixture
def run(device: Device, tmp_path: Path) -> RunProgram:
    """Runs a program (with scalar accesses through the compiled interpreter) and checks the trace against the reference."""

    def run(program: Program) -> Run:
        device.reset()  # whatever an earlier test met
        scalars = any(i.op >= Op.SCALAR_LOAD for phase in program for core in phase for i in core)
        before = device.cycles()
        with device.trace(tmp_path / "trace.jsonl"):
            if scalars:
                device.launch_interpreted(program, tmp_path)
            else:
                device.launch(program)
            device.synchronize()
        records = read_trace(tmp_path / "trace.jsonl")
        assert [str(d) for d in compare(records)] == []
        return Run(records, device.cycles() - before)

    return run


def sram(addr: int, stride: int = 0, dtype: D = D.F32, bcast: int = FULL) -> Operand:
    return Operand(addr, stride, dtype, bcast)


def load(addr: int, hbm: int, size: int, **more: int) -> Instr:
    """A contiguous load."""
    return Instr(Op.LOAD, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size, **more)


def store(addr: int, hbm: int, size: int) -> Instr:
    return Instr(Op.STORE, 1, size, a=sram(addr, size), hbm=hbm, hbm_stride=size)


def square(dst: int, src: int, count: int) -> Instr:
    """A vector product: busy 16 + count / 256, latency 32."""
    return Instr(Op.BINARY, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), b=sram(src, 4 * count), fn=2)


def exp(dst: int, src: int, count: int) -> Instr:
    """Busy 16 + count / 256, latency 64."""
    return Instr(Op.ACT, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), fn=1)


def alone(i: Instr) -> Program:
    return [only({5: [i]})]


# ---- instruction classes: busy and latency


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


# ---- sequencer, queues, hazards


def test_an_empty_launch_is_its_cost_and_a_barrier(run: RunProgram) -> None:
    result = run([only({})])
    assert result.times(3, 0) == (1250, 1250, 1350, 1350)
    assert result.cycles == 1350


def test_the_example_of_the_manual(run: RunProgram, hbm: int) -> None:
    result = run([only({0: [load(0, hbm, 4096), square(4096, 0, 1024), store(4096, hbm + 8192, 4096)]})])
    assert result.times(0, 0) == (1250, 1250, 1282, 1882)
    assert result.times(0, 1) == (1251, 1882, 1902, 1934)
    assert result.times(0, 2) == (1252, 1934, 1966, 2566)
    assert result.times(0, 3) == (1253, 2566, 2666, 2666)
    assert result.times(1, 0) == (1250, 1250, 2666, 2666)
    assert result.cycles == 2666


def test_launches_of_a_stream_follow_each_other(device: Device) -> None:
    before = device.cycles()
    for _ in range(3):
        device.launch([only({})])
    device.synchronize()
    assert device.cycles() - before == 3 * 1350


def test_engines_run_side_by_side(run: RunProgram, hbm: int) -> None:
    """One instruction a cycle, each engine's own queue."""
    program = [load(0, hbm, 4096), square(1 << 17, 1 << 16, 256), exp(1 << 19, 1 << 18, 256), store(1 << 20, hbm + 8192, 256)]
    starts = [run([only({0: program})]).times(0, n)[:2] for n in range(4)]
    assert starts == [(1250 + n, 1250 + n) for n in range(4)]


def test_a_queue_has_sixteen_places(run: RunProgram, hbm: int) -> None:
    """Loads of 64 KiB take 272 cycles each. The 17th issues once the first has started, the 18th once the second has; what comes
    after them waits in line, also for another engine."""
    loads = [load(n << 16, hbm + (n << 16), 1 << 16) for n in range(19)]
    result = run([only({0: [*loads, square(31 << 16, 30 << 16, 256)]})])
    assert [result.times(0, n)[1] for n in range(19)] == [1250 + 272 * n for n in range(19)]
    assert [result.times(0, n)[0] for n in range(16)] == [1250 + n for n in range(16)]
    assert [result.times(0, n)[0] for n in range(16, 20)] == [1266, 1250 + 272, 1250 + 2 * 272, 1250 + 2 * 272 + 1]


def test_read_after_write_waits_for_done(run: RunProgram) -> None:
    result = run([only({0: [square(4096, 0, 512), exp(8192, 4096, 512)]})])
    assert result.times(0, 0) == (1250, 1250, 1268, 1300)
    assert result.times(0, 1) == (1251, 1300, 1318, 1382)


def test_write_after_write_waits_for_done(run: RunProgram) -> None:
    result = run([only({0: [exp(4096, 0, 512), square(4096, 8192, 512)]})])
    assert result.times(0, 0) == (1250, 1250, 1268, 1332)
    assert result.times(0, 1)[1] == 1332


def test_write_after_read_waits_for_end(run: RunProgram, hbm: int) -> None:
    """The store reads until 1250 + 16 + 256 = 1522; its done (2122) does not matter to the writer."""
    result = run([only({0: [store(0, hbm, 1 << 16), square(1024, 1 << 17, 256)]})])
    assert result.times(0, 0) == (1250, 1250, 1522, 2122)
    assert result.times(0, 1)[:2] == (1251, 1522)


def test_reads_do_not_wait_for_reads(run: RunProgram, hbm: int) -> None:
    result = run([only({0: [store(0, hbm, 1 << 16), square(1 << 17, 0, 256), exp(1 << 18, 0, 256)]})])
    assert [result.times(0, n)[1] for n in range(3)] == [1250, 1251, 1252]


def test_hazards_are_held_to_the_byte(run: RunProgram, hbm: int) -> None:
    """Columns 0..63 and 64..127 of rows 256 bytes apart interleave without sharing a byte; 60..123 shares four with the first."""
    left = Instr(Op.LOAD, 8, 64, dst=sram(0, 256), hbm=hbm, hbm_stride=64)
    right = Instr(Op.BINARY, 8, 16, dst=sram(64, 256), a=sram(1 << 16, 64), b=imm(1.0))
    assert run([only({0: [left, right]})]).times(0, 1)[:2] == (1251, 1251)
    wide = Instr(Op.LOAD, 8, 68, dst=sram(0, 256), hbm=hbm, hbm_stride=68)
    result = run([only({0: [wide, right]})])
    assert result.times(0, 0)[3] == 1250 + 16 + 3 + 600
    assert result.times(0, 1)[1] == 1869


def test_a_broadcast_row_is_read_once_a_column_by_its_elements(run: RunProgram, hbm: int) -> None:
    """A load into the bytes between the elements of a broadcast column does not wait; into an element it does."""
    scale = Instr(Op.BINARY, 4, 64, dst=sram(1 << 18, 256), a=sram(1 << 19, 256), b=sram(0, 256, bcast=COL), fn=2)
    between = run([only({0: [scale, load(64, hbm, 64)]})])
    assert between.times(0, 1)[1] == 1251
    element = run([only({0: [scale, load(512, hbm, 64)]})])
    assert element.times(0, 1)[1] == 1250 + 17  # write after read: end


def test_accumulating_mmas_wait_for_each_other(run: RunProgram) -> None:
    """C is read and written: each starts at the done of the one before, 128 + 256 cycles apart; with two accumulators they overlap."""

    def mma(c: int) -> Instr:
        return Instr(Op.MMA, 16, 16, 16, dst=sram(c, 64), a=sram(1 << 16, 32, D.BF16), b=sram(1 << 17, 32, D.BF16), flags=1)

    result = run([only({0: [mma(0), mma(0), mma(4096)]})])
    assert [result.times(0, n)[1] for n in range(3)] == [1250, 1250 + 384, 1250 + 512]


# ---- HBM


def test_sixteen_cores_share_hbm_in_core_order(run: RunProgram, hbm: int) -> None:
    """16 loads of 4096 bytes ask at 1250: core c is served at 1250 + 2.56 c and ends no earlier than 2.56 later, rounded up."""
    result = run([[[load(0, hbm + 4096 * core, 4096)] for core in range(16)]])
    for core in range(16):
        served = -(-(core + 1) * 4096 // 1600)
        assert result.times(core, 0)[1:3] == (1250, max(1282, 1250 + served))
    assert result.times(15, 0)[2] == 1291  # 40.96


def test_hbm_keeps_fractions(run: RunProgram, hbm: int) -> None:
    """64 loads of 65536 - 64 bytes, four a core, take 64 * 40.92 = 2618.88 cycles of HBM: not 64 * 41."""
    loads = [[load(n << 16, hbm + ((4 * core + n) << 16), (1 << 16) - 64) for n in range(4)] for core in range(16)]
    result = run([loads])
    assert max(r["end"] for r in result.records if r["op"] == "load") == 1250 + 2619


def test_store_add_counts_its_bytes_twice(run: RunProgram, hbm: int) -> None:
    size = 1 << 16
    plain = run([[[store(0, hbm + size * core, size)] for core in range(16)]])
    adds = [[Instr(Op.STORE_ADD, 1, size, a=sram(0, size), hbm=hbm + size * core, hbm_stride=size)] for core in range(16)]
    assert plain.times(15, 0)[2] == 1250 + 656  # 16 * 40.96 = 655.36
    assert run([adds]).times(15, 0)[2] == 1250 + 1311  # 1310.72


@pytest.mark.parametrize(
    "pitch, size, padded",
    [(100, 100, 100 * 512), (200, 100, 128 * 512), (128, 64, 64 * 512), (65, 65, 65 * 512), (66, 65, 128 * 512)],
    ids=["contiguous", "rows of 100", "rows of 64", "contiguous, odd", "rows of 65"],
)
def test_hbm_pads_each_contiguous_piece_to_64_bytes(run: RunProgram, hbm: int, pitch: int, size: int, padded: int) -> None:
    """512 rows in each core. The last core ends when HBM has moved everybody's padded bytes."""
    loads = [[Instr(Op.LOAD, 512, size, dst=sram(0, 128), hbm=hbm + (core << 18), hbm_stride=pitch)] for core in range(16)]
    result = run([loads])
    assert result.lines(15)[0]["args"]["hbm_bytes"] == padded
    assert result.times(15, 0)[2] == 1250 + max(-(-16 * padded // 1600), 16 + -(-512 * size // 256))


def test_gathered_rows_are_pieces_of_their_own(run: RunProgram, hbm: int) -> None:
    index = Instr(Op.FILL, 1, 512, dst=sram(0, 2048, D.I32), scale=0.0)
    gather = Instr(Op.GATHER, 512, 4, dst=sram(4096, 4), a=sram(0, 4, D.I32), hbm=hbm, hbm_stride=4)
    result = run([everywhere([index, gather])])
    assert result.lines(0)[1]["args"]["hbm_bytes"] == 512 * 64
    assert result.times(0, 1)[1:3] == (1274, 1274 + 16 + 8 + 1024)


def test_first_come_first_served(run: RunProgram, hbm: int) -> None:
    """Core 15 asks a cycle before core 0 and is served first, though its number is higher."""
    size = 1 << 19  # 327.68 cycles of HBM, 2064 of a queue
    first = {core: [load(0, hbm + core * size, size)] for core in range(2, 15)}
    late = Instr(Op.IOTA, 1, 16, dst=sram(1 << 20, 64), a=imm(1.0))
    result = run([only({**first, 0: [late, late, load(0, hbm, size)], 15: [late, load(0, hbm + 15 * size, size)]})])
    assert result.times(15, 1)[1:3] == (1251, 1250 + 4588)  # 14 * 327.68 = 4587.52
    assert result.times(0, 2)[1:3] == (1252, 1250 + 4916)  # 15 * 327.68 = 4915.2


def test_at_the_same_start_the_lower_index_is_served_first(run: RunProgram, hbm: int) -> None:
    """In core 0 a store and a load wait for the same fill (until 1522) while 15 loads of 512 KiB keep HBM busy until 6165.2."""
    size = 1 << 19
    crowd = {core: [load(0, hbm + core * size, size)] for core in range(1, 16)}
    fill = Instr(Op.FILL, 1, 1 << 14, dst=sram(0, 1 << 16))
    pair = [store(0, hbm, 1 << 15), load(1 << 15, hbm + (1 << 16), 1 << 15)]  # 20.48 cycles each
    result = run([only({**crowd, 0: [fill, *pair]})])
    assert [result.times(0, n)[1:3] for n in (1, 2)] == [(1522, 6186), (1522, 6207)]  # 6185.68 and 6206.16
    result = run([only({**crowd, 0: [fill, *reversed(pair)]})])
    assert [result.times(0, n)[1:3] for n in (1, 2)] == [(1522, 6186), (1522, 6207)]


def test_hbm_serves_by_start_time_across_a_barrier_too(run: RunProgram, hbm: int) -> None:
    """Core 0's load is issued in phase 0 but waits until 3298 for an mma to read its operands; core 1's, of phase 1, starts at 1352."""
    mma = Instr(Op.MMA, 128, 128, 2048, dst=sram(0, 512), a=sram(1 << 18, 4096, D.BF16), b=sram(1 << 20, 256, D.BF16))
    result = run([only({0: [mma, load(1 << 18, hbm, 1 << 19)]}), only({1: [load(0, hbm + (1 << 20), 4096)]})])
    assert result.times(0, 1)[1:3] == (3298, 3298 + 2064)
    assert result.times(1, 0, phase=1)[1:3] == (1352, 1384)


def test_fill_and_send_use_no_hbm(run: RunProgram, hbm: int) -> None:
    size = 1 << 19
    crowd = {core: [load(0, hbm + core * size, size)] for core in range(1, 16)}
    send = Instr(Op.SEND, 1, 4096, a=sram(0, 4096), dst=sram(1 << 20, 4096), target=3)
    result = run([only({**crowd, 0: [Instr(Op.FILL, 1, 1024, dst=sram(1 << 16, 4096)), send]})])
    assert result.times(0, 0) == (1250, 1250, 1282, 1282)
    assert result.times(0, 1) == (1251, 1251, 1283, 1333)


# ---- multicast


def multicast(group: int, hbm: int, size: int, addr: int = 0) -> Instr:
    return Instr(Op.LOAD_MULTICAST, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size, fn=group)


@pytest.mark.parametrize("group, members", [(GROUP_ROW, [4, 5, 6, 7]), (GROUP_COL, [1, 5, 9, 13]), (GROUP_ALL, list(range(16)))])
def test_a_multicast_starts_with_its_last_receiver(run: RunProgram, hbm: int, group: int, members: list[int]) -> None:
    """Core 5 is kept by a load of 64 KiB (272 cycles); all receivers start after it, and none waits for its done."""
    program = only({core: [multicast(group, hbm, 4096, 1 << 17)] for core in members})
    program[5].insert(0, load(0, hbm + (1 << 16), 1 << 16))
    result = run([program])
    for core in members:
        assert result.times(core, -2)[1:] == (1522, 1554, 2154)
        assert sorted(result.lines(core)[-2]["args"]["receivers"]) == members
    assert len({r["args"]["group"] for r in result.records if r["op"] == "load_multicast"}) == 1


def test_a_multicast_uses_hbm_once(run: RunProgram, hbm: int) -> None:
    """16 receivers of 512 KiB: 2064 cycles of each queue, 327.68 of HBM. As 16 loads HBM would take 5242.88."""
    size = 1 << 19
    result = run([everywhere([multicast(GROUP_ALL, hbm, size)])])
    assert {r["end"] for r in result.records if r["op"] == "load_multicast"} == {1250 + 2064}
    result = run([everywhere([load(0, hbm, size)])])
    assert result.times(15, 0)[2] == 1250 + 5243


def test_a_multicast_holds_the_hazards_of_every_receiver(run: RunProgram, hbm: int) -> None:
    """Core 6 still reads the destination, core 7 still waits for a write to it: the later of the two decides."""
    program = only({core: [multicast(GROUP_ROW, hbm, 4096)] for core in range(4, 8)})
    program[6].insert(0, store(0, hbm + (1 << 16), 1 << 16))  # reads until 1522
    program[7].insert(0, exp(0, 1 << 20, 1 << 16))  # 16 + 256, done 64 later: 1586
    result = run([program])
    assert {result.times(core, -2)[1] for core in range(4, 8)} == {1586}


def test_a_multicast_fills_the_queue_of_every_receiver(run: RunProgram, hbm: int) -> None:
    """Core 0 is late by 272 cycles; core 1's own load behind the multicast waits for the multicast's end there too."""
    program = only({core: [multicast(GROUP_ROW, hbm, 4096), load(4096, hbm, 256)] for core in range(4)})
    program[0].insert(0, load(1 << 17, hbm + (1 << 16), 1 << 16))
    result = run([program])
    assert result.times(1, 1)[:2] == (1251, 1554)


def test_the_tie_of_a_multicast_is_its_lowest_receiver(run: RunProgram, hbm: int) -> None:
    """A multicast to column 1 (cores 1, 5, 9, 13) comes after core 0 and before core 2."""
    size = 1 << 18  # 163.84 cycles of HBM, 1040 of a queue
    program = only({core: [load(0, hbm + core * size, size)] for core in range(16) if core % 4 != 1})
    for core in (1, 5, 9, 13):
        program[core].append(multicast(GROUP_COL, hbm, size))
    result = run([program])
    grants = [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15]
    served = 0
    for core in grants:
        served += size
        assert result.times(core, 0)[2] == max(1250 + 1040, 1250 - (-served // 1600))


def test_a_multicast_that_a_receiver_never_issues_is_a_fault(run: RunProgram, hbm: int) -> None:
    for program in (
        [only({4: [multicast(GROUP_ROW, hbm, 64)]})],
        [only({core: [multicast(GROUP_ROW, hbm, 64)] * (2 if core == 5 else 1) for core in range(4, 8)})],
    ):
        with pytest.raises(RuntimeError, match="multicast"):
            run(program)


def test_multicasts_in_crossed_order_are_a_fault(run: RunProgram, hbm: int) -> None:
    """Core 0 issues the whole grid's first, cores 1 to 3 their row's: the in-order queues would wait for each other for ever."""
    grid, row = multicast(GROUP_ALL, hbm, 64), multicast(GROUP_ROW, hbm, 64, 4096)
    program = only({core: [grid] for core in range(4, 16)} | {core: [row, grid] for core in range(1, 4)} | {0: [grid, row]})
    with pytest.raises(RuntimeError, match="multicast"):
        run([program])


# ---- barriers


def test_a_barrier_waits_for_stores_and_sends_not_for_loads(run: RunProgram, hbm: int) -> None:
    reached = {
        "load": (load(0, hbm, 1 << 16), 1251),
        "compute": (square(1 << 16, 0, 1 << 12), 1251),
        "store": (store(0, hbm, 4096), 1250 + 32 + 600),
        "add": (Instr(Op.STORE_ADD, 1, 4096, a=sram(0, 4096), hbm=hbm, hbm_stride=4096), 1250 + 32 + 600),
        "send": (Instr(Op.SEND, 1, 4096, a=sram(0, 4096), dst=sram(0, 4096), target=1), 1250 + 32 + 50),
    }
    for name, (instr, arrival) in reached.items():
        result = run([only({7: [instr]})])
        assert (name, result.times(7, 1)) == (name, (1251, arrival, arrival + BARRIER, arrival + BARRIER))
        assert result.times(0, 0) == (1250, 1250, arrival + BARRIER, arrival + BARRIER)
        assert result.cycles == arrival + BARRIER


def test_a_load_stays_in_flight_across_a_barrier(run: RunProgram, hbm: int) -> None:
    """Two phases: the load of phase 0 is done at 1250 + 272 + 600; what needs it in phase 1 waits, the rest begins at 1351."""
    work = [square(1 << 18, 1 << 17, 256), exp(1 << 19, 0, 256), square(1 << 17, 1 << 19, 256)]
    result = run([only({0: [load(0, hbm, 1 << 16)]}), only({0: work})])
    assert result.times(0, 1) == (1251, 1251, 1351, 1351)
    assert result.times(0, 0, phase=1)[:2] == (1351, 1351)
    assert result.times(0, 1, phase=1) == (1352, 2122, 2139, 2203)
    assert result.times(0, 2, phase=1)[:2] == (1353, 2203)
    assert result.cycles == 1354 + BARRIER


def test_write_after_read_holds_across_a_barrier(run: RunProgram) -> None:
    """An mma of 128 * 16 cycles reads its operands until 3298; a load over them in the next phase waits."""
    mma = Instr(Op.MMA, 128, 128, 2048, dst=sram(0, 512), a=sram(1 << 18, 4096, D.BF16), b=sram(1 << 20, 256, D.BF16))
    result = run([only({0: [mma]}), only({0: [Instr(Op.FILL, 1, 64, dst=sram(1 << 18, 256))]})])
    assert result.times(0, 0, phase=1) == (1351, 3298, 3315, 3315)


def test_the_queue_depth_holds_across_a_barrier(run: RunProgram, hbm: int) -> None:
    """16 places are taken in phase 0; the second load of phase 1 waits until the second of phase 0 has started."""
    loads = [load(n << 16, hbm + (n << 16), 1 << 16) for n in range(24)]
    result = run([only({0: loads[:16]}), only({0: loads[16:]})])
    assert result.times(0, 16) == (1266, 1266, 1366, 1366)
    assert [result.times(0, n, phase=1)[0] for n in range(3)] == [1366, 1250 + 272, 1250 + 2 * 272]


def test_cores_without_work_take_part_in_every_barrier(run: RunProgram) -> None:
    result = run([only({}), only({}), only({})])
    assert [result.times(9, 0, phase=p) for p in range(3)] == [(t, t, t + 100, t + 100) for t in (1250, 1350, 1450)]


# ---- the sequencer's own accesses


def scalar_load(address: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_LOAD, cols=size, hbm=address)


def scalar_read(addr: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_READ, cols=size, a=sram(addr))


def test_scalar_load_misses_once_a_line_and_core(run: RunProgram, hbm: int) -> None:
    """600 cycles for a new line, 1 for a line this core has touched in this launch; the next issue is at its end."""
    accesses = [scalar_load(hbm), scalar_load(hbm + 60), scalar_load(hbm + 64, 8), scalar_load(hbm + 4, 1)]
    result = run([only({0: accesses, 1: [scalar_load(hbm)]}), only({0: [scalar_load(hbm + 8, 2)]})])
    assert result.times(0, 0) == (1250, 1250, 1850, 1850)
    assert result.times(0, 1) == (1850, 1850, 1851, 1851)
    assert result.times(0, 2) == (1851, 1851, 2451, 2451)
    assert result.times(0, 3) == (2451, 2451, 2452, 2452)
    assert result.times(0, 4) == (2452, 2452, 2552, 2552)  # the barrier
    assert result.times(1, 0) == (1250, 1250, 1850, 1850)
    assert result.times(0, 0, phase=1) == (2552, 2552, 2553, 2553)
    assert result.cycles == 2653
    assert run([only({0: [scalar_load(hbm)]})]).times(0, 0) == (1250, 1250, 1850, 1850)  # another launch: a miss again


def test_scalar_load_uses_no_hbm_bandwidth(run: RunProgram, hbm: int) -> None:
    size = 1 << 19
    crowd = {core: [load(0, hbm + core * size, size)] for core in range(1, 16)}
    result = run([only({**crowd, 0: [scalar_load(hbm), load(0, hbm, 4096)]})])
    assert result.times(0, 0) == (1250, 1250, 1850, 1850)
    assert result.times(0, 1)[:2] == (1850, 1850)


def test_scalar_read_waits_for_the_writers_of_its_bytes(run: RunProgram, hbm: int) -> None:
    """The load's bytes are there at 1250 + 17 + 600; the sequencer is blocked until 20 cycles later. Other bytes: 20 cycles."""
    result = run([only({0: [load(0, hbm, 256), scalar_read(256), scalar_read(252), square(4096, 8192, 256)]})])
    assert result.times(0, 1) == (1251, 1251, 1271, 1271)
    assert result.times(0, 2) == (1271, 1867, 1887, 1887)
    assert result.times(0, 3)[:2] == (1887, 1887)


def test_scalar_read_does_not_wait_for_readers(run: RunProgram, hbm: int) -> None:
    result = run([only({0: [store(0, hbm, 1 << 16), scalar_read(0, 8)]})])
    assert result.times(0, 1) == (1251, 1251, 1271, 1271)
