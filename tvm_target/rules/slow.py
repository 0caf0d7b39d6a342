"""The warning about functions that no rule takes."""

from __future__ import annotations

import textwrap
import warnings

from tvm import tirx

from ..codegen.walk import post_order_visit
from .fusion import Part

_OBVIOUS = ("no contraction", "no reduction", "a reduction")  # what a rule says of stages that are none of its kind
_LONGEST = 240  # characters of what is said of a part: expressions may take pages


class ElementLoopsWarning(UserWarning):
    """A function that is right, but slow: a core's sequencer computes part of it element by element."""


def warn(name: str, parts: list[Part]) -> None:
    """Once for a function: which parts of it, and why."""
    lines = [textwrap.shorten(f"{_written(part)}: {_reason(part)}", _LONGEST, placeholder=" ...") for part in parts]
    warnings.warn(
        f"function {name} runs element by element on one core, at tens of cycles for each element, where it writes\n  "
        + "\n  ".join(lines)
        + "\nIts results are right. To make it fast, write that as loops that the rules know (elementwise, reduction, product; see Rules "
        "in tvm_target/README.md) in float32, float16, bfloat16, int32, int8 or bool, or as a kernel of the dialect",
        ElementLoopsWarning,
        stacklevel=2,
    )


def _written(part: Part) -> str:
    found: list[str] = []
    post_order_visit(part.stmt, lambda node: found.append(str(node.buffer.name)) if isinstance(node, tirx.BufferStore) else None)
    return ", ".join(dict.fromkeys(found)) or "nothing"


def _reason(part: Part) -> str:
    reasons = dict.fromkeys(part.reasons)
    return "; ".join([r for r in reasons if r not in _OBVIOUS] or reasons)
