"""`rigi bench opinfo`: a sample of PyTorch's databases on the device, what it may refuse, and how results are told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.cli import bench
from benchmarks.opinfo import allowed, cases, command, measure
from benchmarks.opinfo.cases import Case
from benchmarks.opinfo.device import Mirror, Wrong, compare
from benchmarks.opinfo.trial import Problem, Trial
from benchmarks.opinfo.worker import Result


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def sample() -> Iterator[list[Result]]:
    chosen = cases.sample(cases.select(cases.load(), operands=command.SAMPLE_OPERANDS))
    yield measure.run(chosen, 2, 600.0, silent)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_sample_with_every_entry_of_the_databases_is_right(sample: list[Result]) -> None:
    """Right, or refused as listed: nothing else."""
    fields = measure.report(sample)
    assert fields["unlisted"] == []
    assert [fields[name] for name in ("wrong", "crashed", "hung")] == [0, 0, 0]
    assert fields["tried"] > 650 and fields["modules"]["tried"] > 100 and fields["optimizers"]["tried"] > 10
    assert fields["tried"] == fields["right"] + fields["raised"] == sum(row["tried"] for row in fields["by_dtype"].values())
    assert all(row["tried"] > 50 for row in fields["by_dtype"].values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_listed_refusal_is_still_met() -> None:
    known = {case.id: case for case in cases.load()}
    results = measure.run([known[entry.example] for entry in allowed.ALLOWED], 2, 600.0, silent)
    met = {allowed.allowed(problem) for result in results for problem in result.problems}
    assert [entry.reason for entry in allowed.ALLOWED if entry not in met] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command() -> None:
    run = CliRunner().invoke(
        bench, ["opinfo", "--op", "mm", "--dtype", "bfloat16", "--kind", "op", "--operands", "1", "--jobs", "1", "--json"]
    )
    result = json.loads(run.stdout)
    assert list(result)[:9] == ["origin", "tried", "right", "wrong", "raised", "crashed", "hung", "chip", "chip_share"]
    assert result["tried"] == result["right"] == result["by_dtype"]["bfloat16"]["tried"] == 1
    assert run.exit_code == 0


def test_a_case_that_no_entry_has_is_refused() -> None:
    run = CliRunner().invoke(bench, ["opinfo", "--op", "no such operator"])
    assert run.exit_code == 1 and "no entry fits" in run.output


def trial(cpu: Any, chip: Any, **options: bool) -> list[str]:
    made = Trial()
    made.both("plain", cpu, chip, **options)
    return [f"{problem.outcome}: {problem.text}" for problem in made.problems]


def fail(text: str) -> Any:
    raise ValueError(text)


def test_what_is_right_and_what_is_not() -> None:
    x = torch.arange(6.0).view(2, 3)
    there = x.to("rigi")
    assert trial(lambda: x, lambda: there) == []
    assert trial(lambda: (x, [x.sum()], {"a": 1}), lambda: (there, [there.sum()], {"a": 1})) == []
    assert trial(lambda: torch.randn(5), lambda: torch.randn(5, device="rigi")) == []  # the same random numbers
    assert trial(lambda: torch.empty(3), lambda: torch.ones(3, device="rigi"), values=False) == []
    assert trial(lambda: fail("a"), lambda: fail("b")) == []
    assert trial(lambda: x, lambda: x) == ["wrong: result: on cpu"]
    assert "not close" in trial(lambda: x, lambda: there + 1)[0]
    assert "shape" in trial(lambda: x, lambda: there.t())[0]
    assert "dtype" in trial(lambda: x, lambda: there.double())[0]
    assert "length" in trial(lambda: (x, x), lambda: (there,))[0]
    assert "not None" in trial(lambda: None, lambda: there)[0]
    assert trial(lambda: x, lambda: fail("no")) == ["raised: ValueError: no"]
    assert trial(lambda: fail("no"), lambda: there) == ["wrong: accepts what the CPU refuses: ValueError: no"]


def test_bad_operands_have_to_be_refused_alike() -> None:
    made = Trial()
    made.refuses("errors", lambda: fail("too large"), lambda: fail("too large"), ValueError, "large")
    made.refuses("errors", lambda: None, lambda: None, ValueError, "large")  # the database means other devices
    assert made.outcome == "right"
    made.refuses("errors", lambda: fail("too large"), lambda: fail("too small"), ValueError, "large")
    made.refuses("errors", lambda: fail("too large"), lambda: None, ValueError, "large")
    assert [problem.outcome for problem in made.problems] == ["wrong", "wrong"]


def test_operands_on_the_chip_are_what_they_are_on_the_cpu() -> None:
    base = torch.arange(24.0).view(4, 6)
    values = {"a": base[1:, ::2], "b": [base.t(), base], "c": base.to(torch.complex64).conj(), "d": base.expand(2, 4, 6), "e": "cpu"}
    made = Mirror()(values)
    assert made["e"] == torch.device("rigi")
    compare({key: made[key] for key in "abcd"}, {key: values[key] for key in "abcd"})
    assert made["a"].stride() == (6, 2) and made["a"].storage_offset() == 6 and made["d"].stride() == (0, 6, 1)
    assert made["c"].is_conj()
    assert made["a"].untyped_storage().data_ptr() == made["b"][0].untyped_storage().data_ptr()
    leaf = Mirror()(torch.ones(3, requires_grad=True))
    assert leaf.is_leaf and leaf.requires_grad
    with pytest.raises(Wrong, match="requires_grad"):
        compare(leaf, torch.ones(3))


def test_the_report() -> None:
    def case(name: str, dtype: str = "float32", kind: str = "op") -> Case:
        return Case(kind, name, 0, dtype)

    wrong = Problem("plain", "wrong", "result: shape")
    results = [
        Result(case("a"), "right", plain_calls=2, chip_calls=2),
        Result(case("a", "int64"), "right", plain_calls=2, chip_calls=1),
        Result(case("b"), "wrong", [wrong, Problem("out", "raised", "ValueError: never listed")]),
        Result(case("c"), "crashed", [Problem("process", "crashed", "signal 11")]),
        Result(case("Linear", kind="module"), "right"),
    ]
    fields = measure.report(results, whole=True)
    assert {name: fields[name] for name in list(fields)[:8]} == {
        "tried": 4, "right": 2, "wrong": 1, "raised": 0, "crashed": 1, "hung": 0, "chip": 1, "chip_share": 0.25,
    }  # fmt: skip
    assert fields["by_dtype"]["float32"]["tried"] == 3 and fields["modules"]["tried"] == 1
    assert [item["case"] for item in fields["unlisted"]] == ["op:b:float32", "op:b:float32", "op:c:float32"]
    assert len(fields["stale"]) == len(allowed.ALLOWED)
    command._print(fields)


def test_a_sample_takes_each_entry_once_and_all_dtypes() -> None:
    known = [Case("op", name, index, dtype) for index, name in enumerate("abcd") for dtype in ("float32", "int64")]
    chosen = cases.sample(known)
    assert [case.name for case in chosen] == list("abcd") and {case.dtype for case in chosen} == {"float32", "int64"}
    assert [case.name for case in cases.select(known, pattern="[ab]", dtypes=["int64"])] == ["a", "b"]
