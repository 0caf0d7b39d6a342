"""bucketize and multinomial_from_uniform: places found by counting, which is a reduction, not by a search that jumps."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx
from tvm.ir import prim

from .common import Legalize, cast, dtype_of, product, reshape, shape_of
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


OPS: dict[str, Legalize] = {"relax.bucketize": _bucketize, "relax.multinomial_from_uniform": _multinomial}
