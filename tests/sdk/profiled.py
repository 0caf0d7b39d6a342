"""Profiles through the C interface, for tests that launch programs as data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.timing.program_data import Program
from benchmarks.timing.timed_device import Device, Record

STATES = ("busy", "launch", "operand", "queue", "hbm", "barrier")


@contextmanager
def profiling(device: Device, path: Path) -> Iterator[None]:
    """What is launched inside is written to `path`."""
    device.call("rigiProfilerStart", 0, str(path).encode())
    try:
        yield
    finally:
        device.call("rigiProfilerStop", 0)


def records(path: Path, kind: str = "") -> list[Record]:
    """The lines of a profile; only those of one kind if it is named."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [record for record in found if not kind or record["kind"] == kind]


class Summary:
    """The profile of one launch."""

    def __init__(self, program: Record) -> None:
        self.program = program
        self.cycles: int = program["cycles"]

    def states(self, engine: str, core: int = 0) -> dict[str, int]:
        """Cycles of an engine by state, those that are not 0."""
        return {s: n for s, n in zip(STATES, self.program["engines"][engine]["cores"][core], strict=True) if n}

    def __getitem__(self, key: str) -> Any:
        return self.program[key]


def summary_of(device: Device, program: Program, folder: Path) -> Summary:
    """Launches the program (scalar accesses too) and returns its profile."""
    device.reset()
    path = folder / "profile.jsonl"
    with profiling(device, path):
        device.launch(program)
        device.synchronize()
    (found,) = records(path, "program")
    return Summary(found)
