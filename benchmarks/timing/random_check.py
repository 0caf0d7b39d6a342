"""Random programs on the emulator, each trace line and cycle held against the program and the reference schedule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.timing.agreement import launch_faults
from benchmarks.timing.program_data import Program
from benchmarks.timing.random_places import HBM_BYTES, contents
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.reference_schedule import disagreements, launches, load_figures, read_trace, schedule
from benchmarks.timing.timed_device import TIMED, Device


@dataclass(frozen=True)
class Outcome:
    """One program: its size, its cycles, and what the reference or the program itself contradicts."""

    seed: int
    instructions: int
    cycles: int
    wrong: list[str]


def make(seed: int, hbm: int) -> Program:
    """The program of a seed; one in five has scalar accesses (of at most five phases, the first of which fills the scratchpad)."""
    return Maker(seed, hbm, scalars=seed % 5 == 0).program(Random(seed).choice((1, 1, 2, 3, 4)))


def in_graph(seed: int) -> bool:
    """Whether the program of a seed is launched inside a graph: one in four."""
    return seed % 4 == 3


def run(seeds: range, folder: Path) -> list[Outcome]:
    """The programs of `seeds` on device 0, traced together into `folder`."""
    device = Device()
    device.set_mode(TIMED)
    hbm = device.malloc(HBM_BYTES)
    try:
        device.write(hbm, contents())
        programs = [make(seed, hbm) for seed in seeds]
        cycles = []
        with device.trace(folder / "random.jsonl"):
            for seed, program in zip(seeds, programs):
                before = device.cycles()
                device.launch_graph(program) if in_graph(seed) else device.launch(program)
                cycles.append(device.cycles() - before)
            device.synchronize()
    finally:
        device.free(hbm)
    chip = load_figures()
    outcomes = []
    for seed, program, took, lines in zip(seeds, programs, cycles, launches(read_trace(folder / "random.jsonl")).values(), strict=True):
        times = schedule(lines, chip, chip["launch"]["graph" if in_graph(seed) else "host"])
        wrong = [*map(str, disagreements(times)), *launch_faults(times, program)]
        end = max(r["end"] for r in lines if r["engine"] == "barrier")
        wrong += [] if took == end else [f"the stream's clock moved {took} cycles, the last barrier ended at {end}"]
        outcomes.append(Outcome(seed, len(lines), took, wrong))
    return outcomes
