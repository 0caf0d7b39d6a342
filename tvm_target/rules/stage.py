"""Stages: a generic function read as a list of loop nests, each with its iteration space and what one point of it computes.

Reading normalizes: block iterators become the loops' own variables (int64, from 0), lets are inlined, an axis that is only used as
v // c and v % c becomes two (so reshapes are affine), and axes that every access walks as one become one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import TensorLoad, Var, prim
from tvm.s_tir import SBlockRealize

from .emitter import constant, integer
from .rewrite import as_int64, dtype_of, find, flat_offset, linear, rewrite, substitute, uses

SPATIAL, REDUCE = 0, 2  # kinds of IterVar


class Unsupported(Exception):
    """This stage is not for this rule; the text says why."""


@dataclass(frozen=True)
class Axis:
    var: Any
    extent: Any
    reduce: bool = False


@dataclass(frozen=True)
class Store:
    buffer: Any
    indices: list[Any]
    value: Any

    def map(self, change: Any) -> Store:
        return Store(self.buffer, [change(i) for i in self.indices], change(self.value))


@dataclass(frozen=True)
class Stage:
    """`stores` at every point of the axes, `init` at the first point of the reduction axes. `after`, if any, is an epilogue: what is stored
    instead of the finished result, which it names as an element of the buffer in `stores`."""

    name: str
    axes: list[Axis]
    stores: list[Store]
    init: list[Store] = field(default_factory=list)
    after: list[Store] = field(default_factory=list)

    @property
    def spatial(self) -> list[Axis]:
        return [a for a in self.axes if not a.reduce]

    @property
    def reduction(self) -> list[Axis]:
        return [a for a in self.axes if a.reduce]

    def map(self, change: Any, axes: list[Axis] | None = None) -> Stage:
        lists: dict[str, Any] = {name: [s.map(change) for s in getattr(self, name)] for name in ("stores", "init", "after")}
        return replace(self, axes=self.axes if axes is None else axes, **lists)

    def expressions(self) -> list[Any]:
        return [e for s in [*self.init, *self.stores, *self.after] for e in [*s.indices, s.value]]

    def loads(self) -> list[Any]:
        return [x for s in [*self.stores, *self.after] for e in [*s.indices, s.value] for x in find(e, TensorLoad)]

    @property
    def result(self) -> Store:
        """What the stage leaves behind: the epilogue's store, or its own."""
        return (self.after or self.stores)[0]


def bind(stage: Stage, analyzer: tvm.sym.Analyzer) -> None:
    """Tells the analyzer the ranges of the stage's axes."""
    for a in stage.axes:
        analyzer.bind(a.var, tvm.ir.Range(0, a.extent), allow_override=True)


def read(stmt: Any) -> Stage:
    """The stage of a loop nest with one block, as it stands. Raises Unsupported for any other shape of statement."""
    loops: list[Any] = []
    while isinstance(stmt, tirx.For):
        if stmt.step is not None and constant(stmt.step) != 1:
            raise Unsupported(f"the loop over {stmt.loop_var.name} has a step")
        loops.append(stmt)
        stmt = stmt.body
    fresh: dict[Any, Any] = {}
    moved: dict[Any, Any] = {}
    for f in loops:
        if uses(f.extent, fresh):
            raise Unsupported(f"how far the loop over {f.loop_var.name} goes depends on a loop around it")
        fresh[f.loop_var] = tirx.Var(f.loop_var.name, "int64")
        moved[f.loop_var] = fresh[f.loop_var] + as_int64(substitute(f.min, moved)) if constant(f.min) != 0 else fresh[f.loop_var]
    if isinstance(stmt, SBlockRealize):
        return _block(stmt, loops, fresh, moved)
    if not isinstance(stmt, tirx.BufferStore):
        raise Unsupported(f"a {type(stmt).__name__} inside the loops")
    store = _stores(stmt, moved)[0]
    axes = [Axis(fresh[f.loop_var], as_int64(f.extent)) for f in loops]
    for a in axes:  # without blocks nothing says which axes are parallel: those that name one element each
        if not any(isinstance(i, Var) and i.same_as(a.var) for i in store.indices):
            raise Unsupported("loops without a block whose stores are not one an element")
    if any(x.source.same_as(store.buffer) for x in find(store.value, TensorLoad)):
        raise Unsupported(f"{store.buffer.name} is read and written without a block")
    return Stage(store.buffer.name, axes, [store])


