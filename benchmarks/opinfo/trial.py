"""What came of one case: each call on the CPU and on the chip, compared."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .device import Wrong, compare, on_chip

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """One call that was not right. `outcome`: "wrong", "raised", "crashed" or "hung"; `text`: one line."""

    check: str
    outcome: str
    text: str


@dataclass
class Trial:
    """The calls of a case.

    chip_calls counts the plain calls that launched kernels of the chip and had no part of them done by the host; plain_calls all of them.
    """

    calls: int = 0
    plain_calls: int = 0
    chip_calls: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        outcomes = {problem.outcome for problem in self.problems}
        return next((worst for worst in ("wrong", "raised") if worst in outcomes), "right")

    def both(self, check: str, cpu: Call, chip: Call, *, values: bool = True, plain: bool = False) -> None:
        """One call on either device. What the CPU refuses the chip has to refuse too.

        Args:
            values: whether results are compared by content.
            plain: whether to note if the chip's kernels did it.
        """
        print(f"{check}, call {self.calls}", flush=True)  # the last words of a process that dies here
        self.calls += 1
        want, refused = attempt(cpu)
        torch.rigi.reset_fallbacks()
        torch.rigi.statistics()
        got, raised = attempt(lambda: on_chip(chip))
        if plain:
            self.plain_calls += 1
            self.chip_calls += bool(torch.rigi.statistics()["launches"] and not torch.rigi.fallbacks())
        if refused is not None:
            if raised is None:
                self.note(check, "wrong", f"accepts what the CPU refuses: {line(refused)}")
        elif raised is not None:
            self.note(check, "raised", line(raised))
        else:
            try:
                compare(got, want, values=values)
            except Wrong as wrong:
                self.note(check, "wrong", str(wrong))

    def refuses(self, check: str, cpu: Call, chip: Call, kind: type[BaseException], pattern: str) -> None:
        """One call with bad operands. What the CPU refuses the chip has to refuse, by that type of exception and a text that matches."""
        _, refused = attempt(cpu)
        if refused is None:
            return  # the database means other devices
        print(f"{check}, call {self.calls}", flush=True)
        self.calls += 1
        _, raised = attempt(lambda: on_chip(chip))
        if raised is None:
            self.note(check, "wrong", f"accepts what the CPU refuses: {line(refused)}")
        elif not isinstance(raised, kind) or not re.search(pattern, str(raised)):
            self.note(check, "wrong", f"says {line(raised)}, not {line(refused)}")

    def note(self, check: str, outcome: str, text: str) -> None:
        problem = Problem(check, outcome, text)
        if problem not in self.problems:
            self.problems.append(problem)


def attempt(call: Call) -> tuple[Any, Exception | None]:
    """The result or the exception of a call, from the same random numbers each time."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(), None
    except Exception as error:  # whatever it raises is the result
        return None, error


def line(error: BaseException) -> str:
    """Type and first line, without addresses, so that equal causes read alike."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return re.sub(r"0x[0-9a-f]{6,}", "0x..", f"{type(error).__name__}: {lines[0] if lines else ''}")[:300]
