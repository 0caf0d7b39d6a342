"""The instructions of Rigi-1 as NumPy records: programs as data, for tests and for learning the machine.

A record is one `rigi_instr` of rigi_isa.h. The functions below build them; operands come from `sram`, `row`, `col` and `imm`:

    program = [load(sram(0, 512, BF16), x.address, 512, rows=4, bytes=512),
               binary(ADD, sram(4096, 512, BF16), sram(0, 512, BF16), imm(1.0), rows=4, cols=256)]
    sdk_sim.launch_program([{0: program}])

Strides and DMA sizes are bytes, all other sizes elements. The chip manual says what each instruction does and costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np


class DType(IntEnum):
    """rigi_dtype"""

    F32 = 0
    F16 = 1
    BF16 = 2
    E4M3 = 3
    E5M2 = 4
    I8 = 5
    I32 = 6
    U8 = 7
    I4 = 8


class Bcast(IntEnum):
    """rigi_bcast"""

    FULL = 0
    ROW = 1
    COL = 2
    IMM = 3


class Op(IntEnum):
    """rigi_op"""

    LOAD = 0
    GATHER = 1
    LOAD_MULTICAST = 2
    FILL = 3
    STORE = 4
    SCATTER = 5
    STORE_ADD = 6
    SEND = 7
    MMA = 8
    BINARY = 9
    COMPARE = 10
    SELECT = 11
    CAST = 12
    COPY = 13
    TRANSPOSE = 14
    REDUCE = 15
    IOTA = 16
    TAKE = 17
    TOPK = 18
    ACT = 19


class Group(IntEnum):
    """rigi_group: who receives a multicast"""

    GROUP_ROW = 0
    GROUP_COL = 1
    GROUP_ALL = 2


class Binary(IntEnum):
    """rigi_binary"""

    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3
    MAX = 4
    MIN = 5


class Compare(IntEnum):
    """rigi_compare"""

    LT = 0
    LE = 1
    GT = 2
    GE = 3
    EQ = 4
    NE = 5


class Reduce(IntEnum):
    """rigi_reduce"""

    SUM = 0
    RMAX = 1


class Act(IntEnum):
    """rigi_act"""

    IDENTITY = 0
    EXP = 1
    EXP2 = 2
    LOG = 3
    TANH = 4
    SIGMOID = 5
    SILU = 6
    GELU = 7
    GELU_TANH = 8
    RSQRT = 9
    SQRT = 10
    RECIPROCAL = 11
    SIN = 12
    COS = 13


class Flag(IntFlag):
    """rigi_flags"""

    ACCUMULATE = 1
    TRANS_B = 2
    ROW_BIAS = 4
    ROW_SUMS = 8


F32, F16, BF16, E4M3, E5M2, I8, I32, U8, I4 = DType
ADD, SUB, MUL, DIV, MAX, MIN = Binary
LT, LE, GT, GE, EQ, NE = Compare
SUM, RMAX = Reduce

OPERAND_DTYPE = np.dtype([("addr", "<u4"), ("stride", "<i4"), ("dtype", "u1"), ("bcast", "u1"), ("reserved", "<u2"), ("imm", "<f4")])
INSTR_DTYPE = np.dtype(
    [("op", "u1"), ("fn", "u1"), ("flags", "u1"), ("target", "u1"), ("rows", "<u4"), ("cols", "<u4"), ("depth", "<u4")]
    + [(name, OPERAND_DTYPE) for name in ("dst", "a", "b", "c")]
    + [("scale", "<f4"), ("bias", "<f4"), ("hbm", "<u8"), ("hbm_stride", "<i8"), ("line", "<u4"), ("reserved", "<u4")]
)


class Operand(NamedTuple):
    """A block of SRAM: element (r, c) at `addr + r * stride + c * size of dtype`. Fields in the order of rigi_operand."""

    addr: int
    stride: int
    dtype: DType
    bcast: Bcast = Bcast.FULL
    reserved: int = 0
    imm: float = 0.0


def sram(addr: int, stride: int, dtype: DType, bcast: Bcast = Bcast.FULL) -> Operand:
    """A block of the executing core's scratchpad; `addr` is a multiple of 64, `stride` bytes from row to row."""
    return Operand(addr, stride, dtype, bcast)