def _block(stmt: Any, loops: list[Any], fresh: dict[Any, Any], moved: dict[Any, Any]) -> Stage:
    block = stmt.block
    if constant(stmt.predicate) != 1:
        raise Unsupported("a block with a predicate")
    if block.alloc_buffers or block.match_buffers:
        raise Unsupported("a block with buffers of its own")
    values = dict(moved)
    reduce: set[int] = set()
    for it, value in zip(block.iter_vars, stmt.iter_values):
        values[it.var] = as_int64(substitute(value, moved))
        if it.iter_type == REDUCE:
            reduce |= {v.__chandle__() for v in find(value, Var)}
        elif it.iter_type != SPATIAL:
            raise Unsupported(f"the block iterator {it.var.name} is neither spatial nor a reduction")
    axes = [Axis(fresh[f.loop_var], as_int64(f.extent), f.loop_var.__chandle__() in reduce) for f in loops]
    init = _stores(block.init, values) if block.init is not None else []
    return Stage(block.name_hint, axes, _stores(block.body, values), init)


def _stores(stmt: Any, values: dict[Any, Any]) -> list[Store]:
    values, stores = dict(values), []
    for part in stmt.seq if isinstance(stmt, tirx.SeqStmt) else [stmt]:
        if isinstance(part, tirx.Bind):
            values[part.var] = substitute(part.value, values)
        elif isinstance(part, tirx.BufferStore):
            stores.append(Store(part.buffer, [as_int64(substitute(i, values)) for i in part.indices], substitute(part.value, values)))
        else:
            raise Unsupported(f"a {type(part).__name__} inside the block")
    return stores


# ---- normal form


def normal(stage: Stage, analyzer: tvm.sym.Analyzer) -> Stage:
    """The stage with divisions split and indices tidied."""
    for axis in stage.axes:
        if find(axis.extent, TensorLoad):
            raise Unsupported(f"the extent of {axis.var.name} is read from a buffer")
    stage = simplified(stage, analyzer)
    for _ in range(8):
        parted = _split_division(stage, analyzer)
        if parted is None:
            return stage
        stage = simplified(parted, analyzer)
    return stage


def simplified(stage: Stage, analyzer: tvm.sym.Analyzer) -> Stage:
    """Axes of one turn gone, indices and conditions tidied."""
    axes = [replace(a, extent=analyzer.simplify(a.extent)) for a in stage.axes]
    ones = {a.var: integer(0) for a in axes if constant(a.extent) == 1}
    axes = [a for a in axes if a.var not in ones]
    stage = stage.map(lambda e: substitute(e, ones), axes)
    bind(stage, analyzer)

    def tidy(e: Any) -> Any:
        if isinstance(e, TensorLoad):
            return tirx.BufferLoad(e.source, [analyzer.simplify(rewrite(i, tidy)) for i in e.indices])
        if isinstance(e, (prim.LT, prim.LE, prim.GT, prim.GE, prim.EQ, prim.NE)) and not find(e, TensorLoad) and find(e, Var):
            return analyzer.simplify(e)
        return None

    return stage.map(
        lambda e: analyzer.simplify(rewrite(e, tidy)) if not find(e, TensorLoad) and dtype_of(e) == "int64" else rewrite(e, tidy)
    )


