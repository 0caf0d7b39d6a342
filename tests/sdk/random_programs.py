"""Random valid programs for the timing tests: every instruction, odd shapes and strides, often overlapping in SRAM.

Valid means: inside the arena and the HBM block, operands 64-byte aligned, no operand written where another of the same instruction is
read, index lists that hold only 0..7, and no races between cores: in phase p every core stores only to its own half p % 2 and
loads any core's half 1 - p % 2; sends likewise go to a slot of the sender's own in the receiver's inbox; store_add has a region
of its own that nobody reads. Multicasts are issued by all cores of a group in one common order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from program_data import (
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
    describe,
    imm,
    receivers,
)

# HBM: a block that is only read, a table of indices 0..7, places for store_add (fp32, bf16), and two halves for each core
SHARED, SHARED_BYTES = 0, 256 << 10
INDICES, INDICES_BYTES = SHARED_BYTES, 16 << 10
ADDS_F32, ADDS_BF16, ADDS_BYTES = INDICES + INDICES_BYTES, INDICES + INDICES_BYTES + (32 << 10), 32 << 10
PRIVATE, HALF_BYTES = ADDS_BF16 + ADDS_BYTES, 32 << 10
HBM_BYTES = PRIVATE + CORES * 2 * HALF_BYTES

# SRAM: the arena begins at 0
INDEX_AREA, INDEX_AREA_BYTES = 1 << 20, 4 << 10
INBOX, SLOT_BYTES = 5 << 18, 2 << 10

ANY = (D.F32, D.F32, D.BF16, D.BF16, D.F16, D.I32, D.I8, D.U8, D.E4M3, D.E5M2)


@dataclass(frozen=True)
class Mix:
    """What a program is made of: mean instructions of a core and phase, bytes of the arena, greatest rows and bytes of a block."""

    length: int
    arena: int
    rows: int
    width: int
    dma: float  # share of load and store instructions
    long: float  # share of DMA that is long enough to make the others wait for HBM
    scalars: float


class Maker:
    """Makes one random program. `hbm` is the device address of HBM_BYTES bytes."""

    def __init__(self, seed: int, hbm: int, scalars: bool = False) -> None:
        self.rng = random.Random(seed)
        self.hbm = hbm
        r = self.rng
        self.mix = Mix(
            length=r.choice((4, 12, 30)),
            arena=r.choice((8, 32, 128, 1024)) << 10,
            rows=r.choice((4, 16, 40)),
            width=r.choice((64, 256, 1024)),
            dma=r.choice((0.2, 0.5, 0.8, 0.95)),
            long=r.choice((0.0, 0.1, 0.7)),
            scalars=r.choice((0.05, 0.3)) if scalars else 0.0,
        )
        self.makers: list[Callable[[], Instr]] = [
            self._binary, self._binary, self._compare, self._select, self._cast, self._copy, self._transpose, self._reduce, self._iota,
            self._take, self._topk, self._act, self._act, self._act, self._mma, self._mma, self._mma,
        ]  # fmt: skip

    def program(self, phases: int) -> Program:
        """[phase][core][instruction]: a phase that fills what later instructions read, and `phases` random ones."""
        result: Program = [[self._prologue() for _ in range(CORES)]]
        for phase in range(phases):
            self.phase = phase
            cores: list[list[Instr]] = []
            for core in range(CORES):
                self.core = core
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
            self.core = self.rng.randrange(CORES)
            rows, width = self._size()
            multicast = Instr(
                Op.LOAD_MULTICAST, rows, width, dst=self._place(rows, width), fn=group, **self._source(rows, width, shared=True)
            )
            if group == GROUP_ALL and self.rng.random() < 0.3:  # the arrival of one core decides
                after = [len(c) for c in cores]
            for core in receivers(self.core, group):
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

    # -- places

    def _size(self, width: int = 0) -> tuple[int, int]:
        """(rows, width) of a block, width in bytes or elements."""
        r = self.rng
        rows = 1 if r.random() < 0.2 else r.randint(1, self.mix.rows)
        width = r.randint(1, width or self.mix.width)
        if r.random() < 0.4:
            width = max(width & ~63, 1)
        if rows * max(width, 64) * 4 > self.mix.arena // 2:
            rows, width = 1, min(width, self.mix.arena // 16)
        return rows, width

    def _place(self, rows: int, width: int, dtype: D = D.F32, source: bool = False, bcast: int = FULL, unit: int = 1) -> Operand:
        """Somewhere in the arena for rows x width BYTES, the stride a multiple of `unit`. Rows of a source may overlap."""
        r = self.rng
        room = self.mix.arena
        strides = [width, width, (width + 63) & ~63, width + r.randint(0, 200), 2 * width + 64 * r.randint(0, 8)]
        if source:
            strides += [0, max(width - 3 * unit, 0)]
        stride = r.choice(strides)
        stride = width + (stride - width) // unit * unit
        if stride * (rows - 1) + width > room:
            stride = width
        return Operand(64 * r.randint(0, (room - width - stride * (rows - 1)) // 64), stride, dtype, bcast)

    def _elements(self, rows: int, cols: int, dtype: D, source: bool = False, bcasts: tuple[int, ...] = (FULL,)) -> Operand:
        bcast = self.rng.choice(bcasts)
        if bcast == IMM:
            return imm(self.rng.uniform(-4, 4))
        width = 1 if bcast == COL else cols
        unit = 1 if dtype == D.I4 else SIZE[dtype]
        size = (width + 1) // 2 if dtype == D.I4 else width * unit
        return self._place(1 if bcast == ROW else rows, size, dtype, source, bcast, unit)

    def _apart(self, make: Callable[[], Instr]) -> Instr:
        """An instruction whose destinations share no byte (of their bounding boxes) with each other or its sources."""
        for _ in range(200):
            i = make()
            boxes = [(s, box) for s, box in self._boxes(i)]
            wrong = any(x[1][0] < y[1][1] and y[1][0] < x[1][1] for n, x in enumerate(boxes) for y in boxes[n + 1 :] if x[0] or y[0])
            if not wrong:
                return i
        return self._fill()

    @staticmethod
    def _boxes(i: Instr) -> list[tuple[bool, tuple[int, int]]]:
        what = describe(i, -1)
        boxes = []
        for written, spans in ((False, what["reads"]), (True, what["writes"])):
            for addr, width, rows, stride in spans:
                far = addr + (rows - 1) * stride
                boxes.append((written, (min(addr, far), max(addr, far) + width)))
        if i.flags & ACCUMULATE and i.op == Op.MMA:
            boxes.remove((False, boxes[-1][1]))
        return boxes

    def _index(self, rows: int, cols: int = 1) -> Operand:
        """Where an index list of rows x cols stands: any place in the index area."""
        width = 4 * cols
        room = INDEX_AREA_BYTES - rows * width
        return Operand(INDEX_AREA + 64 * self.rng.randint(0, room // 64), width, D.I32)

    def _source(self, rows: int, width: int, shared: bool = False, indexed: bool = False) -> dict[str, int]:
        """HBM that may be read in this phase, for rows x width bytes (rows 0..7 by index)."""
        r = self.rng
        base, room = SHARED, SHARED_BYTES
        if not shared and self.phase and r.random() < 0.4:
            base, room = self._half(r.randrange(CORES), self.phase + 1), HALF_BYTES
        return self._hbm(base, room, 8 if indexed else rows, width)

    def _target(self, rows: int, width: int, indexed: bool = False) -> dict[str, int]:
        return self._hbm(self._half(self.core, self.phase), HALF_BYTES, 8 if indexed else rows, width)

    @staticmethod
    def _half(core: int, phase: int) -> int:
        return PRIVATE + (2 * core + phase % 2) * HALF_BYTES

    def _hbm(self, base: int, room: int, rows: int, width: int, unit: int = 1) -> dict[str, int]:
        r = self.rng
        stride = r.choice((width, width, (width + 255) & ~255, width + unit * r.randint(0, 300)))
        if stride * (rows - 1) + width > room:
            stride = width
        return {"hbm": self.hbm + base + unit * r.randint(0, (room - stride * (rows - 1) - width) // unit), "hbm_stride": stride}

    # -- DMA

    def _block(self) -> tuple[int, int]:
        rows, width = self._size()
        if self.rng.random() < self.mix.long and self.mix.arena >= 128 << 10:
            rows, width = 16, 1 << 11
        return rows, min(width, HALF_BYTES // max(rows, 8))

    def _load(self) -> Instr:
        if self.rng.random() < 0.1:  # other indices
            place = self._index(8, self.rng.randint(1, 16))
            source = self._hbm(INDICES, INDICES_BYTES, 8, place.stride, unit=4)
            source["hbm_stride"] &= ~3
            return Instr(Op.LOAD, 8, place.stride, dst=place, **source)
        rows, width = self._block()
        return Instr(Op.LOAD, rows, width, dst=self._place(rows, width), **self._source(rows, width))

    def _gather(self) -> Instr:
        rows, width = self._block()
        return Instr(Op.GATHER, rows, width, dst=self._place(rows, width), a=self._index(rows), **self._source(rows, width, indexed=True))

    def _fill(self) -> Instr:
        dtype = self.rng.choice(ANY)
        rows, cols = self._size(max(self.mix.width // 4, 1))
        return Instr(Op.FILL, rows, cols, dst=self._elements(rows, cols, dtype), scale=self.rng.uniform(-9, 9))

    def _store(self) -> Instr:
        rows, width = self._block()
        inbox = self.rng.random() < 0.2 and width * rows <= SLOT_BYTES
        a = Operand(self._slot(self.rng.randrange(CORES), self.phase + 1), width) if inbox else self._place(rows, width, source=True)
        return Instr(Op.STORE, rows, width, a=a, **self._target(rows, width))

    def _scatter(self) -> Instr:
        rows, width = self._block()
        return Instr(
            Op.SCATTER, rows, width, a=self._place(rows, width, source=True), b=self._index(rows), **self._target(rows, width, True)
        )

    def _store_add(self) -> Instr:
        dtype, base = self.rng.choice(((D.F32, ADDS_F32), (D.BF16, ADDS_BF16)))
        size = SIZE[dtype]
        rows, width = self._block()
        width = max(width // size, 1) * size
        target = self._hbm(base, ADDS_BYTES, rows, width, unit=size)
        target["hbm_stride"] = target["hbm_stride"] // size * size
        return Instr(Op.STORE_ADD, rows, width, a=self._place(rows, width, dtype, unit=size), **target)

    def _send(self) -> Instr:
        rows, width = self._block()
        if rows * width > SLOT_BYTES:
            rows, width = 1, min(width, SLOT_BYTES)
        dst = Operand(self._slot(self.core, self.phase), width)
        target = (self.core + self.rng.randrange(1, CORES)) % CORES
        return Instr(Op.SEND, rows, width, dst=dst, a=self._place(rows, width, source=True), target=target)

    @staticmethod
    def _slot(sender: int, phase: int) -> int:
        return INBOX + (2 * sender + phase % 2) * SLOT_BYTES

    def _scalar(self) -> Instr:
        r = self.rng
        width = r.choice((1, 2, 4, 8))
        if r.random() < 0.5:
            return Instr(Op.SCALAR_LOAD, cols=width, hbm=self.hbm + SHARED + 8 * r.randint(0, 255))
        return Instr(Op.SCALAR_READ, cols=width, a=Operand(8 * r.randint(0, (self.mix.arena - 8) // 8)))

    # -- the other engines

    def _shape(self) -> tuple[int, int]:
        return self._size(max(self.mix.width // 4, 1))

    def _binary(self) -> Instr:
        rows, cols = self._shape()
        some = (FULL, FULL, ROW, COL, IMM)
        x, y, z = (self.rng.choice(ANY) for _ in range(3))
        if self.rng.random() < 0.3:  # in place
            a = self._elements(rows, cols, D.F32)
            return Instr(Op.BINARY, rows, cols, dst=a, a=a, b=imm(1.5), fn=self.rng.randrange(6))
        return self._apart(
            lambda: Instr(
                Op.BINARY,
                rows,
                cols,
                dst=self._elements(rows, cols, z),
                a=self._elements(rows, cols, x, True, some[:4]),
                b=self._elements(rows, cols, y, True, some),
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
        return self._apart(
            lambda: Instr(
                Op.SELECT,
                rows,
                cols,
                dst=self._elements(rows, cols, dtype),
                a=self._elements(rows, cols, dtype, True, some),
                b=self._elements(rows, cols, dtype, True, some),
                c=self._elements(rows, cols, self.rng.choice(ANY), True, some[:4]),
            )
        )

    def _cast(self) -> Instr:
        rows, cols = self._shape()
        x, y = self.rng.choice((*ANY, D.I4, D.I4)), self.rng.choice(ANY)
        if x == D.I4:
            cols += cols % 2
        return self._apart(lambda: Instr(Op.CAST, rows, cols, dst=self._elements(rows, cols, y), a=self._elements(rows, cols, x, True)))

    def _copy(self) -> Instr:
        rows, cols = self._shape()
        d = self.rng.choice(ANY)
        some = (FULL, ROW, COL)
        return self._apart(
            lambda: Instr(Op.COPY, rows, cols, dst=self._elements(rows, cols, d), a=self._elements(rows, cols, d, True, some))
        )

    def _transpose(self) -> Instr:
        rows, cols = self._shape()
        d = self.rng.choice(ANY)
        return self._apart(
            lambda: Instr(Op.TRANSPOSE, rows, cols, dst=self._elements(cols, rows, d), a=self._elements(rows, cols, d, True))
        )

    def _reduce(self) -> Instr:
        rows, cols = self._shape()
        x, y, fn = self.rng.choice(ANY), self.rng.choice(ANY), self.rng.randrange(2)
        return self._apart(
            lambda: Instr(Op.REDUCE, rows, cols, dst=self._elements(rows, 1, y), a=self._elements(rows, cols, x, True), fn=fn)
        )

    def _iota(self) -> Instr:
        rows, cols = self._shape()
        dst = self._elements(rows, cols, self.rng.choice(ANY))
        return Instr(Op.IOTA, rows, cols, dst=dst, a=imm(1.0), scale=2.0, bias=3.0)

    def _take(self) -> Instr:
        rows, cols = self._shape()
        cols = min(cols, INDEX_AREA_BYTES // 4 // rows)
        d, depth = self.rng.choice(ANY), self.rng.randint(8, 64)
        return self._apart(
            lambda: Instr(
                Op.TAKE,
                rows,
                cols,
                depth,
                dst=self._elements(rows, cols, d),
                a=self._elements(rows, depth, d, True, (FULL, ROW)),
                b=self._index(rows, cols),
            )
        )

    def _topk(self) -> Instr:
        rows, cols = self._shape()
        k, d = self.rng.randint(1, min(cols, 8)), self.rng.choice((D.F32, D.BF16, D.I32))
        return self._apart(
            lambda: Instr(
                Op.TOPK,
                rows,
                cols,
                k,
                dst=self._elements(rows, k, d),
                a=self._elements(rows, cols, d, True),
                c=self._elements(rows, k, D.I32),
            )
        )

    def _act(self) -> Instr:
        rows, cols = self._shape()
        x, y = self.rng.choice((D.F32, D.BF16, D.F16)), self.rng.choice((D.F32, D.BF16, D.F16, D.E4M3))
        flags = self.rng.choice((0, 0, ROW_BIAS, ROW_SUMS, ROW_BIAS | ROW_SUMS))
        fn, bias = self.rng.randrange(14), self.rng.uniform(-1, 1)
        return self._apart(
            lambda: Instr(
                Op.ACT,
                rows,
                cols,
                dst=self._elements(rows, cols, y),
                a=self._elements(rows, cols, x, True, (FULL, FULL, ROW, COL)),
                b=self._elements(rows, cols, D.F32, True, (COL,)),
                c=self._elements(rows, 1, D.F32),
                fn=fn,
                flags=flags,
                scale=0.5,
                bias=bias,
            )
        )

    def _mma(self) -> Instr:
        d = self.rng.choice((D.BF16, D.BF16, D.F16, D.E4M3, D.E5M2, D.I8))
        m, n, k = (self.rng.randint(1, 40) for _ in range(3))
        if self.mix.arena >= 128 << 10 and self.rng.random() < 0.3:
            m, n, k = self.rng.choice(((130, 20, 20), (20, 130, 20), (8, 16, 300), (1, 128, 257)))
        flags = self.rng.choice((0, ACCUMULATE)) | self.rng.choice((0, TRANS_B))
        b_rows, b_cols = (n, k) if flags & TRANS_B else (k, n)
        return self._apart(
            lambda: Instr(
                Op.MMA,
                m,
                n,
                k,
                dst=self._elements(m, n, D.I32 if d == D.I8 else D.F32),
                a=self._elements(m, k, d, True),
                b=self._elements(b_rows, b_cols, d, True),
                flags=flags,
            )
        )
