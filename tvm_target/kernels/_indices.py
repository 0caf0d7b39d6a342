"""Indices held to a size on the vector engine, without a branch.

The caller gives `Report` i32[1 + k, CORES, 4] for k arguments with indices: a core leaves a record of an index outside in its own place of
row 1 + argument (the int64 index, then the size twice), and writes what is no record into its place of row 0.
"""

from __future__ import annotations

from tvm.script import tirx as T

from tvm_target import dialect as R

CORES = 16
WORDS = 4  # of a record
LIMIT = 1 << 24  # a size must be exact in fp32, as immediates are


@T.inline
def clamp(Ids, first, Words, Index, n, size):
    """Ids[first : first + n] held to 0 .. size - 1 into Index, a list. Words [n, 4] gets what may become records."""
    R.fill(Words[0, 0], size, n, WORDS)
    R.load(Words[0, 0], R.tile(Ids[first], pitch=2, dtype="int32"), n, 2)
    R.minimum(R.tile(Index[0, 0], pitch=1), Words[0, 0], size - 1, n, 1)
    R.maximum(Index[0, 0], Index[0, 0], 0, 1, n)


@T.inline
def report(Report, core, Words, Index, Halves, n):
    """Leaves records of those that clamp() has changed; of several of one core the last one stays. Halves [2, n] is scratch."""
    R.transpose(Halves[0, 0], Words[0, 0], n, 2)  # low words, high words
    R.ne(Halves[0, 0], Halves[0, 0], Index[0, 0], 1, n)
    R.ne(Halves[1, 0], Halves[1, 0], 0, 1, n)
    R.maximum(Halves[0, 0], Halves[0, 0], Halves[1, 0], 1, n)
    R.scatter(R.tile(Report[0, core, 0], pitch=CORES * WORDS), Words[0, 0], Halves[0, 0], n, WORDS)
