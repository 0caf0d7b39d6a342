"""Products with a weight and what a layer does to them at once: `linear` and `linear_f32`, `_bias`, `_residual`, `_swiglu`."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import Call, GenericConst

from .emitter import Emit, Emitter, Plan
from .graph import Expr, Graph, dtype, equal, product, sizes
from .graph import shape as known_shape
from .library import choices

BF16 = "bfloat16"


class Product:
    """x [.., k] times a weight [n, k], which is a parameter, a constant or another value in that layout."""

    def __init__(self, graph: Graph, call: Call):
        self._graph = graph
        self.x, self.weight = call.args[0], weight(graph, call.args[1])
        self.out = str(call.ty.dtype)
        self.shape = sizes(call)

    @property
    def fits(self) -> bool:
        x, w = sizes(self.x), None if self.weight is None else sizes(self.weight)
        return bool(x and w and self.shape and len(x) > 1 and dtype(self.x) == BF16 and self.out in (BF16, "float32"))

    def emit(self, op: str, out: str, *more: Any) -> Emit:
        """`more`: further operands, each a function of the emitter."""
        assert self.shape is not None
        rows, n, shape = product(self.shape[:-1]), self.shape[-1], self.shape
        k = known_shape(self.x)[-1]
        kernels = choices(self._graph, op, {"m": rows, "n": n, "k": k}, free="m")
        assert kernels is not None

        def emit(emitter: Emitter) -> Expr:
            operands = [emitter.rows(self.x), self.weight, *(make(emitter) for make in more)]
            return emitter.shaped(emitter.kernel(kernels, operands, [([rows, n], out)], free="m"), shape)

        return emit


def weight(graph: Graph, expr: Expr) -> Expr | None:
    """[k, n] as what it is the transpose of, if that can be had without a kernel."""
    value = graph.value(expr)
    if isinstance(value, GenericConst) and len(value.value.shape) == 2 and dtype(value) == BF16:
        return relax.const(np.ascontiguousarray(value.value.numpy().T), BF16)
    call = graph.call(expr, "permute_dims")
    if call is None or call.attrs.axes is not None and [int(a) for a in call.attrs.axes] != [1, 0]:
        return None
    source = call.args[0]
    shape = sizes(source)
    return source if shape is not None and len(shape) == 2 and dtype(source) == BF16 else None


def _product(graph: Graph, expr: Expr, out: str) -> Product | None:
    call = graph.call(expr, "matmul")
    found = Product(graph, call) if call is not None else None
    return found if found is not None and found.fits and found.out == out else None


def linear(graph: Graph, var: relax.Var) -> Plan | None:
    """x w^T, in bf16 or left in fp32."""
    for op, out in (("linear", BF16), ("linear_f32", "float32")):
        found = _product(graph, var, out)
        if found is not None:
            return {var: found.emit(op, out)}
    return None


def linear_cast(graph: Graph, var: relax.Var) -> Plan | None:
    """A product in fp32 that is only wanted in bf16: one rounding either way. And one in bf16 that is only wanted in fp32, as logits are:
    it is not rounded on its way."""
    call = graph.call(var, "astype")
    if call is None or not graph.only_here(call.args[0]):
        return None
    for op, out, before in (("linear", BF16, "float32"), ("linear_f32", "float32", BF16)):
        found = _product(graph, call.args[0], before) if dtype(call) == out else None
        if found is not None:
            return {var: found.emit(op, out), call.args[0]: None}
    return None


def linear_with(graph: Graph, var: relax.Var) -> Plan | None:
    """x w^T + bias, or + a tensor of the result's shape. The sum is rounded once, where Relax's two steps round twice."""
    call = graph.call(var, "add")
    if call is None:
        return None
    for term, other in ((call.args[0], call.args[1]), (call.args[1], call.args[0])):
        found = _product(graph, term, BF16) if graph.only_here(term) else None
        shape = sizes(other)
        if found is None or shape is None or dtype(other) != BF16:
            continue
        assert found.shape is not None
        if len(shape) == 1 and equal(shape[0], found.shape[-1]):
            return {var: found.emit("linear_bias", BF16, lambda _emitter, bias=other: bias), term: None}
        if equal(shape, found.shape):
            return {var: found.emit("linear_residual", BF16, lambda emitter, residual=other: emitter.rows(residual)), term: None}
    return None


def swiglu(graph: Graph, var: relax.Var) -> Plan | None:
    """silu(x gate^T) * (x up^T), with one rounding."""
    call = graph.call(var, "multiply")
    for first, second in ((call.args[0], call.args[1]), (call.args[1], call.args[0])) if call is not None else ():
        silu = graph.call(first, "nn.silu")
        if silu is None or not all(graph.only_here(x) for x in (first, silu.args[0], second)):
            continue
        gate, up = _product(graph, silu.args[0], BF16), _product(graph, second, BF16)
        if gate is None or up is None or not gate.x.same_as(up.x) or not equal(gate.shape or [], up.shape or [0]):
            continue
        return {var: gate.emit("linear_swiglu", BF16, lambda _emitter, up=up.weight: up), first: None, silu.args[0]: None, second: None}
    return None
