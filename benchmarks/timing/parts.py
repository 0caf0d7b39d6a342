"""`rigi bench timing` in pieces: work that processes of their own can do, put together into one report."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

BATCH = 25  # random programs to a trace
SEED_STEP = 1_000_000  # between the programs of one seed and those of the next
Part = tuple[str, Callable[..., list[Any]], tuple[Any, ...]]


def _microbenchmarks(folder: Path) -> list[Any]:
    from benchmarks.timing import microbenchmarks

    return [
        {
            "topic": o.case.topic,
            "name": o.case.name,
            "expected": o.case.cycles,
            "cycles": o.cycles,
            "times": len(o.case.times),
            "wrong": o.wrong,
        }
        for o in microbenchmarks.run(folder)
    ]


def _random(folder: Path, first: int, count: int) -> list[Any]:
    from benchmarks.timing import random_check

    return [asdict(o) for o in random_check.run(range(first, first + count), folder)]


def _library(folder: Path, cases: list[str]) -> list[Any]:
    from benchmarks.timing import library

    return [asdict(library.run(case, folder)) for case in cases]


def _systolic(folder: Path, shape: tuple[int, int, int]) -> list[Any]:
    from benchmarks.timing import systolic

    try:
        row = systolic.compare(shape, folder)
    except systolic.NotInstalled as error:
        return [{"missing": str(error)}]
    return [{**asdict(row), "explained": row.explained}]


def _run(work: Callable[..., list[Any]], arguments: tuple[Any, ...]) -> list[Any]:
    os.environ.setdefault("RIGI_NUM_THREADS", "1")  # the other processor has its own work
    with tempfile.TemporaryDirectory(prefix="rigi-timing-") as folder:
        return work(Path(folder), *arguments)


def _parts(programs: int, seed: int) -> Iterator[Part]:
    """The longest first, so that nobody waits for it at the end."""
    from benchmarks.timing.library import CASES
    from benchmarks.timing.systolic import SHAPES

    for shape in sorted(SHAPES, key=lambda s: -s[0] * s[1] * s[2]):
        yield "systolic", _systolic, (shape,)
    cases = list(CASES)
    for start in range(6):
        yield "library", _library, (cases[start::6],)
    yield "microbenchmarks", _microbenchmarks, ()
    for first in range(0, programs, BATCH):
        yield "random", _random, (seed * SEED_STEP + first, min(BATCH, programs - first))


def _worst(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The row that says most is wrong, None if none does."""
    wrong = [{"name": row[name], "differences": len(row["wrong"]), "first": row["wrong"][0]} for row in rows if row["wrong"]]
    return max(wrong, key=lambda row: row["differences"], default=None)


def measure(programs: int, seed: int, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Everything, on two processors. `progress(what, parts done, parts)`. Returns what `report` makes of it."""
    parts = list(_parts(programs, seed))
    found: dict[str, list[Any]] = {"microbenchmarks": [], "random": [], "library": [], "systolic": []}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_run, work, arguments): what for what, work, arguments in parts}
        for done, future in enumerate(as_completed(futures), 1):
            try:
                found[futures[future]] += future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            progress(futures[future], done, len(parts))
    return report(found, seed)


def report(found: dict[str, list[Any]], seed: int) -> dict[str, Any]:
    """The JSON of `rigi bench timing` from the rows of its parts."""
    micro, random, library = found["microbenchmarks"], sorted(found["random"], key=lambda r: r["seed"]), found["library"]
    return {
        "microbenchmarks": len(micro),
        "microbenchmarks_off": sum(bool(row["wrong"]) for row in micro),
        "random_programs": len(random),
        "random_off": sum(bool(row["wrong"]) for row in random),
        "library_kernels": len(library),
        "library_off": sum(bool(row["wrong"]) for row in library),
        "details": {
            "seed": seed,
            "times_stated": sum(row["times"] for row in micro),
            "random_instructions": sum(row["instructions"] for row in random),
            "library_instructions": sum(row["instructions"] for row in library),
            "packaged_kernels": sorted({kernel for row in library for kernel in row["kernels"]}),
            "worst": {
                "microbenchmarks": _worst(micro, "name"),
                "random_programs": _worst(random, "seed"),
                "library_kernels": _worst(library, "case"),
            },
            "scalesim": sorted(found["systolic"], key=lambda row: (row.get("folds", 0), row.get("m", 0))),
            "microbenchmarks": micro,
            "library_kernels": sorted(library, key=lambda row: row["case"]),
        },
    }
