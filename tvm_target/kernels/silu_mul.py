"""The gate of SwiGLU: y = silu(gate) * up, in fp32 with one rounding.

Few rows are cut by columns, so that all cores work on them; else every core has its own rows. Gate and up come as two blocks, each
starting on a line of SRAM whatever the width.

Source: Shazeer, GLU Variants Improve Transformer (2020).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
TILE = 32768  # elements of a buffer
STEPS = 4
LINE = 32  # bf16 elements in a line of 64 bytes


def silu_mul() -> Any:
    """x[t, 2 i], gate first -> y[t, i]."""

    @T.prim_func
    def kernel(x: T.handle, y: T.handle):
        t = T.int64()
        width = T.int64()
        X = T.match_buffer(x, (t, 2 * width), "bfloat16")
        Y = T.match_buffer(y, (t, width), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Gate = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        Up = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        F = T.alloc_buffer((2, TILE), "float32", scope="shared.sram")
        Ys = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        # parts x groups of cores: columns by parts, rows by groups.
        parts: T.let[T.int64] = T.max(T.int64(1), CORES // T.max(t, T.int64(1)))
        groups: T.let[T.int64] = CORES // parts
        part: T.let[T.int64] = (width + parts * LINE - 1) // (parts * LINE) * LINE
        begin: T.let[T.int64] = core % parts * part
        end: T.let[T.int64] = T.min(width, begin + part)
        share: T.let[T.int64] = (t + groups - 1) // groups
        first: T.let[T.int64] = core // parts * share
        mine: T.let[T.int64] = T.Select(T.Cast("int64", core) < parts * groups, T.min(share, t - first), T.int64(0))
        block: T.let[T.int64] = T.min(part, T.int64(TILE))
        step: T.let[T.int64] = T.min(TILE // block, (share + STEPS - 1) // STEPS)
        blocks: T.let[T.int64] = (part + block - 1) // block
        for i in T.serial(0, (mine + step - 1) // step):
            for j in T.serial(0, blocks):
                b: T.let[T.int64] = (i * blocks + j) % 2
                r: T.let[T.int64] = first + i * step
                c: T.let[T.int64] = begin + j * block
                rows: T.let[T.int64] = T.min(step, mine - i * step)
                cols: T.let[T.int64] = T.min(block, end - c)
                if cols > 0:
                    R.load(R.tile(Gate[b, 0], pitch=block), X[r, c], rows, cols)
                    R.load(R.tile(Up[b, 0], pitch=block), X[r, width + c], rows, cols)
                    R.act("silu", R.tile(F[b, 0], pitch=block), R.tile(Gate[b, 0], pitch=block), rows, cols)
                    R.mul(R.tile(Ys[b, 0], pitch=block), R.tile(F[b, 0], pitch=block), R.tile(Up[b, 0], pitch=block), rows, cols)
                    R.store(Y[r, c], R.tile(Ys[b, 0], pitch=block), rows, cols)

    return kernel


KERNELS = [KernelSpec("silu_mul", "silu_mul", "bfloat16", silu_mul, {"tile": TILE, "steps": STEPS})]
