"""The worker processes of benches: a task that ends its process, or outlives its time, costs that process and no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from benchmarks import pool

Result = tuple[str, str, int | str]  # task, outcome, the process or what was said


def start() -> Callable[[str], Result]:
    def answer(task: str) -> Result:
        print(f"now {task}")
        if task == "crash":
            os.abort()
        if task == "hang":
            time.sleep(60)
        return task, "done", os.getpid()

    return answer


def lost(task: str, why: str, words: str) -> Result:
    return task, why, words


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process_costs_no_other_task() -> None:
    work = pool.Work(start, lost)
    results = {task: (why, said) for task, why, said in pool.run(work, ["one", "crash", "two", "hang", "three"], 1, 2.0)}
    assert {task: why for task, (why, _) in results.items()} == {
        "one": "done", "crash": "crash", "two": "done", "hang": "timeout", "three": "done",
    }  # fmt: skip
    assert "signal 6" in str(results["crash"][1]) and "now crash" in str(results["crash"][1])
    assert "2 s" in str(results["hang"][1]) and "now hang" in str(results["hang"][1])
    assert len({results[task][1] for task in ("one", "two", "three")}) == 3


@pytest.mark.timeout(120)
def test_a_process_goes_on_as_long_as_its_results_allow() -> None:
    kept = list(pool.run(pool.Work(start, lost), ["one", "two"], 1, 30.0))
    assert kept[0][2] == kept[1][2]
    fresh = list(pool.run(pool.Work(start, lost, keep=lambda _: False), ["one", "two"], 1, 30.0))
    assert fresh[0][2] != fresh[1][2]
