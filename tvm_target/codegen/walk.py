"""Walking TIR from Python, children before parents and in the order of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# Fields that hold children, in order of evaluation. A field may be a node, a list of nodes, or None.
_FIELDS = (
    *("min", "extent", "step", "condition", "value", "data", "indices", "args", "a", "b", "true_value", "false_value", "base", "stride"),
    *("iter_values", "predicate", "block", "init", "body", "seq", "then_case", "else_case"),
)
_BY_TYPE: dict[type, tuple[str, ...]] = {}


def _fields(node: Any) -> tuple[str, ...]:
    kind = type(node)
    if kind not in _BY_TYPE:
        # Buffers are variables, and what a variable's methods offer (data, among others) is no child of it.
        leaf = kind.__name__ in ("Var", "IntImm", "FloatImm", "StringImm", "GlobalVar", "Op", "AllocBuffer")
        _BY_TYPE[kind] = () if leaf else tuple(f for f in _FIELDS if hasattr(kind, f))
    return _BY_TYPE[kind]


def children(node: Any) -> Iterator[Any]:
    """The direct children of a statement or an expression."""
    for name in _fields(node):
        value = getattr(node, name, None)
        if value is None:
            continue
        if type(value).__name__ in ("Array", "list", "tuple"):
            yield from value
        elif hasattr(value, "__chandle__"):
            yield value


def post_order_visit(node: Any, visit: Callable[[Any], None]) -> None:
    """Calls `visit` on every node below `node` and on `node` itself."""
    for child in children(node):
        post_order_visit(child, visit)
    visit(node)