def _split_division(stage: Stage, analyzer: tvm.sym.Analyzer) -> Stage | None:
    """v with an extent e = q * c that is divided by c somewhere: v = v1 * c + v0."""
    for axis in stage.axes:
        for e in stage.expressions():
            for node in find(e, (prim.FloorDiv, prim.FloorMod)):
                if not isinstance(node.a, Var) or not node.a.same_as(axis.var):
                    continue
                by = as_int64(node.b)
                if find(by, TensorLoad) or uses(by, [a.var for a in stage.axes]):
                    continue
                if not analyzer.can_prove(tirx.floormod(axis.extent, by) == 0):
                    continue
                high = Axis(tirx.Var(f"{axis.var.name}_o", "int64"), analyzer.simplify(tirx.floordiv(axis.extent, by)), axis.reduce)
                low = Axis(tirx.Var(f"{axis.var.name}_i", "int64"), by, axis.reduce)
                place = stage.axes.index(axis)
                axes = [*stage.axes[:place], high, low, *stage.axes[place + 1 :]]
                return stage.map(lambda x: substitute(x, {axis.var: high.var * by + low.var}), axes)  # noqa: B023
    return None


def coefficients(buffer: Any, indices: list[Any], axes: list[Axis], analyzer: tvm.sym.Analyzer) -> list[Any] | None:
    """How far one step along each axis moves in the buffer, in elements, and where it starts; None if not affine."""
    return linear(flat_offset(buffer, indices), [a.var for a in axes], analyzer)


def collapsed(stage: Stage, analyzer: tvm.sym.Analyzer) -> Stage:
    """Neighbouring axes that every access walks as one, joined: a copy of [n, h, w] is one of [n * h * w]."""
    again = True
    while again:
        again = False
        accesses = [(s.buffer, s.indices) for s in [*stage.stores, *stage.after]] + [(x.source, list(x.indices)) for x in stage.loads()]
        for outer, inner in zip(stage.axes, stage.axes[1:]):
            if outer.reduce == inner.reduce and _as_one(stage, accesses, outer, inner, analyzer):
                stage = _join(stage, outer, inner, analyzer)
                again = True
                break
    return stage


def _as_one(stage: Stage, accesses: list[tuple[Any, list[Any]]], outer: Axis, inner: Axis, analyzer: tvm.sym.Analyzer) -> bool:
    pair = [outer.var, inner.var]
    for buffer, indices in accesses:
        found = linear(flat_offset(buffer, indices), pair, analyzer)
        if found is None or not analyzer.can_prove_equal(found[0], found[1] * inner.extent):
            return False
    outside = [s.value for s in [*stage.stores, *stage.after]]
    # The variables may stand in indices only.
    hidden = [rewrite(e, lambda x: integer(0) if isinstance(x, TensorLoad) and dtype_of(x) == "int64" else _blank(x)) for e in outside]
    return not any(uses(e, pair) for e in hidden)


def _blank(x: Any) -> Any:
    return tirx.const(0, dtype_of(x)) if isinstance(x, TensorLoad) else None


def _join(stage: Stage, outer: Axis, inner: Axis, analyzer: tvm.sym.Analyzer) -> Stage:
    joined = Axis(tirx.Var(f"{outer.var.name}_{inner.var.name}", "int64"), analyzer.simplify(outer.extent * inner.extent), outer.reduce)
    axes: list[Axis] = []
    for a in stage.axes:
        if a is outer:
            axes.append(joined)
        elif a is not inner:
            axes.append(a)
    pair = [outer.var, inner.var]

    def walk(buffer: Any, indices: list[Any]) -> list[Any]:
        found = linear(flat_offset(buffer, indices), pair, analyzer)
        assert found is not None
        return flat_indices(buffer, found[1] * joined.var + found[2])

    def change(e: Any) -> Any:
        if isinstance(e, TensorLoad):
            return tirx.BufferLoad(e.source, walk(e.source, list(e.indices)))
        return None

    lists: dict[str, Any] = {
        name: [Store(s.buffer, walk(s.buffer, s.indices), rewrite(s.value, change)) for s in getattr(stage, name)]
        for name in ("stores", "init", "after")
    }
    new = replace(stage, axes=axes, **lists)
    bind(new, analyzer)
    return new


def flat_indices(buffer: Any, offset: Any) -> list[Any]:
    """Indices of an element by its number: it stands in the last dimension."""
    rank = len(buffer.shape)
    return [integer(0)] * (rank - 1) + [offset] if rank else []
