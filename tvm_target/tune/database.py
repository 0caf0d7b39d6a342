"""What was measured: `tuned/<chip>-<revision>.jsonl`, in the repository, one line a batch of trials.

    {"op": "linear", "dtype": "bfloat16", "shape": {"m": 1, ...}, "source": "...",
     "parameters": ["gm", "bm", "bn", "bk"], "trials": [[[1, 16, 128, 1024], 9153], ...]}

Cycles of null stand for a configuration that cannot be built. Lines are appended as results come in, so an interrupted search loses
nothing; `compact` joins the lines of a key. A record counts for the chip revision of its file and for the source of its kernel alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..target import chip
from .space import Shape, Space, TuneError, Values

FOLDER = Path(__file__).parent.parent / "tuned"
Trials = dict[Values, int | None]


@dataclass(frozen=True)
class Key:
    """What a record is for. `source` is the hash of the kernel's template."""

    op: str
    dtype: str
    shape: tuple[tuple[str, int], ...]
    source: str

    @classmethod
    def of(cls, space: Space, shape: Shape) -> Key:
        return cls(space.op, space.dtype, tuple(shape.items()), space.source())

    def line(self, parameters: tuple[str, ...], trials: Trials) -> str:
        record = {"op": self.op, "dtype": self.dtype, "shape": dict(self.shape), "source": self.source, "parameters": parameters}
        return json.dumps({**record, "trials": [[values, cycles] for values, cycles in trials.items()]}) + "\n"


def packaged_path() -> Path:
    """The database in the package, of this chip revision."""
    figures = chip()
    return FOLDER / f"{figures.name}-{figures.revision}.jsonl"


def default_path() -> Path:
    """The database of this chip revision, in `$RIGI_TUNED` or the package."""
    folder = os.environ.get("RIGI_TUNED")
    return Path(folder) / packaged_path().name if folder else packaged_path()


class Database:
    """The trials of all keys. Reads the file when it has changed, and appends to it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._seen: tuple[int, int] | None = None
        self._records: dict[Key, tuple[tuple[str, ...], Trials]] = {}

    def keys(self) -> list[Key]:
        self._read()
        return list(self._records)

    def trials(self, space: Space, shape: Shape) -> Trials:
        """All trials of a shape by values of the space's parameters; those of a space with other parameters do not count."""
        self._read()
        parameters, trials = self._records.get(Key.of(space, shape), ((), {}))
        return dict(trials) if parameters == tuple(space.parameters) else {}

    def best(self, key: Key) -> tuple[dict[str, int], int] | None:
        """The parameters with the fewest cycles, and these."""
        self._read()
        parameters, trials = self._records.get(key, ((), {}))
        found = [(cycles, values) for values, cycles in trials.items() if cycles is not None]
        if not found:
            return None
        cycles, values = min(found)
        return dict(zip(parameters, values)), cycles

    def count(self, key: Key) -> int:
        self._read()
        return len(self._records.get(key, ((), {}))[1])

    def add(self, space: Space, shape: Shape, trials: Trials) -> None:
        """Appends one line. Other processes may do the same."""
        if not trials:
            return
        line = Key.of(space, shape).line(tuple(space.parameters), trials)
        with self._locked():
            with self.path.open("a") as file:
                file.write(line)

    def compact(self) -> None:
        """Rewrites the file with one line a key, in order, so that it changes little from one tuning to the next."""
        with self._locked():
            self._read()
            lines = [key.line(*record) for key, record in sorted(self._records.items(), key=lambda item: repr(item[0]))]
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text("".join(lines))
            os.replace(temporary, self.path)

    def _read(self) -> None:
        try:
            state = self.path.stat()
        except FileNotFoundError:
            self._records, self._seen = {}, None
            return
        if self._seen == (state.st_mtime_ns, state.st_size):
            return
        records: dict[Key, tuple[tuple[str, ...], Trials]] = {}
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            key, parameters, trials = _parse(line, f"{self.path}:{number}")
            before = records.get(key)
            records[key] = (parameters, {**before[1], **trials} if before and before[0] == parameters else trials)
        self._records, self._seen = records, (state.st_mtime_ns, state.st_size)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other writers out: the lock is on the folder, since `compact` replaces the file."""
        folder = self.path.parent
        if os.environ.get("RIGI_CHIP") and folder == FOLDER:
            raise TuneError(
                f"RIGI_CHIP={os.environ['RIGI_CHIP']} is an experiment, whose cycles do not belong into the chip's own database "
                f"{self.path}; set RIGI_TUNED to a folder for them"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY)
            if not os.access(folder, os.W_OK):
                raise PermissionError("the folder is not writable")
        except OSError as error:
            raise TuneError(f"cannot write the tuning database {self.path}: {error}; set RIGI_TUNED to a folder of your own") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _parse(line: str, where: str) -> tuple[Key, tuple[str, ...], Trials]:
    try:
        record: Mapping[str, Any] = json.loads(line)
        key = Key(record["op"], record["dtype"], tuple(record["shape"].items()), record["source"])
        return key, tuple(record["parameters"]), {tuple(values): cycles for values, cycles in record["trials"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TuneError(
            f"{where}: this line of the tuning database cannot be read ({error!r}); delete it, what it held is searched again"
        ) from error


@cache
def _open(path: Path) -> Database:
    return Database(path)


def packaged() -> Database:
    """The database that compilation reads: that of `default_path`."""
    return _open(default_path())
