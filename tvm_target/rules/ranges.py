"""Which whole numbers an expression may be. An int64 that provably fits in an int32 is computed in one word, any other in two (`wide`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm.ir import Call, TensorLoad, Var, prim

from .rewrite import dtype_of, find, is_call, is_integer

Bounds = tuple[int, int]  # the smallest and the largest

_COMPARISONS = (prim.LT, prim.LE, prim.GT, prim.GE, prim.EQ, prim.NE, prim.And, prim.Or, prim.Not)


def of_type(dtype: str) -> Bounds:
    """What an integer type can hold."""
    if dtype == "bool":
        return 0, 1
    bits = int(dtype.lstrip("uint"))
    return (0, (1 << bits) - 1) if dtype.startswith("u") else (-(1 << bits - 1), (1 << bits - 1) - 1)


INT32 = of_type("int32")


def within(inner: Bounds, outer: Bounds) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def bounds(e: Any, analyzer: tvm.sym.Analyzer) -> Bounds:
    """Of an integer expression. A place along an axis, and a size, are below 2^31; nothing is known of what int64 buffers hold."""
    dtype = dtype_of(e)
    whole = of_type(dtype)
    found = _found(e, dtype, analyzer)
    return found if found is not None and within(found, whole) else whole


def fits(e: Any, analyzer: tvm.sym.Analyzer) -> bool:
    """Whether an integer expression is an int32, whatever its type."""
    return within(bounds(e, analyzer), INT32)


def _found(e: Any, dtype: str, analyzer: tvm.sym.Analyzer) -> Bounds | None:
    if isinstance(e, prim.IntImm):
        return int(e.value), int(e.value)
    if isinstance(e, Var):
        known = analyzer.const_int_bound(e)
        low = int(known.min_value)
        return None if low < -(1 << 31) else (low, min(int(known.max_value), INT32[1]))
    if isinstance(e, _COMPARISONS):
        return 0, 1
    if isinstance(e, TensorLoad):
        return None
    if isinstance(e, prim.Cast):
        return bounds(e.value, analyzer) if is_integer(dtype_of(e.value)) or dtype_of(e.value) == "bool" else None
    if isinstance(e, prim.Select):
        return _either(e.true_value, e.false_value, analyzer)
    if is_call(e, "if_then_else"):
        return _either(e.args[1], e.args[2], analyzer)
    if is_call(e, "likely"):
        return bounds(e.args[0], analyzer)
    rule = _RULES.get(type(e))
    if rule is not None:
        return rule(bounds(e.a, analyzer), bounds(e.b, analyzer))
    if not find(e, (TensorLoad, Call)):
        known = analyzer.const_int_bound(e)
        return int(known.min_value), int(known.max_value)
    return None


def _either(a: Any, b: Any, analyzer: tvm.sym.Analyzer) -> Bounds:
    (a0, a1), (b0, b1) = bounds(a, analyzer), bounds(b, analyzer)
    return min(a0, b0), max(a1, b1)


def _corners(combine: Callable[[int, int], int]) -> Callable[[Bounds, Bounds], Bounds]:
    def run(a: Bounds, b: Bounds) -> Bounds:
        values = [combine(x, y) for x in a for y in b]
        return min(values), max(values)

    return run


def _remainder(a: Bounds, b: Bounds) -> Bounds | None:
    """Of a division that rounds down, by a positive number."""
    if b[0] <= 0:
        return None
    return (0, min(a[1], b[1] - 1)) if a[0] >= 0 else (0, b[1] - 1)


def _quotient(a: Bounds, b: Bounds) -> Bounds | None:
    """No quotient is larger than what is divided, but for that of the lowest number by -1."""
    largest = max(abs(a[0]), abs(a[1]))
    return (min(a[0], 0), max(a[1], 0)) if b[0] > 0 else (-largest, largest)


def _truncated_remainder(a: Bounds, b: Bounds) -> Bounds | None:
    if b[0] <= 0:
        return None
    return max(min(a[0], 0), 1 - b[1]), min(max(a[1], 0), b[1] - 1)


_RULES: dict[type, Callable[[Bounds, Bounds], Bounds | None]] = {
    prim.Add: lambda a, b: (a[0] + b[0], a[1] + b[1]),
    prim.Sub: lambda a, b: (a[0] - b[1], a[1] - b[0]),
    prim.Mul: _corners(lambda x, y: x * y),
    prim.Max: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    prim.Min: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    prim.FloorMod: _remainder,
    prim.Mod: _truncated_remainder,
    prim.FloorDiv: _quotient,
    prim.Div: _quotient,
    prim.BitwiseAnd: lambda a, b: (0, min(x[1] for x in (a, b) if x[0] >= 0)) if a[0] >= 0 or b[0] >= 0 else None,
}
