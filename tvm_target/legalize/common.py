"""What the legalizations share: shapes, casts, calls of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, tirx
from tvm.ir import prim

CORES = 16

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]


def shape_of(x: Any) -> list[Any]:
    """The sizes of a tensor; they may be symbolic."""
    if x.ty.shape is None:
        raise ValueError(f"the shape of {x} is not known, not even as symbols; add relax.op.ensure_shape or match_cast before the op")
    return list(x.ty.shape)


def dtype_of(x: Any) -> str:
    return str(x.ty.dtype.dtype if hasattr(x.ty.dtype, "dtype") else x.ty.dtype)


def product(sizes: list[Any]) -> Any:
    total: Any = prim.IntImm("int64", 1)
    for n in sizes:
        total = total * n
    return total


def static(size: Any) -> int | None:
    return int(size.value) if isinstance(size, prim.IntImm) else size if isinstance(size, int) else None


def cast(bb: relax.BlockBuilder, x: Any, dtype: str) -> Any:
    return x if dtype_of(x) == dtype else bb.emit(relax.op.astype(x, dtype))


def reshape(bb: relax.BlockBuilder, x: Any, shape: list[Any]) -> Any:
    return bb.emit(relax.op.reshape(x, relax.ShapeExpr(shape)))


def last(bb: relax.BlockBuilder, x: Any, axis: int) -> tuple[Any, list[int] | None]:
    """x with `axis` moved to the end, and the permutation that moves it back (None if it stays)."""
    rank = len(shape_of(x))
    axis %= rank
    if axis == rank - 1:
        return x, None
    order = [k for k in range(rank) if k != axis] + [axis]
    return bb.emit(relax.op.permute_dims(x, order)), [order.index(k) for k in range(rank)]


def call(bb: relax.BlockBuilder, kernel: tirx.PrimFunc, name: str, args: list[Any], outputs: list[tuple[list[Any], str]]) -> list[Any]:
    """Calls a kernel; its results, one for each (shape, dtype) of `outputs`."""
    types = [relax.TensorType(shape, dtype) for shape, dtype in outputs]
    made = bb.emit(relax.call_tir(bb.add_func(kernel, name), args, types if len(types) > 1 else types[0]))
    return [bb.emit(relax.TupleGetItem(made, k)) for k in range(len(types))] if len(types) > 1 else [made]


def attempt(legalize: Callable[[relax.BlockBuilder, relax.Call], Any], takes: Callable[[relax.Call], bool]) -> Legalize:
    """`legalize` where `takes` says so; else TVM's own legalization, if it has one."""

    def run(bb: relax.BlockBuilder, op: relax.Call) -> Any:
        if takes(op):
            return legalize(bb, op)
        stock = op.op.get_attr("FLegalize")
        return stock(bb, op) if stock is not None else op

    return run
