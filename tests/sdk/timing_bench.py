"""Short names for the instructions that the timing tests are made of, with what they cost."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.timing.program_data import FULL, D, Instr, Op, Operand, Program
from benchmarks.timing.timed_device import Run, only

LAUNCH = 1250  # cycles before a sequencer starts
BARRIER = 100
DMA_LATENCY = 600
HBM_BYTES = 64 << 20

RunProgram = Callable[[Program], Run]


def sram(addr: int, stride: int = 0, dtype: D = D.F32, bcast: int = FULL) -> Operand:
    return Operand(addr, stride, dtype, bcast)


def load(addr: int, hbm: int, size: int, **more: int) -> Instr:
    """A contiguous load."""
    return Instr(Op.LOAD, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size, **more)


def store(addr: int, hbm: int, size: int) -> Instr:
    return Instr(Op.STORE, 1, size, a=sram(addr, size), hbm=hbm, hbm_stride=size)


def square(dst: int, src: int, count: int) -> Instr:
    """A vector product: busy 16 + count / 256, latency 32."""
    return Instr(Op.BINARY, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), b=sram(src, 4 * count), fn=2)


def exp(dst: int, src: int, count: int) -> Instr:
    """Busy 16 + count / 256, latency 64."""
    return Instr(Op.ACT, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), fn=1)


def alone(i: Instr) -> Program:
    return [only({5: [i]})]


def multicast(group: int, hbm: int, size: int, addr: int = 0) -> Instr:
    return Instr(Op.LOAD_MULTICAST, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size, fn=group)


def scalar_load(address: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_LOAD, cols=size, hbm=address)


def scalar_read(addr: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_READ, cols=size, a=sram(addr))
