"""Operands of the dialect: how an element of a buffer becomes a typed block, and the checks that name what is wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import Call, StringImm, TensorLoad, prim
from tvm.tirx.buffer import is_buffer_var

from . import isa


class DialectError(ValueError):
    """A call of the dialect that the chip has no instruction for. The text says what is allowed."""


@dataclass(frozen=True)
class Tile:
    """A block of SRAM or HBM: where it starts, its data type, the elements from row to row, and how it spreads."""

    address: Any  # a handle expression
    buffer: Any
    dtype: str
    pitch: Any
    broadcast: str = "full"

    @property
    def on_chip(self) -> bool:
        return self.buffer.scope() in isa.SRAM_SCOPES

    def call(self) -> Call:
        args = [self.address, StringImm(self.dtype), as_int64(self.pitch), StringImm(self.broadcast)]
        return tirx.call_extern("handle", isa.TILE, *args)


def as_int64(value: Any) -> Any:
    if isinstance(value, int):
        return prim.IntImm("int64", value)
    if isinstance(value, prim.IntImm):
        return prim.IntImm("int64", int(value.value))
    return value if str(value.ty) == "int64" else prim.Cast("int64", value)


def source_line() -> int:
    """The line of the kernel's source that the TVMScript parser is at, or 0 outside the parser."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(24):
        if frame is None:
            break
        node, owner = frame.f_locals.get("node"), frame.f_locals.get("self")
        parser = getattr(owner, "parser", None)
        if node is not None and parser is not None and getattr(node, "lineno", None):
            return int(node.lineno) + int(parser.diag.source.start_line) - 1
        frame = frame.f_back
    return 0


def _default_pitch(buffer: Any) -> Any:
    """Elements from row to row: the stride of the last dimension but one if there are strides, else the last dimension."""
    strides, shape = list(buffer.strides), list(buffer.shape)
    if len(strides) >= 2:
        return strides[-2]
    return shape[-1] if shape else 1


def _tile_of(value: Any, where: str) -> Tile:
    if isinstance(value, Tile):
        return value
    if isinstance(value, TensorLoad) and is_buffer_var(value.source):
        buffer = value.source
        if any(isinstance(index, prim.Ramp) for index in value.indices):
            raise DialectError(f"{where}: a slice of {buffer.name!r}; name the block's first element and give rows and cols instead")
        return Tile(tirx.address_of(value), buffer, str(buffer.dtype), _default_pitch(buffer))
    if is_buffer_var(value):  # a whole buffer: in tensor intrinsics, where an access pointer keeps the block's region
        return Tile(value.access_ptr("rw"), value, str(value.dtype), _default_pitch(value))
    if type(value).__name__ == "TensorRegion":
        raise DialectError(f"{where}: a slice of a buffer; name the block's first element, as in S[0, 0], and give rows and cols instead")
    raise DialectError(f"{where}: expected an element of a buffer, as in S[0, 0], got {_shown(value)}")


def _shown(value: Any) -> str:
    return f"{value!r}" if isinstance(value, (int, float, str, bool, type(None))) else f"{value} ({type(value).__name__})"


def sram(value: Any, where: str, dtypes: tuple[str, ...] | None = None, broadcast: bool = False) -> Tile:
    """An operand in SRAM. `where` is "R.op: name"; `dtypes` are the allowed ones."""
    tile = _tile_of(value, where)
    if not tile.on_chip:
        raise DialectError(
            f"{where}: {tile.buffer.name!r} has scope {tile.buffer.scope()!r}, but this operand must be in SRAM (scope 'shared.sram'); "
            + ("bring it in with R.load first" if tile.buffer.scope() == "global" else "allocate it with scope='shared.sram'")
        )
    if tile.dtype not in isa.DTYPES:
        raise DialectError(f"{where}: {tile.buffer.name!r} has dtype {tile.dtype}; the chip computes on {', '.join(isa.DTYPES)}")
    if dtypes is not None and tile.dtype not in dtypes:
        raise DialectError(f"{where}: {tile.buffer.name!r} has dtype {tile.dtype}; allowed here: {', '.join(dtypes)}")
    if tile.broadcast != "full" and not broadcast:
        raise DialectError(f"{where}: R.{tile.broadcast}(...) cannot be used here; this operand is a full block")
    return tile


