"""Reads what the profiler wrote: a file for each process and device, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_LARGE = 32 << 20


class ProfileError(ValueError):
    """A file is missing or is no profile; the text says which, where and what to do."""


@dataclass
class Profile:
    """One device of one process. Launches and copies are as in the file, in order; `programs` are those of the launches, by number."""

    path: Path
    device: Record
    programs: dict[int, Record] = field(default_factory=dict)
    launches: list[Record] = field(default_factory=list)
    copies: list[Record] = field(default_factory=list)
    untimed: bool = False  # something ran in functional mode and is not in here

    def program(self, launch: Record) -> Record:
        """The summary of a launch."""
        return self.programs[launch["program"]]

    def work(self) -> list[Record]:
        """Launches and copies in the order in which they were submitted."""
        return sorted([*self.launches, *self.copies], key=lambda record: record["sequence"])


def read(path: str | Path) -> list[Profile]:
    """The profiles in a folder (`RIGI_PROFILE`) or in one file (`sdk_sim.profiler`). Raises ProfileError."""
    path = Path(path)
    if not path.exists():
        raise ProfileError(f"{path} does not exist; `rigi profile -- COMMAND` makes a profile")
    files = sorted(path.glob("*-*.jsonl")) if path.is_dir() else [path]
    return [_read_file(file) for file in files]


def _read_file(path: Path) -> Profile:
    records = lines(path)
    first = next(records, None)
    if first is None or first.get("kind") != "device":
        raise ProfileError(f"{path} is not a profile: its first line describes no device")
    profile = Profile(path, first)
    for record in records:
        kind = record.get("kind")
        if kind == "program":
            profile.programs[record["program"]] = record
        elif kind == "launch":
            profile.launches.append(record)
        elif kind == "copy":
            profile.copies.append(record)
        elif kind == "untimed":
            profile.untimed = True
    return profile


def lines(path: Path) -> Iterator[Record]:
    """The objects of a file. A last line that a killed process did not finish is left out. A large file shows a bar on standard error."""
    from rich import progress
    from rich.console import Console

    small, console = path.stat().st_size < _LARGE, Console(stderr=True)
    with progress.open(path, "rb", description=f"reading {path.name}", console=console, transient=True, disable=small) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ProfileError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise ProfileError(f"{path}, line {number} is not an object")
            yield record
