"""Non-maximum suppression: TVM's functions, but their order of boxes is counted instead of sorted by a function of the host.

A box's rank is the number of boxes before it, and the box of a rank the one whose rank that is: two reductions. They also order the data
types that the vector engine's top-k does not take.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from tvm import relax, te, tirx
from tvm.topi.vision import nms

from .common import Legalize


def counted_argsort(
    x: te.Tensor, valid_count: te.Tensor | None = None, axis: int = -1, is_ascend: Any = 1, dtype: str = "float32"
) -> te.Tensor:
    """topi.argsort of x[m, n] along its rows; with valid_count[m], only so many of each row are put in order, the others stay."""
    assert axis % len(x.shape) == 1 and len(x.shape) == 2, "rows of a matrix"
    n = x.shape[1]
    j, i = te.reduce_axis((0, n), "other"), te.reduce_axis((0, n), "place")
    one, none = tirx.const(1, "int32"), tirx.const(0, "int32")

    def before(r: Any, c: Any) -> Any:
        ahead = x[r, j] < x[r, c] if is_ascend else x[r, j] > x[r, c]
        found = tirx.any(ahead, tirx.all(x[r, j] == x[r, c], j < c))
        if valid_count is not None:
            found = tirx.if_then_else(c < valid_count[r], tirx.all(found, j < valid_count[r]), j < c)
        return te.sum(tirx.Select(found, one, none), axis=j)

    ranks = te.compute(x.shape, before, name="ranks")
    place = i.var.astype("int32")
    return te.compute(x.shape, lambda r, c: te.sum(tirx.Select(ranks[r, i] == c, place, none), axis=i), name="order").astype(dtype)


def _counting(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    with mock.patch.object(nms, "argsort", counted_argsort):
        return op.op.get_attr("FLegalize")(bb, op)


OPS: dict[str, Legalize] = {f"relax.vision.{name}": _counting for name in ("all_class_non_max_suppression", "non_max_suppression")}
