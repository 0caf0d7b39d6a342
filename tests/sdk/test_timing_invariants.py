"""What must hold of every program's time: never below the roofline, and no later on a chip that is better in some figure.

Better means: more bytes or elements a cycle, a larger array, a deeper queue, a smaller latency or cost. First come, first served at HBM
makes that false in general: a faster engine lets a request come earlier and take another's turn. docs/timing-proof.md shows such a
program and proves what holds instead: as long as HBM serves the requests in the same order, no instruction is later on the better chip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whatif import CHIP, Change, Chips, Timing, changed, chips

from benchmarks.timing.program_data import Program
from benchmarks.timing.reference_costs import ENGINES, Record, busy_cycles, latency_cycles, server_bytes
from benchmarks.timing.reference_hazards import Spans
from benchmarks.timing.reference_schedule import TIMES, compare, launches, read_trace, schedule
from benchmarks.timing.short_names import exp, iota, load, only, store

BASE: Change = ()
BETTER: list[Change] = [
    (("hbm", "bytes_per_cycle", 2),),
    (("hbm", "bytes_per_cycle", 1.1),),
    (("dma", "bytes_per_cycle", 2),),
    (("dma", "setup", 0.5),),
    (("dma", "latency", 0.5),),
    (("vector", "lanes", 2),),
    (("activation", "lanes", 2),),
    (("matrix", "k_16bit", 2), ("matrix", "k_8bit", 2)),
    (("matrix", "n", 2),),
    (("matrix", "latency", 0.25),),
    (("sequencer", "queue_depth", 2),),
    (("launch", "barrier", 0.5),),
    (("launch", "host", 0.5),),
    (("hbm", "bytes_per_cycle", 2), ("dma", "bytes_per_cycle", 2), ("vector", "lanes", 4), ("activation", "lanes", 4), ("matrix", "n", 4)),
]
# The clock twice as high while memory, links and launches stay as they are in seconds, which then are twice the cycles.
FASTER_CLOCK: Change = (
    ("clock", "hz", 2), ("hbm", "bytes_per_cycle", 0.5), ("dma", "latency", 2), ("scalar", "load_miss", 2), ("launch", "host", 2),
)  # fmt: skip
RANDOM = "benchmarks.timing.random_check:make"
SEEDS = st.integers(0, 10**6)
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=160, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chips]:
    with chips(tmp_path_factory.mktemp("chips")) as made:
        yield made


# ---- the roofline


def critical_path(timing: Timing, change: Change) -> int:
    """The longest chain of instructions of a core that wait for each other's bytes, HBM and queues left aside. Brute force."""
    chip, spans = changed(change), Spans()
    cores: dict[int, list[tuple[list[int], list[int], int, int]]] = {}
    longest = 0
    for r in timing.lines:
        if r["engine"] not in ENGINES or r["op"] == "load_multicast":  # a multicast waits for more than its own core
            continue
        reads, writes = ([n for n in map(spans.intern, r[side]) if n is not None] for side in ("reads", "writes"))
        start = chip["launch"]["host"]
        for earlier_reads, earlier_writes, end, done in cores.setdefault(r["core"], []):
            if any(spans.overlap(a, b) for a in earlier_writes for b in (*reads, *writes)):
                start = max(start, done)
            elif any(spans.overlap(a, b) for a in earlier_reads for b in writes):
                start = max(start, end)
        end = start + busy_cycles(r, chip)
        cores[r["core"]].append((reads, writes, end, end + latency_cycles(r, chip)))
        longest = max(longest, end + latency_cycles(r, chip))
    return longest


def check_roofline(timing: Timing, change: Change) -> None:
    chip = changed(change)
    once = [r for r in timing.lines if r["core"] == min(r["args"].get("receivers", [r["core"]]))]
    engines: Counter[tuple[int, str]] = Counter()
    for r in timing.lines:
        if r["engine"] in ENGINES:
            engines[r["core"], r["engine"]] += busy_cycles(r, chip)
    launch, barrier = chip["launch"]["host"], chip["launch"]["barrier"]
    hbm = ceil(sum(server_bytes(r) for r in once) / chip["hbm"]["bytes_per_cycle"])
    assert timing.finish >= launch + max(hbm, max(engines.values(), default=0))
    assert timing.finish >= critical_path(timing, change)
    # What a barrier waits for holds the launch itself.
    phases = 1 + max(r["phase"] for r in timing.lines)
    stores = max((busy for (_, engine), busy in engines.items() if engine == "store"), default=0)
    assert timing.cycles >= launch + max(phases * barrier, stores + barrier)


@QUICK
@given(seed=SEEDS, change=st.sampled_from([BASE, *BETTER]))
def test_never_below_the_roofline(machines: Chips, seed: int, change: Change) -> None:
    check_roofline(machines.time(change, RANDOM, seed), change)


# ---- monotone


def assert_no_later(better: Timing, base: Timing) -> None:
    """No time of any instruction is later on the better chip."""
    for x, y in zip(better.lines, base.lines, strict=True):
        assert (x["core"], x["index"], x["op"]) == (y["core"], y["index"], y["op"])
        late = [name for name in TIMES if x[name] > y[name]]
        assert not late, f"{late} of core {x['core']} index {x['index']} ({x['op']}): {x} on the better chip, {y} on the other"
    assert better.cycles <= base.cycles


