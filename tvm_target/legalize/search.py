"""bucketize and multinomial_from_uniform: places found by counting, which is a reduction, not by a search that jumps. argmax and argmin:
TVM's begin with place -1, which stays where no element is larger than the lowest number of its type."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx, topi
from tvm.ir import prim

from .common import Legalize, attempt, cast, dtype_of, product, reshape, shape_of
from .scan import scanned


def _count(x: te.Tensor, edges: te.Tensor, right: bool) -> te.Tensor:
    """How many of the edges [n], or of the edges of x's row [m, n], lie before each of x[m]."""
    j = te.reduce_axis((0, edges.shape[-1]), "edge")

    def before(i: Any) -> Any:
        edge = edges[i, j] if len(edges.shape) == 2 else edges[j]
        test = edge <= x[i] if right else edge < x[i]
        return te.sum(tirx.Select(test, tirx.const(1, "int32"), tirx.const(0, "int32")), axis=j)

    return te.compute(x.shape, before, name="places")


def _at_most(x: te.Tensor, limit: Any) -> te.Tensor:
    return te.compute(x.shape, lambda i: tirx.min(x[i], prim.Cast("int32", limit)), name="at_most")


def _bucketize(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    x, edges = op.args
    shape = shape_of(x)
    flat = reshape(bb, x, [product(shape)])
    places = bb.emit_te(_count, flat, edges, bool(op.attrs.right))
    return cast(bb, reshape(bb, places, shape), "int32" if op.attrs.out_int32 else "int64")


def _multinomial(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    """The first category whose share of [0, 1), laid end to end with those before it, holds the sample."""
    share, sample, row = op.args
    k, categories = shape_of(sample)[0], shape_of(share)[1]
    ends = scanned(bb, share, "sum", 1, dtype_of(share))
    own = bb.emit(relax.op.take(ends, reshape(bb, row, [k]), axis=0))
    places = bb.emit_te(_count, cast(bb, reshape(bb, sample, [k]), dtype_of(share)), own, True)
    bounded = bb.emit_te(_at_most, places, categories - 1)
    return cast(bb, reshape(bb, bounded, [k, 1]), str(op.attrs.dtype))


# The type in which elements are compared, where it is not their own.
_COMPARED = {**dict.fromkeys(("bool", "int8", "uint8", "int16", "uint16"), "int32"), "float16": "float32", "bfloat16": "float32"}
_TWICE = ("int64", "uint64", "uint32", "float64")  # what the vector engine's top-k does not compare


def _best_place(x: te.Tensor, axis: int, largest: bool) -> te.Tensor:
    """int64: where along `axis` the largest (smallest) element stands, the first of equals; the axis stays, with one element."""
    dtype = _COMPARED.get(str(x.dtype), str(x.dtype))
    ends = tirx.min_value, tirx.max_value
    worst = tirx.const(float("-inf" if largest else "inf"), dtype) if "float" in dtype else ends[not largest](dtype)

    def combine(a: Any, b: Any) -> tuple[Any, Any]:
        better = a[1] > b[1] if largest else a[1] < b[1]
        first = tirx.any(better, tirx.all(a[1] == b[1], a[0] < b[0]))
        return tirx.Select(first, a[0], b[0]), tirx.Select(better, a[1], b[1])

    reducer = te.comm_reducer(combine, lambda place, _value: (tirx.const(0, place), worst), name="best")
    k = te.reduce_axis((0, x.shape[axis]), "k")
    shape = [*x.shape[:axis], 1, *x.shape[axis + 1 :]]

    def element(*i: Any) -> Any:
        return reducer((prim.Cast("int64", k.var), x[(*i[:axis], k, *i[axis + 1 :])].astype(dtype)), axis=k)

    places, _ = te.compute(shape, element, name="best")
    return te.compute(shape, lambda *i: places(*i), name="place")


def _furthest(x: te.Tensor, axes: list[int], keep: bool, largest: bool) -> te.Tensor:
    """The largest or smallest float along `axes`. TVM's begin with the lowest finite number, which is no infinity's equal."""
    worst = float("-inf" if largest else "inf")
    reducer = te.comm_reducer(
        lambda a, b: tirx.max(a, b) if largest else tirx.min(a, b), lambda dtype: tirx.const(worst, dtype), name="extremum"
    )
    over = {k: te.reduce_axis((0, x.shape[k]), f"k{k}") for k in axes}
    shape = [1 if k in over else n for k, n in enumerate(x.shape) if keep or k not in over]

    def element(*i: Any) -> Any:
        rest = iter(i)
        own = [next(rest) if keep or k not in over else None for k in range(len(x.shape))]
        return reducer(x[tuple(over.get(k, i) for k, i in enumerate(own))], axis=list(over.values()))

    return te.compute(shape, element, name="extremum")


def _place_of_best(x: te.Tensor, axis: int, largest: bool) -> te.Tensor:
    """The same as two reductions: the largest element, and the first place where it, or a NaN, stands."""
    floats = str(x.dtype) == "float64"
    best = _furthest(x, [axis], True, largest) if floats else (topi.max if largest else topi.min)(x, axis, keepdims=True)
    k = te.reduce_axis((0, x.shape[axis]), "k")
    size = prim.Cast("int64", x.shape[axis])

    def element(*i: Any) -> Any:
        here, place = x[(*i[:axis], k, *i[axis + 1 :])], prim.Cast("int64", k.var)
        found = here == best[i]
        found = tirx.any(found, tirx.isnan(here)) if floats else found
        return te.min(tirx.Select(found, place, size), axis=k)

    return te.compute(best.shape, element, name="place")


def _arg_extremum(largest: bool) -> Legalize:
    def legalize(bb: relax.BlockBuilder, op: relax.Call) -> Any:
        x, axis = op.args[0], op.attrs.axis
        shape = shape_of(x)
        kept = [1] * len(shape)
        if axis is None:
            x, place = reshape(bb, x, [product(shape)]), 0
        else:
            place = int(axis) % len(shape)
            kept = [*shape[:place], 1, *shape[place + 1 :]]
        found = bb.emit_te(_place_of_best if dtype_of(x) in _TWICE else _best_place, x, place, largest)
        result = kept if op.attrs.keepdims else [n for k, n in enumerate(kept) if axis is not None and k != place]
        return reshape(bb, found, result)

    return legalize


def _extremum(largest: bool) -> Legalize:
    def legalize(bb: relax.BlockBuilder, op: relax.Call) -> Any:
        shape = shape_of(op.args[0])
        axes = [k % len(shape) for k in (range(len(shape)) if op.attrs.axis is None else map(int, op.attrs.axis))]
        found = bb.emit_te(_furthest, op.args[0], axes, True, largest, primfunc_name_hint="max" if largest else "min")
        return found if op.attrs.keepdims else reshape(bb, found, [n for k, n in enumerate(shape) if k not in axes])

    return legalize


def _of_floats(op: relax.Call) -> bool:
    return "float" in dtype_of(op.args[0]) and bool(shape_of(op.args[0])) and (op.attrs.axis is None or len(op.attrs.axis) > 0)


OPS: dict[str, Legalize] = {
    "relax.max": attempt(_extremum(True), _of_floats),
    "relax.min": attempt(_extremum(False), _of_floats),
    "relax.bucketize": _bucketize,
    "relax.multinomial_from_uniform": _multinomial,
    "relax.argmax": _arg_extremum(True),
    "relax.argmin": _arg_extremum(False),
}
