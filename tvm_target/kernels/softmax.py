"""Softmax with a temperature a row: probs = exp(x / t - max) / sum, in fp32.

The columns are cut in 16 parts, one a core, for every batch, so a row has the same bits alone and in a batch. First phase: each core
finds maximum m and sum s of exp(x / t - m) of its part of each row, keeps the exponentials of as many rows as fit, and sends (m, s) to all
cores. Second phase: with M = max m and S = sum of s exp(m - M) every core scales its exponentials by exp(m - M) / S; those it
could not keep are computed again, from the same numbers.

Source: Milakov and Gimelshein, Online normalizer calculation for softmax (2018).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
LINE = 16  # fp32 elements in a line of 64 bytes
TILE = 32768  # elements of a buffer: at least one row of a part
KEPT = 8  # buffers of exponentials kept between the phases; two more take turns with the rest
MAX_BATCH = 512
TOO_LARGE = f"this kernel takes up to {MAX_BATCH} rows of up to {CORES * TILE} columns"
LOWEST = -3.0e38  # stands for the maximum of a part that is all -inf, so that no -inf - -inf arises


def softmax() -> Any:
    """logits f32[b, v], temperature f32[b, 1] -> probs f32[b, v]."""

    @T.inline
    def scaled(X, Es, Inv, s, r, begin, rows, cols):
        R.load(R.tile(Es[s, 0], pitch=cols), X[r, begin], rows, cols)
        R.mul(R.tile(Es[s, 0], pitch=cols), R.tile(Es[s, 0], pitch=cols), R.col(Inv[r, 0]), rows, cols)

    @T.inline
    def exponentials(X, Es, Inv, Neg, Sums, s, r, begin, rows, cols):
        R.act("exp", R.tile(Es[s, 0], pitch=cols), R.tile(Es[s, 0], pitch=cols), rows, cols, bias=R.col(Neg[r, 0]), sums=Sums[r, 0])

    @T.prim_func
    def kernel(logits: T.handle, temperature: T.handle, probs: T.handle):
        b = T.int64()
        v = T.int64()
        X = T.match_buffer(logits, (b, v), "float32")
        Temperature = T.match_buffer(temperature, (b, 1), "float32")
        Y = T.match_buffer(probs, (b, v), "float32")
        assert b <= MAX_BATCH and v <= CORES * TILE, TOO_LARGE
        core = T.launch_thread("blockIdx.x", CORES)
        Es = T.alloc_buffer((KEPT + 2, TILE), "float32", scope="shared.sram")
        Inv = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")  # 1 / temperature
        Neg = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")  # -m of this core's part
        Sums = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")
        Again = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")  # sums computed a second time, not used
        Mine = T.alloc_buffer((2, MAX_BATCH), "float32", scope="shared.sram")  # -m, then s
        All = T.alloc_buffer((CORES, 2, MAX_BATCH), "float32", scope="shared.sram")  # written by all cores
        RowNeg = T.alloc_buffer((MAX_BATCH, CORES), "float32", scope="shared.sram")
        RowSum = T.alloc_buffer((MAX_BATCH, CORES), "float32", scope="shared.sram")
        Factor = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")
        part: T.let[T.int64] = (v + CORES * LINE - 1) // (CORES * LINE) * LINE
        begin: T.let[T.int64] = core * part
        cols: T.let[T.int64] = T.min(part, v - begin)
        step: T.let[T.int64] = TILE // part
        steps: T.let[T.int64] = (b + step - 1) // step
        if cols > 0:
            R.load(Inv[0, 0], Temperature[0, 0], b, 1)
            R.act("reciprocal", Inv[0, 0], Inv[0, 0], b, 1)
            for i in T.serial(0, steps):
                s: T.let[T.int64] = T.Select(i < KEPT, i, KEPT + i % 2)
                r: T.let[T.int64] = i * step
                rows: T.let[T.int64] = T.min(step, b - r)
                scaled(X, Es, Inv, s, r, begin, rows, cols)
                R.reduce_max(Neg[r, 0], R.tile(Es[s, 0], pitch=cols), rows, cols)
                R.maximum(Neg[r, 0], Neg[r, 0], LOWEST, rows, 1)
                R.mul(Neg[r, 0], Neg[r, 0], -1.0, rows, 1)
                exponentials(X, Es, Inv, Neg, Sums, s, r, begin, rows, cols)
        else:
            R.fill(Neg[0, 0], -LOWEST, b, 1)
            R.fill(Sums[0, 0], 0.0, b, 1)
        R.copy(R.tile(Mine[0, 0], pitch=1), Neg[0, 0], b, 1)
        R.copy(R.tile(Mine[1, 0], pitch=1), Sums[0, 0], b, 1)
        R.copy(All[core, 0, 0], Mine[0, 0], 2, b)
        for other in T.serial(0, CORES):
            if other != core:
                R.send(other, All[core, 0, 0], Mine[0, 0], 2, b)
        R.barrier()
        if cols > 0:
            R.transpose(RowNeg[0, 0], R.tile(All[0, 0, 0], pitch=2 * MAX_BATCH), CORES, b)
            R.transpose(RowSum[0, 0], R.tile(All[0, 1, 0], pitch=2 * MAX_BATCH), CORES, b)
            # Factor holds -M, then exp(m - M) / S of this core's part; RowNeg holds m, then exp(m - M) of every part.
            R.mul(RowNeg[0, 0], RowNeg[0, 0], -1.0, b, CORES)
            R.reduce_max(Factor[0, 0], RowNeg[0, 0], b, CORES)
            R.mul(Factor[0, 0], Factor[0, 0], -1.0, b, 1)
            R.act("exp", RowNeg[0, 0], RowNeg[0, 0], b, CORES, bias=R.col(Factor[0, 0]))
            R.mul(RowSum[0, 0], RowSum[0, 0], RowNeg[0, 0], b, CORES)
            R.reduce_sum(Sums[0, 0], RowSum[0, 0], b, CORES)
            R.sub(Factor[0, 0], Factor[0, 0], Neg[0, 0], b, 1)
            R.act("exp", Factor[0, 0], Factor[0, 0], b, 1)
            R.div(Factor[0, 0], Factor[0, 0], Sums[0, 0], b, 1)
            for i in T.serial(0, steps):
                s: T.let[T.int64] = T.Select(i < KEPT, i, KEPT + i % 2)
                r: T.let[T.int64] = i * step
                rows: T.let[T.int64] = T.min(step, b - r)
                if i >= KEPT:
                    scaled(X, Es, Inv, s, r, begin, rows, cols)
                    exponentials(X, Es, Inv, Neg, Again, s, r, begin, rows, cols)
                R.mul(R.tile(Es[s, 0], pitch=cols), R.tile(Es[s, 0], pitch=cols), R.col(Factor[r, 0]), rows, cols)
                R.store(Y[r, begin], R.tile(Es[s, 0], pitch=cols), rows, cols)

    return kernel


LIMITS = {"b": [1, MAX_BATCH], "v": [1, CORES * TILE]}
KERNELS = [KernelSpec("softmax", "softmax", "float32", softmax, {"tile": TILE, "kept": KEPT}, LIMITS)]
