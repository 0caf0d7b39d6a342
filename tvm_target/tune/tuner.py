"""Searching a space for a shape, and using what was found."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..package import KernelSpec
from .database import Database, Key, Trials, packaged, packaged_path
from .measure import BATCH, Bench
from .space import Shape, TuneError, Values
from .spaces import space_of

TRIALS = 64
SAMPLE = 0.375  # of the trials: configurations taken at random before the search
LAST = 0.25  # of the trials: chosen by the model alone
Given = Sequence[int] | Mapping[str, int]
Progress = Callable[[int, int, int | None], None]


@dataclass(frozen=True)
class Result:
    """What is known of a shape after tuning. `searched`: configurations measured now; `trials`: in all; `gain`: untuned over tuned."""

    op: str
    dtype: str
    shape: Shape
    config: dict[str, int]
    cycles: int
    untuned_config: dict[str, int]
    untuned_cycles: int
    gain: float
    trials: int
    searched: int
    seconds: float


def tune(
    op: str,
    shape: Given,
    *,
    trials: int = TRIALS,
    exhaustive: bool = False,
    bench: Bench | None = None,
    database: Database | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Result:
    """Brings the number of configurations measured for a shape to `trials` (all of the space with `exhaustive`, or if it has no more).

    What the database holds is not measured again. Results enter it as they come, so an interruption loses nothing. `bench` is an open one.
    `progress(done, of, best cycles)` is called at each. Raises TuneError."""
    if bench is None:
        with Bench() as bench:
            return tune(op, shape, trials=trials, exhaustive=exhaustive, bench=bench, database=database, progress=progress, seed=seed)
    start = time.perf_counter()
    space, database = space_of(op), packaged() if database is None else database
    if os.environ.get("RIGI_CHIP") and database.path == packaged_path():
        raise TuneError("RIGI_CHIP names another chip: set RIGI_TUNED to a folder for what is measured on it")
    shape = space.shape(shape)
    default = space.packaged(shape)
    known = database.trials(space, shape)
    before = len(known)
    grid = [values for values in space.grid(shape) if exhaustive or space.worth(values, shape)]
    grid = list(dict.fromkeys([default, *grid]))
    wanted = len(grid) if exhaustive else min(trials, len(grid))

    def show() -> None:
        if progress is not None:
            progress(len(known), wanted, min((c for c in known.values() if c is not None), default=None))

    def measure(values: list[Values]) -> Trials:
        for batch in bench.measure(op, values, [shape]):
            results: Trials = {m.values: m.cycles[0] for m in batch}
            database.add(space, shape, results)
            known.update(results)
            show()
        return known

    show()
    try:
        if default not in known:
            measure([default])
        if exhaustive or wanted == len(grid):
            measure([values for values in grid if values not in known])
        elif len(known) < wanted:
            from .search import promising, search

            # A random sample of the whole grid first: without it, searches of large spaces more often missed a best that stands alone.
            rest = [values for values in grid if values not in known]
            measure(random.Random(seed).sample(rest, max(0, int(wanted * SAMPLE) - len(known))))
            if (count := int(wanted * (1 - LAST)) - len(known)) > 0:
                search(space, shape, known, count, measure, seed)
            # MetaSchedule sees a part of the grid and proposes some twice: the last trials go to the best that the model sees in all of it.
            while len(known) < wanted:
                rest = [values for values in grid if values not in known]
                measure(promising(space, shape, known, rest, min(BATCH, wanted - len(known))))
    except Exception:
        bench.check()  # through TVM's C++, an interrupt comes back as another exception
        raise
    finally:
        if len(known) > before:
            database.compact()
    found = database.best(Key.of(space, shape))
    untuned = known[default]
    assert found is not None and untuned is not None
    return Result(
        op=op,
        dtype=space.dtype,
        shape=shape,
        config=found[0],
        cycles=found[1],
        untuned_config=dict(zip(space.parameters, default)),
        untuned_cycles=untuned,
        gain=untuned / found[1],
        trials=len(known),
        searched=len(known) - before,
        seconds=time.perf_counter() - start,
    )


def best(op: str, shape: Given, dtype: str = "bfloat16", database: Database | None = None) -> dict[str, int] | None:
    """The best parameters that the database knows for a shape and the kernel as it is now; None if it was not tuned. Never searches."""
    space = space_of(op, dtype)
    found = (packaged() if database is None else database).best(Key.of(space, space.shape(shape)))
    return None if found is None else found[0]


def tuned(op: str, shape: Given, dtype: str = "bfloat16", database: Database | None = None, name: str | None = None) -> KernelSpec | None:
    """The kernel with the best parameters known for a shape; None if it was not tuned. Never searches."""
    known = best(op, shape, dtype, database)
    return None if known is None else space_of(op, dtype).spec(tuple(known.values()), name)


def spec(op: str, shape: Given, dtype: str = "bfloat16", database: Database | None = None, name: str | None = None) -> KernelSpec:
    """The kernel for a shape: the tuned one, or the packaged configuration. Never searches."""
    space = space_of(op, dtype)
    return tuned(op, shape, dtype, database, name) or space.spec(space.packaged(space.shape(shape)), name)


def compile(op: str, shape: Given, dtype: str = "bfloat16", database: Database | None = None, name: str | None = None) -> Any:
    """An executable of `spec`; its function is named `name`, or the op and its parameters."""
    from ..build import compile_kernel

    return compile_kernel(spec(op, shape, dtype, database, name))
