"""The emulator with other figures: a chip file is read once a process, so every what-if chip has a process of its own.

As a program it is such a process: one JSON line in, `{"make": "module:function", "args": [...], "trace": path}`, one out, the cycles of
the launch of the program that `function(*args, hbm)` returns.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing.random_places import HBM_BYTES, contents
from benchmarks.timing.reference_costs import Record
from benchmarks.timing.reference_schedule import load_figures, read_trace
from benchmarks.timing.timed_device import TIMED, Device

CHIP = load_figures()
Change = tuple[tuple[str, str, float], ...]  # (section, name, factor)


def changed(change: Change) -> dict[str, Any]:
    """The chip's figures with some of them multiplied."""
    figures = deepcopy(CHIP)
    for section, name, factor in change:
        figures[section][name] = int(figures[section][name] * factor)
    return figures


@dataclass(frozen=True)
class Timing:
    """A launch: the stream's cycles, and the lines of its trace."""

    cycles: int
    lines: list[Record]

    @property
    def finish(self) -> int:
        """When the last result was there, which may be after the last barrier: loads and computing do not hold one."""
        return max(r["done"] for r in self.lines)

    @property
    def hbm_order(self) -> list[tuple[int, int]]:
        """(core, index) of the requests in the order in which the HBM server takes them; a multicast under its lowest receiver."""
        users = [r for r in self.lines if r["args"].get("hbm_bytes") and r["core"] == min(r["args"].get("receivers", [r["core"]]))]
        return [place for _, *place in sorted((r["start"], r["core"], r["index"]) for r in users)]  # type: ignore[misc]


class Chips:
    """Processes with what-if chips, started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: dict[Change, subprocess.Popen[str]] = {}

    def time(self, change: Change, make: str, *args: Any) -> Timing:
        process = self._processes.get(change) or self._start(change)
        trace = self.folder / f"{process.pid}.jsonl"
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps({"make": make, "args": args, "trace": str(trace)}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"the process of {change} ended"
        return Timing(json.loads(answer), read_trace(trace))

    def _start(self, change: Change) -> subprocess.Popen[str]:
        sections: dict[str, list[str]] = {}
        for section, name, _ in change:
            sections.setdefault(section, [f"[{section}]"]).append(f"{name} = {changed(change)[section][name]}")
        file = self.folder / f"chip{len(self._processes)}.toml"
        file.write_text("\n".join(line for lines in sections.values() for line in lines) + "\n")
        environment = os.environ | ({"RIGI_CHIP": str(file)} if change else {}) | {"RIGI_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self._processes[change] = process
        return process

    def close(self) -> None:
        for process in self._processes.values():
            process.communicate()


@contextmanager
def chips(folder: Path) -> Iterator[Chips]:
    made = Chips(folder)
    try:
        yield made
    finally:
        made.close()


def _serve() -> None:
    device = Device()
    device.set_mode(TIMED)
    hbm = device.malloc(HBM_BYTES << 3)
    device.write(hbm, contents())
    for line in sys.stdin:
        task = json.loads(line)
        module, function = task["make"].split(":")
        program = getattr(importlib.import_module(module), function)(*task["args"], hbm)
        before = device.cycles()
        with device.trace(Path(task["trace"])):
            device.launch(program)
            device.synchronize()
        print(device.cycles() - before, flush=True)


if __name__ == "__main__":
    _serve()
