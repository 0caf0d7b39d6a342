"""Kernels that compiled models need and servers do not: tables of a batch of whole sequences, which the attention kernel asks for where
there is no paged cache, and SwiGLU with gate and up apart. They are built into models only, not packaged."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.kernels import gemm
from tvm_target.package import KernelSpec

CHUNK = 4096


def attention_tables() -> Any:
    """tokens i32[b, s] = 0, 1, 2, ...; and i64[b]: requests 0, 1, ...; prefixes 0; lengths s; starts 0, s, 2 s, ..."""

    @T.inline
    def column(Out, Words, b, start, step):
        # int64 are pairs of words, the low one first.
        for i in T.serial(0, (b + CHUNK - 1) // CHUNK):
            n: T.let[T.int64] = T.min(T.int64(CHUNK), b - i * CHUNK)
            T.evaluate(R.fill(Words[0, 0], 0, 1, 2 * n))
            T.evaluate(R.iota(Words[0, 0], n, 1, start=start + i * CHUNK * step, row_step=step, col_step=0))
            T.evaluate(R.store(R.tile(Out[i * CHUNK], dtype="int32"), Words[0, 0], 1, 2 * n))

    @T.prim_func
    def kernel(tokens: T.handle, requests: T.handle, prefixes: T.handle, lengths: T.handle, starts: T.handle):
        b = T.int64()
        s = T.int64()
        Tokens = T.match_buffer(tokens, (b, s), "int32")
        Requests = T.match_buffer(requests, (b,), "int64")
        Prefixes = T.match_buffer(prefixes, (b,), "int64")
        Lengths = T.match_buffer(lengths, (b,), "int64")
        Starts = T.match_buffer(starts, (b,), "int64")
        core = T.launch_thread("blockIdx.x", 16)
        Words = T.alloc_buffer((CHUNK, 2), "int32", scope="shared.sram")
        Run = T.alloc_buffer((CHUNK,), "int32", scope="shared.sram")
        if core == 0:
            column(Requests, Words, b, T.int64(0), T.int64(1))
            column(Prefixes, Words, b, T.int64(0), T.int64(0))
            column(Lengths, Words, b, s, T.int64(0))
            column(Starts, Words, b, T.int64(0), s)
        else:
            for i in T.serial(0, (b * s + CHUNK * 15 - 1) // (CHUNK * 15)):
                first: T.let[T.int64] = (i * 15 + core - 1) * CHUNK
                n: T.let[T.int64] = T.min(T.int64(CHUNK), b * s - first)
                if n > 0:
                    R.iota(Run[0], 1, n, start=first, row_step=0, col_step=1)
                    R.store(R.tile(Tokens[0, first], pitch=n), Run[0], 1, n)

    return kernel


UNPACKAGED = [
    KernelSpec("attention_tables", "attention_tables", "int64", attention_tables),
    *gemm.specs_of({"swiglu": "linear_swiglu"}),
]
