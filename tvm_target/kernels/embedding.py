"""Rows of a table: y = table[ids].

A core takes its run of ids in chunks: the low words of the int64 ids become an index list in SRAM, and the gather engine does the rest.
An id outside the table is a fault of the launch.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
LINE = 16  # ids in a line of SRAM: steps start at a line of the index list
BLOCK = 8192  # columns at a time
TILE = LINE * BLOCK  # elements of a buffer
CHUNK = 4096  # ids at a time
STEPS = 4


def embedding() -> Any:
    """ids i64[t], table[v, h] -> y[t, h]."""

    @T.prim_func
    def kernel(ids: T.handle, table: T.handle, y: T.handle):
        t = T.int64()
        v = T.int64()
        h = T.int64()
        Ids = T.match_buffer(ids, (t,), "int64")
        Table = T.match_buffer(table, (v, h), "bfloat16")
        Y = T.match_buffer(y, (t, h), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Words = T.alloc_buffer((CHUNK, 2), "int32", scope="shared.sram")
        Index = T.alloc_buffer((CHUNK // LINE, LINE), "int32", scope="shared.sram")
        Rows = T.alloc_buffer((3, TILE), "bfloat16", scope="shared.sram")
        share: T.let[T.int64] = (t + CORES - 1) // CORES
        first: T.let[T.int64] = core * share
        mine: T.let[T.int64] = T.min(share, t - first)
        block: T.let[T.int64] = T.min(h, T.int64(BLOCK))
        blocks: T.let[T.int64] = (h + block - 1) // block
        step: T.let[T.int64] = T.min(TILE // block // LINE, (share + STEPS * LINE - 1) // (STEPS * LINE)) * LINE
        for chunk in T.serial(0, (mine + CHUNK - 1) // CHUNK):
            c0: T.let[T.int64] = first + chunk * CHUNK
            n: T.let[T.int64] = T.min(T.int64(CHUNK), mine - chunk * CHUNK)
            R.load(Words[0, 0], R.tile(Ids[c0], dtype="int32"), 1, 2 * n)
            R.copy(R.tile(Index[0, 0], pitch=1), Words[0, 0], n, 1)
            for i in T.serial(0, (n + step - 1) // step):
                for j in T.serial(0, blocks):
                    b: T.let[T.int64] = (i * blocks + j) % 3
                    rows: T.let[T.int64] = T.min(step, n - i * step)
                    cols: T.let[T.int64] = T.min(block, h - j * block)
                    R.gather(R.tile(Rows[b, 0], pitch=block), Table[0, j * block], Index[i * step // LINE, 0], rows, cols)
                    R.store(Y[c0 + i * step, j * block], R.tile(Rows[b, 0], pitch=block), rows, cols)

    return kernel


KERNELS = [KernelSpec("embedding", "embedding", "bfloat16", embedding, {"tile": TILE, "steps": STEPS})]
