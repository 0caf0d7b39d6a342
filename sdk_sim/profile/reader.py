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
    missing: str = ""  # a sentence on what the file lacks; "" if it is whole

    def program(self, launch: Record) -> Record:
        """The summary of a launch."""
        return self.programs[launch["program"]]

    def work(self) -> list[Record]:
        """Launches and copies in the order in which they were submitted."""
        return sorted([*self.launches, *self.copies], key=lambda record: record["sequence"])


def read(path: str | Path) -> list[Profile]:
    """The profiles in a folder (`RIGI_PROFILE`) or in one file (`sdk_sim.profiler`), with what there is of each. Raises ProfileError."""
    path = Path(path)
    if not path.exists():
        raise ProfileError(f"{path} does not exist; `rigi profile -- COMMAND` makes a profile")
    files = sorted(path.glob("*-*.jsonl")) if path.is_dir() else [path]
    return [_read_file(file) for file in files]


def _read_file(path: Path) -> Profile:
    file = File(path)
    records = iter(file)
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
    profile.missing = file.missing(len(profile.launches))
    return profile


class File:
    """The objects of a profile or a trace, one a line, and then what is missing. A large file shows a bar on standard error.

    The first object says in `whole` what the file holds when nothing is missing: {"lines", "launches"}. A last line without its end is
    left out. Raises ProfileError for what is no object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole: dict[str, int] | None = None
        self.found = 0  # lines read
        self.cut = False  # the last line has no end

    def __iter__(self) -> Iterator[Record]:
        from rich import progress
        from rich.console import Console

        path, small, console = self.path, self.path.stat().st_size < _LARGE, Console(stderr=True)
        with progress.open(path, "rb", description=f"reading {path.name}", console=console, transient=True, disable=small) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self.cut = True
                    return
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise ProfileError(f"{path}, line {number} is not JSON: {error}") from error
                if not isinstance(record, dict):
                    raise ProfileError(f"{path}, line {number} is not an object")
                if number == 1:
                    self.whole = record.get("whole")
                self.found = number
                yield record

    @property
    def complete(self) -> bool:
        """Whether what has been read, to its end, is all that was recorded."""
        return not self.cut and (self.whole is None or self.found >= self.whole["lines"])

    def missing(self, launches: int) -> str:
        """A sentence saying how much is missing if `launches` could be read; "" if nothing is."""
        if self.complete:
            return ""
        why = "it could not be written to its end, or has been cut since"
        if self.whole is None:
            return f"{self.path} holds {launches:,} launches, and its last line is cut: {why}"
        held = f"{launches:,} of {self.whole['launches']:,} launches ({self.found:,} of {self.whole['lines']:,} lines)"
        return f"{self.path} holds {held}: {why}"
