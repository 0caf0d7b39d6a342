"""Sharing a stage's points among the cores: outer axes, rows and columns are cut in units; core c takes units c, c + 16, ...

Units are no larger than SRAM allows and, where there is enough work, small enough that every core has some. All of it may depend on
sizes known only at run time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx
from tvm.ir import prim

from .emitter import Emitter, constant, integer, product
from .frame import Frame
from .rewrite import substitute
from .sram import SLOTS, Sram
from .stage import Axis

CORES = 16
SIDE = 4  # of the grid of cores
LINE = 64  # columns are cut at multiples of this


def ceildiv(a: Any, b: Any) -> Any:
    return tirx.floordiv(a + (b - 1), b)


def least(a: Any, b: Any) -> Any:
    return tirx.min(integer(a) if isinstance(a, int) else a, integer(b) if isinstance(b, int) else b)


def most(a: Any, b: Any) -> Any:
    return tirx.max(integer(a) if isinstance(a, int) else a, integer(b) if isinstance(b, int) else b)


@dataclass
class Kernel:
    """What the stages of one kernel share."""

    emitter: Emitter
    sram: Sram
    core: Any
    views: dict[Any, Any] = field(default_factory=dict)

    def words(self, buffer: Any) -> Any:
        """A buffer of 64-bit elements seen as int32 with a last dimension of two."""
        if buffer not in self.views:
            self.views[buffer] = tirx.decl_buffer([*buffer.shape, 2], "int32", f"{buffer.name}_words", scope=buffer.scope())
        return self.views[buffer]

    def declarations(self) -> list[Any]:
        """Statements for the head of the kernel."""
        return [tirx.DeclBuffer(view, data=tirx.buffer_data(buffer)) for buffer, view in self.views.items()]


@contextmanager
def units(kernel: Kernel, outer: list[Axis], row: Axis | None, col: Axis | None, row_limit: int = 0) -> Iterator[Frame]:
    """The work loop: a frame for each unit, of at most `row_limit` rows if that is given."""
    emit, sizes, one = kernel.emitter, kernel.sram.sizes, integer(1)
    rows, cols = row.extent if row else one, col.extent if col else one
    others = product(a.extent for a in outer)
    width = cols if constant(cols) is not None and (constant(cols) or 0) <= 16 else None
    cap = sizes["row"] if row is None else sizes["row"] // 4 if constant(cols) is None else sizes["row"]
    if width is not None:
        step = width
    else:
        groups = ceildiv(integer(CORES), most(others * rows, 1))  # cores that share one row
        step = least(least(cols, cap), most(ceildiv(cols, groups * LINE) * LINE, 1))
    col_step_at = most(emit.let("col_step", step), 1) if constant(step) is None else step
    col_step_at = emit.let("col_step", col_step_at)
    fit: Any = sizes["col"] if col is None else most(least(sizes["col"], tirx.floordiv(integer(sizes["full"]), col_step_at)), 1)
    fit = least(fit, row_limit) if row_limit else fit
    wanted = most(ceildiv(rows * others, integer(CORES)), 1)
    row_step_at = emit.let("row_step", most(least(least(rows, fit), wanted), 1)) if row else one
    row_parts = emit.let("row_parts", ceildiv(rows, row_step_at))
    col_parts = emit.let("col_parts", ceildiv(cols, col_step_at))
    count = emit.let("units", others * row_parts * col_parts)
    single = constant(count) is not None and (constant(count) or 0) <= CORES
    turns = ceildiv(count - kernel.core, integer(CORES))

    @contextmanager
    def turn() -> Iterator[tuple[Any, Any]]:
        if single:
            with emit.when(kernel.core < count):
                yield kernel.core, integer(0)
        else:
            with emit.loop("turn", turns) as i:
                yield i * CORES + kernel.core, tirx.floormod(i, integer(SLOTS))

    with turn() as (index, slot):
        unit = emit.let("unit", index)
        slot = emit.let("slot", slot)
        col_start = emit.let("col_start", tirx.floormod(unit, col_parts) * col_step_at)
        rest = tirx.floordiv(unit, col_parts)
        row_start = emit.let("row_start", tirx.floormod(rest, row_parts) * row_step_at)
        values = _outer(emit, outer, tirx.floordiv(rest, row_parts))
        here_rows = emit.let("rows", least(row_step_at, substitute(rows, values) - row_start)) if row else one
        here_cols = emit.let("cols", least(col_step_at, substitute(cols, values) - col_start)) if col else one
        yield Frame(emit, kernel.sram, row, col, row_start, col_start, here_rows, here_cols, values, slot)


def _outer(emit: Emitter, outer: list[Axis], number: Any) -> dict[Any, Any]:
    """The outer axes' values in the number-th combination of them."""
    values: dict[Any, Any] = {}
    for a in reversed(outer):
        values[a.var] = emit.let(a.var.name, tirx.floormod(number, a.extent))
        number = tirx.floordiv(number, a.extent)
    return values