def row(addr: int, dtype: DType) -> Operand:
    """One row, repeated for every row."""
    return Operand(addr, 0, dtype, Bcast.ROW)


def col(addr: int, stride: int, dtype: DType) -> Operand:
    """One element a row, `stride` bytes apart, repeated along the row."""
    return Operand(addr, stride, dtype, Bcast.COL)


def imm(value: float) -> Operand:
    """A number."""
    return Operand(0, 0, F32, Bcast.IMM, 0, value)


def instr(op: Op, **fields: object) -> np.ndarray:
    """A record from its fields; fields that are not named are zero."""
    record = np.zeros((), INSTR_DTYPE)
    record["op"] = op
    for name, value in fields.items():
        record[name] = tuple(value) if isinstance(value, Operand) else value
    return record


def program(records: Iterable[np.ndarray]) -> np.ndarray:
    """One array of INSTR_DTYPE from single records."""
    items = list(records)
    return np.stack(items).astype(INSTR_DTYPE, copy=False) if items else np.zeros(0, INSTR_DTYPE)


# ---- load engine


def load(dst: Operand, hbm: int, hbm_stride: int, rows: int, bytes: int) -> np.ndarray:
    """HBM to SRAM: `rows` pieces of `bytes` bytes, `hbm_stride` bytes apart."""
    return instr(Op.LOAD, dst=dst, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def gather(dst: Operand, hbm: int, hbm_stride: int, index: Operand, rows: int, bytes: int) -> np.ndarray:
    """As load; row r comes from `hbm + index[r] * hbm_stride`, `index` int32 and contiguous."""
    return instr(Op.GATHER, dst=dst, a=index, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def load_multicast(dst: Operand, hbm: int, hbm_stride: int, rows: int, bytes: int, group: Group) -> np.ndarray:
    """As load, into every core of the group; each of them issues it."""
    return instr(Op.LOAD_MULTICAST, fn=group, dst=dst, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def fill(dst: Operand, value: float, rows: int, cols: int) -> np.ndarray:
    """dst = value."""
    return instr(Op.FILL, dst=dst, scale=value, rows=rows, cols=cols)


# ---- store engine


def store(hbm: int, hbm_stride: int, src: Operand, rows: int, bytes: int) -> np.ndarray:
    """SRAM to HBM."""
    return instr(Op.STORE, a=src, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def scatter(hbm: int, hbm_stride: int, src: Operand, index: Operand, rows: int, bytes: int) -> np.ndarray:
    """As store; row r goes to `hbm + index[r] * hbm_stride`."""
    return instr(Op.SCATTER, a=src, b=index, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def store_add(hbm: int, hbm_stride: int, src: Operand, rows: int, bytes: int) -> np.ndarray:
    """HBM += SRAM, fp32 or bf16 after `src.dtype`; carried out at the end of the phase."""
    return instr(Op.STORE_ADD, a=src, hbm=hbm, hbm_stride=hbm_stride, rows=rows, cols=bytes)


def send(target: int, dst: Operand, src: Operand, rows: int, bytes: int) -> np.ndarray:
    """To the scratchpad of core `target`."""
    return instr(Op.SEND, target=target, dst=dst, a=src, rows=rows, cols=bytes)


# ---- matrix engine


def mma(c: Operand, a: Operand, b: Operand, m: int, n: int, k: int, accumulate: bool = False, transpose_b: bool = False) -> np.ndarray:
    """C[m, n] (+)= A[m, k] x B[k, n], or B[n, k] transposed."""
    flags = (Flag.ACCUMULATE if accumulate else 0) | (Flag.TRANS_B if transpose_b else 0)
    return instr(Op.MMA, flags=flags, dst=c, a=a, b=b, rows=m, cols=n, depth=k)


# ---- vector engine


def binary(fn: Binary, dst: Operand, a: Operand, b: Operand, rows: int, cols: int) -> np.ndarray:
    """dst = a fn b."""
    return instr(Op.BINARY, fn=fn, dst=dst, a=a, b=b, rows=rows, cols=cols)


def compare(fn: Compare, dst: Operand, a: Operand, b: Operand, rows: int, cols: int) -> np.ndarray:
    """dst = a fn b ? 1 : 0."""
    return instr(Op.COMPARE, fn=fn, dst=dst, a=a, b=b, rows=rows, cols=cols)


def select(dst: Operand, cond: Operand, a: Operand, b: Operand, rows: int, cols: int) -> np.ndarray:
    """dst = cond != 0 ? a : b."""
    return instr(Op.SELECT, dst=dst, a=a, b=b, c=cond, rows=rows, cols=cols)


def cast(dst: Operand, a: Operand, rows: int, cols: int) -> np.ndarray:
    """dst = a, converted to dst's type."""
    return instr(Op.CAST, dst=dst, a=a, rows=rows, cols=cols)


def copy(dst: Operand, a: Operand, rows: int, cols: int) -> np.ndarray:
    """dst = a, raw bits."""
    return instr(Op.COPY, dst=dst, a=a, rows=rows, cols=cols)


def transpose(dst: Operand, a: Operand, rows: int, cols: int) -> np.ndarray:
    """dst [cols, rows] = a [rows, cols] transposed."""
    return instr(Op.TRANSPOSE, dst=dst, a=a, rows=rows, cols=cols)


def reduce(fn: Reduce, dst: Operand, a: Operand, rows: int, cols: int) -> np.ndarray:
    """dst [rows, 1] = fn over each row of a."""
    return instr(Op.REDUCE, fn=fn, dst=dst, a=a, rows=rows, cols=cols)


def iota(dst: Operand, start: float, row_step: float, col_step: float, rows: int, cols: int) -> np.ndarray:
    """dst[r, c] = start + r * row_step + c * col_step."""
    return instr(Op.IOTA, dst=dst, a=imm(col_step), bias=start, scale=row_step, rows=rows, cols=cols)


def take(dst: Operand, a: Operand, index: Operand, rows: int, cols: int, depth: int) -> np.ndarray:
    """dst[r, c] = a[r, index[r, c]]; `depth` columns in a."""
    return instr(Op.TAKE, dst=dst, a=a, b=index, rows=rows, cols=cols, depth=depth)


def topk(values: Operand, indices: Operand, a: Operand, rows: int, cols: int, k: int) -> np.ndarray:
    """The k largest of each row of a, descending, with their columns."""
    return instr(Op.TOPK, dst=values, a=a, c=indices, rows=rows, cols=cols, depth=k)


# ---- activation engine


def act(
    fn: Act,
    dst: Operand,
    a: Operand,
    rows: int,
    cols: int,
    scale: float = 1.0,
    bias: float | Operand = 0.0,
    sums: Operand | None = None,
) -> np.ndarray:
    """dst = fn(a * scale + bias); `bias` a number or one fp32 a row, `sums` [rows, 1] gets the row sums before the cast."""
    flags = (Flag.ROW_BIAS if isinstance(bias, Operand) else 0) | (Flag.ROW_SUMS if sums is not None else 0)
    record = instr(Op.ACT, fn=fn, flags=flags, dst=dst, a=a, scale=scale, rows=rows, cols=cols)
    if isinstance(bias, Operand):
        record["b"] = tuple(bias)
    else:
        record["bias"] = bias
    if sums is not None:
        record["c"] = tuple(sums)
    return record
