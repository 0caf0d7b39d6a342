"""Loop nests as people write them: bounds that depend on outer loops, functions of no tensor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from tvm_target import testing
from tvm_target.rules import ElementLoopsWarning

X = np.random.default_rng(5).integers(-50, 50, (16, 16)).astype(np.float32)


pytestmark = pytest.mark.usefixtures("strict")


@T.prim_func
def shrinking(x: T.Buffer((16, 16), "float32"), y: T.Buffer((16, 16), "float32")):
    for i in range(16):
        for j in range(16 - i):
            y[i, j] = x[i, j] * T.float32(2)


@T.prim_func
def growing(x: T.Buffer((16, 16), "float32"), y: T.Buffer((16,), "float32")):
    for i in range(16):
        y[i] = T.float32(0)
        for j in range(i + 1):
            y[i] = y[i] + x[i, j]


@T.prim_func
def band(x: T.Buffer((16, 16), "float32"), y: T.Buffer((16, 16), "float32")):
    for i in range(16):
        for j in range(T.max(i - 2, 0), T.min(i + 3, 16)):
            y[i, j] = x[j, i]


@T.prim_func(s_tir=True)
def moving_window(x: T.Buffer((20,), "float32"), y: T.Buffer((16, 4), "float32")):
    for i in range(16):
        for j in range(i, i + 4):
            with T.sblock("window"):
                vi = T.axis.spatial(16, i)
                vj = T.axis.spatial(4, j - i)
                y[vi, vj] = x[vi + vj]


@T.prim_func(s_tir=True)
def triangle_of_blocks(x: T.Buffer((16, 16), "float32"), y: T.Buffer((16, 16), "float32")):
    for i, j in T.grid(16, 16):
        with T.sblock("clear"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.float32(0)
    for i in range(16):
        for j in range(i + 1):
            with T.sblock("lower"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = x[vi, vj] + T.float32(1)


def index(n: int) -> np.ndarray:
    return np.subtract.outer(np.arange(n), np.arange(n))


CASES = {
    "shrinking": (shrinking, X, np.where(np.arange(16) < 16 - np.arange(16)[:, None], 2 * X, 0)),
    "growing": (growing, X, np.tril(X).sum(1)),
    "band": (band, X, np.where(np.abs(index(16)) <= 2, X.T, 0)),
    "moving_window": (moving_window, X.ravel()[:20], np.lib.stride_tricks.sliding_window_view(X.ravel()[:20], 4)[:16]),
    "triangle_of_blocks": (triangle_of_blocks, X, np.tril(X + 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bound_may_depend_on_an_outer_loop(name: str, compile_kernel: Any) -> None:
    func, x, want = CASES[name]
    np.testing.assert_array_equal(testing.run(compile_kernel(func), "kernel", x, np.zeros_like(want), out=[1]), want)


@T.prim_func(s_tir=True)
def only_workspaces():
    a = T.sblock_alloc_buffer((16,), "float32")
    b = T.sblock_alloc_buffer((16,), "float32")
    for i in range(16):
        with T.sblock("a"):
            v = T.axis.spatial(16, i)
            a[v] = T.float32(1)
    for i in range(16):
        with T.sblock("b"):
            v = T.axis.spatial(16, 15 - i)
            b[v] = a[15 - v] + T.float32(1)


@T.prim_func(s_tir=True)
def only_a_number(n: T.int64):
    a = T.sblock_alloc_buffer((n,), "float32")
    for i in range(n):
        with T.sblock("a"):
            v = T.axis.spatial(n, i)
            a[v] = T.float32(1)


def test_workspaces_of_a_function_without_tensors_are_on_the_chip() -> None:
    functions = {"workspaces": only_workspaces, "number": only_a_number}
    module = tvm.compile(tvm.IRModule({k: f.with_attr("global_symbol", k) for k, f in functions.items()}), target="rigi1")
    testing.statistics()
    module["workspaces"]()
    for n in (0, 1, 50000):
        module["number"](n)
    tvm.device("ext_dev", 0).sync()
    assert {name: found["launches"] for name, found in testing.statistics()["kernels"].items()} == {"workspaces": 1, "number": 3}


@T.prim_func
def unpacked(packed: T.Buffer((16, 16), "uint32"), y: T.Buffer((16, 128), "float32")):
    for i, j in T.grid(16, 128):
        y[i, j] = T.Cast("float32", (packed[i, j // 8] >> T.Cast("uint32", j % 8 * 4)) & T.uint32(15))


def test_who_compiles_element_loops_is_told_where_and_why(compile_kernel: Any) -> None:
    with pytest.warns(ElementLoopsWarning) as warned:
        compile_kernel(unpacked)
    (text,) = [str(w.message) for w in warned]
    assert text.startswith("function kernel runs element by element") and "y: no instructions for RShift of uint32" in text
    assert "write that as loops that the rules know" in text


def test_who_compiles_for_the_engines_is_not_warned(compile_kernel: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ElementLoopsWarning)
        compile_kernel(moving_window)
