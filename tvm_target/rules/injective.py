"""Stages without a reduction: elementwise, broadcast, transpose, padding, concatenation, gather, comparison, cast.

Columns are the axis along which the result is contiguous; rows another one: that along which an operand is contiguous, if any (it will
be transposed), else the longest. Conditions on one axis (padding, concatenation) cut the stage into pieces without them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad, Var, prim

from . import access
from .emitter import constant, integer
from .rewrite import as_int64, find, is_call, linear, rewrite, substitute
from .stage import Axis, Stage, Store, Unsupported, bind, coefficients, collapsed, simplified
from .vector import Vectors, stored
from .words import as_words
from .work import Kernel, least, most, units

MAX_PIECES = 32


def lower(stage: Stage, kernel: Kernel) -> None:
    """Emits the stage. Raises Unsupported before it has emitted anything that could not stay."""
    if stage.reduction or stage.init or len(stage.stores) != 1:
        raise Unsupported("a reduction")
    target = stage.stores[0].buffer
    if any(x.source.same_as(target) for x in stage.loads()):
        raise Unsupported(f"{target.name} is read and written")
    for piece in pieces(as_words(stage, kernel), kernel):
        _piece(piece, kernel)


def _piece(stage: Stage, kernel: Kernel) -> None:
    analyzer = kernel.emitter.analyzer
    stage = collapsed(stage, analyzer)
    row, col = window(stage, kernel)
    outer = [a for a in stage.axes if a is not row and a is not col]
    store = stage.stores[0]
    with units(kernel, outer, row, col) as frame:
        stored(str(store.buffer.dtype))
        vectors = Vectors(frame, access.load)
        access.result(vectors, store)
        vectors.release()


def length(axis: Axis) -> int:
    known = constant(axis.extent)
    return known if known is not None else 1 << 20


def window(stage: Stage, kernel: Kernel) -> tuple[Axis | None, Axis | None]:
    """The axes of rows and columns."""
    analyzer = kernel.emitter.analyzer
    if not stage.axes:
        return None, None
    store = stage.stores[0]
    steps = coefficients(store.buffer, store.indices, stage.axes, analyzer)
    if steps is None:
        raise Unsupported(f"{store.buffer.name} is written at places that are not affine")
    col = next((a for a, s in reversed(list(zip(stage.axes, steps))) if constant(s) == 1), stage.axes[-1])
    rest = [a for a in stage.axes if a is not col]
    if not rest:
        return None, col
    for x in stage.loads():
        along = coefficients(x.source, list(x.indices), stage.axes, analyzer)
        if along is None or constant(along[stage.axes.index(col)]) in (0, 1):
            continue
        for a in rest:
            if constant(along[stage.axes.index(a)]) == 1:
                return a, col
    return max(reversed(rest), key=length), col


# ---- pieces


def pieces(stage: Stage, kernel: Kernel) -> list[Stage]:
    """The stage cut where a condition around loads changes along one axis."""
    done: list[Stage] = []
    waiting = [stage]
    while waiting:
        now = waiting.pop()
        if any(constant(a.extent) == 0 for a in now.axes):
            continue
        cut = _cut(now, kernel) if len(done) + len(waiting) < MAX_PIECES else None
        if cut is None:
            done.append(now)
            continue
        axis, place, test, above = cut
        low = kernel.emitter.simplified(least(most(place, 0), axis.extent))
        for start, extent, holds in ((low, axis.extent - low, above), (integer(0), low, not above)):
            known = now.map(lambda e: rewrite(e, lambda x: _settled(x, test, holds)))  # noqa: B023
            part = Axis(tirx.Var(axis.var.name, "int64"), extent)
            axes = [part if a is axis else a for a in now.axes]
            moved = replace(known, axes=axes).map(lambda e: substitute(e, {axis.var: part.var + start}))  # noqa: B023
            bind(moved, kernel.emitter.analyzer)
            waiting.append(_decided(simplified(moved, kernel.emitter.analyzer), kernel))
    return done


def _settled(e: Any, test: Any, holds: bool) -> Any:
    return tirx.const(int(holds), "bool") if type(e) is type(test) and tvm_ffi.structural_equal(e, test) else None


def _cut(stage: Stage, kernel: Kernel) -> tuple[Axis, Any, Any, bool] | None:
    for s in stage.stores:
        for node in find(s.value, Call):
            if not is_call(node, "if_then_else") or not (find(node.args[1], TensorLoad) or find(node.args[2], TensorLoad)):
                continue
            for test in find(node.args[0], (prim.LT, prim.LE, prim.GT, prim.GE)):
                place = _change(test, stage, kernel)
                if place is not None:
                    return place
    return None


def _change(test: Any, stage: Stage, kernel: Kernel) -> tuple[Axis, Any, Any, bool] | None:
    """Where along one axis a comparison changes: the axis, the place, the comparison, and whether it holds from there on."""
    if find(test, TensorLoad) or not str(test.a.ty).startswith("int"):
        return None
    used = [a for a in stage.axes if any(v.same_as(a.var) for v in find(test, Var))]
    if len(used) != 1:
        return None
    a, b = as_int64(test.a), as_int64(test.b)
    found = linear(a - b, [used[0].var], kernel.emitter.analyzer)
    if found is None or constant(found[0]) not in (1, -1):
        return None
    sign, rest = constant(found[0]), found[1]
    # sign * v + rest  <|<=|>|>=  0
    strict = isinstance(test, (prim.LT, prim.GE))  # these change at zero, the others one further on
    place = -rest if sign == 1 else rest
    place = place + (0 if strict else 1) if sign == 1 else place + (1 if strict else 0)
    place = kernel.emitter.simplified(place)
    prove = kernel.emitter.analyzer.can_prove
    if prove(place <= 0) or prove(place >= used[0].extent):
        return None
    return used[0], place, test, isinstance(test, (prim.GT, prim.GE)) == (sign == 1)


def _decided(stage: Stage, kernel: Kernel) -> Stage:
    """Conditions that hold everywhere, or nowhere, taken away."""
    prove = kernel.emitter.analyzer.can_prove

    def leaf(e: Any) -> Any:
        if isinstance(e, (prim.LT, prim.LE, prim.GT, prim.GE, prim.EQ, prim.NE)) and not find(e, TensorLoad):
            if prove(e):
                return tirx.const(1, "bool")
            if prove(prim.Not(e)):
                return tirx.const(0, "bool")
        if is_call(e, "if_then_else"):
            condition = kernel.emitter.analyzer.simplify(rewrite(e.args[0], leaf))
            if constant(condition) is not None:
                return rewrite(e.args[1] if constant(condition) else e.args[2], leaf)
        return None

    return replace(stage, stores=[Store(s.buffer, s.indices, rewrite(s.value, leaf)) for s in stage.stores])
