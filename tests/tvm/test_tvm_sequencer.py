"""Generic TIR on the sequencer: every expression and statement against Python's own arithmetic, run on the chip."""

import math

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target import testing

ROWS = 64


EXPRESSIONS = [
    ("floordiv", lambda a, b, f: a // b, lambda a, b, f: a // b),
    ("floormod", lambda a, b, f: a % b, lambda a, b, f: a % b),
    ("truncdiv", lambda a, b, f: T.truncdiv(a, b), lambda a, b, f: int(a / b)),
    ("truncmod", lambda a, b, f: T.truncmod(a, b), lambda a, b, f: int(math.fmod(a, b))),
    ("add, sub, mul", lambda a, b, f: (a + b) * (a - b), lambda a, b, f: (a + b) * (a - b)),
    ("precedence", lambda a, b, f: a - (b - (a - b)) * (a + 2), lambda a, b, f: a - (b - (a - b)) * (a + 2)),
    ("min, max", lambda a, b, f: T.min(a, b) * 10 + T.max(a, 3), lambda a, b, f: min(a, b) * 10 + max(a, 3)),
    ("select", lambda a, b, f: T.Select(a < b, a + 1, b - 1), lambda a, b, f: a + 1 if a < b else b - 1),
    ("if_then_else", lambda a, b, f: T.if_then_else(a >= b, a, b * b), lambda a, b, f: a if a >= b else b * b),
    ("shift left", lambda a, b, f: T.shift_left(a, T.int64(3)), lambda a, b, f: a << 3),
    ("shift right", lambda a, b, f: T.shift_right(a, T.int64(1)), lambda a, b, f: a >> 1),
    ("bits", lambda a, b, f: (a & 12) + (b | 3) + (a ^ b), lambda a, b, f: (a & 12) + (b | 3) + (a ^ b)),
    ("not", lambda a, b, f: T.Select(T.Not(a == b), a, b), lambda a, b, f: a if a != b else b),
    (
        "and, or",
        lambda a, b, f: T.Select(T.Or(T.And(a > 0, b > 0), a == -7), a, b),
        lambda a, b, f: a if (a > 0 and b > 0) or a == -7 else b,
    ),
    ("to float", lambda a, b, f: T.Cast("float32", a) * f, lambda a, b, f: np.float32(a) * f),
    ("to int", lambda a, b, f: T.Cast("int64", f * T.float32(8)), lambda a, b, f: int(f * 8)),
    ("to int8", lambda a, b, f: T.Cast("int8", a * 100), lambda a, b, f: int(np.int64(a * 100).astype(np.int8))),
    ("to uint8", lambda a, b, f: T.Cast("uint8", a) + T.Cast("uint8", b), lambda a, b, f: (a + b) % 256),
    ("bf16", lambda a, b, f: T.Cast("float32", T.Cast("bfloat16", f)), lambda a, b, f: np.float32(ml_dtypes.bfloat16(f))),
    ("exp", lambda a, b, f: T.exp(f), lambda a, b, f: np.exp(f)),
    ("sqrt of abs", lambda a, b, f: T.sqrt(T.abs(f)), lambda a, b, f: np.sqrt(abs(f))),
    ("rsqrt", lambda a, b, f: T.rsqrt(f * f + T.float32(1)), lambda a, b, f: 1 / np.sqrt(f * f + np.float32(1))),
    ("floor, ceil", lambda a, b, f: T.floor(f) * T.float32(10) + T.ceil(f), lambda a, b, f: math.floor(f) * 10 + math.ceil(f)),
    ("float compare", lambda a, b, f: T.Select(f < T.float32(0.25), -f, f), lambda a, b, f: -f if f < 0.25 else f),
    ("infinity", lambda a, b, f: T.min(T.float32("inf"), f), lambda a, b, f: f),
]


def put_all(S, a, b, f) -> None:
    """Called by the script parser: one instruction for each expression."""
    for row, (_, formula, _) in enumerate(EXPRESSIONS):
        T.evaluate(R.fill(S[row, 0], formula(a, b, f), 1, 16))


@T.prim_func
def expressions(y: T.handle, a: T.int64, b: T.int64, f: T.float32):
    Y = T.match_buffer(y, (ROWS, 16), "float32")
    with T.launch_thread("blockIdx.x", 16) as core:
        S = T.alloc_buffer((ROWS, 16), "float32", scope="shared.sram")
        if core == 0:
            R.fill(S[0, 0], 0, ROWS, 16)
            put_all(S, a, b, f)
            R.store(Y[0, 0], S[0, 0], ROWS, 16)


@pytest.fixture(scope="module")
def built():
    return tvm.compile(expressions, target="rigi1")


@pytest.mark.parametrize("a, b, f", [(7, 3, 1.7), (-7, 3, -2.3), (7, -3, 0.1), (-8, -3, 5.49), (0, 5, 0.0), (5, 5, -0.75)])
def test_expressions(built, a: int, b: int, f: float) -> None:
    got = testing.run(built, "expressions", np.zeros((ROWS, 16), np.float32), a, b, f, out=[0])[:, 0]
    f = np.float32(f)
    for row, (name, _, formula) in enumerate(EXPRESSIONS):
        assert got[row] == pytest.approx(float(formula(a, b, f)), rel=1e-6), name


DIVISIONS = (lambda a, b: a // b, lambda a, b: a % b, T.truncdiv, T.truncmod)


def put_divisions(S, a, b) -> None:
    for row, division in enumerate(DIVISIONS):
        T.evaluate(R.fill(S[row, 0], division(a, b), 1, 16))


@T.prim_func
def divisions(y: T.handle, a: T.int64, b: T.int64):
    Y = T.match_buffer(y, (4, 16), "float32")
    with T.launch_thread("blockIdx.x", 16) as core:
        S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
        if core == 0:
            put_divisions(S, a, b)
            R.store(Y[0, 0], S[0, 0], 4, 16)


def test_no_division_ends_the_process() -> None:
    built, y = tvm.compile(divisions, target="rigi1"), np.ones((4, 16), np.float32)
    assert testing.run(built, "divisions", y, 5, 0, out=[0])[:, 0].tolist() == [0, 0, 0, 0]
    assert testing.run(built, "divisions", y, -5, -1, out=[0])[:, 0].tolist() == [5, 0, 5, 0]
    assert testing.run(built, "divisions", y, -(1 << 63), -1, out=[0])[1::2, 0].tolist() == [0, 0]


@T.prim_func
def control(y: T.handle, x: T.handle, n: T.int64):
    Y = T.match_buffer(y, (ROWS, 16), "float32")
    X = T.match_buffer(x, (64,), "int64")
    with T.launch_thread("blockIdx.x", 16) as core:
        S = T.alloc_buffer((ROWS, 16), "float32", scope="shared.sram")
        L = T.alloc_buffer((2, 8), "int64", scope="local")
        if core == 0:
            R.fill(S[0, 0], 0, ROWS, 16)
            total = T.int64(0)
            for i in T.serial(n):
                if X[i] % 2 == 0:
                    total = total + X[i]
                else:
                    if X[i] > 50:
                        total = total - 1
            R.fill(S[0, 0], total, 1, 16)
            for i in T.unroll(8):
                L[i % 2, i] = T.Cast("int64", i) * 3
            R.fill(S[1, 0], L[1, 5] * 100 + L[0, 6] + L[0, 5], 1, 16)
            left = n
            steps = T.int64(0)
            while left != 1:
                left = T.Select(left % 2 == 0, left // 2, 3 * left + 1)
                steps = steps + 1
            R.fill(S[2, 0], steps, 1, 16)
            hits = T.int64(0)
            for i in T.serial(64):
                if X[i] == 13:
                    continue
                if hits == 5:
                    break
                hits = hits + 1
            R.fill(S[3, 0], hits, 1, 16)
            for i in T.serial(2, 5):
                for j in T.serial(i):
                    R.fill(S[4 + i, 0], i * 10 + j, 1, 16)
            R.store(Y[0, 0], S[0, 0], ROWS, 16)


def test_control_flow() -> None:
    x = np.random.default_rng(1).integers(0, 99, 64)
    x[1] = 13
    n = 27
    got = testing.run(tvm.compile(control, target="rigi1"), "control", np.zeros((ROWS, 16), np.float32), x, n, out=[0])[:, 0]
    steps, left = 0, n
    while left != 1:
        left, steps = (left // 2 if left % 2 == 0 else 3 * left + 1), steps + 1
    total = sum(int(v) if v % 2 == 0 else (-1 if v > 50 else 0) for v in x[:n])
    assert got[:4].tolist() == [total, 15 * 100 + 18, steps, 5]
    assert got[4:10].tolist() == [0, 0, 21, 32, 43, 0]


DTYPES = ["int64", "int32", "float32", "bfloat16", "uint8", "int8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_from_memory(dtype: str) -> None:
    on_chip = dtype != "int64"

    @T.prim_func
    def kernel(y: T.handle, x: T.handle):
        Y = T.match_buffer(y, (2, 16), "float32")
        X = T.match_buffer(x, (64,), dtype)
        with T.launch_thread("blockIdx.x", 16) as core:
            S = T.alloc_buffer((2, 16), "float32", scope="shared.sram")
            if core == 3:
                R.fill(S[0, 0], X[5], 2, 16)
                if on_chip:
                    B = T.alloc_buffer((64,), "int32" if dtype == "int64" else dtype, scope="shared.sram")
                    R.load(B[0], R.tile(X[0], dtype="int32" if dtype == "int64" else dtype), 1, 64)
                    R.fill(S[1, 0], B[37], 1, 16)
                R.store(Y[0, 0], S[0, 0], 2, 16)

    x = (np.arange(64) * 3 - 60).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    got = testing.run(tvm.compile(kernel, target="rigi1"), "kernel", np.zeros((2, 16), np.float32), x, out=[0])
    assert got[0, 0] == float(x[5])
    if on_chip:
        assert got[1, 0] == float(x[37])