def check_monotone(machines: Chips, seed: int, change: Change) -> None:
    base, better = machines.time(BASE, RANDOM, seed), machines.time(change, RANDOM, seed)
    assert compare(better.lines, changed(change), changed(change)["launch"]["host"]) == []  # the reference knows this chip too
    if better.hbm_order == base.hbm_order:
        assert_no_later(better, base)


@QUICK
@given(seed=SEEDS, change=st.sampled_from(BETTER))
def test_no_time_is_later_on_a_better_chip_while_hbm_keeps_its_order(machines: Chips, seed: int, change: Change) -> None:
    check_monotone(machines, seed, change)


@pytest.mark.slow
@MANY
@given(seed=SEEDS, change=st.sampled_from(BETTER))
def test_many_on_better_chips(machines: Chips, seed: int, change: Change) -> None:
    check_monotone(machines, seed, change)
    check_roofline(machines.time(change, RANDOM, seed), change)


@QUICK
@given(seed=SEEDS)
def test_a_smaller_launch_cost_moves_everything_by_the_difference(machines: Chips, seed: int) -> None:
    """Nothing of a launch depends on when it began."""
    change: Change = (("launch", "host", 0.5),)
    base, better = machines.time(BASE, RANDOM, seed), machines.time(change, RANDOM, seed)
    saved = CHIP["launch"]["host"] - changed(change)["launch"]["host"]
    assert [[r[name] + saved for name in TIMES] for r in better.lines] == [[r[name] for name in TIMES] for r in base.lines]
    assert better.cycles + saved == base.cycles


@QUICK
@given(seed=SEEDS)
def test_seconds_fall_with_the_clock(machines: Chips, seed: int) -> None:
    """With figures in bytes a cycle and cycles (the chip file's), a launch takes the same cycles at any clock, so its seconds fall
    with it. With memory and launch fixed in seconds, cycles at most double at twice the clock: everything else takes half the time."""
    base = machines.time(BASE, RANDOM, seed)
    assert machines.time((("clock", "hz", 2),), RANDOM, seed).cycles == base.cycles
    faster = machines.time(FASTER_CLOCK, RANDOM, seed)
    if faster.hbm_order == base.hbm_order:
        assert all(x[name] <= 2 * y[name] for x, y in zip(faster.lines, base.lines, strict=True) for name in TIMES)
        assert faster.cycles <= 2 * base.cycles


# ---- the anomaly


def overtaking(hbm: int) -> Program:
    """Cores 2 to 15 keep HBM busy, and the launch waits for core 1: a load of 512 KiB and a store of some of it. Core 1 asks for HBM at
    1250 + 130. Core 0 asks once an activation of 16384 elements is done: at 1250 + 144, or with twice the lanes at 1250 + 112."""
    size = 1 << 19
    crowd = {core: [load(0, hbm, size)] for core in range(2, 16)}
    first = [exp(0, 1 << 20, 1 << 14), store(0, hbm + size, size)]
    second = [iota(1 << 20, 82 * 256), load(1 << 20, hbm, size), store(1 << 20, hbm + 2 * size, 1 << 15)]
    return [only({**crowd, 0: first, 1: second})]


def test_a_faster_engine_can_make_a_launch_slower(machines: Chips) -> None:
    """The rules imply it. 14 loads keep the server until 1250 + 4587.52; a block of 512 KiB takes it 327.68 cycles. Whoever comes first
    ends at 1250 + 4915.2, the other at 1250 + 5242.88. Core 1's store starts 600 cycles later, takes 144, and holds the barrier."""
    base, better = (machines.time(change, "test_timing_invariants:overtaking") for change in (BASE, (("activation", "lanes", 2),)))
    assert base.cycles == ceil(1250 + 4915.2) + 600 + 144 + 600 + 100
    assert better.cycles == ceil(1250 + 5242.88) + 600 + 144 + 600 + 100
    assert better.hbm_order != base.hbm_order


def on_chip(lines: list[Record], chip: dict[str, Any]) -> Timing:
    """A trace's launch on another chip, by the reference schedule."""
    times = schedule(lines, chip, chip["launch"]["host"])
    columns = [getattr(times, name) for name in TIMES]
    return Timing(times.cycles(), [r | dict(zip(TIMES, row)) for r, row in zip(lines, zip(*columns))])


@pytest.mark.slow
def test_the_librarys_kernels_are_monotone_while_hbm_keeps_its_order(tmp_path: Path) -> None:
    """Their traces, recomputed on each better chip. Where the order changes a launch can become slower, but none by more than 5 %."""
    from benchmarks.timing import library

    kept = 0
    for case, make in library.CASES.items():
        library.traced(make(), tmp_path / "trace.jsonl")
        for lines in launches(read_trace(tmp_path / "trace.jsonl")).values():
            base = on_chip(lines, CHIP)
            for change in BETTER:
                better = on_chip(lines, changed(change))
                assert better.cycles <= 1.05 * base.cycles, (case, change)
                if better.hbm_order == base.hbm_order:
                    kept += 1
                    assert_no_later(better, base)
    assert kept > 1000
