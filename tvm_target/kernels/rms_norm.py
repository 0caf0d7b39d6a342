"""RMSNorm, alone or of a sum: y = x / sqrt(mean(x^2) + eps) * w, in fp32 with one rounding.

Rows are dealt to the cores in equal runs, and every run is walked in up to four steps, so that loads, arithmetic and stores overlap. The
statistics of a step are computed before the previous step is scaled: the vector engine then never waits for the square root. A row's
bits do not depend on the rows around it.

Source: Zhang and Sennrich, Root Mean Square Layer Normalization (2019).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
TILE = 32768  # elements of a buffer: at least one row
MAX_ROWS = 256  # rows of a step
STEPS = 4  # a core's rows are cut in this many, if there are enough
RING = 3
TOO_WIDE = f"rows of more than {TILE} elements do not fit the buffers of this kernel"


def rms_norm(add: bool) -> Any:
    """x[t, h], w[h] -> y[t, h]; with `add` x, residual, w -> y and residual_out = bf16(x + residual), of which y is the norm."""

    @T.inline
    def statistics(i, r, n, h, eps, X, Res, Sum, Xs, Rs, Sq, St):
        s: T.let[T.int64] = i % RING
        b: T.let[T.int64] = i % 2
        R.load(Xs[s, 0], X[r, 0], 1, n * h)
        if add:
            R.load(Rs[b, 0], Res[r, 0], 1, n * h)
            R.add(Xs[s, 0], Xs[s, 0], Rs[b, 0], 1, n * h)
            R.store(Sum[r, 0], Xs[s, 0], 1, n * h)
        R.mul(R.tile(Sq[0], pitch=h), R.tile(Xs[s, 0], pitch=h), R.tile(Xs[s, 0], pitch=h), n, h)
        R.reduce_sum(R.tile(St[b, 0, 0], pitch=1), R.tile(Sq[0], pitch=h), n, h)
        R.act("rsqrt", St[b, 1, 0], St[b, 0, 0], 1, n, scale=T.float32(1) / T.Cast("float32", h), bias=eps)

    @T.inline
    def scaling(i, r, n, h, Y, Xs, F, Ys, St, Ws):
        s: T.let[T.int64] = i % RING
        b: T.let[T.int64] = i % 2
        R.mul(R.tile(F[0], pitch=h), R.tile(Xs[s, 0], pitch=h), R.col(R.tile(St[b, 1, 0], pitch=1)), n, h)
        R.mul(R.tile(Ys[b, 0], pitch=h), R.tile(F[0], pitch=h), R.row(Ws[0]), n, h)
        R.store(Y[r, 0], Ys[b, 0], 1, n * h)

    @T.inline
    def body(X, Res, W, Y, Sum, t, h, eps):
        assert h <= TILE, TOO_WIDE
        core = T.launch_thread("blockIdx.x", CORES)
        Xs = T.alloc_buffer((RING, TILE), "bfloat16", scope="shared.sram")
        Rs = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        Sq = T.alloc_buffer((TILE,), "float32", scope="shared.sram")
        F = T.alloc_buffer((TILE,), "float32", scope="shared.sram")
        Ys = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        Ws = T.alloc_buffer((TILE,), "bfloat16", scope="shared.sram")
        St = T.alloc_buffer((2, 2, MAX_ROWS), "float32", scope="shared.sram")
        share: T.let[T.int64] = (t + CORES - 1) // CORES
        first: T.let[T.int64] = core * share
        mine: T.let[T.int64] = T.min(share, t - first)
        step: T.let[T.int64] = T.min(T.min(T.int64(MAX_ROWS), TILE // h), (share + STEPS - 1) // STEPS)
        steps: T.let[T.int64] = (mine + step - 1) // step
        if mine > 0:
            for i in T.serial(0, steps + 1):
                if i < steps:
                    statistics(i, first + i * step, T.min(step, mine - i * step), h, eps, X, Res, Sum, Xs, Rs, Sq, St)
                if i == 0:
                    R.load(Ws[0], W[0], 1, h)
                else:
                    scaling(i - 1, first + (i - 1) * step, T.min(step, mine - (i - 1) * step), h, Y, Xs, F, Ys, St, Ws)

    @T.prim_func
    def of_sum(x: T.handle, residual: T.handle, w: T.handle, y: T.handle, residual_out: T.handle, eps: T.float32):
        t = T.int64()
        h = T.int64()
        X = T.match_buffer(x, (t, h), "bfloat16")
        Res = T.match_buffer(residual, (t, h), "bfloat16")
        W = T.match_buffer(w, (h,), "bfloat16")
        Y = T.match_buffer(y, (t, h), "bfloat16")
        Sum = T.match_buffer(residual_out, (t, h), "bfloat16")
        body(X, Res, W, Y, Sum, t, h, eps)

    @T.prim_func
    def alone(x: T.handle, w: T.handle, y: T.handle, eps: T.float32):
        t = T.int64()
        h = T.int64()
        X = T.match_buffer(x, (t, h), "bfloat16")
        W = T.match_buffer(w, (h,), "bfloat16")
        Y = T.match_buffer(y, (t, h), "bfloat16")
        body(X, X, W, Y, Y, t, h, eps)

    return of_sum if add else alone


CONFIG = {"tile": TILE, "steps": STEPS}
KERNELS = [
    KernelSpec("rms_norm", "rms_norm", "bfloat16", lambda: rms_norm(False), CONFIG, {"h": [1, TILE]}),
    KernelSpec("add_rms_norm", "add_rms_norm", "bfloat16", lambda: rms_norm(True), CONFIG, {"h": [1, TILE]}),
]
