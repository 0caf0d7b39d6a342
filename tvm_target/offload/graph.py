"""A Relax function as rules of the offload see it: the value behind a variable, how often it is used, its shape and type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import Call, GenericConst, Op, prim

Expr = Any
Size = Any  # an int, or an expression of sizes known at run time


def sizes(expr: Expr) -> list[Size] | None:
    """The shape of a tensor, constants as ints; None if it is not known."""
    ty = getattr(expr, "ty", None)
    if not isinstance(ty, relax.TensorType) or ty.shape is None or not isinstance(ty.shape, relax.ShapeExpr):
        return None
    return [int(n) if isinstance(n, prim.IntImm) else n for n in ty.shape.values]


def shape(expr: Expr) -> list[Size]:
    """The shape of a tensor that has one."""
    found = sizes(expr)
    if found is None:
        raise ValueError(f"the shape of {expr} is not known")
    return found


def dtype(expr: Expr) -> str:
    return str(expr.ty.dtype) if isinstance(getattr(expr, "ty", None), relax.TensorType) else ""


def equal(a: Size | list[Size], b: Size | list[Size]) -> bool:
    """Whether sizes, or lists of them, are the same whatever the sizes at run time."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(tvm.sym.Analyzer().can_prove_equal(a, b))


def product(factors: list[Size]) -> Size:
    result: Size = 1
    for factor in factors:
        result = factor if isinstance(result, int) and result == 1 else result * factor
    return result


class Graph:
    """The bindings of a function. Variables are known by handle."""

    def __init__(self, func: relax.Function):
        self.values: dict[int, Expr] = {}
        self.place: dict[int, int] = {}  # of every variable: parameters 0, then in the order of the text
        self.uses: dict[int, int] = {}
        self.func = func
        self._analyzer = _bounds(func)
        for param in func.params:
            self.place[param.__chandle__()] = 0
        for number, binding in enumerate(bindings(func)):
            self.place[binding.var.__chandle__()] = number + 1
            if isinstance(binding, relax.VarBinding):
                self.values[binding.var.__chandle__()] = binding.value

        def count(node: Any) -> None:
            if isinstance(node, relax.Var):
                self.uses[node.__chandle__()] = self.uses.get(node.__chandle__(), 0) + 1

        for binding in bindings(func):
            relax.analysis.post_order_visit(binding.value, count)
        relax.analysis.post_order_visit(func.body.body, count)

    def value(self, expr: Expr) -> Expr:
        """What an expression stands for: the value of a variable that has one, of an alias the value of the other."""
        while isinstance(expr, relax.Var) and expr.__chandle__() in self.values:
            expr = self.values[expr.__chandle__()]
        return expr

    def call(self, expr: Expr, *names: str) -> Call | None:
        """The call of an operator (`matmul`, `nn.silu`, ... of relax) behind an expression, if it is one of these."""
        value = self.value(expr)
        if isinstance(value, Call) and isinstance(value.op, Op) and value.op.name.removeprefix("relax.") in names:
            return value
        return None

    def only_here(self, expr: Expr) -> bool:
        """Whether a variable is used once: what computes it can go into its user."""
        return isinstance(expr, relax.Var) and self.uses.get(expr.__chandle__(), 0) == 1

    def known_before(self, expr: Expr, var: relax.Var) -> bool:
        """Whether an expression can be used where `var` is bound."""
        if not isinstance(expr, relax.Var):
            return True
        return self.place[expr.__chandle__()] < self.place[var.__chandle__()]

    def most(self, size: Size) -> int:
        """The largest that a size can be, by the bounds that the function states of its sizes (`tir_var_upper_bound`)."""
        return size if isinstance(size, int) else int(self._analyzer.const_int_bound(size).max_value)

    def scalar(self, expr: Expr) -> float | None:
        """The number that a constant of one element is."""
        value = self.value(expr)
        if isinstance(value, GenericConst) and int(np.prod(value.value.shape)) == 1:
            return float(value.value.numpy().reshape(-1)[0])
        return None


def _bounds(func: relax.Function) -> Any:
    analyzer = tvm.sym.Analyzer()
    upper = (func.attrs or {}).get("tir_var_upper_bound", {})
    seen = set()
    for param in func.params:
        for size in sizes(param) or []:
            name = getattr(size, "name", None)
            if name in upper and name not in seen:
                seen.add(name)
                analyzer.bind(size, tvm.ir.Range(0, int(upper[name]) + 1))
    return analyzer


def bindings(func: relax.Function) -> Iterator[Any]:
    for block in func.body.blocks:
        yield from block.bindings
