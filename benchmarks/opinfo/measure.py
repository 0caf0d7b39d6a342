"""The figures of `rigi bench opinfo`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from .. import pool
from ..progress import Report
from .allowed import ALLOWED, allowed
from .cases import DTYPES, Case
from .worker import WORK, Result

OUTCOMES = ("right", "wrong", "raised", "crashed", "hung")


def measure(cases: list[Case], *, whole: bool, jobs: int, timeout: float, progress: Report) -> dict[str, Any]:
    """The JSON fields of ``rigi bench opinfo`` for some cases. `whole`: these are all. `progress` is told what is done."""
    return report(run(cases, jobs, timeout, progress), whole=whole)


def run(cases: list[Case], jobs: int, timeout: float, progress: Report) -> list[Result]:
    results: list[Result] = []
    progress("on the chip", 0, len(cases))
    for result in pool.run(WORK, cases, jobs, timeout):
        results.append(result)
        bad = sum(item.outcome not in ("right", "raised") for item in results)
        progress(f"{bad} bad" if bad else "on the chip", len(results), len(cases))
    return sorted(results, key=lambda item: (item.case.kind, item.case.index, item.case.dtype))


def report(results: list[Result], *, whole: bool = False) -> dict[str, Any]:
    """The fields. Operators are the total and `by_dtype`; modules and optimizers stand beside. `whole`: all cases ran, so that an entry of
    the list of allowed refusals that none of them met is stale."""
    operators = [item for item in results if item.case.kind == "op"]
    problems = [(item.case, problem) for item in results for problem in item.problems]
    fields: dict[str, Any] = counts(operators)
    fields["by_dtype"] = {dtype: counts([item for item in operators if item.case.dtype == dtype]) for dtype in DTYPES}
    fields["modules"] = counts([item for item in results if item.case.kind == "module"])
    fields["optimizers"] = counts([item for item in results if item.case.kind == "optimizer"])
    fields["calls"] = sum(item.calls for item in results)
    fields["seconds"] = round(sum(item.seconds for item in results), 1)
    met = Counter(entry for _, problem in problems if (entry := allowed(problem)))
    fields["allowed"] = [{"reason": entry.reason, "calls": met[entry]} for entry in ALLOWED if met[entry]]
    fields["unlisted"] = [describe(case, problem) for case, problem in problems if allowed(problem) is None]
    fields["stale"] = [entry.reason for entry in ALLOWED if whole and not met[entry]]
    return fields


def counts(results: Iterable[Result]) -> dict[str, Any]:
    """Cases by outcome, and those done by the chip's kernels alone."""
    results = list(results)
    outcomes = Counter(item.outcome for item in results)
    chip = sum(item.on_chip for item in results)
    shares = {"chip": chip, "chip_share": round(chip / len(results), 4) if results else None}
    return {"tried": len(results), **{name: outcomes[name] for name in OUTCOMES}, **shares}


def describe(case: Case, problem: Any) -> dict[str, str]:
    return {"case": case.id, "check": problem.check, "outcome": problem.outcome, "text": problem.text}


def groups(problems: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """What was not right by text, the most frequent first: how many cases, outcome and text, of which names."""
    names: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for item in problems:
        names[item["outcome"], item["text"]][item["case"].split(":", 1)[1]] += 1
    ordered = sorted(names.items(), key=lambda pair: -len(pair[1]))
    return [
        (str(len(found)), f"{outcome}: {text}", ", ".join(list(found)[:6]) + (" ..." if len(found) > 6 else ""))
        for (outcome, text), found in ordered
    ]
