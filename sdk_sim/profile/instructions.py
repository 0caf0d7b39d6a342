"""Instruction traces (the manual's section "The instruction trace"): joins, summarises and draws them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .aggregate import ENGINES
from .reader import ProfileError, Record, lines

_NUMBER = re.compile(rb'^\{"launch":(\d+)')


def launches(path: Path) -> Iterator[list[Record]]:
    """The lines of each launch, one launch after the other. Raises ProfileError."""
    launch: list[Record] = []
    for record in lines(path):
        if not {"launch", "core", "engine", "start", "end"} <= record.keys():
            raise ProfileError(f"{path} is not an instruction trace: a line has no launch, core, engine, start or end")
        if launch and launch[0]["launch"] != record["launch"]:
            yield launch
            launch = []
        launch.append(record)
    if launch:
        yield launch


def cycles_of(launch: Sequence[Record]) -> int:
    """When the launch ended, in cycles from its beginning."""
    return max(record["end"] for record in launch if record["engine"] == "barrier")


def summarize(path: Path) -> dict[str, Any]:
    """{"launches", "cycles", "instructions": {engine: {op: n}}, "occupancy": {engine: share}, "kernels": [...]}.

    The occupancy of an engine is the share of all cycles of all cores in which an instruction was in service on it: busy, or waiting for
    HBM. What an instruction does after the launch has ended is not counted.
    """
    kernels: dict[str, Counter[str]] = {}
    served: dict[str, Counter[str]] = {}
    instructions: dict[str, Counter[str]] = {engine: Counter() for engine in (*ENGINES, "scalar")}
    cores = 1
    for launch in launches(path):
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
        raise ProfileError(f"{path} holds no launches")

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
    }


def join(parts: Sequence[Path], path: Path) -> int:
    """Writes the traces of several devices and processes to one file, launches numbered through. Returns the number of launches."""
    before = 0
    with path.open("wb") as file:
        for part in parts:
            last = -1
            with part.open("rb") as source:
                for line in source:
                    if not line.endswith(b"\n") or not (found := _NUMBER.match(line)):
                        break
                    last = int(found[1])
                    file.write(b'{"launch":%d' % (before + last) + line[found.end() :])
            before += last + 1
    return before


def write_perfetto(path: Path, to: Path, clock_hz: float) -> int:
    """Every instruction as a slice: launch > core > engine, launches one after the other. Returns the number of slices."""
    from .perfetto_file import Writer

    slices = before = 0
    with to.open("wb") as file:
        writer = Writer(file, clock_hz)
        launch_track = writer.track("launch")
        tracks: dict[tuple[int, str], int] = {}
        core_tracks: dict[int, int] = {}
        for launch in launches(path):
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
