"""Tensor intrinsics: a scheduled matmul with an epilogue, from plain TIR to the chip."""

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import s_tir
from tvm.script import tirx as T

from tvm_target import intrin, testing

M, N, K = 256, 384, 512


def matmul(transposed: bool):
    shape = (N, K) if transposed else (K, N)

    @T.prim_func(s_tir=True)
    def func(a: T.handle, b: T.handle, c: T.handle):
        A = T.match_buffer(a, (M, K), "bfloat16")
        B = T.match_buffer(b, shape, "bfloat16")
        C = T.match_buffer(c, (M, N), "float32")
        for i, j, k in T.grid(M, N, K):
            with T.sblock("mm"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    C[vi, vj] = T.float32(0)
                if transposed:
                    C[vi, vj] = C[vi, vj] + T.Cast("float32", A[vi, vk]) * T.Cast("float32", B[vj, vk])
                else:
                    C[vi, vj] = C[vi, vj] + T.Cast("float32", A[vi, vk]) * T.Cast("float32", B[vk, vj])

    return func


@pytest.mark.parametrize("transposed", [False, True])
def test_a_scheduled_matmul(transposed: bool) -> None:
    intrin.register_default()
    s = s_tir.Schedule(matmul(transposed))
    mm = s.get_sblock("mm")
    i, j, k = s.get_loops(mm)
    (io, ii), (jo, ji), (ko, ki) = (s.split(loop, [None, 128]) for loop in (i, j, k))
    s.reorder(io, jo, ko, ii, ji, ki)
    tile = s.fuse(io, jo)
    s.bind(tile, "blockIdx.x")
    a, b, c = s.cache_read(mm, 0, "shared.sram"), s.cache_read(mm, 1, "shared.sram"), s.cache_write(mm, 0, "shared.sram")
    s.compute_at(a, ko)
    s.compute_at(b, ko)
    s.reverse_compute_at(c, tile)
    zero = s.decompose_reduction(mm, ko)
    name = "mma_transposed" if transposed else "mma"
    for block, depth, intrinsic in [
        (a, 2, "rigi.load_bf16_128x128"),
        (b, 2, "rigi.load_bf16_128x128"),
        (zero, 2, "rigi.fill_f32_128x128"),
        (c, 2, "rigi.store_f32_128x128"),
        (mm, 3, f"rigi.{name}_bf16_128x128x128"),
    ]:
        s.tensorize(s.get_loops(block)[-depth], intrinsic)
    built = tvm.compile(s.mod, target="rigi1")
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((M, K), (K, N)))
    y = testing.run(built, "main", x, np.ascontiguousarray(w.T) if transposed else w, np.zeros((M, N), np.float32), out=[2])
    np.testing.assert_allclose(y, x.astype(np.float32) @ w.astype(np.float32), rtol=1e-4, atol=1e-3)
    source = built.mod.imports[0].inspect_source()
    assert source.count("core.mma(") == 1 and "blockIdx" not in source


@pytest.mark.parametrize("function", ["silu", "exp", "tanh"])
def test_vector_and_activation_intrinsics(function: str) -> None:
    rows, cols, blocks = 64, 96, 3
    formula = {"silu": lambda x: x * T.sigmoid(x), "exp": T.exp, "tanh": T.tanh}[function]

    @T.prim_func(s_tir=True)
    def func(a: T.handle, c: T.handle):
        A = T.match_buffer(a, (blocks * rows, cols), "float32")
        C = T.match_buffer(c, (blocks * rows, cols), "float32")
        F = T.sblock_alloc_buffer((blocks * rows, cols), "float32")
        for i, j in T.grid(blocks * rows, cols):
            with T.sblock("act"):
                vi, vj = T.axis.remap("SS", [i, j])
                F[vi, vj] = formula(A[vi, vj])
        for i, j in T.grid(blocks * rows, cols):
            with T.sblock("add"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = F[vi, vj] + A[vi, vj]

    s = s_tir.Schedule(func)
    act, add = s.get_sblock("act"), s.get_sblock("add")
    s.set_scope(act, 0, "shared.sram")
    staged, out = s.cache_read(act, 0, "shared.sram"), s.cache_write(add, 0, "shared.sram")
    block, _ = s.split(s.get_loops(add)[0], [None, rows])
    s.bind(block, "blockIdx.x")
    s.compute_at(act, block)
    s.compute_at(staged, block)
    s.reverse_compute_at(out, block)
    names = {kind: intrin.register(kind, "float32", rows, cols) for kind in ("load", "store", "add")}
    names["act"] = intrin.register("act", "float32", rows, cols, function=function)
    for sblock, kind in ((act, "act"), (add, "add"), (staged, "load"), (out, "store")):
        s.tensorize(s.get_loops(sblock)[-2], names[kind])
    x = np.random.default_rng(0).standard_normal((blocks * rows, cols)).astype(np.float32)
    y = testing.run(tvm.compile(s.mod, target="rigi1"), "main", x, np.zeros_like(x), out=[1])
    want = {"silu": x / (1 + np.exp(-x)), "exp": np.exp(x), "tanh": np.tanh(x)}[function] + x
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)


def test_unknown_intrinsics_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of intrinsic 'conv'; known: load, store"):
        intrin.register("conv", "bfloat16", 128, 128)
    with pytest.raises(ValueError, match="no intrinsic for the activation 'relu'; known: identity"):
        intrin.register("act", "float32", 128, 128, function="relu")
