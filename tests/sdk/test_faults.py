"""`rigi bench faults`: every injected error is caught and named, none ends the process, and the device computes afterwards."""

from __future__ import annotations

from benchmarks.faults.table import run, summary


def test_every_injected_error_is_caught_and_named_and_the_device_stays_usable() -> None:
    rows = run()
    assert [f"{r.case.name}: {r.status}, expected {r.case.status}: {r.text}" for r in rows if not r.caught and not r.skipped] == []
    assert [f"{r.case.name}: {r.missing} not in: {r.text}" for r in rows if r.missing and not r.skipped] == []
    assert [r.case.name for r in rows if not r.usable] == []
    assert summary(rows)["injected"] >= 150


def test_names_are_unique_and_every_case_demands_words() -> None:
    from benchmarks.faults import calls, graphs, modules, programs, strict

    cases = [*programs.CASES, *strict.CASES, *calls.CASES, *graphs.CASES, *modules.CASES]
    assert len({case.name for case in cases}) == len(cases)
    assert [case.name for case in cases if not case.words] == []
