"""Rotary position embedding in place, halves rotated against each other (NeoX, Llama): a' = a cos - b sin, b' = b cos + a sin.

The two halves of every head come as two blocks, each padded to a line of SRAM, so any even rotary size works. Many tokens are rotated head
by head, a token a row, with the token's own cosines and sines beside it; few tokens one by one, a head a row, with one row of
cosines for all. Either way an element is two products, one sum and one rounding. A position outside the table takes its nearest row, and
a record is left (see _indices).

Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

from ._indices import CORES, LIMIT, WORDS, clamp, report

LINE = 32  # bf16 elements in a line of 64 bytes; heads are padded to it
# Elements of one half of all heads of a step's tokens. Few large steps: an instruction costs 16 cycles before its work.
TILE = 65536
TABLE = 8192  # elements of the cosines of a group of tokens; also of a product
CHUNK = 4096  # positions at a time
TOO_LONG = f"cos_sin must have 1 to {LIMIT} rows"
TOO_WIDE = f"heads times half the rotary size, rounded up to {LINE}, must be at most {TABLE}"


def rope() -> Any:
    """q[t, heads * head_dim], k[t, kv_heads * head_dim] in place; positions i64[t]; cos_sin f32[p, r]: r/2 cosines, then r/2 sines;
    records i32[2, 16, 4]."""

    @T.inline
    def rotate(a, b, cos, sin, P, bank, pitch, rows, cols):
        R.mul(R.tile(P[bank, 0, 0], pitch=pitch), a, cos, rows, cols)
        R.mul(R.tile(P[bank, 1, 0], pitch=pitch), b, sin, rows, cols)
        R.mul(R.tile(P[bank, 2, 0], pitch=pitch), b, cos, rows, cols)
        R.mul(R.tile(P[bank, 3, 0], pitch=pitch), a, sin, rows, cols)
        R.sub(a, R.tile(P[bank, 0, 0], pitch=pitch), R.tile(P[bank, 1, 0], pitch=pitch), rows, cols)
        R.add(b, R.tile(P[bank, 2, 0], pitch=pitch), R.tile(P[bank, 3, 0], pitch=pitch), rows, cols)

    @T.inline
    def rotate_heads(A, B, s, at, heads, Cs, Sn, g, token, P, m, half, hp, by_token):
        # A and B hold [m, heads, hp]. The banks of P take turns, so that products never wait for the sums before.
        if by_token:
            for i in T.serial(0, m):
                rotate(
                    R.tile(A[s, at + i * heads * hp], pitch=hp),
                    R.tile(B[s, at + i * heads * hp], pitch=hp),
                    R.row(Cs[g, (token + i) * hp]),
                    R.row(Sn[g, (token + i) * hp]),
                    *(P, i % 2, hp, heads, half),
                )
        else:
            for i in T.serial(0, heads):
                rotate(
                    R.tile(A[s, at + i * hp], pitch=heads * hp),
                    R.tile(B[s, at + i * hp], pitch=heads * hp),
                    R.tile(Cs[g, token * hp], pitch=hp),
                    R.tile(Sn[g, token * hp], pitch=hp),
                    *(P, i % 2, hp, m, half),
                )

    @T.inline
    def fetch(A, B, s, at, X, r, rows, D, half, hp):
        R.load(R.tile(A[s, at], pitch=hp), R.tile(X[r, 0], pitch=D), rows, half)
        R.load(R.tile(B[s, at], pitch=hp), R.tile(X[r, half], pitch=D), rows, half)

    @T.inline
    def write(A, B, s, at, X, r, rows, D, half, hp):
        R.store(R.tile(X[r, 0], pitch=D), R.tile(A[s, at], pitch=hp), rows, half)
        R.store(R.tile(X[r, half], pitch=D), R.tile(B[s, at], pitch=hp), rows, half)

    @T.prim_func
    def kernel(q: T.handle, k: T.handle, positions: T.handle, cos_sin: T.handle, records: T.handle, D: T.int64):
        t = T.int64()
        qw = T.int64()
        kw = T.int64()
        p = T.int64()
        rotary = T.int64()
        Q = T.match_buffer(q, (t, qw), "bfloat16")
        K = T.match_buffer(k, (t, kw), "bfloat16")
        Positions = T.match_buffer(positions, (t,), "int64")
        Table = T.match_buffer(cos_sin, (p, rotary), "float32")
        Records = T.match_buffer(records, (2, CORES, WORDS), "int32")
        assert D > 0 and qw % D == 0 and kw % D == 0, "the width of q or k is no multiple of head_dim"
        assert rotary > 0 and rotary % 2 == 0 and rotary <= D, "cos_sin must have an even number of columns, up to head_dim"
        assert p > 0 and p <= LIMIT, TOO_LONG
        assert T.max(qw, kw) // D * ((rotary // 2 + LINE - 1) // LINE * LINE) <= TABLE, TOO_WIDE
        core = T.launch_thread("blockIdx.x", CORES)
        Words = T.alloc_buffer((CHUNK, WORDS), "int32", scope="shared.sram")
        Halves = T.alloc_buffer((2, CHUNK), "int32", scope="shared.sram")
        Index = T.alloc_buffer((CHUNK // 16, 16), "int32", scope="shared.sram")
        Cs = T.alloc_buffer((2, TABLE), "float32", scope="shared.sram")
        Sn = T.alloc_buffer((2, TABLE), "float32", scope="shared.sram")
        A = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        B = T.alloc_buffer((2, TILE), "bfloat16", scope="shared.sram")
        P = T.alloc_buffer((2, 4, TABLE), "float32", scope="shared.sram")
        half: T.let[T.int64] = rotary // 2
        hp: T.let[T.int64] = (half + LINE - 1) // LINE * LINE
        hq: T.let[T.int64] = qw // D
        hk: T.let[T.int64] = kw // D
        share: T.let[T.int64] = (t + CORES - 1) // CORES
        first: T.let[T.int64] = core * share
        mine: T.let[T.int64] = T.min(share, t - first)
        # Groups share a table of cosines and start at a line of the index list; steps fit the buffers.
        group: T.let[T.int64] = TABLE // hp // 16 * 16
        step: T.let[T.int64] = T.min(T.min(group, TILE // ((hq + hk) * hp)), T.max(share, T.int64(1)))
        for chunk in T.serial(0, (mine + CHUNK - 1) // CHUNK):
            c0: T.let[T.int64] = first + chunk * CHUNK
            n: T.let[T.int64] = T.min(T.int64(CHUNK), mine - chunk * CHUNK)
            clamp(Positions, c0, Words, Index, n, p)
            for j in T.serial(0, (n + group - 1) // group):
                g: T.let[T.int64] = j % 2
                gn: T.let[T.int64] = T.min(group, n - j * group)
                steps: T.let[T.int64] = (gn + step - 1) // step
                fetch(A, B, T.int64(0), T.int64(0), Q, c0 + j * group, T.min(step, gn) * hq, D, half, hp)
                R.gather(R.tile(Cs[g, 0], pitch=hp), Table[0, 0], Index[j * group // 16, 0], gn, half)
                R.gather(R.tile(Sn[g, 0], pitch=hp), Table[0, half], Index[j * group // 16, 0], gn, half)
                for i in T.serial(0, steps):
                    s: T.let[T.int64] = i % 2
                    r: T.let[T.int64] = c0 + j * group + i * step
                    m: T.let[T.int64] = T.min(step, gn - i * step)
                    at: T.let[T.int64] = m * hq * hp
                    if i > 0:
                        fetch(A, B, s, T.int64(0), Q, r, m * hq, D, half, hp)
                    fetch(A, B, s, at, K, r, m * hk, D, half, hp)
                    if 2 * m <= hq + hk:
                        rotate_heads(A, B, s, T.int64(0), hq, Cs, Sn, g, i * step, P, m, half, hp, True)
                        rotate_heads(A, B, s, at, hk, Cs, Sn, g, i * step, P, m, half, hp, True)
                    else:
                        rotate_heads(A, B, s, T.int64(0), hq, Cs, Sn, g, i * step, P, m, half, hp, False)
                        rotate_heads(A, B, s, at, hk, Cs, Sn, g, i * step, P, m, half, hp, False)
                    write(A, B, s, T.int64(0), Q, r, m * hq, D, half, hp)
                    write(A, B, s, at, K, r, m * hk, D, half, hp)
            report(Records, core, Words, Index, Halves, n)

    return kernel


LIMITS = {"heads": [1, 128], "kv_heads": [1, 128], "width": [1, 8192], "kv_width": [1, 8192], "r": [2, 512]}
KERNELS = [KernelSpec("rope", "rope_neox", "bfloat16", rope, {"tile": TILE}, LIMITS)]
