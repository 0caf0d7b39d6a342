"""Attention of one new token a request over its paged cache (flash-decoding).

A request's keys are cut into chunks of `chunk` tokens, whatever the batch: a chunk is one unit of work, the units of all requests are
dealt to the cores in turn, and a request gives the same bits alone or in a batch. Inside a chunk, pages of all KV heads are
gathered whole (a row of the gather is a page, so DMA costs little), scores of every head are one [heads, chunk] block, and the
softmax is exact for the chunk. A request of one chunk is finished on the spot; otherwise the unnormalised result, its maxima and
sums go to the workspace and, after the barrier, are merged in ascending order of chunks.

Source: Dao et al., Flash-Decoding (2023); Milakov and Gimelshein, Online normalizer calculation for softmax (2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

MIN_TILE_TOKENS = 32  # columns of P begin on a line
MAX_HEADS = 64
MAX_WIDTH = 8192  # heads * head_dim
MAX_BATCH = 2048
CORES = 16


@dataclass(frozen=True)
class Chunking:
    """How keys and values are cut: units of work of `chunk` tokens, and in them `stages` ring buffers of `tile` elements.

    `chunk` decides the bits: kernels that serve the same requests must share it."""

    chunk: int
    tile: int
    stages: int

    @property
    def max_kv_width(self) -> int:
        """KV heads * head_dim: a tile holds at least MIN_TILE_TOKENS tokens."""
        return self.tile // MIN_TILE_TOKENS

    @property
    def sram_bytes(self) -> int:
        """What the buffers of the kernel take."""
        by_chunk = 2 * MAX_HEADS * (4 + 2) + 2 * 4 + 2 * 4 * (self.chunk // MIN_TILE_TOKENS)
        fixed = MAX_WIDTH * (2 * 2 + 2 * 4 + 4 + 2 * 2) + MAX_HEADS * 4 * (4 + 2 + 2 + 3) + 2 * 2 * MAX_BATCH * 4
        return 2 * self.stages * self.tile + by_chunk * self.chunk + fixed


SERVING = Chunking(chunk=256, tile=131072, stages=5)


def attention_decode(chunking: Chunking = SERVING) -> Any:
    """q[B, Hq*D], caches [S, G*D], req_to_token i32[reqs, context], req_pool_indices and seq_lens i64[B] -> out[B, Hq*D]."""
    CHUNK, TILE, STAGES = chunking.chunk, chunking.tile, chunking.stages

    def tokens_to_tile(kvw):
        # As many as fit, in halves of a chunk, down to MIN_TILE_TOKENS.
        tokens, choice = MIN_TILE_TOKENS, T.int64(MIN_TILE_TOKENS)
        while tokens < CHUNK:
            tokens *= 2
            choice = T.Select(kvw <= TILE // tokens, T.int64(tokens), choice)
        return choice

    @T.inline
    def settle(unit, Lens, batch):
        # unit = (request, chunk, length of the request): on to the next request while the chunk lies past its end.
        while unit[0] < batch and unit[1] * CHUNK >= unit[2]:
            unit[1] = unit[1] - (unit[2] + CHUNK - 1) // CHUNK
            unit[0] = unit[0] + 1
            if unit[0] < batch:
                unit[2] = T.Cast("int64", Lens[0, unit[0] * 2])

    @T.inline
    def prefetch(unit, ring, Q, Tokens, Reqs, Qs, Slots, Index, qw, kt, pg):
        # The unit's query, and for every tile the first slot of each page.
        request: T.let[T.int64] = T.Cast("int64", Reqs[0, unit[0] * 2])
        n: T.let[T.int64] = T.min(T.int64(CHUNK), unit[2] - unit[1] * CHUNK)
        T.evaluate(R.load(Slots[ring, 0], Tokens[request, unit[1] * CHUNK], 1, n))
        T.evaluate(R.load(Qs[ring, 0], Q[unit[0], 0], 1, qw))
        for t in T.serial(0, (n + kt - 1) // kt):
            pages: T.let[T.int64] = (T.min(kt, n - t * kt) + pg - 1) // pg
            T.evaluate(R.copy(R.tile(Index[ring, t, 0], pitch=1), R.tile(Slots[ring, t * kt], pitch=pg), pages, 1))

    @T.inline
    def scores(ring, n, K, Qs, Index, Ring, Ss, tiles, hq, kvw, D, kt, pg):
        for t in T.serial(0, (n + kt - 1) // kt):
            nk: T.let[T.int64] = T.min(kt, n - t * kt)
            slot: T.let[T.int64] = tiles[0] % STAGES
            T.evaluate(R.gather(R.tile(Ring[slot, 0], pitch=pg * kvw), K[0, 0], Index[ring, t, 0], (nk + pg - 1) // pg, pg * kvw))
            rep: T.let[T.int64] = hq * D // kvw
            for g in T.serial(0, kvw // D):
                T.evaluate(
                    R.mma(
                        Ss[ring, g * rep, t * kt],
                        R.tile(Qs[ring, g * rep * D], pitch=D),
                        R.tile(Ring[slot, g * D], pitch=kvw),
                        rep,
                        nk,
                        D,
                        accumulate=False,
                        transpose_b=True,
                    )
                )
            tiles[0] = tiles[0] + 1

    @T.inline
    def values(ring, n, V, Index, Ring, Ps, Acc, tiles, hq, kvw, D, kt, pg):
        for t in T.serial(0, (n + kt - 1) // kt):
            nk: T.let[T.int64] = T.min(kt, n - t * kt)
            slot: T.let[T.int64] = tiles[0] % STAGES
            T.evaluate(R.gather(R.tile(Ring[slot, 0], pitch=pg * kvw), V[0, 0], Index[ring, t, 0], (nk + pg - 1) // pg, pg * kvw))
            rep: T.let[T.int64] = hq * D // kvw
            for g in T.serial(0, kvw // D):
                T.evaluate(
                    R.mma(
                        R.tile(Acc[ring, g * rep * D], pitch=D),
                        Ps[ring, g * rep, t * kt],
                        R.tile(Ring[slot, g * D], pitch=kvw),
                        rep,
                        D,
                        nk,
                        accumulate=t > 0,
                    )
                )
            tiles[0] = tiles[0] + 1

    @T.inline
    def finish(dst, acc, sums, O, Rl, ring, rows, D):
        T.evaluate(R.act("reciprocal", Rl[ring, 0], sums, 1, rows))
        T.evaluate(R.mul(R.tile(O[ring, 0], pitch=D), R.tile(acc, pitch=D), R.col(R.tile(Rl[ring, 0], pitch=1)), rows, D))
        T.evaluate(R.store(dst, O[ring, 0], 1, rows * D))

    @T.prim_func
    def kernel(
        q: T.handle,
        k_cache: T.handle,
        v_cache: T.handle,
        req_to_token: T.handle,
        req_pool_indices: T.handle,
        seq_lens: T.handle,
        workspace: T.handle,
        out: T.handle,
        D: T.int64,
        page: T.int64,
        scale: T.float32,
    ):
        batch = T.int64()
        qw = T.int64()
        kvw = T.int64()
        num_slots = T.int64()
        num_reqs = T.int64()
        context = T.int64()
        floats = T.int64()
        Q = T.match_buffer(q, (batch, qw), "bfloat16")
        K = T.match_buffer(k_cache, (num_slots, kvw), "bfloat16")
        V = T.match_buffer(v_cache, (num_slots, kvw), "bfloat16")
        Tokens = T.match_buffer(req_to_token, (num_reqs, context), "int32")
        ReqPool = T.match_buffer(req_pool_indices, (batch,), "int64")
        SeqLens = T.match_buffer(seq_lens, (batch,), "int64")
        W = T.match_buffer(workspace, (floats,), "float32")
        Out = T.match_buffer(out, (batch, qw), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Ring = T.alloc_buffer((STAGES, TILE), "bfloat16", scope="shared.sram")
        Qs = T.alloc_buffer((2, MAX_WIDTH), "bfloat16", scope="shared.sram")
        Ss = T.alloc_buffer((2, MAX_HEADS, CHUNK), "float32", scope="shared.sram")
        Ps = T.alloc_buffer((2, MAX_HEADS, CHUNK), "bfloat16", scope="shared.sram")
        Acc = T.alloc_buffer((2, MAX_WIDTH), "float32", scope="shared.sram")
        Sum = T.alloc_buffer((MAX_WIDTH,), "float32", scope="shared.sram")
        O = T.alloc_buffer((2, MAX_WIDTH), "bfloat16", scope="shared.sram")
        Stat = T.alloc_buffer((2, 2, MAX_HEADS), "float32", scope="shared.sram")  # row 0: -scale * maximum, row 1: sum
        Rl = T.alloc_buffer((2, MAX_HEADS), "float32", scope="shared.sram")
        Run = T.alloc_buffer((2, MAX_HEADS), "float32", scope="shared.sram")
        Fac = T.alloc_buffer((3, MAX_HEADS), "float32", scope="shared.sram")
        Slots = T.alloc_buffer((2, CHUNK), "int32", scope="shared.sram")
        Index = T.alloc_buffer((2, CHUNK // MIN_TILE_TOKENS, CHUNK), "int32", scope="shared.sram")
        Lens = T.alloc_buffer((1, 2 * MAX_BATCH), "int32", scope="shared.sram")
        Reqs = T.alloc_buffer((1, 2 * MAX_BATCH), "int32", scope="shared.sram")
        this = T.alloc_buffer((3,), "int64", scope="local")
        ahead = T.alloc_buffer((3,), "int64", scope="local")
        tiles = T.alloc_buffer((1,), "int64", scope="local")
        count = T.alloc_buffer((1,), "int64", scope="local")

        hq: T.let[T.int64] = qw // D
        rep: T.let[T.int64] = qw // kvw
        # Tokens to a tile, and rows to an index: whole pages where they divide a tile.
        kt: T.let[T.int64] = tokens_to_tile(kvw)
        pg: T.let[T.int64] = T.Select(kt % page == 0, page, T.Select(page % kt == 0, kt, T.int64(1)))
        unit_floats: T.let[T.int64] = qw + 2 * hq
        max_chunks: T.let[T.int64] = floats // (batch * unit_floats)

        # int64 arrive as pairs of words, the low one first.
        T.evaluate(R.load(Lens[0, 0], R.tile(SeqLens[0], dtype="int32"), 1, 2 * batch))
        T.evaluate(R.load(Reqs[0, 0], R.tile(ReqPool[0], dtype="int32"), 1, 2 * batch))
        ahead[0] = T.int64(0)
        ahead[1] = T.Cast("int64", core)
        ahead[2] = T.Cast("int64", Lens[0, 0])
        tiles[0] = T.int64(0)
        count[0] = T.int64(0)
        settle(ahead, Lens, batch)
        if ahead[0] < batch:
            prefetch(ahead, T.int64(0), Q, Tokens, Reqs, Qs, Slots, Index, qw, kt, pg)
        while ahead[0] < batch:
            this[0] = ahead[0]
            this[1] = ahead[1]
            this[2] = ahead[2]
            ring: T.let[T.int64] = count[0] % 2
            count[0] = count[0] + 1
            ahead[1] = ahead[1] + CORES
            settle(ahead, Lens, batch)
            if ahead[0] < batch:
                prefetch(ahead, 1 - ring, Q, Tokens, Reqs, Qs, Slots, Index, qw, kt, pg)
            n: T.let[T.int64] = T.min(T.int64(CHUNK), this[2] - this[1] * CHUNK)
            scores(ring, n, K, Qs, Index, Ring, Ss, tiles, hq, kvw, D, kt, pg)
            T.evaluate(R.reduce_max(R.tile(Rl[ring, 0], pitch=1), Ss[ring, 0, 0], hq, n))
            T.evaluate(R.mul(Stat[ring, 0, 0], Rl[ring, 0], T.float32(-1) * scale, 1, hq))
            T.evaluate(
                R.act(
                    "exp",
                    Ps[ring, 0, 0],
                    Ss[ring, 0, 0],
                    hq,
                    n,
                    scale=scale,
                    bias=R.col(R.tile(Stat[ring, 0, 0], pitch=1)),
                    sums=R.tile(Stat[ring, 1, 0], pitch=1),
                )
            )
            values(ring, n, V, Index, Ring, Ps, Acc, tiles, hq, kvw, D, kt, pg)
            if this[2] <= CHUNK:
                finish(Out[this[0], 0], Acc[ring, 0], Stat[ring, 1, 0], O, Rl, ring, hq, D)
            else:
                base: T.let[T.int64] = (this[0] * max_chunks + this[1]) * unit_floats
                T.evaluate(R.store(W[base], Acc[ring, 0], 1, qw))
                T.evaluate(R.store(R.tile(W[base + qw], pitch=hq), Stat[ring, 0, 0], 2, hq))

        T.evaluate(R.barrier())

        # Merge: whole requests to a core, or single KV heads when there are few requests. Same bits either way.
        heads: T.let[T.int64] = T.Select(batch >= CORES, hq, rep)
        parts: T.let[T.int64] = hq // heads
        for turn in T.serial(0, (batch * parts + CORES - 1 - core) // CORES):
            part: T.let[T.int64] = turn * CORES + core
            request: T.let[T.int64] = part // parts
            first: T.let[T.int64] = part % parts * heads
            length: T.let[T.int64] = T.Cast("int64", Lens[0, request * 2])
            if length > CHUNK:
                for c in T.serial(0, (length + CHUNK - 1) // CHUNK):
                    slot: T.let[T.int64] = c % 2
                    start: T.let[T.int64] = (request * max_chunks + c) * unit_floats
                    T.evaluate(R.load(Acc[slot, 0], W[start + first * D], 1, heads * D))
                    T.evaluate(R.load(Stat[slot, 0, 0], R.tile(W[start + qw + first], pitch=hq), 2, heads))
                    if c == 0:
                        T.evaluate(R.copy(Sum[0], Acc[0, 0], 1, heads * D))
                        T.evaluate(R.copy(Run[0, 0], Stat[0, 0, 0], 2, heads))
                    else:
                        T.evaluate(R.minimum(Fac[2, 0], Run[0, 0], Stat[slot, 0, 0], 1, heads))
                        T.evaluate(R.sub(Fac[0, 0], Fac[2, 0], Run[0, 0], 1, heads))
                        T.evaluate(R.sub(Fac[1, 0], Fac[2, 0], Stat[slot, 0, 0], 1, heads))
                        T.evaluate(R.act("exp", Fac[0, 0], Fac[0, 0], 2, heads))
                        T.evaluate(R.copy(Run[0, 0], Fac[2, 0], 1, heads))
                        T.evaluate(R.mul(Run[1, 0], Run[1, 0], Fac[0, 0], 1, heads))
                        T.evaluate(R.mul(Stat[slot, 1, 0], Stat[slot, 1, 0], Fac[1, 0], 1, heads))
                        T.evaluate(R.add(Run[1, 0], Run[1, 0], Stat[slot, 1, 0], 1, heads))
                        T.evaluate(R.mul(R.tile(Sum[0], pitch=D), R.tile(Sum[0], pitch=D), R.col(R.tile(Fac[0, 0], pitch=1)), heads, D))
                        T.evaluate(
                            R.mul(R.tile(Acc[slot, 0], pitch=D), R.tile(Acc[slot, 0], pitch=D), R.col(R.tile(Fac[1, 0], pitch=1)), heads, D)
                        )
                        T.evaluate(R.add(Sum[0], Sum[0], Acc[slot, 0], 1, heads * D))
                finish(Out[request, first * D], Sum[0], Run[1, 0], O, Rl, turn % 2, heads, D)

    return kernel


KERNELS = [
    KernelSpec(
        op="attention_decode",
        name="attention_decode",
        dtype="bfloat16",
        config=asdict(SERVING),
        limits={
            "batch": [1, MAX_BATCH],
            "heads": [1, MAX_HEADS],
            "width": [1, MAX_WIDTH],
            "kv_width": [1, SERVING.max_kv_width],
            "head_dim_multiple": [32, 32],
        },
        make=attention_decode,
    )
]
