"""Short names for the instructions that the microbenchmarks and the timing tests are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.timing.program_data import CORES, FULL, D, Instr, Op, Operand, Program, imm


def everywhere(instrs: Sequence[Instr]) -> list[list[Instr]]:
    """One phase in which every core runs the same."""
    return [list(instrs) for _ in range(CORES)]


def only(cores: Mapping[int, Sequence[Instr]]) -> list[list[Instr]]:
    """One phase in which the named cores run what is given and the others nothing."""
    return [list(cores.get(core, ())) for core in range(CORES)]


def alone(*instrs: Instr) -> Program:
    """One phase in which core 5 runs what is given."""
    return [only({5: list(instrs)})]


def sram(addr: int, stride: int = 0, dtype: D = D.F32, bcast: int = FULL) -> Operand:
    return Operand(addr, stride, dtype, bcast)


def load(addr: int, hbm: int, size: int) -> Instr:
    """A contiguous load."""
    return Instr(Op.LOAD, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size)


def store(addr: int, hbm: int, size: int) -> Instr:
    """A contiguous store."""
    return Instr(Op.STORE, 1, size, a=sram(addr, size), hbm=hbm, hbm_stride=size)


def store_add(addr: int, hbm: int, size: int) -> Instr:
    """A contiguous fp32 add into HBM."""
    return Instr(Op.STORE_ADD, 1, size, a=sram(addr, size), hbm=hbm, hbm_stride=size)


def send(addr: int, target: int, size: int, to: int = 1 << 20) -> Instr:
    """A contiguous send to SRAM address `to` of another core."""
    return Instr(Op.SEND, 1, size, a=sram(addr, size), dst=sram(to, size), target=target)


def fill(addr: int, count: int, value: float = 0.0, dtype: D = D.F32) -> Instr:
    """`count` elements of a constant."""
    return Instr(Op.FILL, 1, count, dst=sram(addr, 4 * count, dtype), scale=value)


def multicast(group: int, hbm: int, size: int, addr: int = 0) -> Instr:
    return Instr(Op.LOAD_MULTICAST, 1, size, dst=sram(addr, size), hbm=hbm, hbm_stride=size, fn=group)


def square(dst: int, src: int, count: int) -> Instr:
    """A vector product of `count` fp32 elements."""
    return Instr(Op.BINARY, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), b=sram(src, 4 * count), fn=2)


def iota(dst: int, count: int) -> Instr:
    """A vector instruction that reads nothing."""
    return Instr(Op.IOTA, 1, count, dst=sram(dst, 4 * count), a=imm(1.0))


def exp(dst: int, src: int, count: int) -> Instr:
    """An activation of `count` fp32 elements."""
    return Instr(Op.ACT, 1, count, dst=sram(dst, 4 * count), a=sram(src, 4 * count), fn=1)


def mma(dst: int, a: int, b: int, m: int, n: int, k: int, accumulate: bool = False) -> Instr:
    """A bf16 product of dense blocks."""
    return Instr(Op.MMA, m, n, k, dst=sram(dst, 4 * n), a=sram(a, 2 * k, D.BF16), b=sram(b, 2 * n, D.BF16), flags=int(accumulate))


def scalar_load(address: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_LOAD, cols=size, hbm=address)


def scalar_read(addr: int, size: int = 4) -> Instr:
    return Instr(Op.SCALAR_READ, cols=size, a=sram(addr))
