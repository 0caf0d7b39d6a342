"""Greedy sampling: the index of each row's largest value; the lowest of equals; NaN counts as the largest.

The columns are cut in 16 parts, one a core, for every batch. A core finds the largest of its part of each row and sends value and index to
the core that owns the row, which picks among the 16 in the second phase. Parts lie in the order of the cores, so the lowest index wins.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

CORES = 16
LINE = 16  # fp32 elements in a line of 64 bytes
TILE = 65536  # elements of a buffer: at least one row of a part
MAX_BATCH = 2048
OWNED = MAX_BATCH // CORES  # rows of an owner
TOO_LARGE = f"this kernel takes up to {MAX_BATCH} rows of up to {CORES * TILE} columns"


def argmax() -> Any:
    """logits f32[b, v] -> ids i64[b]."""

    @T.inline
    def best_of_part(X, Xs, Values, Ids, s, r, begin, rows, cols):
        R.load(R.tile(Xs[s, 0], pitch=cols), X[r, begin], rows, cols)
        R.topk(Values[r, 0], Ids[r, 0], R.tile(Xs[s, 0], pitch=cols), rows, cols, 1)
        R.add(Ids[r, 0], Ids[r, 0], T.Cast("float32", begin), rows, 1)

    @T.prim_func
    def kernel(logits: T.handle, ids: T.handle):
        b = T.int64()
        v = T.int64()
        X = T.match_buffer(logits, (b, v), "float32")
        Out = T.match_buffer(ids, (b,), "int64")
        assert b <= MAX_BATCH and v <= CORES * TILE, TOO_LARGE
        core = T.launch_thread("blockIdx.x", CORES)
        Xs = T.alloc_buffer((2, TILE), "float32", scope="shared.sram")
        Values = T.alloc_buffer((MAX_BATCH, LINE), "float32", scope="shared.sram")
        Ids = T.alloc_buffer((MAX_BATCH, LINE), "int32", scope="shared.sram")
        PartValues = T.alloc_buffer((CORES, OWNED), "float32", scope="shared.sram")  # written by all cores
        PartIds = T.alloc_buffer((CORES, OWNED), "int32", scope="shared.sram")
        RowValues = T.alloc_buffer((OWNED, CORES), "float32", scope="shared.sram")
        RowIds = T.alloc_buffer((OWNED, CORES), "int32", scope="shared.sram")
        Best = T.alloc_buffer((OWNED, LINE), "float32", scope="shared.sram")
        Winner = T.alloc_buffer((OWNED, LINE), "int32", scope="shared.sram")
        Chosen = T.alloc_buffer((OWNED, LINE), "int32", scope="shared.sram")
        Words = T.alloc_buffer((OWNED, 2), "int32", scope="shared.sram")
        part: T.let[T.int64] = (v + CORES * LINE - 1) // (CORES * LINE) * LINE
        begin: T.let[T.int64] = core * part
        cols: T.let[T.int64] = T.min(part, v - begin)
        step: T.let[T.int64] = TILE // part
        owned: T.let[T.int64] = (b + CORES - 1) // CORES
        owners: T.let[T.int64] = (b + owned - 1) // T.max(owned, T.int64(1))
        if cols > 0:
            for i in T.serial(0, (b + step - 1) // step):
                best_of_part(X, Xs, Values, Ids, i % 2, i * step, begin, T.min(step, b - i * step), cols)
        else:
            R.fill(Values[0, 0], float("-inf"), b, 1)
            R.fill(Ids[0, 0], 0, b, 1)
        for owner in T.serial(0, owners):
            rows: T.let[T.int64] = T.min(owned, b - owner * owned)
            if owner == T.Cast("int64", core):
                R.copy(R.tile(PartValues[core, 0], pitch=1), Values[owner * owned, 0], rows, 1)
                R.copy(R.tile(PartIds[core, 0], pitch=1), Ids[owner * owned, 0], rows, 1)
            else:
                R.send(owner, R.tile(PartValues[core, 0], pitch=1), Values[owner * owned, 0], rows, 1)
                R.send(owner, R.tile(PartIds[core, 0], pitch=1), Ids[owner * owned, 0], rows, 1)
        R.barrier()
        mine: T.let[T.int64] = T.min(owned, b - core * owned)
        if mine > 0:
            R.transpose(RowValues[0, 0], PartValues[0, 0], CORES, mine)
            R.transpose(RowIds[0, 0], PartIds[0, 0], CORES, mine)
            R.topk(Best[0, 0], Winner[0, 0], RowValues[0, 0], mine, CORES, 1)
            R.take(Chosen[0, 0], RowIds[0, 0], Winner[0, 0], mine, 1, CORES)
            R.fill(Words[0, 0], 0, 1, 2 * mine)
            R.copy(Words[0, 0], Chosen[0, 0], mine, 1)
            R.store(R.tile(Out[core * owned], dtype="int32"), Words[0, 0], 1, 2 * mine)

    return kernel


KERNELS = [KernelSpec("argmax", "argmax", "float32", argmax, {"tile": TILE}, {"b": [1, MAX_BATCH], "v": [1, CORES * TILE]})]
