"""`rigi bench faults`: every injected error is caught and named, none ends the process, and the device computes afterwards."""

from __future__ import annotations

import tomllib
from pathlib import Path

from benchmarks.faults.fuzz import fuzz
from benchmarks.faults.table import run, summary

ROOT = Path(__file__).parents[2]


def test_every_injected_error_is_caught_and_named_and_the_device_stays_usable() -> None:
    rows = run()
    assert [f"{r.case.name}: {r.status}, expected {r.case.status}: {r.text}" for r in rows if not r.caught] == []
    assert [f"{r.case.name}: {r.missing} not in: {r.text}" for r in rows if r.missing] == []
    assert [r.case.name for r in rows if not r.usable] == []
    assert [f"{r.case.name}: {r.skipped}" for r in rows if r.skipped] == []
    assert summary(rows)["injected"] >= 150


def test_names_are_unique_and_every_case_demands_words() -> None:
    from benchmarks.faults import calls, graphs, modules, programs, strict

    cases = [*programs.CASES, *strict.CASES, *calls.CASES, *graphs.CASES, *modules.CASES]
    assert len({case.name for case in cases}) == len(cases)
    assert [case.name for case in cases if not case.words] == []


def test_random_calls_and_damaged_modules_end_nothing_and_leave_nothing() -> None:
    result, seen = fuzz(calls=60_000, modules=1_000, seed=1)
    assert result["crashes"] == result["leaked_bytes"] == 0
    assert result["calls"] >= 60_000 and result["modules"] == 1_000
    # What the reference says a function returns is all that it returns.
    documented = tomllib.loads((ROOT / "docs" / "c-api.toml").read_text())["functions"]
    for function, statuses in seen.items():
        names = {status.removeprefix("RIGI_ERROR_").removeprefix("RIGI_") for status in statuses}
        assert names <= {*documented[function], "SUCCESS", "OUT_OF_MEMORY"}, function
