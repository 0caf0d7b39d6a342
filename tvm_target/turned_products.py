"""Products with transposed weights: `x @ permute_dims(w)` reads w as it lies.

torch keeps a linear layer's weight as [N, K], and the matrix engine takes it so; a transpose of its own would copy it at every call.
TVM has a pass for this (FuseTransposeMatmul), which fails for a product of a tensor with itself and mixes up operands of recurrent layers.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, te
from tvm.ir import Call

from .relax_rewrites import is_call_of, rewritten


def _product(x: te.Tensor, w: te.Tensor, dtype: str) -> te.Tensor:
    """[..., K] and [N, K] to [..., N]."""
    k = te.reduce_axis((0, w.shape[1]), "k")
    shape = (*x.shape[:-1], w.shape[0])
    return te.compute(shape, lambda *i: te.sum(x(*i[:-1], k).astype(dtype) * w(i[-1], k).astype(dtype), axis=k), name="matmul")


@relax.expr_functor.mutator
class _Turner(relax.PyExprMutator):
    def visit_call_(self, call: Call) -> Any:
        call = super().visit_call_(call)
        if not is_call_of(call, "relax.matmul") or not isinstance(call.args[1], relax.Var):
            return call
        turned = self.lookup_binding(call.args[1])
        if not is_call_of(turned, "relax.permute_dims") or turned.args[0].ty.ndim != 2:
            return call
        axes = turned.attrs.axes
        if axes is not None and [int(a) for a in axes] != [1, 0] or call.args[0].ty.shape is None or turned.args[0].ty.shape is None:
            return call
        dtype = str(call.attrs.out_dtype or call.args[0].ty.dtype)
        return self.builder_.call_te(_product, call.args[0], turned.args[0], dtype, primfunc_name_hint="matmul_turned")


@tvm.transform.module_pass(opt_level=0, name="rigi.turn_products")
def turn_products(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    return relax.transform.DeadCodeElimination()(rewritten(mod, _Turner(mod)))
