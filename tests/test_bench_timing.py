"""`rigi bench timing`: its fields, its tables, and an exit code that says when something is off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.cli import bench
from benchmarks.timing import library, parts, systolic

FIELDS = ["microbenchmarks", "microbenchmarks_off", "random_programs", "random_off", "library_kernels", "library_off"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systolic, "SHAPES", ((128, 128, 128),))
    monkeypatch.setattr(library, "CASES", {name: library.CASES[name] for name in ("rms_norm 7 x 100", "linear 16 x 33 x 100")})


@pytest.mark.slow
def test_the_fields_and_the_tables(small: None) -> None:
    run = CliRunner().invoke(bench, ["timing", "--programs", "30", "--seed", "3", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert list(result)[:7] == ["origin", *FIELDS]
    assert result["microbenchmarks"] >= 150 and result["random_programs"] == 30 and result["library_kernels"] == 2
    assert [result[name] for name in FIELDS if name.endswith("_off")] == [0, 0, 0]
    details = result["details"]
    assert details["packaged_kernels"] == ["linear_m16", "rms_norm"] and all(row["explained"] for row in details["scalesim"])
    assert len(details["microbenchmarks"]) == result["microbenchmarks"]


def report(wrong: list[str]) -> dict[str, Any]:
    """A result with one microbenchmark, which is off if `wrong` says anything."""
    row = {"topic": "load", "name": "one", "launched": "host", "expected": 10, "cycles": 10, "times": 4, "wrong": wrong}
    found: dict[str, list[Any]] = {"microbenchmarks": [row], "random": [], "library": [], "systolic": [{"missing": "no scalesim"}]}
    return parts.report(found, 0)


@pytest.mark.parametrize("wrong", [[], ["the launch took 11 cycles, the rules say 10"]], ids=["right", "off"])
@pytest.mark.parametrize("as_json", [False, True], ids=["tables", "json"])
def test_the_exit_code_says_whether_something_is_off(monkeypatch: pytest.MonkeyPatch, wrong: list[str], as_json: bool) -> None:
    monkeypatch.setattr(parts, "measure", lambda *_: report(wrong))
    run = CliRunner().invoke(bench, ["timing", *(["--json"] if as_json else [])])
    assert run.exit_code == bool(wrong)
    if as_json:
        assert json.loads(run.stdout)["microbenchmarks_off"] == len(wrong)
    else:
        assert "no scalesim" in run.stdout and ("took 11 cycles" in run.stdout) == bool(wrong)


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(parts, "measure", fail)
    run = CliRunner().invoke(bench, ["timing"])
    assert run.exit_code == 1 and "no C++ compiler found" in run.output and "Traceback" not in run.output
