"""Programs as data for the timing tests: instructions, their bytes, and what a trace line must say about each.

Written from rigi_isa.h and the chip manual alone (not from the emulator's sources), so that `describe` can also check the
spans and arguments that the emulator writes into its trace.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

CORES, GRID = 16, 4
SRAM_BYTES = 2 << 20


class D(IntEnum):
    """Data types, as in rigi_dtype."""

    F32 = 0
    F16 = 1
    BF16 = 2
    E4M3 = 3
    E5M2 = 4
    I8 = 5
    I32 = 6
    U8 = 7
    I4 = 8


SIZE = {D.F32: 4, D.F16: 2, D.BF16: 2, D.E4M3: 1, D.E5M2: 1, D.I8: 1, D.I32: 4, D.U8: 1}
FULL, ROW, COL, IMM = range(4)
GROUP_ROW, GROUP_COL, GROUP_ALL = range(3)
ACCUMULATE, TRANS_B, ROW_BIAS, ROW_SUMS = 1, 2, 4, 8


class Op(IntEnum):
    """Opcodes, as in rigi_op; the two scalar accesses of the sequencer are ours (see scalar_kernel.cpp)."""

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
    SCALAR_LOAD = 200
    SCALAR_READ = 201


LOADS = (Op.LOAD, Op.GATHER, Op.LOAD_MULTICAST, Op.FILL)
STORES = (Op.STORE, Op.SCATTER, Op.STORE_ADD, Op.SEND)


@dataclass(frozen=True)
class Operand:
    """A block of SRAM, or a number (bcast IMM)."""

    addr: int = 0
    stride: int = 0
    dtype: D = D.F32
    bcast: int = FULL
    imm: float = 0.0

    def span(self, rows: int, cols: int) -> list[list[int]]:
        """The bytes of `rows` x `cols` elements under this operand's broadcast, as the spans of a trace."""
        if self.bcast == IMM:
            return []
        width = {COL: 1}.get(self.bcast, cols)
        width = (width + 1) // 2 if self.dtype == D.I4 else width * SIZE[self.dtype]
        return [[self.addr, width, 1 if self.bcast == ROW else rows, self.stride]]


def imm(value: float) -> Operand:
    return Operand(bcast=IMM, imm=value)


@dataclass(frozen=True)
class Instr:
    """One instruction; the fields are those of rigi_instr."""

    op: Op
    rows: int = 1
    cols: int = 0
    depth: int = 0
    dst: Operand = field(default_factory=Operand)
    a: Operand = field(default_factory=Operand)
    b: Operand = field(default_factory=Operand)
    c: Operand = field(default_factory=Operand)
    hbm: int = 0
    hbm_stride: int = 0
    fn: int = 0
    flags: int = 0
    target: int = 0
    scale: float = 1.0
    bias: float = 0.0

    def pack(self) -> bytes:
        """The 112 bytes of a rigi_instr."""
        operands = [v for o in (self.dst, self.a, self.b, self.c) for v in (o.addr, o.stride, o.dtype, o.bcast, 0, o.imm)]
        head = (self.op, self.fn, self.flags, self.target, self.rows, self.cols, self.depth)
        return struct.pack("<4B3I" + "IiBBHf" * 4 + "ffQqII", *head, *operands, self.scale, self.bias, self.hbm, self.hbm_stride, 0, 0)


Program = list[list[list[Instr]]]  # [phase][core][instruction]


def receivers(core: int, group: int) -> list[int]:
    """The cores that take part in a multicast which `core` issues."""
    row, col = divmod(core, GRID)
    rows = range(GRID) if group != GROUP_ROW else [row]
    cols = range(GRID) if group != GROUP_COL else [col]
    return [r * GRID + c for r in rows for c in cols]


