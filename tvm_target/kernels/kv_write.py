"""New keys and values into the paged cache: k_cache[slots] = k, v_cache[slots] = v.

A core takes its run of tokens in chunks: the low words of the int64 slots become an index list in SRAM, and the scatter engine does the
rest. The two caches share the index list. Slots must differ from each other: two cores may not write one row.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
LINE = 16  # slots in a line of SRAM: steps start at a line of the index list
BLOCK = 4096  # columns at a time
TILE = LINE * BLOCK  # elements of a buffer
CHUNK = 4096  # slots at a time
STEPS = 4


def kv_write() -> Any:
    """k, v [t, width], slots i64[t] -> rows of k_cache, v_cache [s, width]."""

    @T.inline
    def move(new, cache, Rows, Index, b, r, i, c, rows, cols, block):
        R.load(R.tile(Rows[b, 0], pitch=block), new[r, c], rows, cols)
        R.scatter(cache[0, c], R.tile(Rows[b, 0], pitch=block), Index[i // LINE, 0], rows, cols)

    @T.prim_func
    def kernel(k: T.handle, v: T.handle, slots: T.handle, k_cache: T.handle, v_cache: T.handle):
        t = T.int64()
        width = T.int64()
        s = T.int64()
        K = T.match_buffer(k, (t, width), "bfloat16")
        V = T.match_buffer(v, (t, width), "bfloat16")
        Slots = T.match_buffer(slots, (t,), "int64")
        KCache = T.match_buffer(k_cache, (s, width), "bfloat16")
        VCache = T.match_buffer(v_cache, (s, width), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Words = T.alloc_buffer((CHUNK, 2), "int32", scope="shared.sram")
        Index = T.alloc_buffer((CHUNK // LINE, LINE), "int32", scope="shared.sram")
        Ks = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        Vs = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        share: T.let[T.int64] = (t + CORES - 1) // CORES
        first: T.let[T.int64] = core * share
        mine: T.let[T.int64] = T.min(share, t - first)
        block: T.let[T.int64] = T.min(width, T.int64(BLOCK))
        blocks: T.let[T.int64] = (width + block - 1) // block
        step: T.let[T.int64] = T.min(TILE // block // LINE, (share + STEPS * LINE - 1) // (STEPS * LINE)) * LINE
        for chunk in T.serial(0, (mine + CHUNK - 1) // CHUNK):
            c0: T.let[T.int64] = first + chunk * CHUNK
            n: T.let[T.int64] = T.min(T.int64(CHUNK), mine - chunk * CHUNK)
            R.load(Words[0, 0], R.tile(Slots[c0], dtype="int32"), 1, 2 * n)
            R.copy(R.tile(Index[0, 0], pitch=1), Words[0, 0], n, 1)
            for i in T.serial(0, (n + step - 1) // step):
                for j in T.serial(0, blocks):
                    b: T.let[T.int64] = (i * blocks + j) % 2
                    rows: T.let[T.int64] = T.min(step, n - i * step)
                    cols: T.let[T.int64] = T.min(block, width - j * block)
                    move(K, KCache, Ks, Index, b, c0 + i * step, i * step, j * block, rows, cols, block)
                    move(V, VCache, Vs, Index, b, c0 + i * step, i * step, j * block, rows, cols, block)

    return kernel


KERNELS = [KernelSpec("kv_write", "kv_write", "bfloat16", kv_write, {"tile": TILE, "steps": STEPS})]
