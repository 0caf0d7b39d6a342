"""scatter_elements, scatter_nd, index_put, slice_scatter: a copy, then rows that the store engine scatters.

All four become rows[k, w] that go to the rows index[k] of a tensor [n, w], the later of two to the same row winning. Accumulating forms
stay plain TIR: two updates of one element have to follow each other.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import tvm
from tvm import relax, te, tirx
from tvm.ir import prim
from tvm.script import tirx as T

from .. import dialect as R
from .common import CORES, Legalize, attempt, call, cast, dtype_of, product, reshape, shape_of

COPY = 262144  # bytes of a buffer for the copy
ROWS = 524288  # bytes of rows in SRAM; also the longest part of a row
INDICES = 16384  # rows at once
PART = 256  # bytes: rows are cut at multiples of this


@cache
def scatter_kernel(dtype: str) -> tirx.PrimFunc:
    """out[n, w] = data[n, w], then out[index[k], :] = rows[k, :] for rising k. Cores share the columns."""
    size = (tvm.DataType(dtype).bits + 7) // 8

    @T.prim_func
    def kernel(data: T.handle, index: T.handle, rows: T.handle, out: T.handle):
        n = T.int64()
        w = T.int64()
        k = T.int64()
        Data = T.match_buffer(data, (n, w), dtype)
        Index = T.match_buffer(index, (k,), "int32")
        Rows = T.match_buffer(rows, (k, w), dtype)
        Out = T.match_buffer(out, (n, w), dtype)
        core = T.launch_thread("blockIdx.x", CORES)
        Copy = T.alloc_buffer((2, COPY), "uint8", scope="shared.sram")
        Block = T.alloc_buffer((2, ROWS), "uint8", scope="shared.sram")
        At = T.alloc_buffer((2, INDICES), "int32", scope="shared.sram")
        total: T.let[T.int64] = n * w * size
        share: T.let[T.int64] = T.min((total + CORES * PART - 1) // (CORES * PART) * PART, T.int64(COPY))
        for i in T.serial(
            0, T.if_then_else(total > 0, ((total + share - 1) // T.max(share, T.int64(1)) - core + CORES - 1) // CORES, T.int64(0))
        ):
            begin: T.let[T.int64] = (i * CORES + core) * share
            count: T.let[T.int64] = T.min(share, total - begin)
            R.load(Copy[i % 2, 0], R.tile(Data[0, begin // size], dtype="uint8"), 1, count)
            R.store(R.tile(Out[0, begin // size], dtype="uint8"), Copy[i % 2, 0], 1, count)
        R.barrier()
        row: T.let[T.int64] = w * size
        part: T.let[T.int64] = T.min((row + CORES * PART - 1) // (CORES * PART) * PART, T.int64(ROWS))
        step: T.let[T.int64] = T.min(ROWS // T.max(part, T.int64(1)), T.int64(INDICES))
        parts: T.let[T.int64] = T.if_then_else(row > 0, (row + part - 1) // T.max(part, T.int64(1)), T.int64(0))
        for p in T.serial(0, (parts - core + CORES - 1) // CORES):
            first: T.let[T.int64] = (p * CORES + core) * part
            width: T.let[T.int64] = T.min(part, row - first)
            for j in T.serial(0, (k + step - 1) // step):
                taken: T.let[T.int64] = T.min(step, k - j * step)
                R.load(At[j % 2, 0], Index[j * step], 1, taken)
                R.load(R.tile(Block[j % 2, 0], pitch=width), R.tile(Rows[j * step, first // size], dtype="uint8"), taken, width)
                R.scatter(R.tile(Out[0, first // size], dtype="uint8"), R.tile(Block[j % 2, 0], pitch=width), At[j % 2, 0], taken, width)

    return kernel


def scattered(bb: relax.BlockBuilder, data: Any, index: Any, rows: Any, shape: list[Any]) -> Any:
    """data[n, w] with rows put at index; the result in `shape`."""
    n, w = shape_of(data)
    (out,) = call(bb, scatter_kernel(dtype_of(data)), "scatter", [data, index, rows], [([n, w], dtype_of(data))])
    return reshape(bb, out, shape)


def _from_front(index: Any, size: Any) -> Any:
    """An index that may count from the end, as int32."""
    index = index.astype("int32")
    return index + tirx.Select(index < 0, prim.Cast("int32", size), tirx.const(0, "int32"))


def _row_numbers(coordinates: te.Tensor, sizes: list[Any]) -> te.Tensor:
    """coordinates[k, d] into dimensions of `sizes` -> numbers of rows [k]."""

    def number(i: Any) -> Any:
        total: Any = tirx.const(0, "int32")
        for d, size in enumerate(sizes):
            total = total * prim.Cast("int32", size) + _from_front(coordinates[i, d], size)
        return total

    return te.compute((coordinates.shape[0],), number, name="row_numbers")


def _scatter_nd(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    data, index, updates = op.args
    shape, index_shape = shape_of(data), shape_of(index)
    depth = int(index_shape[-1])
    k, n, w = product(index_shape[:-1]), product(shape[:depth]), product(shape[depth:])
    numbers = bb.emit_te(_row_numbers, reshape(bb, index, [k, depth]), shape[:depth])
    return scattered(bb, reshape(bb, data, [n, w]), numbers, reshape(bb, updates, [k, w]), shape)


def _scatter_elements(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    data, index, updates = op.args
    shape, index_shape = shape_of(data), shape_of(index)
    axis = int(op.attrs.axis) % len(shape)

    def numbers(index: te.Tensor, sizes: list[Any]) -> te.Tensor:
        def number(*position: Any) -> Any:
            total: Any = tirx.const(0, "int32")
            for d, size in enumerate(sizes):
                at = _from_front(index[position], size) if d == axis else prim.Cast("int32", position[d])
                total = total * prim.Cast("int32", size) + at
            return total

        return te.compute(index.shape, number, name="element_numbers")

    k, n = product(index_shape), product(shape)
    at = reshape(bb, bb.emit_te(numbers, index, shape), [k])
    return scattered(bb, reshape(bb, data, [n, 1]), at, reshape(bb, updates, [k, 1]), shape)


def _index_put(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    data, indices, values = op.args
    fields = list(indices.fields) if isinstance(indices, relax.Tuple) else [indices]
    shape, depth = shape_of(data), len(fields)
    common = shape_of(fields[0])
    for field in fields[1:]:
        common = _broadcast(common, shape_of(field))
    k, n, w = product(common), product(shape[:depth]), product(shape[depth:])
    columns = [reshape(bb, bb.emit(relax.op.broadcast_to(cast(bb, f, "int64"), relax.ShapeExpr(common))), [k, 1]) for f in fields]
    coordinates = bb.emit(relax.op.concat(columns, axis=1)) if depth > 1 else columns[0]
    numbers = bb.emit_te(_row_numbers, coordinates, shape[:depth])
    spread = bb.emit(relax.op.broadcast_to(values, relax.ShapeExpr([*common, *shape[depth:]])))
    return scattered(bb, reshape(bb, data, [n, w]), numbers, reshape(bb, spread, [k, w]), shape)


def _broadcast(a: list[Any], b: list[Any]) -> list[Any]:
    rank = max(len(a), len(b))
    one = [prim.IntImm("int64", 1)]
    a, b = one * (rank - len(a)) + a, one * (rank - len(b)) + b
    return [y if isinstance(x, prim.IntImm) and int(x.value) == 1 else x for x, y in zip(a, b)]


def _slice_scatter(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    data, updates, start, _end, step = op.args
    shape, update_shape = shape_of(data), shape_of(updates)
    axis = int(op.attrs.axis) % len(shape)
    outer, n, w, count = product(shape[:axis]), shape[axis], product(shape[axis + 1 :]), update_shape[axis]
    begin, stride = (prim.Cast("int64", x) if str(x.ty) != "int64" else x for x in (start, step))

    def numbers(outer: Any, n: Any, count: Any, begin: Any, stride: Any) -> te.Tensor:
        first = tirx.Select(begin < 0, begin + n, begin)
        return te.compute(
            (outer, count), lambda o, j: prim.Cast("int32", o * n + first + prim.Cast("int64", j) * stride), name="row_numbers"
        )

    at = reshape(bb, bb.emit_te(numbers, outer, n, count, begin, stride), [outer * count])
    return scattered(bb, reshape(bb, data, [outer * n, w]), at, reshape(bb, updates, [outer * count, w]), shape)


def _replaces(op: relax.Call) -> bool:
    return str(op.attrs.reduction) == "update" and dtype_of(op.args[0]) != "int4"


OPS: dict[str, Legalize] = {
    "relax.scatter_nd": attempt(_scatter_nd, _replaces),
    "relax.scatter_elements": attempt(_scatter_elements, _replaces),
    "relax.index_put": attempt(_index_put, lambda op: not op.attrs.accumulate),
    "relax.slice_scatter": attempt(_slice_scatter, lambda op: True),
}
