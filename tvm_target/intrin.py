"""Tensor intrinsics of Rigi-1, for `Schedule.tensorize`.

A schedule stages blocks in "shared.sram" with cache_read and cache_write and tensorizes the innermost tiles with these. Names say
instruction, data type and tile: "rigi.load_bf16_128x128", "rigi.mma_bf16_128x128x128". Those of DEFAULT_TILES exist after
`register_default()`; `register(kind, ...)` makes others, and gives the name.

Blocks may lie anywhere in larger buffers: the intrinsics match them with strides and pass access pointers, from which the codegen takes
address and pitch. SRAM blocks must start at a line of 64 bytes.
"""

from __future__ import annotations

from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.tirx import const

from . import dialect as R
from . import isa

SRAM = "shared.sram"
DEFAULT_TILES = ((128, 128),)
_SHORT = {"bfloat16": "bf16", "float32": "f32", "float16": "f16", "int8": "i8", "int32": "i32"}
KINDS = ("load", "store", "fill", "mma", "mma_transposed", "add", "act")


def intrinsic_name(kind: str, dtype: str, *tile: int, function: str = "") -> str:
    """The name under which an intrinsic is registered."""
    return f"rigi.{kind}{'_' + function if function else ''}_{_SHORT.get(dtype, dtype)}_{'x'.join(map(str, tile))}"


def _move(dtype: str, rows: int, cols: int, *, source: str, target: str) -> tuple[Any, Any]:
    instruction = R.load if target == SRAM else R.store

    @T.prim_func(s_tir=True)
    def desc(a: T.handle, c: T.handle):
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=source)
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=target)
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            for i, j in T.grid(rows, cols):
                with T.sblock("element"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj]

    @T.prim_func(s_tir=True)
    def impl(a: T.handle, c: T.handle):
        a1 = T.int32()
        a0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=source, strides=[a1, a0])
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=target, strides=[c1, c0])
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            T.evaluate(instruction(C, A, rows, cols))

    return desc, impl


def _fill(dtype: str, rows: int, cols: int) -> tuple[Any, Any]:
    zero = const(0, dtype)

    @T.prim_func(s_tir=True)
    def desc(c: T.handle):
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:rows, 0:cols])
            for i, j in T.grid(rows, cols):
                with T.sblock("element"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = zero

    @T.prim_func(s_tir=True)
    def impl(c: T.handle):
        c1 = T.int32()
        c0 = T.int32()
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[c1, c0])
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:rows, 0:cols])
            T.evaluate(R.fill(C, 0.0, rows, cols))

    return desc, impl


def _mma(dtype: str, m: int, n: int, k: int, *, transposed: bool) -> tuple[Any, Any]:
    out = "int32" if dtype == "int8" else "float32"
    b_rows, b_cols = (n, k) if transposed else (k, n)

    @T.prim_func(s_tir=True)
    def desc(a: T.handle, b: T.handle, c: T.handle):
        A = T.match_buffer(a, (m, k), dtype, offset_factor=1, scope=SRAM)
        B = T.match_buffer(b, (b_rows, b_cols), dtype, offset_factor=1, scope=SRAM)
        C = T.match_buffer(c, (m, n), out, offset_factor=1, scope=SRAM)
        with T.sblock("root"):
            T.reads(C[0:m, 0:n], A[0:m, 0:k], B[0:b_rows, 0:b_cols])
            T.writes(C[0:m, 0:n])
            for i, j, l in T.grid(m, n, k):
                with T.sblock("update"):
                    vi, vj, vl = T.axis.remap("SSR", [i, j, l])
                    if transposed:
                        C[vi, vj] = C[vi, vj] + T.Cast(out, A[vi, vl]) * T.Cast(out, B[vj, vl])
                    else:
                        C[vi, vj] = C[vi, vj] + T.Cast(out, A[vi, vl]) * T.Cast(out, B[vl, vj])

    @T.prim_func(s_tir=True)
    def impl(a: T.handle, b: T.handle, c: T.handle):
        a1 = T.int32()
        a0 = T.int32()
        b1 = T.int32()
        b0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(a, (m, k), dtype, offset_factor=1, scope=SRAM, strides=[a1, a0])
        B = T.match_buffer(b, (b_rows, b_cols), dtype, offset_factor=1, scope=SRAM, strides=[b1, b0])
        C = T.match_buffer(c, (m, n), out, offset_factor=1, scope=SRAM, strides=[c1, c0])
        with T.sblock("root"):
            T.reads(C[0:m, 0:n], A[0:m, 0:k], B[0:b_rows, 0:b_cols])
            T.writes(C[0:m, 0:n])
            T.evaluate(R.mma(C, A, B, m, n, k, accumulate=True, transpose_b=transposed))

    return desc, impl


