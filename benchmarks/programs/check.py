"""Compiling, running and comparing programs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pool import Work
from . import relax_programs, tir_programs
from .program import Program, Value
from .values import is_float

RIGHT, WRONG, REFUSED, FAILED = OUTCOMES = ("right", "wrong", "refused", "failed")


@dataclass(frozen=True)
class Outcome:
    """What came of a program; `reason` is one line, `script` shows it as small as it was found."""

    seed: int
    outcome: str
    reason: str = ""
    script: str = ""


def program(seed: int) -> Program:
    """The program of a seed: every fourth is TIR."""
    return tir_programs.program(seed) if seed % 4 == 3 else relax_programs.program(seed)


def check(seed: int) -> Outcome:
    """Runs the program of a seed; of one that is not right, the smallest part that fails in the same way."""
    whole = program(seed)
    outcome, reason = run(whole)
    if outcome == RIGHT:
        return Outcome(seed, outcome)
    for part in whole.smaller():
        again, why = run(part)
        if again == outcome:
            return Outcome(seed, outcome, why, part.script())
    return Outcome(seed, outcome, reason, whole.script())


def _start() -> Callable[[int], Outcome]:
    return check


def _lost(seed: int, why: str, words: str) -> Outcome:
    return Outcome(seed, FAILED, words, program(seed).script())


WORK: Work[int, Outcome] = Work(_start, _lost)
"""What a process of the pool does: from a seed to its outcome. A program that ends its process, or is not done in time, has failed."""


def run(made: Program) -> tuple[str, str]:
    """The outcome, and why."""
    import tvm
    from tvm import relax

    from tvm_target.codegen import CodegenError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = tvm.script.from_source(made.text())
            executable = tvm.compile(module, target="rigi1")
    except CodegenError as error:
        return REFUSED, _line(error)
    except Exception as error:  # whatever is raised is the program's outcome
        return FAILED, f"compile: {_line(error)}"
    try:
        device = tvm.device("ext_dev", 0)
        machine = relax.VirtualMachine(executable, device)
        got = _flat(machine["main"](*[tvm.runtime.tensor(v.array, device) for v in made.inputs]))
    except Exception as error:
        import sdk_sim

        sdk_sim.reset()
        return FAILED, f"run: {_line(error)}"
    for array, value in zip(got, made.results, strict=True):
        why = difference(array, value)
        if why:
            return WRONG, f"{value.name}: {why}"
    return RIGHT, ""


def _flat(result: Any) -> list[np.ndarray]:
    if hasattr(result, "numpy"):
        return [result.numpy()]
    return [array for item in result for array in _flat(item)]


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


def difference(got: np.ndarray, value: Value) -> str:
    """What is wrong with an array; empty if nothing is."""
    want = value.array
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{got.shape} instead of {want.dtype}{want.shape}"
    if not is_float(value.dtype):
        bad = got != want
    else:
        a, b = got.astype("float64"), want.astype("float64")
        bound = value.error * max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
        with np.errstate(all="ignore"):
            near = np.abs(a - b) <= bound
        bad = ~((np.isnan(a) & np.isnan(b)) | (a == b) | near)
    if not bad.any():
        return ""
    place = tuple(int(k) for k in np.argwhere(bad)[0])
    return f"{int(bad.sum())} of {bad.size} elements differ, the first at {place}: {got[place]!r} instead of {want[place]!r}"
