"""The clock, at random: programs of 16 cores with every instruction, held to the cycle against the reference schedule.

Also: what the trace says about an instruction is what the instruction says; time changes no data; no launch is faster than its
HBM traffic or its busiest engine. `slow` runs three hundred programs more, `rigi bench timing` a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from benchmarks.timing.agreement import launch_faults
from benchmarks.timing.program_data import CORES, ROW, D, Instr, Op, Operand, Program
from benchmarks.timing.random_places import HBM_BYTES, INBOX, SLOT_BYTES, contents
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.reference_hazards import Spans
from benchmarks.timing.reference_schedule import disagreements, launches, load_figures, read_trace, schedule
from benchmarks.timing.timed_device import FUNCTIONAL, TIMED, Device

DUMP = 96 << 10  # bytes of SRAM a core shows at the end: the beginning of its arena, and its inbox
BATCH = 20


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.set_mode(TIMED)


@pytest.fixture(scope="module")
def hbm(device: Device) -> Iterator[int]:
    pointer = device.malloc(HBM_BYTES + CORES * DUMP)
    yield pointer
    device.free(pointer)


@pytest.fixture(scope="module")
def initial() -> bytes:
    return contents() + bytes(CORES * DUMP)


def make(seed: int, hbm: int, scalars: bool) -> Program:
    """A random program and a last phase in which every core stores some of its SRAM."""
    maker = Maker(seed, hbm, scalars)
    program = maker.program(maker.rng.choice((1, 1, 2, 3)))
    inbox = 2 * CORES * SLOT_BYTES
    arena = min(maker.mix.arena, DUMP - inbox)
    last = []
    for core in range(CORES):
        to = hbm + HBM_BYTES + core * DUMP
        last.append(
            [
                Instr(Op.STORE, 1, arena, a=Operand(0, arena), hbm=to, hbm_stride=arena),
                Instr(Op.STORE, 1, inbox, a=Operand(INBOX, inbox), hbm=to + arena, hbm_stride=inbox),
            ]
        )
    return [*program, last]


def check_batch(device: Device, hbm: int, initial: bytes, folder: Path, seeds: range, scalars: bool) -> None:
    """Runs the programs of `seeds` traced, timed and functional: times as the reference says, cycles and bytes the same in each."""
    chip = load_figures()
    programs = [make(seed, hbm, scalars) for seed in seeds]

    def run(mode: int) -> tuple[list[int], list[bytes]]:
        device.set_mode(mode)
        cycles, results = [], []
        for program in programs:
            device.write(hbm, initial)
            before = device.cycles()
            device.launch(program)
            cycles.append(device.cycles() - before)
            device.synchronize()
            results.append(device.read(hbm, len(initial)))
        return cycles, results

    device.set_mode(TIMED)
    with device.trace(folder / "trace.jsonl"):
        cycles, traced = run(TIMED)
    by_launch = list(launches(read_trace(folder / "trace.jsonl")).values())
    assert len(by_launch) == len(programs)
    for seed, program, lines in zip(seeds, programs, by_launch):
        times = schedule(lines, chip, chip["launch"]["host"])
        differences = disagreements(times)
        assert not differences, f"seed {seed}: {len(differences)} differences, the earliest: " + "; ".join(map(str, differences[:3]))
        assert launch_faults(times, program) == [], f"seed {seed}"
    assert cycles == [max(r["end"] for r in lines if r["engine"] == "barrier") for lines in by_launch]
    assert run(TIMED) == (cycles, traced), "a trace changed something"
    functional = run(FUNCTIONAL)[1]
    assert [seed for seed, a, b in zip(seeds, traced, functional) if a != b] == [], "seeds whose bytes depend on the mode"


@pytest.mark.parametrize("start", range(0, 200, BATCH))
def test_programs(device: Device, hbm: int, initial: bytes, tmp_path: Path, start: int) -> None:
    check_batch(device, hbm, initial, tmp_path, range(start, start + BATCH), scalars=False)


@pytest.mark.parametrize("start", range(5000, 5080, BATCH))
def test_programs_with_scalars(device: Device, hbm: int, initial: bytes, tmp_path: Path, start: int) -> None:
    check_batch(device, hbm, initial, tmp_path, range(start, start + BATCH), scalars=True)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10000, 10300, 100))
def test_many_programs(device: Device, hbm: int, initial: bytes, tmp_path: Path, start: int) -> None:
    check_batch(device, hbm, initial, tmp_path, range(start, start + 80), scalars=False)
    check_batch(device, hbm, initial, tmp_path, range(start + 80, start + 100), scalars=True)


def test_host_threads_change_no_time_and_no_byte(device: Device, hbm: int, initial: bytes, tmp_path: Path) -> None:
    results = []
    for threads in (1, 3):
        device.set_threads(threads)
        device.set_mode(TIMED)
        with device.trace(tmp_path / "trace.jsonl"):
            for seed in range(300, 310):
                device.write(hbm, initial)
                device.launch(make(seed, hbm, False))
                device.synchronize()
        lines = [{**r, "launch": 0, "args": {**r["args"], "group": ""}} for r in read_trace(tmp_path / "trace.jsonl")]
        results.append((lines, device.read(hbm, len(initial))))
    assert results[0] == results[1]


def variants(program: Program, random: Random) -> Iterator[Program]:
    """Programs that differ from the given one in a single field of a single instruction (which may make them invalid)."""
    places = [(p, c, n) for p, phase in enumerate(program) for c, core in enumerate(phase) for n in range(len(core))]
    for p, c, n in random.sample(places, min(40, len(places))):
        old = program[p][c][n]
        name = random.choice(("rows", "cols", "depth", "hbm_stride", "fn", "flags", "target", "dst", "a", "b", "c", "again"))
        if name == "again":
            new = [old, old]
        elif name in ("dst", "a", "b", "c"):
            operand = getattr(old, name)
            change = random.choice(({"addr": operand.addr + 64}, {"stride": operand.stride + 4}, {"dtype": D.BF16}, {"bcast": ROW}))
            new = [replace(old, **{name: replace(operand, **change)})]
        else:
            new = [
                replace(old, **{name: getattr(old, name) ^ random.choice((1, 2, 4)) if name in ("fn", "flags") else getattr(old, name) + 1})
            ]
        if old.op == Op.LOAD_MULTICAST:
            continue
        yield [
            [core[:n] + new + core[n + 1 :] if (q, d) == (p, c) else core for d, core in enumerate(phase)]
            for q, phase in enumerate(program)
        ]


@pytest.mark.parametrize("seed", range(700, 712))
def test_cycles_of_untraced_launches_follow_every_field(device: Device, hbm: int, initial: bytes, tmp_path: Path, seed: int) -> None:
    """Cycles that a device may remember from a launch before must not leak into one that differs a little."""
    device.set_mode(TIMED)
    device.write(hbm, initial)
    base = Maker(seed, hbm).program(2)

    def cycles(program: Program) -> int:
        before = device.cycles()
        device.launch(program)
        return device.cycles() - before

    cycles(base)
    checked = 0
    for program in variants(base, Random(seed)):
        try:
            untraced = cycles(program)
        except RuntimeError:  # not a valid program
            device.reset()
            continue
        with device.trace(tmp_path / "trace.jsonl"):
            assert cycles(program) == untraced
        checked += 1
    assert checked


def test_the_scoreboard_of_the_reference_is_exact() -> None:
    """Its arithmetic on spans against sets of bytes."""
    random = Random(7)
    spans = Spans()
    for _ in range(3000):
        shapes = [[random.randrange(200), random.randrange(1, 30), random.randrange(1, 9), random.randrange(-40, 60)] for _ in range(2)]
        sets = [{a + r * s + c for r in range(rows) for c in range(width)} for a, width, rows, s in shapes]
        a, b = (spans.intern(s) for s in shapes)
        assert a is not None and b is not None
        assert spans.overlap(a, b) == bool(sets[0] & sets[1])
