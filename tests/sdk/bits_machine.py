"""A bench for the bits of instructions: blocks in one core's SRAM, a program over them, and what SRAM holds afterwards.

Every run also checks that nothing but the destinations changed, up to the last byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import ml_dtypes
import numpy as np

from benchmarks.timing.program_data import COL, FULL, IMM, ROW, SIZE, SRAM_BYTES, D, Instr, Op, Operand
from benchmarks.timing.short_names import only
from benchmarks.timing.timed_device import FUNCTIONAL, Device

Array = np.ndarray
NUMPY = {
    D.F32: np.dtype(np.float32),
    D.F16: np.dtype(np.float16),
    D.BF16: np.dtype(ml_dtypes.bfloat16),
    D.E4M3: np.dtype(ml_dtypes.float8_e4m3fn),
    D.E5M2: np.dtype(ml_dtypes.float8_e5m2),
    D.I8: np.dtype(np.int8),
    D.I32: np.dtype(np.int32),
    D.U8: np.dtype(np.uint8),
    D.I4: np.dtype(np.uint8),
}
FLOATS = (D.F32, D.F16, D.BF16, D.E4M3, D.E5M2)
INTS = (D.I8, D.I32, D.U8)
UNTOUCHED = 0xA5


@cache
def device() -> Device:
    made = Device()
    made.set_mode(FUNCTIONAL)
    return made


@cache
def arena() -> int:
    return device().malloc(SRAM_BYTES)


class Bench:
    """SRAM under construction. `put` and `space` lay out blocks, `run` executes, `get` reads a block back."""

    def __init__(self) -> None:
        self.image = np.full(SRAM_BYTES, UNTOUCHED, np.uint8)
        self.used = 0

    def _take(self, size: int) -> int:
        addr = (self.used + 63) // 64 * 64 + 64  # a guard line before each block
        self.used = addr + size
        assert self.used <= SRAM_BYTES, "the test needs more than one core's SRAM"
        return addr

    def put(self, values: Array, dtype: D, bcast: int = FULL, pad: int = 0) -> Operand:
        """A 2-D array of NUMPY[dtype]; rows lie `pad` bytes further apart than they need."""
        rows = np.ascontiguousarray(np.atleast_2d(values)).view(np.uint8).reshape(np.atleast_2d(values).shape[0], -1)
        stride = rows.shape[1] + pad
        addr = self._take(stride * rows.shape[0])
        for r, row in enumerate(rows) if pad else [(0, rows.ravel())]:
            self.image[addr + r * stride : addr + r * stride + row.size] = row
        return Operand(addr, stride, dtype, bcast)

    def space(self, rows: int, cols: int, dtype: D, pad: int = 0) -> Operand:
        stride = cols * SIZE[dtype] + pad
        return Operand(self._take(stride * rows), stride, dtype)

    def view(self, block: Operand, rows: int, cols: int) -> Array:
        width = cols * SIZE[D(block.dtype)]
        index = block.addr + np.arange(rows)[:, None] * block.stride + np.arange(width)
        return self.image[index].reshape(rows, -1).view(NUMPY[D(block.dtype)])

    def run(self, *instrs: Instr, wrote: Iterable[tuple[Operand, int, int]] = ()) -> None:
        """Executes on core 0. `wrote`: (block, rows, cols) of destinations; default: dst of each instruction, rows x cols."""
        hbm = arena()
        self.used = max(self.used, 1)
        device().write(hbm, self.image[: self.used].tobytes())
        whole = Operand(0, self.used, D.U8)
        program = [
            Instr(Op.LOAD, 1, self.used, dst=whole, hbm=hbm, hbm_stride=self.used),
            *instrs,
            Instr(Op.STORE, 1, self.used, a=whole, hbm=hbm, hbm_stride=self.used),
        ]
        try:
            device().launch([only({0: program[:-1]}), only({0: program[-1:]})])
            device().synchronize()
        except RuntimeError:
            device().reset()  # a test that fails alone
            raise
        after = np.frombuffer(device().read(hbm, self.used), np.uint8)
        changed = after != self.image[: self.used]
        for block, rows, cols in list(wrote) or [(i.dst, i.rows, i.cols) for i in instrs]:
            for r in range(rows):
                start = block.addr + r * block.stride
                changed[start : start + cols * SIZE[D(block.dtype)]] = False
        assert not changed.any(), f"SRAM byte {int(np.argmax(changed))} changed though no instruction writes it"
        self.image[: self.used] = after

    def one(self, op: Op, rows: int, cols: int, dst: D, *operands: Operand, pad: int = 0, **fields: object) -> Array:
        """Runs one instruction whose operands a, b, c are given in order into a fresh block, and returns that block."""
        block = self.space(rows, cols, dst, pad)
        named = dict(zip("abc", operands, strict=False))
        self.run(replace(Instr(op, rows, cols, dst=block), **named, **fields))
        return self.view(block, rows, cols)


def imm(value: float) -> Operand:
    return Operand(bcast=IMM, imm=float(np.float32(value)))


def spread(values: Array, bcast: int, rows: int, cols: int) -> Array:
    """What a block means under its broadcast."""
    if bcast == ROW:
        values = values[:1]
    if bcast == COL:
        values = values[:, :1]
    return np.broadcast_to(values, (rows, cols))
