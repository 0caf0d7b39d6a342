"""Reductions: sums, extrema, products and arg-extrema along any axes.

If an operand is contiguous along a reduced axis, that axis is the columns: the vector engine reduces rows, and what several pieces of
an axis, or several axes, give is combined in the same way. Otherwise the reduced axes are loops of the core around instructions that
combine whole windows of results (rows x columns of the result). Sums are kept in fp32 (integers in one word or two, `accumulators`) and
rounded once, on storing; they are not in the order in which TIR writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad, prim

from .. import dialect as R
from . import access, wide
from .accumulators import REDUCERS, Reducer, accumulator, opposite, sum_type, whole
from .emitter import constant, integer
from .frame import Frame, Value
from .injective import length
from .rewrite import find, is_call, is_integer
from .sram import SLOTS
from .stage import Axis, Stage, Store, Unsupported, coefficients, collapsed
from .vector import Vectors, is_float
from .work import Kernel, least, units

_CALLS = {"bitwise_or": prim.Or, "bitwise_and": prim.And, "logical_or": prim.Or, "logical_and": prim.And}


def term(store: Store) -> tuple[type, Any]:
    """The kind of reduction, and what is reduced."""
    e = store.value
    kind: type | None = type(e) if type(e) in REDUCERS else None
    parts = [e.a, e.b] if kind is not None else []
    if isinstance(e, Call) and str(e.ty) == "bool":
        kind = _CALLS.get(e.op.name.rsplit(".", 1)[-1])
        parts = list(e.args)
    if kind is not None:
        for own, other in (parts, parts[::-1]):
            if is_own(own, store) and not any(x.source.same_as(store.buffer) for x in find(other, TensorLoad)):
                return kind, other
    raise Unsupported(f"{store.buffer.name} is updated by {e}, which is no sum, product, minimum or maximum")


def is_own(e: Any, store: Store) -> bool:
    """Whether an expression is the element that the store writes (an integer perhaps widened)."""
    while isinstance(e, prim.Cast) and is_integer(str(e.ty)) and is_integer(str(e.value.ty)):
        e = e.value
    if not isinstance(e, TensorLoad) or not e.source.same_as(store.buffer) or len(e.indices) != len(store.indices):
        return False
    return all(tvm_ffi.structural_equal(a, b) for a, b in zip(e.indices, store.indices))


def lower(stage: Stage, kernel: Kernel) -> None:
    if not stage.init or (not stage.reduction and not _updates(stage)):
        raise Unsupported("no reduction")
    if len(stage.stores) > 1 and not stage.after:
        apart = _apart(stage)
        if not apart:
            _arg_extremum(stage, kernel)
        for part in apart:
            lower(part, kernel)
        return
    if len(stage.stores) != 1 or len(stage.init) != 1:
        raise Unsupported("a reduction of several values at once")
    stage = collapsed(stage, kernel.emitter.analyzer)
    store = stage.stores[0]
    kind, body = term(store)
    reducer = REDUCERS[kind]
    reduced = windows(stage, [body], kernel)
    if reducer.rows is not None and reduced is not None:
        _along_columns(stage, store, body, reducer, reduced, kernel)
    else:
        _by_windows(stage, store, body, reducer, kernel)


def _apart(stage: Stage) -> list[Stage]:
    """Several reductions in one loop nest (a sum beside a sum of squares) as one stage each; none if they need each other."""
    parts = []
    for store in stage.stores:
        others = [s.buffer for s in stage.stores if s is not store]
        init = [s for s in stage.init if s.buffer.same_as(store.buffer)]
        if len(init) != 1 or any(x.source.same_as(b) for b in others for x in find(store.value, TensorLoad)):
            return []
        parts.append(replace(stage, stores=[store], init=init))
    return parts


def _updates(stage: Stage) -> bool:
    return any(is_own(x, s) for s in stage.stores for x in find(s.value, TensorLoad))


def windows(stage: Stage, bodies: list[Any], kernel: Kernel) -> Axis | None:
    """The reduced axis along which operands are contiguous, if there is one worth being the columns."""
    best: Axis | None = None
    for x in [x for b in bodies for x in find(b, TensorLoad)]:
        steps = coefficients(x.source, list(x.indices), stage.axes, kernel.emitter.analyzer)
        if steps is None:
            continue
        for a, s in zip(stage.axes, steps):
            if constant(s) == 1 and a.reduce and (best is None or length(a) > length(best)):
                best = a
    if best is None and stage.reduction:
        longest = max(stage.reduction, key=length)  # blocks are transposed on the way in
        best = longest if not stage.spatial or length(longest) >= 8 else None
    if best is not None and length(best) < 8 and max((length(a) for a in stage.spatial), default=0) >= 64:
        return None  # short rows: rather loops around long windows
    return best


@contextmanager
def loops(frame: Frame, axes: list[Axis]) -> Iterator[None]:
    """Loops of the core over axes; their variables have values inside."""
    with ExitStack() as stack:
        for a in axes:
            frame.outer[a.var] = stack.enter_context(frame.emitter.loop(a.var.name, a.extent))
        yield
    for a in axes:
        del frame.outer[a.var]


def finish(vectors: Vectors, stage: Stage, total: Value, high: Value | None = None) -> None:
    """Stores the result, or what the epilogue makes of it. `high`: the high word of an int64 that is no int32."""
    out, store = stage.result, stage.stores[0]
    if stage.after:
        if is_float(str(store.buffer.dtype)) and str(store.buffer.dtype) != "float32":
            total = vectors.cast(total, str(store.buffer.dtype))
        vectors.give(tirx.BufferLoad(store.buffer, store.indices), total, high)
        access.result(vectors, out)
    else:
        access.store(vectors, out.buffer, out.indices, total, high)


def turn_slot(frame: Frame, axes: list[Axis], last: Any = None) -> Any:
    """The slot of one turn of inner loops, so that operands of the next ones are on their way."""
    count: Any = integer(0)  # beginning with the frame's own slot: with one turn inside, the units take turns
    for a in axes:
        count = count * a.extent + frame.outer[a.var]
    count = count if last is None else count + last
    return frame.emitter.let("turn_slot", tirx.floormod(frame.slot + count, integer(SLOTS)))


def _along_columns(stage: Stage, store: Store, body: Any, reducer: Reducer, col: Axis, kernel: Kernel) -> None:
    spatial = stage.spatial
    row = _row_axis(stage, [body], col, kernel)
    outer = [a for a in spatial if a is not row]
    inner = [a for a in stage.reduction if a is not col]
    width = kernel.sram.sizes["full"] // 16 if length(col) > kernel.sram.sizes["full"] // 16 else length(col)
    with units(kernel, outer, row, None, row_limit=kernel.sram.sizes["full"] // width) as frame:
        shape = "col" if row is not None else "one"
        top = Vectors(frame, access.load)
        total = accumulator(top, stage, reducer, shape)
        with loops(frame, inner), frame.emitter.loop("piece", _pieces(col, width)) as piece:
            start = frame.emitter.let("first", piece * width)
            count = frame.emitter.let("count", least(col.extent - start, width))
            part = replace(frame, col=col, col_start=start, cols=count, slot=turn_slot(frame, inner, piece))
            vectors = Vectors(part, access.load)
            total.take_rows(vectors, body)
            vectors.release()
        finish(top, stage, *total.words)
        top.release()


def _row_axis(stage: Stage, bodies: list[Any], col: Axis, kernel: Kernel) -> Axis | None:
    """The spatial axis of the rows: one along which an operand that is not contiguous along the columns is, else the longest."""
    for x in [x for b in bodies for x in find(b, TensorLoad)]:
        steps = coefficients(x.source, list(x.indices), stage.axes, kernel.emitter.analyzer)
        if steps is not None and constant(steps[stage.axes.index(col)]) not in (0, 1):
            for a, s in zip(stage.axes, steps):
                if not a.reduce and constant(s) == 1:
                    return a
    return max(reversed(stage.spatial), key=length) if stage.spatial else None


def _pieces(col: Axis, width: int) -> Any:
    return tirx.floordiv(col.extent + (width - 1), integer(width))


def _by_windows(stage: Stage, store: Store, body: Any, reducer: Reducer, kernel: Kernel) -> None:
    """rows x columns of the result stay in SRAM while the reduced axes are walked."""
    spatial = stage.spatial
    col = _window_column(stage, body, kernel)
    rest = [a for a in spatial if a is not col]
    row = max(reversed(rest), key=length) if rest else None
    outer = [a for a in rest if a is not row]
    shape = "full" if row is not None else "row" if col is not None else "one"
    with units(kernel, outer, row, col) as frame:
        top = Vectors(frame, access.load)
        total = accumulator(top, stage, reducer, shape)
        with loops(frame, stage.reduction):
            part = replace(frame, slot=turn_slot(frame, stage.reduction))
            vectors = Vectors(part, access.load)
            total.take(vectors, body)
            vectors.release()
        finish(top, stage, *total.words)
        top.release()


def _window_column(stage: Stage, body: Any, kernel: Kernel) -> Axis | None:
    """The spatial axis along which most operands are contiguous, else the last."""
    votes: dict[int, int] = {}
    for x in find(body, TensorLoad):
        steps = coefficients(x.source, list(x.indices), stage.axes, kernel.emitter.analyzer)
        for i, s in enumerate(steps[: len(stage.axes)] if steps else []):
            if constant(s) == 1 and not stage.axes[i].reduce:
                votes[i] = votes.get(i, 0) + 1
    if votes:
        return stage.axes[max(votes, key=lambda i: (votes[i], length(stage.axes[i])))]
    return stage.spatial[-1] if stage.spatial else None


# ---- arg-extrema


def _arg_extremum(stage: Stage, kernel: Kernel) -> None:
    """The place and the value of the largest (or smallest) element: top-1 of a row, pieces compared."""
    if len(stage.stores) != 2:
        raise Unsupported("a reduction of several values at once")
    place, best, source, position, largest = _arg_pattern(stage)
    col = windows(stage, [source], kernel)
    if col is None and len(stage.reduction) == 1:
        col = stage.reduction[0]
    if col is None or len(stage.reduction) != 1:
        raise Unsupported("an arg-extremum along several axes")
    spatial = stage.spatial
    row = _row_axis(stage, [source], col, kernel)
    outer = [a for a in spatial if a is not row]
    dtype = sum_type(str(best.buffer.dtype))
    width = min(length(col), kernel.sram.sizes["full"] // 16)
    shape = "col" if row is not None else "one"
    with units(kernel, outer, row, None, row_limit=kernel.sram.sizes["full"] // width) as frame:
        emit, extent = frame.emitter.add, frame.extent(shape)
        values, places = frame.new("best", dtype, shape), frame.new("place", "int32", shape)
        with frame.emitter.loop("piece", _pieces(col, width)) as piece:
            start = frame.emitter.let("first", piece * width)
            count = frame.emitter.let("count", least(col.extent - start, width))
            part = replace(frame, col=col, col_start=start, cols=count, slot=turn_slot(frame, [], piece))
            vectors = Vectors(part, access.load)
            if wide.is_wide(vectors, source):
                raise Unsupported("an arg-extremum of 64-bit integers")
            value = whole(vectors, vectors.cast(vectors(source), dtype), "full" if row is not None else "row", dtype)
            value = value if largest else opposite(vectors, value, dtype)
            v, i = part.new("top", dtype, shape), part.new("index", "int32", shape)
            emit(R.topk(R.tile(part.first(v), pitch=1), R.tile(part.first(i), pitch=1), part.block(value), part.rows, part.cols, 1))
            part.drop(value)
            base = vectors.exact(Value("imm", start, "int64"))
            emit(R.add(part.block(i), part.block(i), part.operand(base, shape), *extent))
            part.drop(base)
            first = frame.new("first", "uint8", shape)
            with frame.emitter.when(start == 0):
                emit(R.copy(frame.block(values), part.block(v), *extent))
                emit(R.copy(frame.block(places), part.block(i), *extent))
            with frame.emitter.when(start > 0):  # ties take the lower index: later pieces only if they are better
                emit(R.gt(part.block(first), part.block(v), frame.block(values), *extent))
                if is_float(dtype):  # a NaN is larger than any number; the first one stays
                    number = frame.new("number", "uint8", shape)
                    emit(R.ne(part.block(number), part.block(v), part.block(v), *extent))
                    emit(R.maximum(part.block(first), part.block(first), part.block(number), *extent))
                    emit(R.eq(part.block(number), frame.block(values), frame.block(values), *extent))
                    emit(R.mul(part.block(first), part.block(first), part.block(number), *extent))
                    frame.drop(number)
                emit(R.select(frame.block(values), part.block(first), part.block(v), frame.block(values), *extent))
                emit(R.select(frame.block(places), part.block(first), part.block(i), frame.block(places), *extent))
            for used in (v, i, first):
                frame.drop(used)
            vectors.release()
        top = Vectors(frame, access.load)
        if position is not None and constant(position) != 0:
            places = top.emit(R.add, "int32", places, top(position))
        access.store(top, place.buffer, place.indices, places)
        values = values if largest else opposite(top, values, dtype)
        access.store(top, best.buffer, best.indices, values)
        top.release()


def _arg_pattern(stage: Stage) -> tuple[Store, Store, Any, Any, bool]:
    """(store of the place, store of the value, what is compared, what is added to the column, largest?)."""
    for place, best in (stage.stores, stage.stores[::-1]):
        if str(place.buffer.dtype) not in ("int32", "int64") or not isinstance(best.value, (prim.Select, prim.Max, prim.Min)):
            continue
        if isinstance(best.value, prim.Select):
            test = best.value.condition
            if (
                not isinstance(test, (prim.GT, prim.GE, prim.LT, prim.LE))
                or not is_own(best.value.true_value, best)
                or not is_own(test.a, best)
            ):
                continue
            source, largest = best.value.false_value, isinstance(test, (prim.GT, prim.GE))
        else:
            a, b = best.value.a, best.value.b
            source, largest = (b if is_own(a, best) else a), isinstance(best.value, prim.Max)
        if not isinstance(place.value, prim.Select) or len(stage.reduction) != 1:
            continue
        taken = [e for e in (place.value.true_value, place.value.false_value) if not is_own(e, place)]
        # The lower index of two equal elements: what the comparison of places says, if it has one.
        lower = [c for c in find(place.value.condition, (prim.LT, prim.LE)) if is_own(c.a, place)]
        if len(taken) != 1 or not lower or find(taken[0], TensorLoad):
            continue
        axis = stage.reduction[0].var
        rest = taken[0] - axis if not is_call(taken[0], "if_then_else") else None
        if rest is None:
            continue
        return place, best, source, None if taken[0].same_as(axis) else _without(rest, stage), largest
    raise Unsupported("several values at once that are no arg-minimum or arg-maximum (the lower index of equals)")


def _without(rest: Any, stage: Stage) -> Any:
    import tvm

    value = tvm.sym.Analyzer().simplify(rest)
    if constant(value) is None:
        raise Unsupported("an index that is not the place along the axis")
    return value
