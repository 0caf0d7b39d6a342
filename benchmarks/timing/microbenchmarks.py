"""Runs the microbenchmarks (micro_costs, micro_core, micro_chip) and compares every stated time with the emulator's, to the cycle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import micro_chip, micro_core, micro_costs
from benchmarks.timing.reference_costs import Record
from benchmarks.timing.reference_schedule import TIMES, launches, load_figures, read_trace
from benchmarks.timing.rules import Case, Rules
from benchmarks.timing.timed_device import TIMED, Device

HBM_BYTES = 64 << 20


@dataclass(frozen=True)
class Outcome:
    """A case, how it was launched ("host" or "graph"), the cycles it took, and every time that is not the formula's."""

    case: Case
    launched: str
    cycles: int
    wrong: list[str]

    @property
    def off(self) -> bool:
        return bool(self.wrong)


def cases(rules: Rules, hbm: int) -> list[Case]:
    """All of them. `hbm`: the device address of HBM_BYTES bytes that nobody minds."""
    return [case for module in (micro_costs, micro_core, micro_chip) for topic in module.TOPICS for case in topic(rules, hbm)]


def _wrong(case: Case, cycles: int, lines: Sequence[Record]) -> list[str]:
    wrong = [] if cycles == case.cycles else [f"the launch took {cycles} cycles, the rules say {case.cycles}"]
    by_place: dict[tuple[int, int], list[Record]] = {}
    for r in lines:
        by_place.setdefault((r["core"], r["phase"]), []).append(r)
    for (core, phase, place), times in case.times.items():
        r = by_place[core, phase][place]
        for name, expected in zip(TIMES, times):
            if expected is not None and r[name] != expected:
                wrong.append(f"core {core} phase {phase} {r['op']}: {name} is {r[name]}, the rules say {expected}")
    return wrong


def _launch(device: Device, case: Case, launched: str) -> int:
    """The cycles it took."""
    before = device.cycles()
    if launched == "graph":
        device.launch_graph(*[case.program] * case.launches)
    else:
        for _ in range(case.launches):
            device.launch(case.program)
    return device.cycles() - before


def run(folder: Path) -> list[Outcome]:
    """Every case on device 0, from the host and inside a graph, traced into `folder`."""
    device = Device()
    device.set_mode(TIMED)
    hbm = device.malloc(HBM_BYTES)
    trace = folder / "microbenchmarks.jsonl"
    todo = [(case, launched) for launched in ("host", "graph") for case in cases(Rules(load_figures(), launched), hbm)]
    try:
        with device.trace(trace):
            cycles = [_launch(device, case, launched) for case, launched in todo]
            device.synchronize()
    finally:
        device.free(hbm)
    lines = iter(launches(read_trace(trace)).values())
    outcomes = []
    for (case, launched), took in zip(todo, cycles):
        own = [next(lines) for _ in range(case.launches)]
        outcomes.append(Outcome(case, launched, took, _wrong(case, took, own[0])))
    return outcomes
