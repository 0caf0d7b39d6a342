"""y = x w^T and its epilogues: every linear layer, the logits, any M, N and K.

The weight lies as torch keeps it, [N, K]; the matrix engine reads it transposed, so nothing is repacked. Each output element is
one accumulation chain over ascending k, whatever the tiles: all configurations give the same bits, and a row gives the same bits
alone or in a batch. (That is why K is never split between cores.)

The cores form a GM x GN grid over the output. Every core owns a slice of rows and a slice of columns and walks them in BM x BN
tiles, streaming BK-wide blocks of x and w through a ring of buffers. Cores that share rows receive x by one multicast where they are
whole rows of the chip's grid; cores that share columns likewise w. Double buffering needs no code: the loads of the next steps are
issued as far ahead as the ring allows, and the scoreboard holds each until its buffer is free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target.package import KernelSpec
from tvm_target.target import chip

PANEL = 128  # columns of the matrix engine: the unit of an mma, of an epilogue step and of a store
SRAM_BYTES = chip().sram_bytes
GRID_COLS = chip().grid[1]


@dataclass(frozen=True)
class Tiling:
    """How the output is cut: a GM x GN grid of cores, BM x BN tiles, BK-wide steps."""

    gm: int
    gn: int
    bm: int
    bn: int
    bk: int

    def stages(self, weights: int) -> int:
        """Buffers in the ring: as many as fit, at most 4. `weights` tiles of w belong to a step (2 for gate and up)."""
        fixed = 4 * weights * self.bm * self.bn + 2 * 2 * self.bm * PANEL + 2 * 2 * PANEL
        return min(4, (SRAM_BYTES - fixed) // (2 * self.bk * (self.bm + weights * self.bn)))

    @property
    def x_group(self) -> str:
        """The multicast that brings x: the cores of a group share rows. Empty: every core loads for itself."""
        return "all" if self.gm == 1 else "row" if self.gn % GRID_COLS == 0 else ""

    @property
    def w_group(self) -> str:
        """The multicast that brings w: the cores of a group share columns."""
        return "all" if self.gn == 1 else "col" if GRID_COLS % self.gn == 0 else ""


# swiglu is silu_mul with gate and up as weights of their own, as models have them before a server packs them.
EPILOGUES = ("none", "bias", "residual", "silu_mul", "float32", "swiglu")


def gemm(tiling: Tiling, epilogue: str) -> Any:
    """The kernel of one tiling and epilogue, see EPILOGUES; calling conventions are those of ops/linear."""
    GM, GN, BM, BN, BK = tiling.gm, tiling.gn, tiling.bm, tiling.bn, tiling.bk
    APART = epilogue == "swiglu"
    WEIGHTS = 2 if APART or epilogue == "silu_mul" else 1
    STAGES = tiling.stages(WEIGHTS)
    OUT = "float32" if epilogue == "float32" else "bfloat16"
    X_GROUP, W_GROUP = tiling.x_group, tiling.w_group

    @T.inline
    def load_weight(Ws, slot, h, W, row, bn, k0, bk):
        if W_GROUP != "":
            T.evaluate(R.load_multicast(Ws[slot, h * BN, 0], W[row, k0], bn, bk, group=W_GROUP))
        else:
            T.evaluate(R.load(Ws[slot, h * BN, 0], W[row, k0], bn, bk))

    @T.inline
    def load_step(X, W, E, Xs, Ws, slot, m0, bm, n0, bn, n, k0, bk):
        if bm > 0:
            if X_GROUP != "":
                T.evaluate(R.load_multicast(Xs[slot, 0, 0], X[m0, k0], bm, bk, group=X_GROUP))
            else:
                T.evaluate(R.load(Xs[slot, 0, 0], X[m0, k0], bm, bk))
        if bn > 0:
            if APART:
                load_weight(Ws, slot, 0, W, n0, bn, k0, bk)
                load_weight(Ws, slot, 1, E, n0, bn, k0, bk)
            else:
                for h in T.serial(0, WEIGHTS):
                    load_weight(Ws, slot, h, W, h * n + n0, bn, k0, bk)

    @T.inline
    def multiply_step(Xs, Ws, Cs, slot, bm, bn, bk, step):
        # One mma a panel: the next step's mma on the same panel then finds its accumulator ready.
        for p in T.serial(0, (bn + PANEL - 1) // PANEL):
            for h in T.serial(0, WEIGHTS):
                T.evaluate(
                    R.mma(
                        Cs[h, 0, p * PANEL],
                        Xs[slot, 0, 0],
                        Ws[slot, h * BN + p * PANEL, 0],
                        bm,
                        T.min(bn - p * PANEL, T.int64(PANEL)),
                        bk,
                        accumulate=step != 0,
                        transpose_b=True,
                    )
                )

    @T.inline
    def finish_panel(E, Y, Es, Cs, Os, p, m0, bm, n0, bn):
        pn: T.let[T.int64] = T.min(bn - p * PANEL, T.int64(PANEL))
        o: T.let[T.int64] = p % 2
        if epilogue == "none":
            T.evaluate(R.cast(Os[o, 0, 0], Cs[0, 0, p * PANEL], bm, pn))
        elif epilogue == "bias":
            T.evaluate(R.load(Es[o, 0, 0], R.tile(E[n0 + p * PANEL], pitch=pn), 1, pn))
            T.evaluate(R.add(Os[o, 0, 0], Cs[0, 0, p * PANEL], R.row(Es[o, 0, 0]), bm, pn))
        elif epilogue == "residual":
            T.evaluate(R.load(Os[o, 0, 0], E[m0, n0 + p * PANEL], bm, pn))
            T.evaluate(R.add(Os[o, 0, 0], Cs[0, 0, p * PANEL], Os[o, 0, 0], bm, pn))
        elif WEIGHTS == 2:
            T.evaluate(R.act("silu", Cs[0, 0, p * PANEL], Cs[0, 0, p * PANEL], bm, pn))
            T.evaluate(R.mul(Os[o, 0, 0], Cs[0, 0, p * PANEL], Cs[1, 0, p * PANEL], bm, pn))
        if epilogue == "float32":
            T.evaluate(R.store(Y[m0, n0 + p * PANEL], Cs[0, 0, p * PANEL], bm, pn))
        else:
            T.evaluate(R.store(Y[m0, n0 + p * PANEL], Os[o, 0, 0], bm, pn))

    @T.inline
    def body(X, W, E, Y, m, n, k):
        core = T.launch_thread("blockIdx.x", 16)
        Xs = T.alloc_buffer((STAGES, BM, BK), "bfloat16", scope="shared.sram")
        Ws = T.alloc_buffer((STAGES, WEIGHTS * BN, BK), "bfloat16", scope="shared.sram")
        Cs = T.alloc_buffer((WEIGHTS, BM, BN), "float32", scope="shared.sram")
        Os = T.alloc_buffer((2, BM, PANEL), "bfloat16", scope="shared.sram")
        Es = T.alloc_buffer((2, 1, PANEL), "bfloat16", scope="shared.sram")
        # Slices are equal, so that every core issues the same multicasts; the last ones may be short or empty.
        m_slice: T.let[T.int64] = ((m + GM - 1) // GM + 15) // 16 * 16
        n_slice: T.let[T.int64] = ((n + GN - 1) // GN + 15) // 16 * 16
        m_first: T.let[T.int64] = core // GN * m_slice
        n_first: T.let[T.int64] = core % GN * n_slice
        steps: T.let[T.int64] = (k + BK - 1) // BK
        n_tiles: T.let[T.int64] = (n_slice + BN - 1) // BN
        for tm in T.serial(0, (m_slice + BM - 1) // BM):
            for tn in T.serial(0, n_tiles):
                m0: T.let[T.int64] = m_first + tm * BM
                n0: T.let[T.int64] = n_first + tn * BN
                bm: T.let[T.int64] = T.min(T.min(T.int64(BM), m_slice - tm * BM), m - m0)
                bn: T.let[T.int64] = T.min(T.min(T.int64(BN), n_slice - tn * BN), n - n0)
                for step in T.serial(0, steps):
                    slot: T.let[T.int64] = ((tm * n_tiles + tn) * steps + step) % STAGES
                    k0: T.let[T.int64] = step * BK
                    bk: T.let[T.int64] = T.min(T.int64(BK), k - k0)
                    load_step(X, W, E, Xs, Ws, slot, m0, bm, n0, bn, n, k0, bk)
                    if bm > 0 and bn > 0:
                        multiply_step(Xs, Ws, Cs, slot, bm, bn, bk, step)
                if bm > 0 and bn > 0:
                    for p in T.serial(0, (bn + PANEL - 1) // PANEL):
                        finish_panel(E, Y, Es, Cs, Os, p, m0, bm, n0, bn)

    if epilogue in ("bias", "residual", "swiglu"):
        bias = epilogue == "bias"

        @T.prim_func
        def with_operand(x: T.handle, w: T.handle, e: T.handle, y: T.handle):
            m = T.int64()
            n = T.int64()
            k = T.int64()
            X = T.match_buffer(x, (m, k), "bfloat16")
            W = T.match_buffer(w, (n, k), "bfloat16")
            E = T.match_buffer(e, (n,) if bias else (n, k) if APART else (m, n), "bfloat16")
            Y = T.match_buffer(y, (m, n), "bfloat16")
            body(X, W, E, Y, m, n, k)

        return with_operand

    @T.prim_func
    def plain(x: T.handle, w: T.handle, y: T.handle):
        m = T.int64()
        n = T.int64()
        k = T.int64()
        X = T.match_buffer(x, (m, k), "bfloat16")
        W = T.match_buffer(w, (WEIGHTS * n, k), "bfloat16")
        Y = T.match_buffer(y, (m, n), OUT)
        body(X, W, Y, Y, m, n, k)

    return plain


# First match wins. A few rows: every core streams its columns of w, HBM is the limit. More rows: the grid shares loads both ways, and
# tiles are as large as the scratchpad allows. Measured with `rigi bench gemm`.
MANY = 1 << 40
TABLE: list[tuple[str, Tiling, dict[str, list[int]]]] = [
    ("m16", Tiling(gm=1, gn=16, bm=16, bn=128, bk=1024), {"m": [1, 16]}),
    ("m128", Tiling(gm=1, gn=16, bm=128, bn=512, bk=256), {"m": [17, 128]}),
    ("m256", Tiling(gm=1, gn=16, bm=256, bn=896, bk=128), {"m": [129, 256], "n": [2048, MANY]}),
    ("t128", Tiling(gm=4, gn=4, bm=128, bn=1024, bk=128), {"m": [129, 512]}),
    ("t256", Tiling(gm=4, gn=4, bm=256, bn=512, bk=128), {"m": [513, 3071]}),
    ("t512", Tiling(gm=4, gn=4, bm=512, bn=512, bk=128), {"m": [3072, MANY]}),
]
NAMES = {"none": "linear", "bias": "linear_bias", "residual": "linear_residual", "silu_mul": "linear_silu_mul", "float32": "linear_f32"}


def specs_of(names: dict[str, str]) -> list[KernelSpec]:
    """The kernels of the table for some epilogues, each with the name of its op."""
    specs = []
    for epilogue, op in names.items():
        for name, tiling, limits in TABLE:
            if epilogue in ("silu_mul", "swiglu") and tiling.bn > PANEL:  # two accumulators to a tile: half the columns, in whole panels
                tiling = replace(tiling, bn=tiling.bn // 2 // PANEL * PANEL)
            specs.append(
                KernelSpec(
                    op=op,
                    name=f"{op}_{name}",
                    dtype="bfloat16",
                    config=asdict(tiling),
                    limits=limits,
                    make=lambda tiling=tiling, epilogue=epilogue: gemm(tiling, epilogue),
                )
            )
    return specs


KERNELS = specs_of(NAMES)