def hbm(value: Any, where: str, like: Tile | None = None) -> Tile:
    """An operand in HBM; `like` is the SRAM side of the transfer, whose data type it must share."""
    tile = _tile_of(value, where)
    if tile.buffer.scope() not in ("global", ""):
        scope = tile.buffer.scope()
        raise DialectError(f"{where}: {tile.buffer.name!r} has scope {scope!r}, but this operand must be in HBM (an argument)")
    if tile.broadcast != "full":
        raise DialectError(f"{where}: R.{tile.broadcast}(...) cannot be used on an HBM operand")
    if like is not None and like.dtype != tile.dtype:
        raise DialectError(
            f"{where}: {tile.buffer.name!r} is {tile.dtype} but {like.buffer.name!r} is {like.dtype}; DMA moves bytes and converts "
            f"nothing: use one dtype (R.cast afterwards), or R.tile({tile.buffer.name}[...], dtype={like.dtype!r}) to see the bytes so"
        )
    return tile


def value(operand: Any, where: str, dtypes: tuple[str, ...] | None = None) -> Any:
    """An SRAM operand, also broadcast, or a number (Python's or TIR's)."""
    if isinstance(operand, bool):
        return prim.FloatImm("float32", float(operand))
    if isinstance(operand, (int, float)):
        return prim.FloatImm("float32", float(operand))
    in_memory = isinstance(operand, TensorLoad) and operand.source.scope() not in ("local", "")
    if isinstance(operand, Tile) or is_buffer_var(operand) or in_memory:
        return sram(operand, where, dtypes, broadcast=True)
    return number(operand, where)


def number(operand: Any, where: str) -> Any:
    """A number for an immediate field: it becomes fp32."""
    if isinstance(operand, (int, float)):
        return prim.FloatImm("float32", float(operand))
    if tvm.ir.is_prim_expr(operand):
        return operand if str(operand.ty).startswith(("float32", "float64")) else prim.Cast("float32", operand)
    raise DialectError(f"{where}: expected a number, got {_shown(operand)}")


def size(operand: Any, where: str) -> Any:
    """An integer: rows, columns, core numbers."""
    if isinstance(operand, bool) or isinstance(operand, float):
        raise DialectError(f"{where}: expected an integer, got {_shown(operand)}")
    if isinstance(operand, int):
        if operand < 0:
            raise DialectError(f"{where}: {operand} is negative")
        return prim.IntImm("int64", operand)
    if tvm.ir.is_prim_expr(operand) and str(operand.ty).startswith(("int", "uint")):
        return as_int64(operand)
    raise DialectError(f"{where}: expected an integer, got {_shown(operand)}")


def truth(operand: Any, where: str) -> Any:
    if isinstance(operand, (bool, int)):
        return prim.IntImm("bool", int(operand))
    if tvm.ir.is_prim_expr(operand):
        return operand if str(operand.ty) == "bool" else operand != 0
    raise DialectError(f"{where}: expected a truth value, got {_shown(operand)}")


def function(name: Any, table: dict[str, str], where: str) -> StringImm:
    if name not in table:
        raise DialectError(f"{where}: unknown function {name!r}; known: {', '.join(table)}")
    return StringImm(name)


def same_dtype(op: str, **tiles: Tile) -> None:
    names = {n: t.dtype for n, t in tiles.items()}
    if len(set(names.values())) > 1:
        raise DialectError(f"{op}: " + ", ".join(f"{n} is {d}" for n, d in names.items()) + "; they must be equal (use R.cast)")


def view(operand: Any, pitch: Any, dtype: str | None) -> Tile:
    """R.tile: the same address seen with another row pitch or data type."""
    tile = _tile_of(operand, "R.tile: x")
    new = tile
    if dtype is not None:
        if dtype not in isa.DTYPES:
            raise DialectError(f"R.tile: unknown dtype {dtype!r}; known: {', '.join(isa.DTYPES)}")
        bits = tvm.DataType(tile.dtype).bits if tile.dtype != "int4" else 4
        new = replace(new, dtype=dtype, pitch=as_int64(tile.pitch) * bits // isa.DTYPES[dtype][1])
    if pitch is not None:
        new = replace(new, pitch=size(pitch, "R.tile: pitch"))
    return new


def broadcast(operand: Any, how: str) -> Tile:
    tile = sram(operand, f"R.{how}: x", broadcast=False)
    if how == "col" and isinstance(operand, TensorLoad) and len(operand.source.shape) == 1:
        tile = replace(tile, pitch=1)
    return replace(tile, broadcast=how)
