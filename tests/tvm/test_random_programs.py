"""Random programs over all types beside NumPy: a sample of `rigi bench programs`, and what that command makes of wrong ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import pool
from benchmarks.cli import bench
from benchmarks.programs import check
from benchmarks.programs.program import Value

SAMPLE, STRICT = range(16), range(16, 22)


def assert_right(seed: int) -> None:
    found = check.check(seed)
    assert found.outcome == check.RIGHT, f"{found.reason}\n{found.script}"


@pytest.mark.parametrize("seed", SAMPLE)
def test_a_program_gives_what_numpy_gives(seed: int) -> None:
    assert_right(seed)


@pytest.mark.parametrize("seed", STRICT)
def test_a_program_passes_in_strict_mode(seed: int, strict: None) -> None:
    assert_right(seed)


def test_a_seed_makes_one_program() -> None:
    for seed in range(40):
        assert check.program(seed).script() == check.program(seed).script()


def test_a_wrong_program_is_found_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made = check.program(1)
    last = made.steps[-1]
    bad = replace(last.value, array=np.where(last.value.array == 0, 1, 0).astype(last.value.array.dtype))
    monkeypatch.setattr(check, "program", lambda _seed: replace(made, steps=[*made.steps[:-1], replace(last, value=bad)], results=[bad]))
    found = check.check(1)
    assert found.outcome == check.WRONG and "elements differ" in found.reason
    compile(found.script, "script", "exec")
    assert "tvm.compile" in found.script and last.lines[0] in found.script


@pytest.mark.parametrize(
    ("got", "right"),
    [([1.0, np.nan], True), ([1.0, np.inf], False), ([np.nan, np.nan], False), ([1.0009, np.nan], True), ([1.01, np.nan], False)],
)
def test_values_are_right_within_their_error(got: list[float], right: bool) -> None:
    want = Value("v", np.array([1.0, np.nan], "float32"), 1e-3)
    assert (check.difference(np.array(got, "float32"), want) == "") == right


def test_a_program_that_ends_its_process_has_failed_and_is_shown() -> None:
    lost = check.WORK.lost(5, "crash", "the process ended with signal 11")
    assert (lost.seed, lost.outcome, lost.reason) == (5, check.FAILED, "the process ended with signal 11")
    assert lost.script == check.program(5).script()


def test_the_command_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [check.Outcome(0, check.RIGHT), check.Outcome(1, check.WRONG, "why", "script")]
    monkeypatch.setattr(pool, "run", lambda *_: iter(results))
    done = CliRunner().invoke(bench, ["programs", "--count", "2", "--json"])
    counts = json.loads(done.stdout)
    assert done.exit_code == 1 and "why" in done.stderr
    assert {k: counts[k] for k in ("tried", "right", "wrong", "refused", "failed")} == {
        "tried": 2,
        "right": 1,
        "wrong": 1,
        "refused": 0,
        "failed": 0,
    }
