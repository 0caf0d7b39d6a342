"""full and full_like: TVM's legalization fails for infinities, which masks and sampling fill with."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx
from tvm.relax.transform.legalize_ops.common import _try_convert_to_scalar_const

from .common import Legalize, attempt, dtype_of, shape_of


def _full(bb: relax.BlockBuilder, op: relax.Call) -> relax.Expr:
    shape = shape_of(op.args[0]) if op.op.name == "relax.full_like" else list(op.args[0].values)
    value, dtype = op.args[1], dtype_of(op)
    known = _try_convert_to_scalar_const(value, python_native=True)
    if isinstance(known, (bool, int, float)):
        number = tirx.const(known, dtype)
        return bb.call_te(lambda: te.compute(shape, lambda *_: number, name="full"), primfunc_name_hint="full")

    def filled(x: te.Tensor) -> te.Tensor:
        return te.compute(shape, lambda *_: x[tuple([0] * len(x.shape))].astype(dtype), name="full")

    return bb.call_te(filled, value, primfunc_name_hint="full")


def _shaped(op: relax.Call) -> Any:
    return op.op.name == "relax.full_like" or isinstance(op.args[0], relax.ShapeExpr)


OPS: dict[str, Legalize] = {name: attempt(_full, _shaped) for name in ("relax.full", "relax.full_like")}