@contextmanager
def tiles(kernel: Kernel, outer: list[Axis], row: Axis, col: Axis, side: int, worth: float) -> Iterator[Frame]:
    """The work loop of a product: units of `side` rows and columns; if that makes fewer than there are cores, 128 rows and down to 32
    columns.

    If units are many and it needs at most `worth` times the turns, the grid of cores takes a square of units at a time: cores of a grid
    row have the same rows, cores of a grid column the same columns, and bring in by one multicast what depends on these alone
    (`Frame.shared`). All cores then take every turn, and at the edges a frame may have no rows or no columns.
    """
    emit, one, rows, cols, others = kernel.emitter, integer(1), row.extent, col.extent, product(a.extent for a in outer)
    high = tirx.Select(others * ceildiv(rows, integer(side)) * ceildiv(cols, integer(side)) < CORES, integer(min(side, 128)), integer(side))
    high = emit.let("tile_rows", high)
    share = ceildiv(ceildiv(cols * others * ceildiv(rows, high), integer(CORES)), integer(16)) * 16
    col_step = emit.let("col_step", most(least(cols, least(side, most(share, min(side, 128) // 4))), 1))
    row_step = emit.let("row_step", most(least(rows, high), 1))
    row_parts, col_parts = emit.let("row_parts", ceildiv(rows, row_step)), emit.let("col_parts", ceildiv(cols, col_step))
    count = emit.let("units", others * row_parts * col_parts)
    tall, wide, squares, shared = one, one, one, integer(0)
    if worth:
        tall, wide = emit.let("tall", ceildiv(row_parts, integer(SIDE))), emit.let("wide", ceildiv(col_parts, integer(SIDE)))
        squares = emit.let("squares", others * tall * wide)
        few = 2 * squares <= int(2 * worth) * ceildiv(count, integer(CORES))
        shared = emit.let("shared", tirx.Select(prim.And(count >= CORES, few), one, integer(0)))
    never = constant(shared) == 0

    def choose(in_square: Any, alone: Any) -> Any:
        return alone if never else tirx.Select(shared == 1, in_square, alone)

    with emit.loop("turn", choose(squares, ceildiv(count - kernel.core, integer(CORES)))) as turn:
        unit = emit.let("unit", turn * CORES + kernel.core)
        square = tirx.floormod(turn, wide) * SIDE + tirx.floormod(kernel.core, integer(SIDE))
        rest, rest_of_squares = tirx.floordiv(unit, col_parts), tirx.floordiv(turn, wide)
        col_start = emit.let("col_start", choose(square, tirx.floormod(unit, col_parts)) * col_step)
        square = tirx.floormod(rest_of_squares, tall) * SIDE + tirx.floordiv(kernel.core, integer(SIDE))
        row_start = emit.let("row_start", choose(square, tirx.floormod(rest, row_parts)) * row_step)
        values = _outer(emit, outer, choose(tirx.floordiv(rest_of_squares, tall), tirx.floordiv(rest, row_parts)))
        here_rows, here_cols = least(row_step, substitute(rows, values) - row_start), least(col_step, substitute(cols, values) - col_start)
        here_rows, here_cols = (x if never else most(x, 0) for x in (here_rows, here_cols))
        here_rows, here_cols = emit.let("rows", here_rows), emit.let("cols", here_cols)
        yield Frame(emit, kernel.sram, row, col, row_start, col_start, here_rows, here_cols, values, turn, None if never else shared == 1)
