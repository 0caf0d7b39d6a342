"""The clock of a core and of HBM, by hand: small programs whose cycles are worked out here from the rules of the chip manual.

Every trace is also held against the reference schedule (see conftest.py).
"""

from __future__ import annotations

import pytest
from timing_bench import RunProgram

from benchmarks.timing.program_data import (
    COL,
    D,
    Instr,
    Op,
    imm,
)
from benchmarks.timing.short_names import everywhere, exp, load, only, square, sram, store
from benchmarks.timing.timed_device import Device

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
