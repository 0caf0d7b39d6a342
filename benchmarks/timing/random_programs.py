"""Random valid programs for the timing checks: every instruction, odd shapes and strides, often overlapping in SRAM or interleaved.

What makes them valid is said in random_places.py; besides, multicasts are issued by all cores of a group in one common order.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.timing.program_data import (
    ACCUMULATE,
    COL,
    CORES,
    FULL,
    GROUP_ALL,
    IMM,
    ROW,
    ROW_BIAS,
    ROW_SUMS,
    SIZE,
    TRANS_B,
    D,
    Instr,
    Op,
    Operand,
    Program,
    imm,
    receivers,
)
from benchmarks.timing.random_places import (
    ADDS_BF16,
    ADDS_BYTES,
    ADDS_F32,
    HALF_BYTES,
    INBOX,
    INDEX_AREA,
    INDEX_AREA_BYTES,
    INDICES,
    INDICES_BYTES,
    SHARED,
    SLOT_BYTES,
    Mix,
    Places,
)

FLOATS = (D.F32, D.F32, D.BF16, D.BF16, D.F16, D.E4M3, D.E5M2)
ANY = (*FLOATS, D.I32, D.I8, D.U8)


class Maker:
    """Makes one random program. `hbm` is the device address of random_places.HBM_BYTES bytes."""

    def __init__(self, seed: int, hbm: int, scalars: bool = False) -> None:
        r = self.rng = random.Random(seed)
        self.hbm = hbm
        self.mix = Mix(
            length=r.choice((4, 12, 30)),
            arena=r.choice((8, 32, 128, 1024)) << 10,
            rows=r.choice((4, 16, 40)),
            width=r.choice((64, 256, 1024)),
            pitch=r.choice((128, 192, 512, 2048)),
            dma=r.choice((0.2, 0.5, 0.8, 0.95)),
            long=r.choice((0.0, 0.1, 0.7)),
            alike=r.choice((0.0, 0.0, 1.0)),
            scalars=r.choice((0.05, 0.3)) if scalars else 0.0,
        )
        self.at = Places(r, self.mix, hbm)
        self.makers: list[Callable[[], Instr]] = [
            self._binary, self._binary, self._compare, self._select, self._cast, self._copy, self._transpose, self._reduce, self._iota,
            self._take, self._topk, self._act, self._act, self._act, self._mma, self._mma, self._mma,
        ]  # fmt: skip

    def program(self, phases: int) -> Program:
        """[phase][core][instruction]: a phase that fills what later instructions read, and `phases` random ones."""
        result: Program = [[self._prologue() for _ in range(CORES)]]
        for phase in range(phases):
            self.at.phase = phase
            alike = self.rng.random() < self.mix.alike
            again = self.rng.getstate()
            cores: list[list[Instr]] = []
            for core in range(CORES):
                self.at.core = core
                if alike:
                    self.rng.setstate(again)
                busy = self.rng.random() < 0.9
                count = self.rng.randrange(2 * self.mix.length) if busy else 0
                cores.append([self._any() for _ in range(count)])
            self._multicasts(cores)
            result.append(cores)
        return result

    def _prologue(self) -> list[Instr]:
        areas = ((0, self.mix.arena), (INBOX, 2 * CORES * SLOT_BYTES))
        fills = [Instr(Op.FILL, rows=1, cols=size // 4, dst=Operand(addr, size, D.F32), scale=0.5) for addr, size in areas]
        table = Operand(INDEX_AREA, INDEX_AREA_BYTES, D.I32)
        return [*fills, Instr(Op.LOAD, 1, INDEX_AREA_BYTES, dst=table, hbm=self.hbm + INDICES, hbm_stride=INDEX_AREA_BYTES)]

    def _multicasts(self, cores: list[list[Instr]]) -> None:
        """Inserts multicasts, the same ones in the same order in every core of a group."""
        after = [0] * CORES  # where the youngest multicast of each core stands
        for _ in range(self.rng.choice((0, 0, 1, 3, 8))):
            group = self.rng.randrange(3)
            self.at.core = self.rng.randrange(CORES)
            rows, width = self.at.size()
            multicast = Instr(
                Op.LOAD_MULTICAST, rows, width, dst=self.at.place(rows, width), fn=group, **self.at.source(rows, width, shared=True)
            )
            if group == GROUP_ALL and self.rng.random() < 0.3:  # the arrival of one core decides
                after = [len(c) for c in cores]
            for core in receivers(self.at.core, group):
                at = self.rng.randint(min(after[core], len(cores[core])), len(cores[core]))
                cores[core].insert(at, multicast)
                after[core] = at + 1

    def _any(self) -> Instr:
        if self.rng.random() < self.mix.scalars:
            return self._scalar()
        if self.rng.random() < self.mix.dma:
            return self.rng.choice(
                (self._load, self._load, self._gather, self._store, self._scatter, self._store_add, self._send, self._fill)
            )()
        return self.rng.choice(self.makers)()

    # -- DMA

    def _block(self) -> tuple[int, int]:
        rows, width = self.at.size()
        if self.rng.random() < self.mix.long and self.mix.arena >= 128 << 10:
            rows, width = 16, 1 << 11
        return rows, min(width, HALF_BYTES // max(rows, 8))

    def _load(self) -> Instr:
        if self.rng.random() < 0.1:  # other indices
            place = self.at.index(8, self.rng.randint(1, 16))
            source = self.at.block(INDICES, INDICES_BYTES, 8, place.stride, unit=4, backwards=0.0)
            source["hbm_stride"] &= ~3
            return Instr(Op.LOAD, 8, place.stride, dst=place, **source)
        rows, width = self._block()
        return Instr(Op.LOAD, rows, width, dst=self.at.place(rows, width), **self.at.source(rows, width))

    def _gather(self) -> Instr:
        rows, width = self._block()
        return Instr(
            Op.GATHER, rows, width, dst=self.at.place(rows, width), a=self.at.index(rows), **self.at.source(rows, width, indexed=True)
        )

    def _fill(self) -> Instr:
        dtype = self.rng.choice(ANY)
        rows, cols = self.at.size(max(self.mix.width // 4, 1))
        return Instr(Op.FILL, rows, cols, dst=self.at.elements(rows, cols, dtype), scale=self.rng.uniform(-9, 9))

    def _store(self) -> Instr:
        rows, width = self._block()
        inbox = self.rng.random() < 0.2 and width * rows <= SLOT_BYTES
        a = Operand(self.at.slot(self.rng.randrange(CORES), self.at.phase + 1), width) if inbox else self.at.place(rows, width, source=True)
        return Instr(Op.STORE, rows, width, a=a, **self.at.target(rows, width))

    def _scatter(self) -> Instr:
        rows, width = self._block()
        return Instr(
            Op.SCATTER, rows, width, a=self.at.place(rows, width, source=True), b=self.at.index(rows), **self.at.target(rows, width, True)
        )

    def _store_add(self) -> Instr:
        dtype, base = self.rng.choice(((D.F32, ADDS_F32), (D.BF16, ADDS_BF16)))
        size = SIZE[dtype]
        rows, width = self._block()
        width = max(width // size, 1) * size
        target = self.at.block(base, ADDS_BYTES, rows, width, unit=size)
        return Instr(Op.STORE_ADD, rows, width, a=self.at.place(rows, width, dtype, unit=size), **target)

    def _send(self) -> Instr:
        rows, width = self._block()
        if rows * width > SLOT_BYTES:
            rows, width = 1, min(width, SLOT_BYTES)
        dst = Operand(self.at.slot(self.at.core, self.at.phase), width)
        target = (self.at.core + self.rng.randrange(1, CORES)) % CORES
        return Instr(Op.SEND, rows, width, dst=dst, a=self.at.place(rows, width, source=True), target=target)

    def _valid(self, make: Callable[[], Instr]) -> Instr:
        return self.at.apart(make, self._fill)

    def _scalar(self) -> Instr:
        r = self.rng
        width = r.choice((1, 2, 4, 8))
        if r.random() < 0.5:
            return Instr(Op.SCALAR_LOAD, cols=width, hbm=self.hbm + SHARED + 8 * r.randint(0, 255))
        return Instr(Op.SCALAR_READ, cols=width, a=Operand(8 * r.randint(0, (self.mix.arena - 8) // 8)))

    # -- the other engines

    def _shape(self) -> tuple[int, int]:
        return self.at.size(max(self.mix.width // 4, 1))

    def _binary(self) -> Instr:
        rows, cols = self._shape()
        some = (FULL, FULL, ROW, COL, IMM)
        x, y, z = (self.rng.choice(ANY) for _ in range(3))
        if self.rng.random() < 0.3:  # in place
            a = self.at.elements(rows, cols, z)
            return Instr(Op.BINARY, rows, cols, dst=a, a=a, b=imm(1.5), fn=self.rng.randrange(6))
        return self._valid(
            lambda: Instr(
                Op.BINARY,
                rows,
                cols,
                dst=self.at.elements(rows, cols, z),
                a=self.at.elements(rows, cols, x, True, some[:4]),
                b=self.at.elements(rows, cols, y, True, some),
                fn=self.rng.randrange(6),
            )
        )

    def _compare(self) -> Instr:
        i = self._binary()
        return Instr(Op.COMPARE, i.rows, i.cols, dst=i.dst, a=i.a, b=i.b, fn=i.fn) if i.op == Op.BINARY else i

    def _select(self) -> Instr:
        rows, cols = self._shape()
        dtype = self.rng.choice(ANY)
        some = (FULL, FULL, ROW, COL, IMM)
        return self._valid(
            lambda: Instr(
                Op.SELECT,
                rows,
                cols,
                dst=self.at.elements(rows, cols, dtype),
                a=self.at.elements(rows, cols, dtype, True, some),
                b=self.at.elements(rows, cols, dtype, True, some),
                c=self.at.elements(rows, cols, self.rng.choice(ANY), True, some),
            )
        )

    def _cast(self) -> Instr:
        rows, cols = self._shape()
        x, y = self.rng.choice((*ANY, D.I4, D.I4)), self.rng.choice(ANY)
        if x == D.I4:
            cols += cols % 2
        some = (FULL,) if x == D.I4 else (FULL, ROW, COL)
        return self._valid(
            lambda: Instr(Op.CAST, rows, cols, dst=self.at.elements(rows, cols, y), a=self.at.elements(rows, cols, x, True, some))
        )

    def _copy(self) -> Instr:
        rows, cols = self._shape()
        d = self.rng.choice(ANY)
        some = (FULL, ROW, COL)
        return self._valid(
            lambda: Instr(Op.COPY, rows, cols, dst=self.at.elements(rows, cols, d), a=self.at.elements(rows, cols, d, True, some))
        )

    def _transpose(self) -> Instr:
        rows, cols = self._shape()
        d = self.rng.choice(ANY)
        return self._valid(
            lambda: Instr(Op.TRANSPOSE, rows, cols, dst=self.at.elements(cols, rows, d), a=self.at.elements(rows, cols, d, True))
        )

    def _reduce(self) -> Instr:
        rows, cols = self._shape()
        x, y, fn = self.rng.choice(ANY), self.rng.choice(ANY), self.rng.randrange(2)
        return self._valid(
            lambda: Instr(Op.REDUCE, rows, cols, dst=self.at.elements(rows, 1, y), a=self.at.elements(rows, cols, x, True), fn=fn)
        )

    def _iota(self) -> Instr:
        rows, cols = self._shape()
        dst = self.at.elements(rows, cols, self.rng.choice(ANY))
        return Instr(Op.IOTA, rows, cols, dst=dst, a=imm(1.0), scale=2.0, bias=3.0)

    def _take(self) -> Instr:
        rows, cols = self._shape()
        cols = min(cols, INDEX_AREA_BYTES // 4 // rows)
        d, depth = self.rng.choice(ANY), self.rng.randint(8, 64)
        return self._valid(
            lambda: Instr(
                Op.TAKE,
                rows,
                cols,
                depth,
                dst=self.at.elements(rows, cols, d),
                a=self.at.elements(rows, depth, d, True, (FULL, ROW)),
                b=self.at.index(rows, cols, self.rng.choice((FULL, FULL, ROW, COL))),
            )
        )

    def _topk(self) -> Instr:
        rows, cols = self._shape()
        k, d = self.rng.randint(1, min(cols, 8)), self.rng.choice(ANY)
        return self._valid(
            lambda: Instr(
                Op.TOPK,
                rows,
                cols,
                k,
                dst=self.at.elements(rows, k, d),
                a=self.at.elements(rows, cols, d, True),
                c=self.at.elements(rows, k, D.I32),
            )
        )

    def _act(self) -> Instr:
        rows, cols = self._shape()
        x, y = self.rng.choice(ANY), self.rng.choice(FLOATS)
        flags = self.rng.choice((0, 0, ROW_BIAS, ROW_SUMS, ROW_BIAS | ROW_SUMS))
        fn, bias = self.rng.randrange(14), self.rng.uniform(-1, 1)
        return self._valid(
            lambda: Instr(
                Op.ACT,
                rows,
                cols,
                dst=self.at.elements(rows, cols, y),
                a=self.at.elements(rows, cols, x, True, (FULL, FULL, ROW, COL)),
                b=self.at.elements(rows, 1, D.F32, True, (COL, COL, FULL, ROW)),
                c=self.at.elements(rows, 1, D.F32),
                fn=fn,
                flags=flags,
                scale=0.5,
                bias=bias,
            )
        )

    def _mma(self) -> Instr:
        d, e = self.rng.choice(((D.BF16, D.BF16), (D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E5M2), (D.E5M2, D.E5M2), (D.I8, D.I8)))
        m, n, k = (self.rng.randint(1, 40) for _ in range(3))
        if self.mix.arena >= 32 << 10 and self.rng.random() < 0.4:  # several tiles of weights, or many rows
            large = ((130, 20, 20), (20, 130, 20), (8, 16, 300), (1, 128, 257)) if self.mix.arena >= 128 << 10 else ()
            m, n, k = self.rng.choice((*large, (6, 4, 300), (4, 150, 5), (140, 6, 6)))
        flags = self.rng.choice((0, ACCUMULATE)) | self.rng.choice((0, TRANS_B))
        b_rows, b_cols = (n, k) if flags & TRANS_B else (k, n)
        return self._valid(
            lambda: Instr(
                Op.MMA,
                m,
                n,
                k,
                dst=self.at.elements(m, n, D.I32 if d == D.I8 else D.F32),
                a=self.at.elements(m, k, d, True),
                b=self.at.elements(b_rows, b_cols, e, True),
                flags=flags,
            )
        )
