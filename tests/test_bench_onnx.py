"""`rigi bench onnx`: what passes and what does not, and a sample of the tests on the chip."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import bench
from benchmarks.onnx_nodes import cases, command, measure, worker
from benchmarks.onnx_nodes.cases import Case
from benchmarks.onnx_nodes.worker import Result

X = np.array([1.0, np.nan, -np.inf], "float32")


def case(*outputs: Any, name: str = "test_x") -> Case:
    return Case(name, "X", b"", [], list(outputs), 1e-3, 1e-7)


@pytest.mark.parametrize(
    ("expected", "got"),
    [([X], [X.copy()]), ([X], [X * np.float32(1.0005)]), ([[X, X]], [[X, X]]), ([[X, X]], [X, X]), ([X, X > 0], [X, X > 0])],
    ids=["equal", "within the tolerance", "a sequence", "a sequence alone", "two outputs"],
)
def test_what_passes(expected: list[Any], got: list[Any]) -> None:
    worker.compare(case(*expected), got)


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        ([X], [X + 1], "1 / 3"),
        ([X], [X[:, None]], "incorrect shape"),
        ([X], [X.astype("float64")], "float64"),
        ([X], [np.nan_to_num(X, nan=0, neginf=-np.inf)], "nan"),
        ([X, X], [X], "ACTUAL: 1"),
        ([np.arange(3)], [np.arange(3, dtype="int32")], "int32"),
    ],
    ids=["value", "shape", "type", "nan", "number", "width"],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_does_not_pass(expected: list[Any], got: list[Any], words: str) -> None:
    with pytest.raises(AssertionError) as failed:
        worker.compare(case(*expected), got)
    assert words in worker.reason(failed.value) and "\n" not in worker.reason(failed.value)


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    names = [f"test_{i}" for i in range(100)]
    one = cases.select(names, None, 20, 7)
    assert one == cases.select(names[::-1], None, 20, 7) and len(one) == 20 and one == sorted(one)
    assert one != cases.select(names, None, 20, 8)
    assert cases.select(names, "test_1*", None, 0) == sorted(name for name in names if name.startswith("test_1"))
    assert cases.select(names, None, 1000, 0) == sorted(names)


def test_report_counts_what_llvm_passes() -> None:
    llvm = [Result("a", "A", "as is", "passed"), Result("b", "B", "constants", "passed"), Result("c", "C", "as is", "import", "no C")]
    rigi = [Result("a", "A", "as is", "passed", cycles=100, element_cycles=25), Result("b", "B", "constants", "compile", "too large")]
    fields = measure.report(llvm, rigi, 1.0)
    assert [fields[name] for name in ("total", "llvm_passed", "passed", "ratio")] == [3, 2, 1, 0.5]
    assert fields["failed"] == [{"test": "b", "op": "B", "form": "constants", "stage": "compile", "reason": "too large"}]
    assert fields["forms"] == {"as is": {"llvm_passed": 1, "passed": 1}, "constants": {"llvm_passed": 1, "passed": 0}}
    assert fields["element_loop_share"] == 0.25 and fields["llvm_failed"] == {"import: no C": 1}
    command._print(fields)
    fields = measure.report(llvm, None, 1.0)
    assert fields["passed"] is None and fields["ratio"] is None and fields["failed"] == []
    command._print(fields)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_sample_on_the_chip() -> None:
    """The fields, and 95 % of what passes on llvm."""
    run = CliRunner().invoke(bench, ["onnx", "--sample", "25", "--seed", "4", "--json"])
    result = json.loads(run.stdout)
    assert list(result)[:6] == ["origin", "total", "llvm_passed", "passed", "ratio", "failed"]
    assert result["total"] == 25 and result["passed"] + len(result["failed"]) == result["llvm_passed"] > 5
    assert result["ratio"] >= measure.BOUND, result["failed"]
    assert run.exit_code == 0
