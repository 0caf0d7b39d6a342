"""Slices that take nothing: `strided_slice` whose end may lie before its begin, as x[5:2], or x[5:-1] of few rows.

TVM gives such a slice a negative size, with which it cannot be compiled or, where the size of the axis is a symbol, not be allocated. Here
a bound is moved to where nothing is left, and whatever is computed from the slice gets its size.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir import Call

from .relax_rewrites import is_call_of, rewritten
from .rules.emitter import constant


@relax.expr_functor.mutator
class _Slices(relax.PyExprMutator):
    def visit_call_(self, call: Call) -> Any:
        call = super().visit_call_(call)
        if not is_call_of(call, "relax.strided_slice") or len(call.args) < 4 or call.args[0].ty.shape is None:
            return call
        x, axes, begins, ends = call.args[:4]
        if not all(isinstance(part, relax.Tuple) for part in call.args[1:]):
            return call
        steps = list(call.args[4].fields) if len(call.args) > 4 else [tirx.const(1, "int64")] * len(axes.fields)
        begins, ends, changed = list(begins.fields), list(ends.fields), False
        for k, axis in enumerate(axes.fields):
            moved = _moved(begins[k], ends[k], steps[k], x.ty.shape[int(axis)])
            if moved is not None:
                begins[k], ends[k], steps[k] = moved
                changed = True
        if not changed:
            return call
        return relax.op.strided_slice(x, [int(a) for a in axes.fields], begins, ends, steps, assume_inbound=call.attrs.assume_inbound)


def _moved(begin: Any, end: Any, step: Any, size: Any) -> tuple[Any, Any, Any] | None:
    """Begin, end and step of the same elements, never in the wrong order; None if that is so already, or not known."""
    first, last, by = (constant(e) for e in (begin, end, step))
    if first is None or last is None or not by:
        return None
    forward = by > 0
    if (first < 0) == (last < 0):
        known = first < last if forward else first > last
        return None if known else (0, 0, 1)
    if (length := constant(size)) is not None:
        return (0, 0, 1) if len(range(*slice(first, last, by).indices(length))) == 0 else None
    low, high = (0, size) if forward else (-1, size - 1)
    at, to = (tirx.min(tirx.max(e + size if e < 0 else e, low), high) for e in (first, last))
    return (begin, tirx.max(at, to), step) if forward else (tirx.max(at, to), end, step)


@tvm.transform.module_pass(opt_level=0, name="rigi.slices")
def slices(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    return rewritten(mod, _Slices(mod))
