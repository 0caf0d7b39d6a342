"""Rows of a table: y = table[ids].

A core takes its run of ids in chunks: the low words of the int64 ids become an index list in SRAM, and the gather engine does the rest.
For an id outside the table the nearest row is read, and a record is left (see _indices).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

from ._indices import CORES, LIMIT, WORDS, clamp, report

LINE = 16  # ids in a line of SRAM: steps start at a line of the index list
BLOCK = 8192  # columns at a time
TILE = LINE * BLOCK  # elements of a buffer
CHUNK = 4096  # ids at a time
STEPS = 4


def embedding() -> Any:
    """ids i64[t], table[v, h], records i32[2, 16, 4] -> y[t, h]."""

    @T.prim_func
    def kernel(ids: T.handle, table: T.handle, records: T.handle, y: T.handle):
        t = T.int64()
        v = T.int64()
        h = T.int64()
        Ids = T.match_buffer(ids, (t,), "int64")
        Table = T.match_buffer(table, (v, h), "bfloat16")
        Records = T.match_buffer(records, (2, CORES, WORDS), "int32")
        Y = T.match_buffer(y, (t, h), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Words = T.alloc_buffer((CHUNK, WORDS), "int32", scope="shared.sram")
        Halves = T.alloc_buffer((2, CHUNK), "int32", scope="shared.sram")
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
            clamp(Ids, c0, Words, Index, n, v)
            for i in T.serial(0, (n + step - 1) // step):
                for j in T.serial(0, blocks):
                    b: T.let[T.int64] = (i * blocks + j) % 3
                    rows: T.let[T.int64] = T.min(step, n - i * step)
                    cols: T.let[T.int64] = T.min(block, h - j * block)
                    R.gather(R.tile(Rows[b, 0], pitch=block), Table[0, j * block], Index[i * step // LINE, 0], rows, cols)
                    R.store(Y[c0 + i * step, j * block], R.tile(Rows[b, 0], pitch=block), rows, cols)
            report(Records, core, Words, Index, Halves, n)

    return kernel


KERNELS = [KernelSpec("embedding", "embedding", "bfloat16", embedding, {"tile": TILE, "steps": STEPS}, {"v": [1, LIMIT]})]
