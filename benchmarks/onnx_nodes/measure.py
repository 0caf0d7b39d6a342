"""The two passes, and the figures of `rigi bench onnx`."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import pool
from ..progress import Report
from .cases import Case, cache_file, load, select
from .worker import FORMS, Result, work

BOUND = 0.95


def measure(
    *, pattern: str | None, sample: int | None, seed: int, jobs: int, timeout: float, fresh: bool, llvm_only: bool, progress: Report
) -> dict[str, Any]:
    """The JSON fields of ``rigi bench onnx``. `progress` is told what is done: a description, tests done, tests in all."""
    start = time.perf_counter()
    progress("reading the tests", 0, 0)
    cases = load()
    names = select(list(cases), pattern, sample, seed)
    llvm = baseline([cases[name] for name in names], jobs, timeout, fresh, progress)
    passing = [result for result in llvm.values() if result.passed]
    results: list[Result] = []
    if not llvm_only:
        tasks = [(cases[result.test], result.form) for result in passing]
        progress("rigi1", 0, len(tasks))
        for result in pool.run(work("rigi1"), tasks, jobs, timeout):
            results.append(result)
            progress(f"rigi1: {sum(item.passed for item in results)} pass", len(results), len(tasks))
    return report(list(llvm.values()), None if llvm_only else results, time.perf_counter() - start)


def baseline(cases: list[Case], jobs: int, timeout: float, fresh: bool, progress: Report) -> dict[str, Result]:
    """The results on `llvm` by test, kept from run to run: the form that passes, else what the first form ended with."""
    file = cache_file()
    known = {} if fresh else _read(file)
    for form in FORMS:
        tasks = [(case, form) for case in cases if _open(known.get(case.name), form)]
        done = 0
        progress(f"llvm, {form}", 0, len(tasks))
        for result in pool.run(work("llvm"), tasks, jobs, timeout):
            done += 1
            if form == FORMS[0] or result.passed:
                known[result.test] = result
            else:
                known[result.test].tried = form
            progress(f"llvm, {form}", done, len(tasks))
            if done % 100 == 0 or done == len(tasks):
                _write(file, known)
    return {case.name: known[case.name] for case in cases}


def _open(result: Result | None, form: str) -> bool:
    """Whether a test has yet to be run on `llvm` in this form."""
    if form == FORMS[0]:
        return result is None
    return result is not None and not result.passed and result.tried != form


def _read(file: Path) -> dict[str, Result]:
    try:
        return {name: Result(**fields) for name, fields in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError):
        return {}


def _write(file: Path, results: dict[str, Result]) -> None:
    # Written beside and renamed, so that a reader never sees half a file. A cache that cannot be written is no error.
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as part:
            json.dump({name: asdict(result) for name, result in sorted(results.items())}, part)
        os.replace(part.name, file)
    except OSError:
        pass


def report(llvm: list[Result], rigi: list[Result] | None, seconds: float) -> dict[str, Any]:
    """The fields, from the results on either target. `rigi` None: it was not asked."""
    passing = [result for result in llvm if result.passed]
    fields: dict[str, Any] = {"total": len(llvm), "llvm_passed": len(passing), "passed": None, "ratio": None, "failed": []}
    if rigi is not None:
        failed = sorted((result for result in rigi if not result.passed), key=lambda result: result.test)
        fields["passed"] = len(rigi) - len(failed)
        fields["ratio"] = round(fields["passed"] / len(rigi), 4) if rigi else None
        fields["failed"] = [
            {"test": item.test, "op": item.op, "form": item.form, "stage": item.stage, "reason": item.reason} for item in failed
        ]
    forms = {form: {result.test for result in passing if result.form == form} for form in FORMS}
    fields["forms"] = {
        form: {"llvm_passed": len(tests), "passed": None if rigi is None else sum(item.passed for item in rigi if item.test in tests)}
        for form, tests in forms.items()
    }
    cycles, element = (sum(getattr(item, name) for item in rigi or [] if item.passed) for name in ("cycles", "element_cycles"))
    fields["cycles"] = cycles
    fields["element_loop_share"] = round(element / cycles, 4) if cycles else None
    fields["seconds"] = {"all": round(seconds, 1), "llvm": _seconds(llvm), "rigi1": _seconds(rigi or [])}
    fields["llvm_failed"] = dict(Counter(f"{item.stage}: {item.reason}" for item in llvm if not item.passed).most_common())
    return fields


def _seconds(results: Iterable[Result]) -> dict[str, float]:
    """Sums by stage."""
    sums: Counter[str] = Counter()
    for result in results:
        sums.update(result.seconds)
    return {stage: round(value, 2) for stage, value in sums.items()}
