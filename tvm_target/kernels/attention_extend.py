"""Attention of new tokens over prefix and themselves, causal, from the paged cache (flash attention).

A unit of work is a block of query tokens of one request with all query heads of one KV head: rows that share keys and
values. Keys come in blocks at absolute positions, gathered token by token through the block table, so a row's bits do not
depend on how the prompt was chunked or batched. Per block: scores (matrix), running maximum and scaling (vector), exp with row
sums (activation), values (matrix). The order of issue keeps the matrix engine busy: scores of block j, then values of block j - 2,
then the softmax of block j - 1.

Source: Dao, FlashAttention-2 (2023).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec

MAX_HEAD_DIM = 256
MAX_BATCH = 1024
CORES = 16
MASKED = -1.0e30  # exp gives 0, and 0 * scale stays finite


@dataclass(frozen=True)
class Blocking:
    """How the work is cut: units of at most `rows` query rows and `area` rows * head_dim, at least `waves` to a core where the prompt is
    long enough, against `block` keys at a time. `block` decides the bits: kernels that serve the same requests must share it."""

    block: int
    rows: int
    area: int
    waves: int

    @property
    def sram_bytes(self) -> int:
        """What the buffers of the kernel take."""
        scores = 3 * 4 * self.rows * self.block + 2 * 2 * max(self.area, self.rows * self.block)
        keys = 2 * 3 * 2 * self.block * MAX_HEAD_DIM
        vectors = self.rows * 4 * (4 * 2 + 2) + self.block * 4 * (2 + 3) + 4 * 2 * MAX_BATCH * 4
        return scores + keys + vectors + self.area * (4 + 2)


SERVING = Blocking(block=128, rows=512, area=65536, waves=1)


def attention_extend(blocking: Blocking = SERVING) -> Any:
    """q[T, Hq*D], caches [S, G*D], req_to_token i32[reqs, context], and i64[B] of req_pool_indices, prefix_lens, extend_lens and
    start_locs -> out[T, Hq*D]."""
    BLOCK, ROWS, AREA, WAVES = blocking.block, blocking.rows, blocking.area, blocking.waves

    @T.inline
    def load_queries(Q, Qs, Qpos, row0, pos0, bq, head0, rep, D):
        for h in T.serial(0, rep):
            T.evaluate(R.load(R.tile(Qs[h * bq * D], pitch=D), Q[row0, (head0 + h) * D], bq, D))
        T.evaluate(R.iota(R.tile(Qpos[0], pitch=bq), rep, bq, start=pos0, row_step=0, col_step=1))

    @T.inline
    def scores(K, Ks, Qs, Ss, Slots, j, nk, rows, kv0, D):
        T.evaluate(R.gather(R.tile(Ks[j % 3, 0], pitch=D), K[0, kv0], Slots[j % 3, 0], nk, D))
        T.evaluate(
            R.mma(Ss[j % 3, 0, 0], R.tile(Qs[0], pitch=D), R.tile(Ks[j % 3, 0], pitch=D), rows, nk, D, accumulate=False, transpose_b=True)
        )

    @T.inline
    def softmax(Ss, Ps, Acc, Top, Neg, Alpha, Part, Sum, Kpos, Qpos, j, nk, rows, pos0, D, scale):
        if j * BLOCK + nk - 1 > pos0:  # some key is younger than some query
            T.evaluate(R.iota(Kpos[j % 2, 0], 1, nk, start=j * BLOCK, row_step=0, col_step=1))
            T.evaluate(R.gt(R.tile(Ps[j % 2, 0], pitch=BLOCK), R.row(Kpos[j % 2, 0]), R.col(Qpos[0]), rows, nk))
            T.evaluate(R.select(Ss[j % 3, 0, 0], R.tile(Ps[j % 2, 0], pitch=BLOCK), MASKED, Ss[j % 3, 0, 0], rows, nk))
        T.evaluate(R.reduce_max(R.tile(Part[j % 2, 0], pitch=1), Ss[j % 3, 0, 0], rows, nk))
        if j == 0:
            T.evaluate(R.copy(Top[0, 0], Part[0, 0], 1, rows))
        else:
            T.evaluate(R.maximum(Top[j % 2, 0], Top[(j + 1) % 2, 0], Part[j % 2, 0], 1, rows))
        T.evaluate(R.mul(Neg[j % 2, 0], Top[j % 2, 0], T.float32(-1) * scale, 1, rows))
        T.evaluate(
            R.act(
                "exp",
                R.tile(Ps[j % 2, 0], pitch=BLOCK),
                Ss[j % 3, 0, 0],
                rows,
                nk,
                scale=scale,
                bias=R.col(R.tile(Neg[j % 2, 0], pitch=1)),
                sums=R.tile(Part[j % 2, 0], pitch=1),
            )
        )
        if j == 0:
            T.evaluate(R.copy(Sum[0], Part[0, 0], 1, rows))
        else:
            T.evaluate(R.sub(Alpha[j % 2, 0], Top[(j + 1) % 2, 0], Top[j % 2, 0], 1, rows))
            T.evaluate(R.act("exp", Alpha[j % 2, 0], Alpha[j % 2, 0], 1, rows, scale=scale))
            T.evaluate(R.mul(R.tile(Acc[0], pitch=D), R.tile(Acc[0], pitch=D), R.col(R.tile(Alpha[j % 2, 0], pitch=1)), rows, D))
            T.evaluate(R.mul(Sum[0], Sum[0], Alpha[j % 2, 0], 1, rows))
            T.evaluate(R.add(Sum[0], Sum[0], Part[j % 2, 0], 1, rows))

    @T.prim_func
    def kernel(
        q: T.handle,
        k_cache: T.handle,
        v_cache: T.handle,
        req_to_token: T.handle,
        req_pool_indices: T.handle,
        prefix_lens: T.handle,
        extend_lens: T.handle,
        start_locs: T.handle,
        out: T.handle,
        D: T.int64,
        page: T.int64,
        scale: T.float32,
    ):
        tokens = T.int64()
        batch = T.int64()
        qw = T.int64()
        kvw = T.int64()
        num_slots = T.int64()
        num_reqs = T.int64()
        context = T.int64()
        Q = T.match_buffer(q, (tokens, qw), "bfloat16")
        K = T.match_buffer(k_cache, (num_slots, kvw), "bfloat16")
        V = T.match_buffer(v_cache, (num_slots, kvw), "bfloat16")
        Tokens = T.match_buffer(req_to_token, (num_reqs, context), "int32")
        ReqPool = T.match_buffer(req_pool_indices, (batch,), "int64")
        Prefix = T.match_buffer(prefix_lens, (batch,), "int64")
        Extend = T.match_buffer(extend_lens, (batch,), "int64")
        Start = T.match_buffer(start_locs, (batch,), "int64")
        Out = T.match_buffer(out, (tokens, qw), "bfloat16")
        core = T.launch_thread("blockIdx.x", CORES)
        Ss = T.alloc_buffer((3, ROWS, BLOCK), "float32", scope="shared.sram")
        Ps = T.alloc_buffer((2, max(AREA, ROWS * BLOCK)), "bfloat16", scope="shared.sram")
        Acc = T.alloc_buffer((AREA,), "float32", scope="shared.sram")
        Qs = T.alloc_buffer((AREA,), "bfloat16", scope="shared.sram")
        Ks = T.alloc_buffer((3, BLOCK * MAX_HEAD_DIM), "bfloat16", scope="shared.sram")
        Vs = T.alloc_buffer((3, BLOCK * MAX_HEAD_DIM), "bfloat16", scope="shared.sram")
        Top = T.alloc_buffer((2, ROWS), "float32", scope="shared.sram")
        Neg = T.alloc_buffer((2, ROWS), "float32", scope="shared.sram")
        Alpha = T.alloc_buffer((2, ROWS), "float32", scope="shared.sram")
        Part = T.alloc_buffer((2, ROWS), "float32", scope="shared.sram")
        Sum = T.alloc_buffer((ROWS,), "float32", scope="shared.sram")
        Kpos = T.alloc_buffer((2, BLOCK), "int32", scope="shared.sram")
        Qpos = T.alloc_buffer((ROWS,), "int32", scope="shared.sram")
        Slots = T.alloc_buffer((3, BLOCK), "int32", scope="shared.sram")
        Meta = T.alloc_buffer((4, 2 * MAX_BATCH), "int32", scope="shared.sram")
        dealt = T.alloc_buffer((1,), "int64", scope="local")

        rep: T.let[T.int64] = qw // kvw
        kv_heads: T.let[T.int64] = kvw // D
        # Query tokens to a unit: as many as fit, but no more than give every core its waves.
        fit: T.let[T.int64] = T.min(ROWS // rep, AREA // (rep * D)) // 16 * 16
        bq_max: T.let[T.int64] = T.max(T.int64(16), T.min(fit, (tokens * kv_heads // (CORES * WAVES) + 15) // 16 * 16))

        # int64 arrive as pairs of words, the low one first.
        T.evaluate(R.load(Meta[0, 0], R.tile(ReqPool[0], dtype="int32"), 1, 2 * batch))
        T.evaluate(R.load(Meta[1, 0], R.tile(Prefix[0], dtype="int32"), 1, 2 * batch))
        T.evaluate(R.load(Meta[2, 0], R.tile(Extend[0], dtype="int32"), 1, 2 * batch))
        T.evaluate(R.load(Meta[3, 0], R.tile(Start[0], dtype="int32"), 1, 2 * batch))
        dealt[0] = T.int64(0)
        for b in T.serial(0, batch):
            request: T.let[T.int64] = T.Cast("int64", Meta[0, 2 * b])
            prefix: T.let[T.int64] = T.Cast("int64", Meta[1, 2 * b])
            extend: T.let[T.int64] = T.Cast("int64", Meta[2, 2 * b])
            start: T.let[T.int64] = T.Cast("int64", Meta[3, 2 * b])
            units: T.let[T.int64] = (extend + bq_max - 1) // bq_max * kv_heads
            for u in T.serial(0, units):
                # Dealt forwards and backwards in turn, the longest first, so that every core gets the same amount.
                turn: T.let[T.int64] = (dealt[0] + u) % (2 * CORES)
                if T.min(turn, 2 * CORES - 1 - turn) == T.Cast("int64", core):
                    kv0: T.let[T.int64] = u % kv_heads * D
                    t0: T.let[T.int64] = (units // kv_heads - 1 - u // kv_heads) * bq_max
                    bq: T.let[T.int64] = T.min(bq_max, extend - t0)
                    rows: T.let[T.int64] = bq * rep
                    pos0: T.let[T.int64] = prefix + t0
                    keys: T.let[T.int64] = pos0 + bq
                    blocks: T.let[T.int64] = (keys + BLOCK - 1) // BLOCK
                    T.evaluate(R.load(Slots[0, 0], Tokens[request, 0], 1, T.min(keys, T.int64(BLOCK))))
                    load_queries(Q, Qs, Qpos, start + t0, pos0, bq, u % kv_heads * rep, rep, D)
                    for j in T.serial(0, blocks + 2):
                        if j + 1 < blocks:
                            T.evaluate(
                                R.load(
                                    Slots[(j + 1) % 3, 0],
                                    Tokens[request, (j + 1) * BLOCK],
                                    1,
                                    T.min(keys - (j + 1) * BLOCK, T.int64(BLOCK)),
                                )
                            )
                        if j < blocks:
                            scores(K, Ks, Qs, Ss, Slots, j, T.min(keys - j * BLOCK, T.int64(BLOCK)), rows, kv0, D)
                        if j >= 1 and j <= blocks:
                            T.evaluate(
                                R.gather(
                                    R.tile(Vs[(j - 1) % 3, 0], pitch=D),
                                    V[0, kv0],
                                    Slots[(j - 1) % 3, 0],
                                    T.min(keys - (j - 1) * BLOCK, T.int64(BLOCK)),
                                    D,
                                )
                            )
                        if j >= 2:
                            T.evaluate(
                                R.mma(
                                    R.tile(Acc[0], pitch=D),
                                    R.tile(Ps[j % 2, 0], pitch=BLOCK),
                                    R.tile(Vs[(j - 2) % 3, 0], pitch=D),
                                    rows,
                                    D,
                                    T.min(keys - (j - 2) * BLOCK, T.int64(BLOCK)),
                                    accumulate=j > 2,
                                )
                            )
                        if j >= 1 and j <= blocks:
                            softmax(
                                Ss,
                                Ps,
                                Acc,
                                Top,
                                Neg,
                                Alpha,
                                Part,
                                Sum,
                                Kpos,
                                Qpos,
                                j - 1,
                                T.min(keys - (j - 1) * BLOCK, T.int64(BLOCK)),
                                rows,
                                pos0,
                                D,
                                scale,
                            )
                    # The free half of Ps takes the result.
                    T.evaluate(R.act("reciprocal", Sum[0], Sum[0], 1, rows))
                    T.evaluate(R.mul(R.tile(Ps[blocks % 2, 0], pitch=D), R.tile(Acc[0], pitch=D), R.col(Sum[0]), rows, D))
                    for h in T.serial(0, rep):
                        T.evaluate(
                            R.store(Out[start + t0, (u % kv_heads * rep + h) * D], R.tile(Ps[blocks % 2, h * bq * D], pitch=D), bq, D)
                        )
            dealt[0] = dealt[0] + units

    return kernel


KERNELS = [
    KernelSpec(
        op="attention_extend",
        name="attention_extend",
        dtype="bfloat16",
        config=asdict(SERVING),
        limits={"batch": [1, MAX_BATCH], "group": [1, 16], "head_dim": [32, MAX_HEAD_DIM], "head_dim_multiple": [32, 32]},
        make=attention_extend,
    )
]