def _add(dtype: str, rows: int, cols: int) -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)
    def desc(a: T.handle, b: T.handle, c: T.handle):
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        B = T.match_buffer(b, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols], B[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            for i, j in T.grid(rows, cols):
                with T.sblock("element"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj] + B[vi, vj]

    @T.prim_func(s_tir=True)
    def impl(a: T.handle, b: T.handle, c: T.handle):
        a1 = T.int32()
        a0 = T.int32()
        b1 = T.int32()
        b0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[a1, a0])
        B = T.match_buffer(b, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[b1, b0])
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[c1, c0])
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols], B[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            T.evaluate(R.add(C, A, B, rows, cols))

    return desc, impl


# Activations as TIR writes them.
_FORMULA = {
    "identity": lambda x: x,
    "exp": T.exp,
    "tanh": T.tanh,
    "sigmoid": T.sigmoid,
    "silu": lambda x: x * T.sigmoid(x),
    "sqrt": T.sqrt,
    "rsqrt": T.rsqrt,
}


def _act(dtype: str, rows: int, cols: int, *, function: str) -> tuple[Any, Any]:
    if function not in _FORMULA or function not in isa.ACT:
        raise ValueError(f"no intrinsic for the activation {function!r}; known: {', '.join(_FORMULA)}")
    formula = _FORMULA[function]

    @T.prim_func(s_tir=True)
    def desc(a: T.handle, c: T.handle):
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM)
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            for i, j in T.grid(rows, cols):
                with T.sblock("element"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = formula(A[vi, vj])

    @T.prim_func(s_tir=True)
    def impl(a: T.handle, c: T.handle):
        a1 = T.int32()
        a0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(a, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[a1, a0])
        C = T.match_buffer(c, (rows, cols), dtype, offset_factor=1, scope=SRAM, strides=[c1, c0])
        with T.sblock("root"):
            T.reads(A[0:rows, 0:cols])
            T.writes(C[0:rows, 0:cols])
            T.evaluate(R.act(function, C, A, rows, cols))

    return desc, impl


def register(kind: str, dtype: str, *tile: int, function: str = "") -> str:
    """Registers the intrinsic of a kind (see KINDS) for a tile, once, and gives its name. `tile` is rows and columns, for mma M, N, K;
    `function` names the activation. Raises ValueError for an unknown kind."""
    makers = {
        "load": lambda: _move(dtype, *tile, source="global", target=SRAM),
        "store": lambda: _move(dtype, *tile, source=SRAM, target="global"),
        "fill": lambda: _fill(dtype, *tile),
        "mma": lambda: _mma(dtype, *tile, transposed=False),
        "mma_transposed": lambda: _mma(dtype, *tile, transposed=True),
        "add": lambda: _add(dtype, *tile),
        "act": lambda: _act(dtype, *tile, function=function),
    }
    if kind not in makers:
        raise ValueError(f"unknown kind of intrinsic {kind!r}; known: {', '.join(KINDS)}")
    name = intrinsic_name(kind, dtype, *tile, function=function)
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *makers[kind]())
    return name


def register_default() -> list[str]:
    """Registers the intrinsics of DEFAULT_TILES and gives their names."""
    names = []
    for rows, cols in DEFAULT_TILES:
        names += [
            register("load", "bfloat16", rows, cols),
            register("store", "float32", rows, cols),
            register("store", "bfloat16", rows, cols),
        ]
        names += [register("fill", "float32", rows, cols), register("add", "float32", rows, cols)]
        names += [register("mma", "bfloat16", rows, cols, 128), register("mma_transposed", "bfloat16", rows, cols, 128)]
        names += [register("act", "float32", rows, cols, function=f) for f in _FORMULA]
    return names
