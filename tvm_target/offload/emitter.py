"""Writing a function again with some of its values computed another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ..kernels._indices import CORES, WORDS
from ..package import KernelSpec
from .graph import Expr, Graph, Size, dtype, equal, product, sizes
from .library import Library

Emit = Callable[["Emitter"], Expr]
Plan = dict[relax.Var, Emit | None]  # values to be computed another way; None: one that goes into another of them


class Emitter:
    """The new bindings of one function. What was written is found again by `value`, so that layouts changed back and forth cancel."""

    def __init__(self, builder: relax.BlockBuilder, library: Library, graph: Graph):
        self._builder = builder
        self._library = library
        self.graph = graph
        self._bindings: list[Any] = []
        self._dataflow = True
        self._kept: dict[Any, Any] = {}  # values that several rules need, once a block

    def rewrite(self, plan: dict[int, Emit]) -> relax.Function:
        """The function with the values of the planned variables (by handle) computed by what the plan says."""
        func = self.graph.func
        blocks = []
        for block in func.body.blocks:
            self._dataflow = isinstance(block, relax.DataflowBlock)
            self._bindings, self._kept = [], {}
            for binding in block.bindings:
                emit = plan.get(binding.var.__chandle__())
                if emit is not None:
                    value = emit(self)
                elif isinstance(binding, relax.VarBinding):
                    value = self._untransposed(binding.value)
                else:
                    self._bindings.append(binding)
                    continue
                self._bindings.append(relax.VarBinding(binding.var, value))
                self.graph.values[binding.var.__chandle__()] = value
            blocks.append((relax.DataflowBlock if self._dataflow else relax.BindingBlock)(self._bindings))
        body = relax.SeqExpr(blocks, func.body.body)
        return relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)

    def emit(self, expr: Expr) -> relax.Var:
        """Binds an expression to a new variable."""
        expr = self._builder.normalize(expr)
        var = (relax.DataflowVar if self._dataflow else relax.Var)("library", expr.ty)
        self._bindings.append(relax.VarBinding(var, expr))
        self.graph.values[var.__chandle__()] = expr
        return var

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` emitted the first time that this key was asked for in this block."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def shaped(self, expr: Expr, shape: list[Size]) -> Expr:
        """The same elements in another shape: a view, no kernel. A reshape of a reshape is one of the source."""
        while True:
            known = sizes(expr)
            if known is not None and equal(known, shape):
                return expr
            inner = self.graph.call(expr, "reshape", "expand_dims", "squeeze")
            if inner is None or sizes(inner.args[0]) is None:
                return self.emit(relax.op.reshape(expr, shape))
            expr = inner.args[0]

    def rows(self, expr: Expr) -> Expr:
        """A tensor as rows of its last dimension."""
        shape = sizes(expr)
        assert shape is not None
        return self.shaped(expr, [product(shape[:-1]), shape[-1]])

    def kernel(self, kernels: list[KernelSpec], arguments: list[Expr], results: list[tuple[list[Size], str]], **options: Any) -> Expr:
        """A call of the first kernel that fits; its results as one tensor or a tuple. `options` are those of Library.function."""
        types = [relax.TensorType(shape, kind) for shape, kind in results]
        call = relax.call_tir(self._library.function(kernels, **options), relax.Tuple(arguments), types if len(types) > 1 else types[0])
        return self.emit(call)

    def kernel_in_place(self, kernels: list[KernelSpec], arguments: list[Expr], written: list[int], **options: Any) -> Expr:
        """A call that writes some of its arguments; gives them, as they are then."""
        types = [relax.TensorType(sizes(arguments[k]), dtype(arguments[k])) for k in written]
        return self.emit(relax.op.call_tir_inplace(self._library.function(kernels, **options), relax.Tuple(arguments), written, types))

    def no_records(self) -> Expr:
        """Where a kernel leaves records of indices outside their dimension, which TIR leaves undefined: nobody reads them here."""
        return relax.const(np.zeros((2, CORES, WORDS), np.int32))

    def _untransposed(self, value: Expr) -> Expr:
        """The source itself of a transpose that undoes another one."""
        outer = self.graph.call(value, "permute_dims")
        inner = self.graph.call(outer.args[0], "permute_dims") if outer is not None else None
        if outer is None or inner is None or outer.attrs.axes is None or inner.attrs.axes is None:
            return value
        first, second = ([int(a) for a in call.attrs.axes] for call in (inner, outer))
        return inner.args[0] if [first[a] for a in second] == list(range(len(first))) else value


def add_functions(mod: tvm.IRModule, builder: relax.BlockBuilder) -> None:
    """What the library added to the builder's module, into `mod`."""
    for gv, func in builder.get().functions.items():
        if gv not in mod.functions:
            mod[gv] = func