def padded(count: int, to: int) -> int:
    return -(-count // to) * to


def _dma(i: Instr, core: int) -> dict[str, Any]:
    side = i.dst if i.op in LOADS else i.a
    width = i.cols * (SIZE[i.dst.dtype] if i.op == Op.FILL else 1)
    block = [[side.addr, width, i.rows, side.stride]]
    reads, writes = ([], block) if i.op in LOADS else (block, [])
    if i.op == Op.GATHER:
        reads = [[i.a.addr, 4 * i.rows, 1, 0]]
    if i.op == Op.SCATTER:
        reads = [*block, [i.b.addr, 4 * i.rows, 1, 0]]
    if i.op in (Op.FILL, Op.SEND):
        hbm_bytes = 0
    elif i.hbm_stride == width and i.op not in (Op.GATHER, Op.SCATTER):
        hbm_bytes = padded(width * i.rows, 64)  # the rows follow each other: one contiguous piece
    else:
        hbm_bytes = padded(width, 64) * i.rows
    args: dict[str, Any] = {"bytes": width * i.rows, "rows": i.rows, "hbm_bytes": hbm_bytes}
    if i.op == Op.LOAD_MULTICAST:
        args["receivers"] = receivers(core, i.fn)
    return {"args": args, "reads": reads, "writes": writes}


def _vector(i: Instr) -> dict[str, Any]:
    def elements(rows: int, cols: int) -> int:
        return rows * padded(cols, 16)

    passes, n = 1, elements(i.rows, i.cols)
    reads, writes = i.a.span(i.rows, i.cols), i.dst.span(i.rows, i.cols)
    if i.op in (Op.BINARY, Op.COMPARE, Op.SELECT):
        passes = 4 if i.op == Op.BINARY and i.fn == 3 else 1
        reads = reads + i.b.span(i.rows, i.cols)
    if i.op == Op.SELECT:
        reads = reads + i.c.span(i.rows, i.cols)
    if i.op == Op.TRANSPOSE:
        passes, n, writes = 2, max(n, elements(i.cols, i.rows)), i.dst.span(i.cols, i.rows)
    if i.op == Op.REDUCE:
        writes = i.dst.span(i.rows, 1)
    if i.op == Op.IOTA:
        reads = []
    if i.op == Op.TAKE:
        n = max(n, elements(1 if i.a.bcast == ROW else i.rows, i.depth))
        reads = i.a.span(i.rows, i.depth) + i.b.span(i.rows, i.cols)
    if i.op == Op.TOPK:
        passes, writes = i.depth, i.dst.span(i.rows, i.depth) + i.c.span(i.rows, i.depth)
    if i.op == Op.ACT and i.flags & ROW_BIAS:
        reads = reads + i.b.span(i.rows, 1)
    if i.op == Op.ACT and i.flags & ROW_SUMS:
        writes = writes + i.c.span(i.rows, 1)
    return {"args": {"n": n, "passes": passes}, "reads": reads, "writes": writes}


def _mma(i: Instr) -> dict[str, Any]:
    b = i.b.span(i.cols, i.depth) if i.flags & TRANS_B else i.b.span(i.depth, i.cols)
    c = i.dst.span(i.rows, i.cols)
    reads = i.a.span(i.rows, i.depth) + b + (c if i.flags & ACCUMULATE else [])
    return {"args": {"m": i.rows, "n": i.cols, "k": i.depth}, "reads": reads, "writes": c}


def describe(i: Instr, core: int) -> dict[str, Any]:
    """What the trace line of this instruction must say: engine, op, args (without names of dtypes and groups), reads, writes."""
    if i.op in (Op.SCALAR_LOAD, Op.SCALAR_READ):
        reads = [[i.a.addr, i.cols, 1, 0]] if i.op == Op.SCALAR_READ else []
        return {"engine": "scalar", "op": i.op.name.lower(), "args": {}, "reads": reads, "writes": []}
    engine = "load" if i.op in LOADS else "store" if i.op in STORES else {Op.MMA: "matrix", Op.ACT: "act"}.get(i.op, "vector")
    what = _dma(i, core) if engine in ("load", "store") else _mma(i) if engine == "matrix" else _vector(i)
    return {"engine": engine, "op": i.op.name.lower(), **what}
