"""Expressions: walking and replacing, and what an index is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import Call, TensorLoad, Var, prim

from ..codegen.walk import post_order_visit

BINARY = (
    *(prim.Add, prim.Sub, prim.Mul, prim.Div, prim.Mod, prim.FloorDiv, prim.FloorMod, prim.Min, prim.Max),
    *(prim.EQ, prim.NE, prim.LT, prim.LE, prim.GT, prim.GE, prim.And, prim.Or),
    *(prim.BitwiseAnd, prim.BitwiseOr, prim.BitwiseXor, prim.LShift, prim.RShift),
)


def dtype_of(e: Any) -> str:
    return str(e.ty.dtype if hasattr(e.ty, "dtype") else e.ty)


def is_integer(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


def as_int64(e: Any) -> Any:
    if isinstance(e, int):
        return tirx.const(e, "int64")
    if isinstance(e, prim.IntImm):
        return tirx.const(int(e.value), "int64")
    return e if dtype_of(e) == "int64" else prim.Cast("int64", e)


def rewrite(e: Any, leaf: Callable[[Any], Any]) -> Any:
    """`e` with every node for which `leaf` gives something replaced by that, from the top. Integers of two widths meet as int64."""
    new = leaf(e)
    if new is not None:
        return new
    if isinstance(e, BINARY):
        a, b = rewrite(e.a, leaf), rewrite(e.b, leaf)
        if a.same_as(e.a) and b.same_as(e.b):
            return e
        if dtype_of(a) != dtype_of(b):
            a, b = as_int64(a), as_int64(b)
        return type(e)(a, b)
    if isinstance(e, prim.Not):
        return prim.Not(rewrite(e.a, leaf))
    if isinstance(e, prim.BitwiseNot):
        return prim.BitwiseNot(rewrite(e.a, leaf))
    if isinstance(e, prim.Cast):
        value = rewrite(e.value, leaf)
        return value if dtype_of(value) == dtype_of(e) else prim.Cast(dtype_of(e), value)
    if isinstance(e, prim.Select):
        yes, no = _same(rewrite(e.true_value, leaf), rewrite(e.false_value, leaf))
        return prim.Select(rewrite(e.condition, leaf), yes, no)
    if isinstance(e, prim.Let):
        value = rewrite(e.value, leaf)
        return rewrite(e.body, lambda x: value if isinstance(x, Var) and x.same_as(e.var) else leaf(x))
    if isinstance(e, TensorLoad):
        return tirx.BufferLoad(e.source, [rewrite(i, leaf) for i in e.indices])
    if isinstance(e, Call):
        args = [rewrite(a, leaf) for a in e.args]
        if e.op.name.endswith("if_then_else"):
            args[1:] = _same(*args[1:])
        if all(x.same_as(y) for x, y in zip(args, e.args)):
            return e
        dtype = dtype_of(args[1]) if e.op.name.endswith("if_then_else") else dtype_of(e)
        return tirx.call_intrin(dtype, e.op.name, *args)
    return e


def _same(a: Any, b: Any) -> tuple[Any, Any]:
    if dtype_of(a) != dtype_of(b) and is_integer(dtype_of(a)) and is_integer(dtype_of(b)):
        return as_int64(a), as_int64(b)
    return a, b


def substitute(e: Any, values: dict[Any, Any]) -> Any:
    """`e` with variables replaced."""
    if not values:
        return e
    by_handle = {v.__chandle__(): x for v, x in values.items()}
    return rewrite(e, lambda x: by_handle.get(x.__chandle__()) if isinstance(x, Var) else None)


def find(e: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """All nodes of some types, children first."""
    found: list[Any] = []
    post_order_visit(e, lambda node: found.append(node) if isinstance(node, kind) else None)
    return found


def uses(e: Any, variables: Iterable[Any]) -> bool:
    handles = {v.__chandle__() for v in variables}
    return any(v.__chandle__() in handles for v in find(e, Var))


def is_call(e: Any, name: str) -> bool:
    return isinstance(e, Call) and hasattr(e.op, "name") and e.op.name.rsplit(".", 1)[-1] == name


def flat_offset(buffer: Any, indices: list[Any]) -> Any:
    """The element of a buffer as one number, in row-major order or by the buffer's strides."""
    offset: Any = tirx.const(0, "int64")
    if len(buffer.strides):
        for i, s in zip(indices, buffer.strides):
            offset = offset + as_int64(i) * as_int64(s)
        return offset
    for i, n in zip(indices, buffer.shape):
        offset = offset * as_int64(n) + as_int64(i)
    return offset


def linear(e: Any, variables: list[Any], analyzer: tvm.sym.Analyzer) -> list[Any] | None:
    """Coefficients of `e` in each variable and the rest, or None if it is not of that form."""
    e = analyzer.simplify(e)
    if not variables:
        return [e]
    got = list(tvm.sym.detect_linear_equation(e, variables))
    if len(got) != len(variables) + 1 or any(uses(c, variables) for c in got):
        return None
    return [analyzer.simplify(c) for c in got]
