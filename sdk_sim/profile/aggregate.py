"""Sums over the launches of a profile: by kernel and over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .reader import Profile

ENGINES = ("load", "store", "matrix", "vector", "act")
STALLS = ("launch", "operand", "queue", "hbm", "barrier")
_SUMS = ("hbm_read", "hbm_written", "flops_16bit", "flops_8bit", "vector_elements", "act_elements")


class _Sum:
    """What the launches of one kernel, or all of them, come to."""

    def __init__(self) -> None:
        self.launches = self.cycles = 0
        self.seconds = self.least = 0.0  # `least`: cycles that the roofline allows
        self.core_cycles = 0  # cycles times cores: what each engine's states add up to
        self.sums: Counter[str] = Counter()
        self.bounds: Counter[str] = Counter()  # cycles by bound
        self.engines: dict[str, Counter[str]] = {engine: Counter() for engine in ENGINES}

    def add(self, device: dict[str, Any], program: dict[str, Any], launches: int) -> None:
        cycles = launches * program["cycles"]
        self.launches += launches
        self.cycles += cycles
        self.seconds += cycles / device["clock_hz"]
        self.core_cycles += cycles * device["cores"]
        self.least += cycles * program["roofline"]["fraction"]
        self.bounds[program["roofline"]["bound"]] += cycles
        for key in _SUMS:
            self.sums[key] += launches * program[key]
        for engine, states in self.engines.items():
            for state in ("busy", *STALLS):
                states[state] += launches * program["engines"][engine][state]

    def row(self) -> dict[str, Any]:
        flops = self.sums["flops_16bit"] + self.sums["flops_8bit"]
        traffic = self.sums["hbm_read"] + self.sums["hbm_written"]
        busiest = max(ENGINES, key=lambda engine: self.engines[engine]["busy"])
        cause = max(STALLS, key=lambda stall: self.engines[busiest][stall])
        share = self.engines[busiest][cause] / self.core_cycles if self.core_cycles else 0.0
        return {
            "launches": self.launches,
            "cycles": self.cycles,
            "microseconds": self.seconds * 1e6,
            **{key: self.sums[key] for key in _SUMS},
            "intensity": flops / traffic if traffic else None,
            "achieved_flops": flops / self.seconds if self.seconds else 0.0,
            "attainable_flops": flops * self.cycles / (self.seconds * self.least) if self.least else 0.0,
            "roofline_fraction": self.least / self.cycles if self.cycles else 0.0,
            "bound": max(self.bounds, key=lambda bound: self.bounds[bound]) if self.bounds else "latency",
            "utilization": {e: states["busy"] / self.core_cycles if self.core_cycles else 0.0 for e, states in self.engines.items()},
            "main_stall": {"engine": busiest, "cause": cause, "share": share},
            "engines": {engine: dict(states) for engine, states in self.engines.items()},
        }


def aggregate(profiles: Sequence[Profile]) -> dict[str, Any]:
    """Over all profiles: {"cycles", "microseconds", "launches", "kernels": [...], "engines": {...}, "copies": {...}, ...}.

    A kernel's row has its launches, cycles, `share` of all cycles, work done, roofline position and, for each engine, its utilization and
    its cycles by state (of all cores); kernels come by cycles, the most first. `main_stall` is the stall that took most of the busiest
    engine's time. Cycles are sums over launches: on several devices more than what passed.
    """
    whole = _Sum()
    kernels: dict[str, _Sum] = {}
    copies: dict[str, Counter[str]] = {}
    for profile in profiles:
        for (kernel, number), launches in Counter((launch["kernel"], launch["program"]) for launch in profile.launches).items():
            for part in (whole, kernels.setdefault(kernel, _Sum())):
                part.add(profile.device, profile.programs[number], launches)
        for copy in profile.copies:
            copies.setdefault(copy["copy"], Counter()).update(number=1, bytes=copy["bytes"], cycles=copy["end"] - copy["start"])
    rows = [
        {"kernel": name, "share": part.cycles / whole.cycles, **part.row()}
        for name, part in sorted(kernels.items(), key=lambda item: -item[1].cycles)
    ]
    return {**whole.row(), "kernels": rows, "copies": {kind: dict(total) for kind, total in copies.items()}}
