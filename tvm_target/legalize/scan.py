"""cumsum and cumprod: log-step scans. Rows of a block are added to the rows 1, 2, 4, ... below them, by the vector engine.

Along the last axis rows would be columns, which instructions cannot shift (blocks start at lines of 64 bytes). Short rows are transposed,
many at a time; a long row is cut in 16 segments that become the columns of a block, whose ends are then scanned themselves. Sums are made
in fp32 or int32, those of int64 that may not fit in two scans, of either word; products of int64, and what is uint64 or float64, are the
sequencer's, exact and slow. As for NumPy and torch, elements are cast to the type of the result before they are added.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tvm import relax, te, tirx
from tvm.ir import prim
from tvm.script import tirx as T

from .. import dialect as R
from .common import CORES, Legalize, call, cast, dtype_of, product, reshape, shape_of, static

WIDTH = 128  # columns of a block
DEPTH = 256  # rows of a block
SHORT = 1024  # longest row that is transposed as it is
SEGMENTS = 16
LENGTH = 1024  # longest segment
BLOCK = 32768  # elements of a block of short rows, or of a row's segments
LINE = 16  # elements of a line of 64 bytes


JOIN = {"sum": (R.add, 0.0), "prod": (R.mul, 1.0)}


@cache
def column_kernel(dtype: str, function: str, exclusive: bool) -> tirx.PrimFunc:
    """y[o, n, i]: scan of x along n, a block of columns a unit of work."""
    join, identity = JOIN[function]
    late = int(exclusive)  # results go to the row after their own

    @T.prim_func
    def kernel(x: T.handle, y: T.handle):
        o = T.int64()
        n = T.int64()
        i = T.int64()
        X = T.match_buffer(x, (o, n, i), dtype)
        Y = T.match_buffer(y, (o, n, i), dtype)
        core = T.launch_thread("blockIdx.x", CORES)
        A = T.alloc_buffer((2, DEPTH, WIDTH), dtype, scope="shared.sram")
        Before = T.alloc_buffer((1, WIDTH), dtype, scope="shared.sram")
        parts: T.let[T.int64] = (i + WIDTH - 1) // WIDTH
        for u in T.serial(0, (o * parts - core + CORES - 1) // CORES):
            r: T.let[T.int64] = (u * CORES + core) // parts
            c: T.let[T.int64] = (u * CORES + core) % parts * WIDTH
            cols: T.let[T.int64] = T.min(T.int64(WIDTH), i - c)
            R.fill(Before[0, 0], identity, 1, cols)
            if exclusive and n > 0:
                R.store(Y[r, 0, c], Before[0, 0], 1, cols)
            for b in T.serial(0, (n + DEPTH - 1) // DEPTH):
                first: T.let[T.int64] = b * DEPTH
                rows: T.let[T.int64] = T.min(T.int64(DEPTH), n - first)
                R.load(A[0, 0, 0], X[r, first, c], rows, cols)
                join(A[0, 0, 0], A[0, 0, 0], Before[0, 0], 1, cols)
                at = T.int64(0)
                step = T.int64(1)
                while step < rows:
                    R.copy(A[1 - at, 0, 0], A[at, 0, 0], step, cols)
                    join(A[1 - at, step, 0], A[at, step, 0], A[at, 0, 0], rows - step, cols)
                    at = 1 - at
                    step = step * 2
                R.copy(Before[0, 0], A[at, rows - 1, 0], 1, cols)
                kept: T.let[T.int64] = T.min(rows, n - late - first)
                if kept > 0:
                    R.store(Y[r, first + late, c], A[at, 0, 0], kept, cols)

    return kernel


@cache
def row_kernel(dtype: str, function: str, exclusive: bool) -> tirx.PrimFunc:
    """y[m, n]: scan of each row of x."""
    join, identity = JOIN[function]
    late = int(exclusive)

    @T.prim_func
    def kernel(x: T.handle, y: T.handle):
        m = T.int64()
        n = T.int64()
        X = T.match_buffer(x, (m, n), dtype)
        Y = T.match_buffer(y, (m, n), dtype)
        core = T.launch_thread("blockIdx.x", CORES)
        Rows = T.alloc_buffer((BLOCK,), dtype, scope="shared.sram")
        A = T.alloc_buffer((2, BLOCK + SHORT * LINE), dtype, scope="shared.sram")
        Ends = T.alloc_buffer((2, SEGMENTS * LINE), dtype, scope="shared.sram")
        Before = T.alloc_buffer((SEGMENTS * LINE,), dtype, scope="shared.sram")
        Carry = T.alloc_buffer((LINE,), dtype, scope="shared.sram")
        Offsets = T.alloc_buffer((LINE,), dtype, scope="shared.sram")
        First = T.alloc_buffer((BLOCK,), dtype, scope="shared.sram")
        if n <= SHORT:
            step: T.let[T.int64] = T.max(T.min(BLOCK // T.max(n, T.int64(1)), (m + CORES - 1) // CORES), T.int64(1))
            for u in T.serial(0, (((m + step - 1) // step) - core + CORES - 1) // CORES):
                r: T.let[T.int64] = (u * CORES + core) * step
                rows: T.let[T.int64] = T.min(step, m - r)
                pitch: T.let[T.int64] = (rows + LINE - 1) // LINE * LINE
                at = T.int64(0)
                if n > 0:
                    R.load(R.tile(Rows[0], pitch=n), X[r, 0], rows, n)
                    R.transpose(R.tile(A[0, 0], pitch=pitch), R.tile(Rows[0], pitch=n), rows, n)
                    gap = T.int64(1)
                    while gap < n:
                        R.copy(R.tile(A[1 - at, 0], pitch=pitch), R.tile(A[at, 0], pitch=pitch), gap, rows)
                        join(
                            R.tile(A[1 - at, gap * pitch], pitch=pitch),
                            R.tile(A[at, gap * pitch], pitch=pitch),
                            R.tile(A[at, 0], pitch=pitch),
                            n - gap,
                            rows,
                        )
                        at = 1 - at
                        gap = gap * 2
                    R.transpose(R.tile(Rows[0], pitch=n), R.tile(A[at, 0], pitch=pitch), n, rows)
                    if exclusive:
                        R.fill(R.tile(First[0], pitch=1), identity, rows, 1)
                        R.store(Y[r, 0], R.tile(First[0], pitch=1), rows, 1)
                    if n > late:
                        R.store(Y[r, late], R.tile(Rows[0], pitch=n), rows, n - late)
        else:
            for u in T.serial(0, (m - core + CORES - 1) // CORES):
                row: T.let[T.int64] = u * CORES + core
                R.fill(Carry[0], identity, 1, 1)
                if exclusive:
                    R.store(Y[row, 0], Carry[0], 1, 1)
                for b in T.serial(0, (n + SEGMENTS * LENGTH - 1) // (SEGMENTS * LENGTH)):
                    first: T.let[T.int64] = b * (SEGMENTS * LENGTH)
                    count: T.let[T.int64] = T.min(T.int64(SEGMENTS * LENGTH), n - first)
                    length: T.let[T.int64] = (count + SEGMENTS * LINE - 1) // (SEGMENTS * LINE) * LINE
                    at = T.int64(0)
                    gap = T.int64(1)
                    R.fill(Rows[0], identity, 1, SEGMENTS * length)
                    R.load(Rows[0], X[row, first], 1, count)
                    R.transpose(R.tile(A[0, 0], pitch=LINE), R.tile(Rows[0], pitch=length), SEGMENTS, length)
                    while gap < length:
                        R.copy(R.tile(A[1 - at, 0], pitch=LINE), R.tile(A[at, 0], pitch=LINE), gap, SEGMENTS)
                        join(
                            R.tile(A[1 - at, gap * LINE], pitch=LINE),
                            R.tile(A[at, gap * LINE], pitch=LINE),
                            R.tile(A[at, 0], pitch=LINE),
                            length - gap,
                            SEGMENTS,
                        )
                        at = 1 - at
                        gap = gap * 2
                    # What comes before each segment: the ends of those before it, and the carry.
                    R.transpose(R.tile(Ends[0, 0], pitch=LINE), R.tile(A[at, (length - 1) * LINE], pitch=LINE), 1, SEGMENTS)
                    for t in T.serial(0, 4):
                        s: T.let[T.int64] = T.shift_left(T.int64(1), t)
                        R.copy(R.tile(Ends[1 - t % 2, 0], pitch=LINE), R.tile(Ends[t % 2, 0], pitch=LINE), s, 1)
                        join(
                            R.tile(Ends[1 - t % 2, s * LINE], pitch=LINE),
                            R.tile(Ends[t % 2, s * LINE], pitch=LINE),
                            R.tile(Ends[t % 2, 0], pitch=LINE),
                            SEGMENTS - s,
                            1,
                        )
                    R.copy(Before[0], Carry[0], 1, 1)
                    join(R.tile(Before[LINE], pitch=LINE), R.tile(Ends[0, 0], pitch=LINE), R.row(Carry[0]), SEGMENTS - 1, 1)
                    join(Carry[0], Carry[0], R.tile(Ends[0, (SEGMENTS - 1) * LINE], pitch=LINE), 1, 1)
                    R.transpose(R.tile(Offsets[0], pitch=LINE), R.tile(Before[0], pitch=LINE), SEGMENTS, 1)
                    join(R.tile(A[at, 0], pitch=LINE), R.tile(A[at, 0], pitch=LINE), R.row(Offsets[0]), length, SEGMENTS)
                    R.transpose(R.tile(Rows[0], pitch=length), R.tile(A[at, 0], pitch=LINE), length, SEGMENTS)
                    kept: T.let[T.int64] = T.min(count, n - late - first)
                    if kept > 0:
                        R.store(Y[row, first + late], Rows[0], 1, kept)

    return kernel


@cache
def plain_kernel(dtype: str, function: str, exclusive: bool) -> tirx.PrimFunc:
    """y[o, n, i]: the scan of x along n in its own type, element after element."""
    identity = tirx.const(0 if function == "sum" else 1, dtype)

    def joined(a: Any, b: Any) -> Any:
        return a + b if function == "sum" else a * b

    @T.prim_func(s_tir=True)
    def kernel(x: T.handle, y: T.handle):
        o = T.int64()
        n = T.int64()
        i = T.int64()
        X = T.match_buffer(x, (o, n, i), dtype)
        Y = T.match_buffer(y, (o, n, i), dtype)
        with T.sblock("scan"):
            T.reads(X[0:o, 0:n, 0:i])
            T.writes(Y[0:o, 0:n, 0:i])
            for r, c, k in T.grid(o, i, n):
                if exclusive:
                    Y[r, k, c] = T.if_then_else(k > 0, joined(Y[r, k - 1, c], X[r, k - 1, c]), identity)
                else:
                    Y[r, k, c] = T.if_then_else(k > 0, joined(Y[r, k - 1, c], X[r, k, c]), X[r, k, c])

    return kernel.with_attr("op_pattern", 8)  # opaque: its sizes are its own, as those of the kernels above


SMALL = {"bool": 1, "int8": 128, "uint8": 255, "int16": 32768, "uint16": 65535}  # how large an element may be


def scanned(bb: relax.BlockBuilder, x: Any, function: str, axis: int | None, target: str, exclusive: bool = False) -> Any:
    """The scan of x along `axis`, or of all its elements in their order, as `target`."""
    shape = shape_of(x)
    if axis is None:
        return scanned(bb, reshape(bb, x, [product(shape)]), function, 0, target, exclusive)
    axis %= max(len(shape), 1)
    source, length = dtype_of(x), static(shape[axis])
    small = function == "sum" and length is not None and SMALL.get(source, 1 << 31) * length < 1 << 31
    x = cast(bb, x, target)
    if target == "int64" and function == "sum" and not small:
        return _in_two_words(bb, x, axis, exclusive)
    outer, inner = product(shape[:axis]), product(shape[axis + 1 :])
    if target == "float64" or target in ("int64", "uint64") and not small:
        block, kernel = [outer, shape[axis], inner], plain_kernel(target, function, exclusive)
    else:
        x = cast(bb, x, "float32" if "float" in target else "int32")
        row = static(inner) == 1
        block = [outer, shape[axis]] if row else [outer, shape[axis], inner]
        kernel = (row_kernel if row else column_kernel)(dtype_of(x), function, exclusive)
    (y,) = call(bb, kernel, f"cum{function}", [reshape(bb, x, block)], [(block, dtype_of(x))])
    return cast(bb, reshape(bb, y, shape), target)


def _in_two_words(bb: relax.BlockBuilder, x: Any, axis: int, exclusive: bool) -> Any:
    """The sums of int64. Low words are added as they come; each sum that is then smaller than what came last has lost 2^32. These are an
    operand of their own: TVM widens casts that it finds in a condition."""
    came = cast(bb, x, "int32")
    low = scanned(bb, came, "sum", axis, "int32")
    high = scanned(bb, bb.emit_te(_high_words, x, came, low), "sum", axis, "int32")
    sums = bb.emit_te(_joined, low, high)
    return bb.emit(relax.op.subtract(sums, x)) if exclusive else sums


def _high_words(x: te.Tensor, came: te.Tensor, low: te.Tensor) -> te.Tensor:
    """int32: the high word of each element, and one more where the sum of low words, both without signs, is below what came."""
    zero = tirx.const(0, "int32")

    def word(*i: Any) -> Any:
        lost = tirx.Select((low[i] < zero) == (came[i] < zero), low[i] < came[i], came[i] < zero)
        return prim.Cast("int32", x[i] >> tirx.const(32, "int64")) + tirx.Select(lost, tirx.const(1, "int32"), zero)

    return te.compute(x.shape, word, name="high_words")


def _joined(low: te.Tensor, high: te.Tensor) -> te.Tensor:
    span, zero = tirx.const(1 << 32, "int64"), tirx.const(0, "int64")

    def joined(*i: Any) -> Any:
        word = prim.Cast("int64", low[i]) + tirx.Select(low[i] < tirx.const(0, "int32"), span, zero)
        return (prim.Cast("int64", high[i]) << tirx.const(32, "int64")) + word

    return te.compute(low.shape, joined, name="joined")


def _scan(function: str) -> Legalize:
    def legalize(bb: relax.BlockBuilder, op: relax.Call) -> Any:
        x, attrs = op.args[0], op.attrs
        target = str(attrs.dtype) if attrs.dtype is not None else dtype_of(x)
        return scanned(bb, x, function, int(attrs.axis) if attrs.axis is not None else None, target, bool(attrs.exclusive))

    return legalize


OPS: dict[str, Legalize] = {"relax.cumsum": _scan("sum"), "relax.cumprod": _scan("prod")}
