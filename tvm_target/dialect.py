"""The kernel dialect: one function an instruction of Rigi-1, for kernels written in TVMScript.

    from tvm.script import tirx as T
    from tvm_target import dialect as R

The script parser evaluates these calls while it reads a kernel; each gives a TIR call that stands alone as a statement.

* An operand is an element of a buffer: the first of a block. Buffers of scope "shared.sram" lie in the core's scratchpad (start
  blocks at multiples of 64 bytes), arguments of the kernel in HBM. The data type is the buffer's; rows lie the buffer's last dimension
  apart. `R.tile(x, pitch=, dtype=)` says otherwise. `R.row(x)` and `R.col(x)` broadcast; numbers become immediates.
* Sizes count elements and may be any integer expression, so also what the kernel reads at run time.
* A buffer element used as a number, in an index, a size or a branch, is a `scalar_load` (HBM) or a `scalar_read` (SRAM).
* `R.barrier()`, at the top level of the kernel only, ends a phase. Inside a phase no core may touch what another one writes in it.

Costs are cycles of the engine in section 4 and 5 of the chip's manual, `n` = rows * cols with rows padded to 16 elements. Errors are
DialectError (a ValueError) with the call, the operand and what is allowed.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from . import isa
from .operands import DialectError, Tile, broadcast, function, hbm, number, same_dtype, size, source_line, sram, truth, value, view

_FUNCTIONS = (
    *("load", "gather", "load_multicast", "fill", "store", "scatter", "store_add", "send", "mma"),
    *("add", "sub", "mul", "div", "maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne", "select"),
    *("cast", "copy", "transpose", "reduce_sum", "reduce_max", "iota", "take", "topk", "act", "barrier", "tile", "row", "col"),
)
__all__ = ["DialectError", "Tile", *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"the dialect has no function R.{name}; known: {', '.join(_FUNCTIONS)}")


def _emit(op: str, *args: Any) -> Any:
    calls = [arg.call() if isinstance(arg, Tile) else arg for arg in args]
    return tirx.call_extern("int32", isa.PREFIX + op, source_line(), *calls)


def _extent(op: str, rows: Any, cols: Any) -> tuple[Any, Any]:
    return size(rows, f"R.{op}: rows"), size(cols, f"R.{op}: cols")


# ---- operands


def tile(x: Any, pitch: Any = None, dtype: str | None = None) -> Tile:
    """The block that starts at `x`, with rows `pitch` elements apart, or seen as `dtype` (same bytes; int64 as pairs of int32, say)."""
    return view(x, pitch, dtype)


def row(x: Any) -> Tile:
    """One row, repeated for every row of the instruction: element c of row r is x[c]."""
    return broadcast(x, "row")


def col(x: Any) -> Tile:
    """One element a row, repeated along it: x[r], elements a row pitch apart (1 for a buffer of one dimension)."""
    return broadcast(x, "col")


# ---- load engine


def load(dst: Any, src: Any, rows: Any, cols: Any) -> Any:
    """HBM to SRAM, rows x cols. Load engine, 16 + bytes/256 cycles, visible 600 later; each HBM row is padded to 64 bytes."""
    d = sram(dst, "R.load: dst")
    return _emit("load", d, hbm(src, "R.load: src", d), *_extent("load", rows, cols))


def gather(dst: Any, src: Any, index: Any, rows: Any, cols: Any) -> Any:
    """Row i comes from row index[i] (int32, contiguous in SRAM, >= 0) of src. Load engine, 16 + bytes/256 + 2 a row, 600 later."""
    d, i = sram(dst, "R.gather: dst"), sram(index, "R.gather: index", ("int32",))
    return _emit("gather", d, hbm(src, "R.gather: src", d), i, *_extent("gather", rows, cols))


def load_multicast(dst: Any, src: Any, rows: Any, cols: Any, group: str = "all") -> Any:
    """One HBM read into the same SRAM address of every core of a grid "row", "col" or of "all". Each core of the group issues it with
    equal operands. Load engine, as load, but HBM is used once."""
    d = sram(dst, "R.load_multicast: dst")
    s = hbm(src, "R.load_multicast: src", d)
    return _emit("load_multicast", d, s, *_extent("load_multicast", rows, cols), function(group, isa.GROUP, "R.load_multicast: group"))


def fill(dst: Any, value: Any, rows: Any, cols: Any) -> Any:
    """A constant into rows x cols. Load engine, 16 + bytes/256 cycles, no latency, no HBM."""
    return _emit("fill", sram(dst, "R.fill: dst"), number(value, "R.fill: value"), *_extent("fill", rows, cols))


# ---- store engine


def store(dst: Any, src: Any, rows: Any, cols: Any) -> Any:
    """SRAM to HBM, rows x cols. Store engine, 16 + bytes/256 cycles, done 600 later."""
    s = sram(src, "R.store: src")
    return _emit("store", hbm(dst, "R.store: dst", s), s, *_extent("store", rows, cols))


def scatter(dst: Any, src: Any, index: Any, rows: Any, cols: Any) -> Any:
    """Row i goes to row index[i] (int32, contiguous in SRAM, >= 0) of dst. Store engine, 16 + bytes/256 + 2 a row, 600 later."""
    s, i = sram(src, "R.scatter: src"), sram(index, "R.scatter: index", ("int32",))
    return _emit("scatter", hbm(dst, "R.scatter: dst", s), s, i, *_extent("scatter", rows, cols))


def store_add(dst: Any, src: Any, rows: Any, cols: Any) -> Any:
    """HBM += SRAM, fp32 or bf16, applied at the end of the phase in core order. Store engine, as store; HBM bytes count twice."""
    s = sram(src, "R.store_add: src", ("float32", "bfloat16"))
    return _emit("store_add", hbm(dst, "R.store_add: dst", s), s, *_extent("store_add", rows, cols))


def send(core: Any, dst: Any, src: Any, rows: Any, cols: Any) -> Any:
    """SRAM to the same or another buffer in core `core`'s SRAM, not the sender's own; the receiver may read it after a barrier. Store
    engine, as store, visible 50 later."""
    d, s = sram(dst, "R.send: dst"), sram(src, "R.send: src")
    same_dtype("R.send", dst=d, src=s)
    return _emit("send", size(core, "R.send: core"), d, s, *_extent("send", rows, cols))


# ---- matrix engine


def mma(c: Any, a: Any, b: Any, m: Any, n: Any, k: Any, accumulate: Any = True, transpose_b: Any = False) -> Any:
    """c[m, n] = or += a[m, k] x b[k, n], or x b[n, k] with transpose_b. c is fp32 (int32 for int8). Matrix engine,
    ceil(k/128) * ceil(n/128) * max(m, 128) cycles (k/256 for 8-bit types), 256 later."""
    ta = sram(a, "R.mma: a", (*isa.FLOATS_16_OR_8, "int8"))
    tb = sram(b, "R.mma: b", (*isa.FLOATS_16_OR_8, "int8"))
    tc = sram(c, "R.mma: c", ("int32",) if ta.dtype == "int8" else ("float32",))
    if not (ta.dtype.startswith("float8") and tb.dtype.startswith("float8")):  # the two fp8 formats may meet
        same_dtype("R.mma", a=ta, b=tb)
    sizes = [size(x, f"R.mma: {name}") for name, x in (("m", m), ("n", n), ("k", k))]
    return _emit("mma", tc, ta, tb, *sizes, truth(accumulate, "R.mma: accumulate"), truth(transpose_b, "R.mma: transpose_b"))


# ---- vector engine

_COMPUTE = tuple(d for d in isa.DTYPES if d != "int4")


def _pair(op: str, kind: str, dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    name, where = (op, f"R.{op}")
    table = isa.BINARY if kind == "binary" else isa.COMPARE
    operands = value(a, f"{where}: a", _COMPUTE), value(b, f"{where}: b", _COMPUTE)
    return _emit(kind, function(name, table, where), sram(dst, f"{where}: dst", _COMPUTE), *operands, *_extent(op, rows, cols))


def add(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a + b in fp32 (int32 if all are integers), rounded to dst. Vector engine, 16 + n/256, 32 later."""
    return _pair("add", "binary", dst, a, b, rows, cols)


