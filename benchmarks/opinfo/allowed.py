"""What the device may raise where the CPU does not, each with the reason. Nothing else may."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .trial import Problem


@dataclass(frozen=True)
class Allowed:
    """One kind of refusal.

    Args:
        reason: why the device refuses.
        text: what the refusal's line matches.
        example: a case, as `Case.id` has it, that meets it: by this one a test sees whether it still does.
    """

    reason: str
    text: str
    example: str


ALLOWED = (
    Allowed(
        reason="the chip has dense tensors only: no operator makes a sparse one there, or takes one",
        text="only dense tensors of plain dtypes live on the chip",
        example="op:to_sparse:float32",
    ),
)


def allowed(problem: Problem) -> Allowed | None:
    """The entry that allows a refusal, if any."""
    if problem.outcome != "raised":
        return None
    return next((entry for entry in ALLOWED if re.search(entry.text, problem.text)), None)
