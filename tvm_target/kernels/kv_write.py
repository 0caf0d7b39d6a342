"""New keys and values into the paged cache: k_cache[slots] = k, v_cache[slots] = v.

A core takes its run of tokens in chunks. The low words of many slots become an index list in SRAM, and the scatter engine does the rest;
the two caches share the list. Of few slots, and where one is outside the caches, the sequencer looks at each: nothing is written for one
outside, but a record is left (see _indices). Slots must differ from each other: two cores may not write one row.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

from ._indices import CORES, LIMIT, WORDS

LINE = 16  # slots in a line of SRAM: steps start at a line of the index list
BLOCK = 4096  # columns at a time
TILE = LINE * BLOCK  # elements of a buffer
CHUNK = 4096  # slots at a time
STEPS = 4
FEW = 8  # slots that take less time one by one than a check of the list
ALIGNED = 32  # elements in a line of SRAM, where rows begin


def kv_write() -> Any:
    """k, v [t, width], slots i64[t] -> rows of k_cache, v_cache [s, width]; records i32[2, 16, 4]."""

    @T.inline
    def check(Slots, Halves, Any, s, n):
        # Any = whether a slot is outside. The low words stay, as the index list.
        R.transpose(R.tile(Halves[0, 0, 0], pitch=CHUNK), R.tile(Slots[0], pitch=2, dtype="int32"), n, 2)
        R.minimum(Halves[2, 0, 0], Halves[0, 0, 0], s - 1, 1, n)
        R.maximum(Halves[2, 0, 0], Halves[2, 0, 0], 0, 1, n)
        R.ne(Halves[2, 0, 0], Halves[2, 0, 0], Halves[0, 0, 0], 1, n)
        R.ne(Halves[1, 0, 0], Halves[1, 0, 0], 0, 1, n)
        R.maximum(Halves[2, 0, 0], Halves[2, 0, 0], Halves[1, 0, 0], 1, n)
        R.reduce_max(Any[0, 0], Halves[2, 0, 0], 1, n)

    @T.prim_func
    def kernel(k: T.handle, v: T.handle, slots: T.handle, k_cache: T.handle, v_cache: T.handle, records: T.handle):
        t = T.int64()
        width = T.int64()
        s = T.int64()
        K = T.match_buffer(k, (t, width), "bfloat16")
        V = T.match_buffer(v, (t, width), "bfloat16")
        Names = T.match_buffer(slots, (t,), "int64")
        KCache = T.match_buffer(k_cache, (s, width), "bfloat16")
        VCache = T.match_buffer(v_cache, (s, width), "bfloat16")
        Records = T.match_buffer(records, (2, CORES, WORDS), "int32")
        core = T.launch_thread("blockIdx.x", CORES)
        Slots = T.alloc_buffer((CHUNK,), "int64", scope="shared.sram")
        Halves = T.alloc_buffer((3, CHUNK // LINE, LINE), "int32", scope="shared.sram")
        Any = T.alloc_buffer((1, LINE), "int32", scope="shared.sram")
        Record = T.alloc_buffer((1, WORDS), "int32", scope="shared.sram")
        each = T.alloc_buffer((1,), "int32", scope="local")
        Ks = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        Vs = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        share: T.let[T.int64] = (t + CORES - 1) // CORES
        first: T.let[T.int64] = core * share
        mine: T.let[T.int64] = T.min(share, t - first)
        block: T.let[T.int64] = T.min(width, T.int64(BLOCK))
        pitch: T.let[T.int64] = (block + ALIGNED - 1) // ALIGNED * ALIGNED
        blocks: T.let[T.int64] = (width + block - 1) // block
        step: T.let[T.int64] = T.min(TILE // pitch // LINE, (share + STEPS * LINE - 1) // (STEPS * LINE)) * LINE
        for chunk in T.serial(0, (mine + CHUNK - 1) // CHUNK):
            c0: T.let[T.int64] = first + chunk * CHUNK
            n: T.let[T.int64] = T.min(T.int64(CHUNK), mine - chunk * CHUNK)
            R.load(R.tile(Slots[0], dtype="int32"), R.tile(Names[c0], dtype="int32"), 1, 2 * n)
            each[0] = 1
            if n > FEW:
                check(Slots, Halves, Any, s, n)
                each[0] = Any[0, 0]
            for i in T.serial(0, (n + step - 1) // step):
                for j in T.serial(0, blocks):
                    b: T.let[T.int64] = (i * blocks + j) % 2
                    r: T.let[T.int64] = c0 + i * step
                    rows: T.let[T.int64] = T.min(step, n - i * step)
                    cols: T.let[T.int64] = T.min(block, width - j * block)
                    R.load(R.tile(Ks[b, 0], pitch=pitch), K[r, j * block], rows, cols)
                    R.load(R.tile(Vs[b, 0], pitch=pitch), V[r, j * block], rows, cols)
                    if each[0] == 0:
                        R.scatter(KCache[0, j * block], R.tile(Ks[b, 0], pitch=pitch), Halves[0, i * step // LINE, 0], rows, cols)
                        R.scatter(VCache[0, j * block], R.tile(Vs[b, 0], pitch=pitch), Halves[0, i * step // LINE, 0], rows, cols)
                    else:
                        for k_row in T.serial(0, rows):
                            slot: T.let[T.int64] = Slots[i * step + k_row]
                            if slot >= 0 and slot < s:
                                R.store(KCache[slot, j * block], Ks[b, k_row * pitch], 1, cols)
                                R.store(VCache[slot, j * block], Vs[b, k_row * pitch], 1, cols)
                            else:
                                R.fill(Record[0, 0], s, 1, WORDS)
                                R.load(Record[0, 0], R.tile(Names[r + k_row], dtype="int32"), 1, 2)
                                R.store(Records[1, core, 0], Record[0, 0], 1, WORDS)

    return kernel


KERNELS = [KernelSpec("kv_write", "kv_write", "bfloat16", kv_write, {"tile": TILE, "steps": STEPS}, {"s": [1, LIMIT]})]
