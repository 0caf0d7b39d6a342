"""A frame: the rows x cols window of the iteration space that one turn of a core's work loop computes, and values in it.

A value is a number of the sequencer ("imm"), one element in SRAM ("one"), a vector along the columns ("row") or down the rows ("col"),
or a block ("full"). Vectors and blocks lie without gaps, so that a block can serve as a list of indices. Instructions work on the
smallest shape that holds their result; what is smaller is broadcast by the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import prim

from .. import dialect as R
from .emitter import Emitter, integer
from .sram import Sram
from .stage import Axis

ORDER = ("imm", "one", "row", "col", "full")


@dataclass(frozen=True)
class Value:
    """`at` is an expression for "imm", else a buffer. `own`: nobody else refers to the buffer, so it may be written or given back."""

    shape: str
    at: Any
    dtype: str
    own: bool = False


def joined(shapes: list[str]) -> str:
    """The shape of a result of operands of these shapes."""
    present = set(shapes)
    if "full" in present or {"row", "col"} <= present:
        return "full"
    return max(present, key=ORDER.index)


@dataclass
class Frame:
    """Axes of the window (None: one row, or one column), its first point, its size at run time, the outer axes' values and the slot."""

    emitter: Emitter
    sram: Sram
    row: Axis | None
    col: Axis | None
    row_start: Any
    col_start: Any
    rows: Any
    cols: Any
    outer: dict[Any, Any]
    slot: Any
    shared: Any = None  # the condition under which the cores of a grid row have the same rows, those of a grid column the same columns
    group: str | None = None  # "row", "col": those cores bring in the same

    def load(self, dst: Any, src: Any, rows: Any, cols: Any) -> None:
        """A block from HBM, by one multicast for all cores that bring in the same."""
        alone = R.load(dst, src, rows, cols)
        if self.group is None or self.shared is None:
            self.emitter.add(alone)
        else:
            self.emitter.either(self.shared, R.load_multicast(dst, src, rows, cols, group=self.group), alone)

    def extent(self, shape: str) -> tuple[Any, Any]:
        """Rows and columns of an instruction whose result has this shape; vectors are one row."""
        one = integer(1)
        return {"one": (one, one), "row": (one, self.cols), "col": (one, self.rows), "full": (self.rows, self.cols)}[shape]

    def size(self, shape: str) -> Any:
        rows, cols = self.extent(shape)
        return rows * cols

    def new(self, name: str, dtype: str, shape: str) -> Value:
        return Value(shape, self.sram.take(name, dtype, shape), dtype, own=True)

    def drop(self, value: Value) -> None:
        if value.own and value.shape != "imm":
            self.sram.give(value.at)

    def first(self, value: Value) -> Any:
        """The first element of a value in this turn's slot."""
        return value.at[self.emitter.simplified(tirx.floormod(self.slot, integer(int(value.at.shape[0].value)))), 0]

    def block(self, value: Value) -> Any:
        """A value as an operand of its own shape."""
        first = self.first(value)
        return R.tile(first, pitch=self.cols) if value.shape == "full" else first

    def operand(self, value: Value, shape: str) -> Any:
        """A value as a source of an instruction whose result has `shape`."""
        if value.shape == "imm":
            return value.at if isinstance(value.at, (int, float, prim.IntImm, prim.FloatImm)) else prim.Cast("float32", value.at)
        if value.shape == shape:
            return self.block(value)
        first = self.first(value)
        if value.shape == "one":
            return R.col(R.tile(first, pitch=0))
        return R.row(first) if value.shape == "row" else R.col(R.tile(first, pitch=1))
