"""Instruction traces (the manual's section "The instruction trace"): joins, summarises and draws them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .aggregate import ENGINES
from .reader import File, ProfileError, Record

_NUMBER = re.compile(rb'^\{"launch":(\d+)')
_WHOLE = re.compile(rb',"whole":(\{[^}]*\}) *\}\n$')


class Trace:
    """The launches of a trace, each the list of its lines, and then what is missing. Raises ProfileError.

    Of a file that is cut the last launch is left out, since its own end may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._file = File(path)
        self._launches = 0

    def __iter__(self) -> Iterator[list[Record]]:
        launch: list[Record] = []
        for record in self._file:
            if not {"launch", "core", "engine", "start", "end"} <= record.keys():
                raise ProfileError(f"{self._file.path} is not an instruction trace: a line has no launch, core, engine, start or end")
            if launch and launch[0]["launch"] != record["launch"]:
                self._launches += 1
                yield launch
                launch = []
            launch.append(record)
        if launch and self._file.complete:
            self._launches += 1
            yield launch

    def missing(self) -> str:
        """After all launches: a sentence on what the file lacks, "" if it is whole."""
        return self._file.missing(self._launches)


def cycles_of(launch: Sequence[Record]) -> int:
    """When the launch ended, in cycles from its beginning."""
    return max(record["end"] for record in launch if record["engine"] == "barrier")


def summarize(path: Path) -> dict[str, Any]:
    """{"launches", "cycles", "instructions": {engine: {op: n}}, "occupancy": {engine: share}, "kernels": [...], "missing": sentence or ""}.

    The occupancy of an engine is the share of all cycles of all cores in which an instruction was in service on it: busy, or waiting for
    HBM. What an instruction does after the launch has ended is not counted.
    """
    kernels: dict[str, Counter[str]] = {}
    served: dict[str, Counter[str]] = {}
    instructions: dict[str, Counter[str]] = {engine: Counter() for engine in (*ENGINES, "scalar")}
    cores = 1
    trace = Trace(path)
    for launch in trace:
        end, name = cycles_of(launch), launch[0]["kernel"]
        cores = max(cores, 1 + max(record["core"] for record in launch))
        engines = served.setdefault(name, Counter())
        kernels.setdefault(name, Counter()).update(launches=1, cycles=end, instructions=0)
        for record in launch:
            if record["engine"] == "barrier":
                continue
            instructions[record["engine"]][record["op"]] += 1
            engines[record["engine"]] += max(0, min(record["end"], end) - min(record["start"], end))
            kernels[name]["instructions"] += 1
    if not kernels:
        raise ProfileError(trace.missing() or f"{path} holds no launches")

    def occupancy(counted: Counter[str], cycles: int) -> dict[str, float]:
        return {engine: counted[engine] / (cycles * cores) for engine in ENGINES}

    cycles = sum(kernel["cycles"] for kernel in kernels.values())
    rows = [
        {"kernel": name, **kernel, "share": kernel["cycles"] / cycles, "occupancy": occupancy(served[name], kernel["cycles"])}
        for name, kernel in sorted(kernels.items(), key=lambda item: -item[1]["cycles"])
    ]
    return {
        "launches": sum(row["launches"] for row in rows),
        "cycles": cycles,
        "cores": cores,
        "instructions": {engine: dict(ops.most_common()) for engine, ops in instructions.items() if ops},
        "occupancy": occupancy(sum(served.values(), Counter()), cycles),
        "kernels": rows,
        "missing": trace.missing(),
    }


def join(parts: Sequence[Path], path: Path) -> None:
    """Makes one file of the traces of several devices and processes, launches numbered through. `parts` may be gone afterwards.

    What a part lacks the whole lacks too: its first line says how much there should be. Raises ProfileError where the file cannot be
    written to its end.
    """
    try:
        if len(parts) == 1:  # already what it has to be, and there may be no room for a second one
            parts[0].replace(path)
            return
        wholes = [_whole(part) for part in parts]
        total = b',"whole":{"lines":%d,"launches":%d}}\n' % (sum(w["lines"] for w in wholes), sum(w["launches"] for w in wholes))
        before = 0
        with path.open("wb") as file:
            for part, whole in zip(parts, wholes, strict=True):
                with part.open("rb") as source:
                    for number, line in enumerate(source):
                        if not line.endswith(b"\n") or not (found := _NUMBER.match(line)):
                            break
                        if number == 0:
                            line = _WHOLE.sub(total if file.tell() == 0 else b"}\n", line)
                        file.write(b'{"launch":%d' % (before + int(found[1])) + line[found.end() :])
                before += whole["launches"]
    except OSError as error:
        raise ProfileError(f"{path} could not be written to its end: {error.strerror}") from error


def _whole(path: Path) -> dict[str, int]:
    """What the first line says about the file. A file without a first line that can be read lacks at least that."""
    with path.open("rb") as file:
        found = _WHOLE.search(file.readline())
    return json.loads(found[1]) if found else {"lines": 1, "launches": 1}


def write_perfetto(path: Path, to: Path, clock_hz: float) -> int:
    """Every instruction as a slice: launch > core > engine, launches one after the other. Returns the number of slices."""
    from .perfetto_file import Writer

    slices = before = 0
    with to.open("wb") as file:
        writer = Writer(file, clock_hz)
        launch_track = writer.track("launch")
        tracks: dict[tuple[int, str], int] = {}
        core_tracks: dict[int, int] = {}
        for launch in Trace(path):
            end = cycles_of(launch)
            writer.slice(launch_track, launch[0]["kernel"], before, before + end, launch=launch[0]["launch"])
            for record in launch:
                core, engine = record["core"], record["engine"]
                if core not in core_tracks:
                    core_tracks[core] = writer.track(f"core {core}", launch_track)
                if (core, engine) not in tracks:
                    tracks[core, engine] = writer.track(engine, core_tracks[core])
                start, stop = min(record["start"], end), min(record["end"], end)
                facts = {key: record[key] for key in ("phase", "index", "issue", "done")}
                facts.update({key: value for key, value in record["args"].items() if isinstance(value, int | str)})
                writer.slice(tracks[core, engine], record["op"], before + start, before + stop, **facts)
                slices += 1
            before += end
    return slices