def sub(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a - b. Vector engine, as add."""
    return _pair("sub", "binary", dst, a, b, rows, cols)


def mul(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a * b. Vector engine, as add."""
    return _pair("mul", "binary", dst, a, b, rows, cols)


def div(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a / b; integers truncate, by zero gives 0. Vector engine, four passes: 16 + 4 n/256."""
    return _pair("div", "binary", dst, a, b, rows, cols)


def maximum(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = max(a, b), NaN if either is. Vector engine, as add."""
    return _pair("maximum", "binary", dst, a, b, rows, cols)


def minimum(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = min(a, b), NaN if either is. Vector engine, as add."""
    return _pair("minimum", "binary", dst, a, b, rows, cols)


def lt(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a < b ? 1 : 0. Vector engine, as add."""
    return _pair("lt", "compare", dst, a, b, rows, cols)


def le(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a <= b ? 1 : 0. Vector engine, as add."""
    return _pair("le", "compare", dst, a, b, rows, cols)


def gt(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a > b ? 1 : 0. Vector engine, as add."""
    return _pair("gt", "compare", dst, a, b, rows, cols)


def ge(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a >= b ? 1 : 0. Vector engine, as add."""
    return _pair("ge", "compare", dst, a, b, rows, cols)


def eq(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a == b ? 1 : 0. Vector engine, as add."""
    return _pair("eq", "compare", dst, a, b, rows, cols)


def ne(dst: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = a != b ? 1 : 0. Vector engine, as add."""
    return _pair("ne", "compare", dst, a, b, rows, cols)


def select(dst: Any, cond: Any, a: Any, b: Any, rows: Any, cols: Any) -> Any:
    """dst = cond != 0 ? a : b. Vector engine, as add."""
    operands = [value(x, f"R.select: {name}", _COMPUTE) for name, x in (("cond", cond), ("a", a), ("b", b))]
    return _emit("select", sram(dst, "R.select: dst", _COMPUTE), *operands, *_extent("select", rows, cols))


def cast(dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    """dst = a in dst's data type, to nearest even; a may be packed int4 (R.tile(x, dtype="int4")). Vector engine, as add."""
    return _emit("cast", sram(dst, "R.cast: dst", _COMPUTE), value(a, "R.cast: a"), *_extent("cast", rows, cols))


def copy(dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    """dst = a, bits unchanged, equal data types. Vector engine, as add."""
    d, s = sram(dst, "R.copy: dst"), sram(a, "R.copy: a", broadcast=True)
    same_dtype("R.copy", dst=d, a=s)
    return _emit("copy", d, s, *_extent("copy", rows, cols))


def transpose(dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    """dst[cols, rows] = a[rows, cols] transposed, equal data types. Vector engine, two passes."""
    d, s = sram(dst, "R.transpose: dst"), sram(a, "R.transpose: a")
    same_dtype("R.transpose", dst=d, a=s)
    return _emit("transpose", d, s, *_extent("transpose", rows, cols))


def reduce_sum(dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    """dst[rows, 1] = sums of the rows of a, in 16 interleaved parts and a tree. Vector engine, as add."""
    return _reduce("sum", dst, a, rows, cols)


def reduce_max(dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    """dst[rows, 1] = maxima of the rows of a. Vector engine, as add."""
    return _reduce("max", dst, a, rows, cols)


def _reduce(fn: str, dst: Any, a: Any, rows: Any, cols: Any) -> Any:
    d, s = sram(dst, f"R.reduce_{fn}: dst", _COMPUTE), sram(a, f"R.reduce_{fn}: a", _COMPUTE)
    return _emit("reduce", function(fn, isa.REDUCE, "R.reduce"), d, s, *_extent(f"reduce_{fn}", rows, cols))


def iota(dst: Any, rows: Any, cols: Any, start: Any = 0, row_step: Any = 0, col_step: Any = 1) -> Any:
    """dst[r, c] = start + r * row_step + c * col_step, in int32 for an integer dst, else fp32. Vector engine, as add."""
    numbers = [number(x, f"R.iota: {name}") for name, x in (("start", start), ("row_step", row_step), ("col_step", col_step))]
    return _emit("iota", sram(dst, "R.iota: dst", _COMPUTE), *numbers, *_extent("iota", rows, cols))


def take(dst: Any, a: Any, index: Any, rows: Any, cols: Any, depth: Any) -> Any:
    """dst[r, c] = a[r, index[r, c]], index int32 below depth = columns of a; a may be R.row. Vector engine, as add."""
    d, s = sram(dst, "R.take: dst"), sram(a, "R.take: a", broadcast=True)
    same_dtype("R.take", dst=d, a=s)
    return _emit("take", d, s, sram(index, "R.take: index", ("int32",)), *_extent("take", rows, cols), size(depth, "R.take: depth"))


def topk(values: Any, indices: Any, a: Any, rows: Any, cols: Any, k: Any) -> Any:
    """values[rows, k] and indices[rows, k] (int32): the k largest of each row of a, descending; ties take the lower index first.
    Vector engine, k passes."""
    v, i = sram(values, "R.topk: values", _COMPUTE), sram(indices, "R.topk: indices", ("int32",))
    s = sram(a, "R.topk: a", _COMPUTE)
    same_dtype("R.topk", values=v, a=s)
    return _emit("topk", v, i, s, *_extent("topk", rows, cols), size(k, "R.topk: k"))


# ---- activation engine


def act(fn: str, dst: Any, a: Any, rows: Any, cols: Any, scale: Any = 1.0, bias: Any = 0.0, sums: Any = None) -> Any:
    """dst = fn(a * scale + bias), cast to dst's data type. bias is a number, or R.col of fp32 (one a row). `sums` [rows, 1] fp32 gets
    the row sums of the fp32 results. Activation engine, 16 + n/256, 64 later. Functions: identity exp exp2 log tanh sigmoid silu gelu
    gelu_tanh rsqrt sqrt reciprocal sin cos."""
    f = function(fn, isa.ACT, "R.act")
    d, s = sram(dst, "R.act: dst", ("float32", *isa.FLOATS_16_OR_8)), sram(a, "R.act: a", _COMPUTE, broadcast=True)
    operands: list[Any] = [f, d, s, number(scale, "R.act: scale")]
    op = "act"
    if isinstance(bias, Tile):
        op += "_bias"
        per_row = sram(bias, "R.act: bias", ("float32",), broadcast=True)
        if per_row.broadcast != "col":
            raise DialectError("R.act: bias must be a number or R.col(...) of a float32 buffer")
        operands.append(per_row)
    else:
        operands.append(number(bias, "R.act: bias"))
    if sums is not None:
        op += "_sums"
        operands.append(sram(sums, "R.act: sums", ("float32",)))
    return _emit(op, *operands, *_extent("act", rows, cols))


# ---- program structure


def barrier() -> Any:
    """All cores meet; stores, scatters, adds and sends are done; loads stay in flight. Ends a phase. 100 cycles after the last core."""
    return _emit("barrier")
