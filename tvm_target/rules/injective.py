"""Stages without a reduction: elementwise, broadcast, transpose, padding, concatenation, gather, comparison, cast.

Columns are the axis along which the result is contiguous; rows another one: that along which an operand is contiguous, if any (it will
be transposed), else the longest. Conditions on one axis (padding, concatenation) cut the stage into pieces without them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad, Var, prim

from ..codegen.walk import children
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
    """The stage cut where a condition around loads changes along one axis: in the middle first, so that what is left to look at halves.
    As many pieces as there are conditions (a concatenation has one for each of its parts) or MAX_PIECES, if that is more."""
    done: list[Stage] = []
    waiting = [stage]
    limit = 0
    while waiting:
        now = waiting.pop()
        if any(constant(a.extent) == 0 for a in now.axes):
            continue
        cuts = _cuts(now, kernel)
        limit = limit or max(MAX_PIECES, len(cuts) + 1)
        if not cuts or len(done) + len(waiting) >= limit:
            done.append(now)
            continue
        first = [cut for cut in cuts if cut.axis is cuts[0].axis]
        waiting += _halves(now, first[len(first) // 2], kernel)
    return done


@dataclass(frozen=True)
class Cut:
    """Where along one axis a comparison changes (perhaps before its first or after its last point), and whether it holds from there on
    and before it; None: not everywhere."""

    axis: Axis
    place: Any
    test: Any
    above: bool | None
    below: bool | None


def _halves(stage: Stage, cut: Cut, kernel: Kernel) -> list[Stage]:
    """The stage from the cut on, and up to it."""
    emitter, axis = kernel.emitter, cut.axis
    low = _between(cut.place, axis.extent, kernel)
    halves = []
    for start, extent, holds in ((low, axis.extent - low, cut.above), (integer(0), low, cut.below)):
        if constant(emitter.simplified(extent)) == 0:
            continue
        known = stage if holds is None else stage.map(lambda e: rewrite(e, lambda x: _settled(x, cut.test, holds)))  # noqa: B023
        part = Axis(tirx.Var(axis.var.name, "int64"), extent)
        axes = [part if a is axis else a for a in stage.axes]
        moved = replace(known, axes=axes).map(lambda e: substitute(e, {axis.var: part.var + start}))  # noqa: B023
        bind(moved, emitter.analyzer)
        halves.append(simplified(_decided(moved, kernel), emitter.analyzer))
    return halves


def _between(place: Any, extent: Any, kernel: Kernel) -> Any:
    """A place cut to [0, extent], said as simply as what is known of the sizes allows."""
    prove = kernel.emitter.analyzer.can_prove
    if prove(place >= extent):
        return extent
    place = place if prove(place >= 0) else most(place, 0)
    return kernel.emitter.simplified(place if prove(place <= extent) else least(place, extent))


def _settled(e: Any, test: Any, holds: bool) -> Any:
    """`e` where a comparison is known: a choice by it alone is the branch."""
    if type(e) is type(test) and tvm_ffi.structural_equal(e, test):
        return tirx.const(int(holds), "bool")
    if is_call(e, "if_then_else") and type(e.args[0]) is type(test) and tvm_ffi.structural_equal(e.args[0], test):
        return rewrite(e.args[1] if holds else e.args[2], lambda x: _settled(x, test, holds))
    return None


def _cuts(stage: Stage, kernel: Kernel) -> list[Cut]:
    """For each comparison around loads that changes along one axis; the innermost first."""
    tests: list[Any] = []

    def visit(e: Any) -> bool:
        """Whether there are loads in `e`."""
        parts = [visit(child) for child in children(e)]
        if is_call(e, "if_then_else") and any(parts[-2:]):
            tests.extend(find(e.args[0], (prim.LT, prim.LE, prim.GT, prim.GE, prim.EQ, prim.NE)))
        return isinstance(e, TensorLoad) or any(parts)

    for s in stage.stores:
        visit(s.value)
    return [cut for cut in (_change(test, stage, kernel) for test in tests) if cut is not None]


def _change(test: Any, stage: Stage, kernel: Kernel) -> Cut | None:
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
    zero = kernel.emitter.simplified(-rest if sign == 1 else rest)  # test: sign * (v - zero) == != < <= > >= 0
    if isinstance(test, (prim.EQ, prim.NE)):
        known, at = isinstance(test, prim.NE), constant(zero)
        if at is None:
            return None
        if at > 0:
            return Cut(used[0], zero, test, None, known)
        return Cut(used[0], kernel.emitter.simplified(zero + 1), test, known, None)
    later = isinstance(test, (prim.LE, prim.GT)) == (sign == 1)  # these change one further on
    above = isinstance(test, (prim.GT, prim.GE)) == (sign == 1)
    return Cut(used[0], kernel.emitter.simplified(zero + 1) if later else zero, test, above, not above)


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
