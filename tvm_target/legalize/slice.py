"""dynamic_strided_slice, with NumPy's meaning for all begins, ends and steps: TVM's takes begins that are negative or past the end as they
are, and gives an end before its begin a negative size.

A step of 0 has no meaning; it gives nothing.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from .common import Legalize, shape_of


def _clipped(index: Any, size: Any, step: Any) -> Any:
    """A begin or an end, counted from the front, in the range where its direction may begin or end."""
    index = tirx.Select(index < 0, index + size, index)
    low, high = tirx.Select(step < 0, tirx.const(-1, "int64"), tirx.const(0, "int64")), tirx.Select(step < 0, size - 1, size)
    return tirx.min(tirx.max(index, low), high)


def _sizes(x: te.Tensor, begin: te.Tensor, end: te.Tensor, step: te.Tensor) -> tuple[te.Tensor, te.Tensor]:
    """What each dimension begins with, and how many elements of it are taken."""

    def bounds(k: Any) -> tuple[Any, Any]:
        size: Any = tirx.const(0, "int64")
        for axis, n in enumerate(x.shape):
            size = tirx.Select(k == axis, tirx.Cast("int64", n), size)
        s = step[k].astype("int64")
        first, last = (_clipped(index[k].astype("int64"), size, s) for index in (begin, end))
        back = s < 0
        distance, stride = tirx.Select(back, first - last, last - first), tirx.Select(back, -s, s)
        return first, tirx.max(tirx.floordiv(distance + stride - 1, stride), tirx.const(0, "int64"))

    rank = (len(x.shape),)
    return te.compute(rank, lambda k: bounds(k)[0], name="first"), te.compute(rank, lambda k: bounds(k)[1], name="sizes")


def _dynamic_strided_slice(bb: relax.BlockBuilder, op: relax.Call) -> relax.Expr:
    x, begin, end, step = op.args
    rank = len(shape_of(x))
    made = bb.emit_te(_sizes, x, begin, end, step, primfunc_name_hint="slice_bounds")
    first, sizes = (bb.emit(relax.TupleGetItem(made, k)) for k in range(2))
    variables = [tirx.Var("s", "int64") for _ in range(rank)]
    bb.match_cast(bb.emit(relax.op.tensor_to_shape(sizes)), relax.ShapeType(variables))

    def taken(x: te.Tensor, first: te.Tensor, step: te.Tensor) -> te.Tensor:
        places = lambda at: [first[k] + i * step[k].astype("int64") for k, i in enumerate(at)]  # noqa: E731
        return te.compute(variables, lambda *at: x[tuple(places(at))], name="slice")

    return bb.call_te(taken, x, first, step, primfunc_name_hint="dynamic_strided_slice")


OPS: dict[str, Legalize] = {"relax.dynamic_strided_slice": _dynamic_strided_slice}
