"""Where the blocks of a random program lie: in the scratchpad's arena, and in the parts of HBM that may be read or written.

Valid means: inside the arena and the HBM block, operands 64-byte aligned, no operand written where another of the same instruction is
read, index lists that hold only 0..7, and no races between cores: in phase p every core stores only to its own half p % 2 and
loads any core's half 1 - p % 2; sends likewise go to a slot of the sender's own in the receiver's inbox; store_add has a region
of its own that nobody reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.timing.program_data import ACCUMULATE, COL, CORES, FULL, IMM, ROW, SIZE, D, Instr, Op, Operand, describe, imm

# HBM: a block that is only read, a table of indices 0..7, places for store_add (fp32, bf16), and two halves for each core
SHARED, SHARED_BYTES = 0, 256 << 10
INDICES, INDICES_BYTES = SHARED_BYTES, 16 << 10
ADDS_F32, ADDS_BF16, ADDS_BYTES = INDICES + INDICES_BYTES, INDICES + INDICES_BYTES + (32 << 10), 32 << 10
PRIVATE, HALF_BYTES = ADDS_BF16 + ADDS_BYTES, 32 << 10
HBM_BYTES = PRIVATE + CORES * 2 * HALF_BYTES

# SRAM: the arena begins at 0
INDEX_AREA, INDEX_AREA_BYTES = 1 << 20, 4 << 10
INBOX, SLOT_BYTES = 5 << 18, 2 << 10


@dataclass(frozen=True)
class Mix:
    """What a program is made of: mean instructions of a core and phase, bytes of the arena, greatest rows and bytes of a block."""

    length: int
    arena: int
    rows: int
    width: int
    pitch: int  # the stride that many blocks share, so that they interleave
    dma: float  # share of load and store instructions
    long: float  # share of DMA that is long enough to make the others wait for HBM
    alike: float  # share of phases in which all cores run the same, so that their requests tie
    scalars: float


def contents(seed: int = 2026) -> bytes:
    """What HBM holds at first: anything, but indices 0..7 in the index table."""
    rng = random.Random(seed)
    data = bytearray(rng.randbytes(HBM_BYTES))
    data[INDICES : INDICES + INDICES_BYTES] = b"".join(rng.randrange(8).to_bytes(4, "little") for _ in range(INDICES_BYTES // 4))
    return bytes(data)


class Places:
    """Draws sizes and places for the instructions of `core` in `phase`. `hbm` is the device address of HBM_BYTES bytes."""

    def __init__(self, rng: random.Random, mix: Mix, hbm: int) -> None:
        self.rng, self.mix, self.hbm = rng, mix, hbm
        self.core = self.phase = 0

    def size(self, width: int = 0) -> tuple[int, int]:
        """(rows, width) of a block, width in bytes or elements."""
        r = self.rng
        rows = 1 if r.random() < 0.2 else r.randint(1, self.mix.rows)
        width = r.randint(1, width or self.mix.width)
        if r.random() < 0.4:
            width = max(width & ~63, 1)
        if rows * max(width, 64) * 4 > self.mix.arena // 2:
            rows, width = 1, min(width, self.mix.arena // 16)
        return rows, width

    def place(self, rows: int, width: int, dtype: D = D.F32, source: bool = False, bcast: int = FULL, unit: int = 1) -> Operand:
        """Somewhere in the arena for rows x width BYTES, the stride a multiple of `unit`. Rows of a source may overlap."""
        r = self.rng
        room = self.mix.arena
        strides = [width, width, (width + 63) & ~63, width + r.randint(0, 200), 2 * width + 64 * r.randint(0, 8)]
        strides += [self.mix.pitch] * (3 if width <= self.mix.pitch else 0)
        if source:
            strides += [0, max(width - 3 * unit, 0)]
        stride = r.choice(strides)
        stride = width + (stride - width) // unit * unit
        if stride * (rows - 1) + width > room:
            stride = width
        return Operand(64 * r.randint(0, (room - width - stride * (rows - 1)) // 64), stride, dtype, bcast)

    def elements(self, rows: int, cols: int, dtype: D, source: bool = False, bcasts: tuple[int, ...] = (FULL,)) -> Operand:
        bcast = self.rng.choice(bcasts)
        if bcast == IMM:
            return imm(self.rng.choice((self.rng.uniform(-4, 4), 3.0)))
        width = 1 if bcast == COL else cols
        unit = 1 if dtype == D.I4 else SIZE[dtype]
        size = (width + 1) // 2 if dtype == D.I4 else width * unit
        return self.place(1 if bcast == ROW else rows, size, dtype, source, bcast, unit)

    def apart(self, make: Callable[[], Instr], otherwise: Callable[[], Instr]) -> Instr:
        """An instruction whose destinations share no byte (of their bounding boxes) with each other or its sources."""
        for _ in range(200):
            i = make()
            boxes = self._boxes(i)
            wrong = any(x[1][0] < y[1][1] and y[1][0] < x[1][1] for n, x in enumerate(boxes) for y in boxes[n + 1 :] if x[0] or y[0])
            if not wrong:
                return i
        return otherwise()

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

    def index(self, rows: int, cols: int = 1, bcast: int = FULL) -> Operand:
        """Where an index list of rows x cols stands: any place in the index area."""
        width = 4 * (1 if bcast == COL else cols)
        room = INDEX_AREA_BYTES - (1 if bcast == ROW else rows) * width
        return Operand(INDEX_AREA + 64 * self.rng.randint(0, room // 64), width, D.I32, bcast)

    def source(self, rows: int, width: int, shared: bool = False, indexed: bool = False) -> dict[str, Any]:
        """HBM that may be read in this phase, for rows x width bytes (rows 0..7 by index). Rows may repeat or overlap."""
        r = self.rng
        base, room = SHARED, SHARED_BYTES
        if not shared and self.phase and r.random() < 0.4:
            base, room = self._half(r.randrange(CORES), self.phase + 1), HALF_BYTES
        if r.random() < 0.1:
            stride = r.choice((0, width // 2))
            return {"hbm": self.hbm + base, "hbm_stride": stride}
        return self.block(base, room, 8 if indexed else rows, width)

    def target(self, rows: int, width: int, indexed: bool = False) -> dict[str, Any]:
        """HBM that this core may write in this phase."""
        return self.block(self._half(self.core, self.phase), HALF_BYTES, 8 if indexed else rows, width)

    @staticmethod
    def _half(core: int, phase: int) -> int:
        return PRIVATE + (2 * core + phase % 2) * HALF_BYTES

    def block(self, base: int, room: int, rows: int, width: int, unit: int = 1, backwards: float = 0.15) -> dict[str, Any]:
        """rows x width bytes in [base, base + room) of HBM, sometimes from the last row to the first."""
        r = self.rng
        stride = r.choice((width, width, (width + 255) & ~255, width + unit * r.randint(0, 300)))
        stride = stride // unit * unit
        if stride * (rows - 1) + width > room:
            stride = width
        first = self.hbm + base + unit * r.randint(0, (room - stride * (rows - 1) - width) // unit)
        if r.random() < backwards:
            return {"hbm": first + (rows - 1) * stride, "hbm_stride": -stride}
        return {"hbm": first, "hbm_stride": stride}

    @staticmethod
    def slot(sender: int, phase: int) -> int:
        return INBOX + (2 * sender + phase % 2) * SLOT_BYTES
