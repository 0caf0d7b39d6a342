"""The clock where cores meet, by hand: multicasts and barriers; and the sequencer's own accesses to memory."""

from __future__ import annotations

import pytest
from timing_bench import BARRIER, RunProgram

from benchmarks.timing.program_data import (
    GROUP_ALL,
    GROUP_COL,
    GROUP_ROW,
    D,
    Instr,
    Op,
)
from benchmarks.timing.short_names import everywhere, exp, load, multicast, only, scalar_load, scalar_read, square, sram, store

# ---- multicast


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
