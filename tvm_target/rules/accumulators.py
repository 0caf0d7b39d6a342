"""What a reduction has so far: how it begins, and how a block of elements is taken in. In one word, or for an int64 in two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import TensorLoad, prim

from .. import dialect as R
from . import access, ranges, wide
from .emitter import Emitter
from .frame import Value
from .functions import shared
from .rewrite import find
from .stage import Stage, Store
from .vector import Vectors, is_float, stored
from .wide import Pair

I32 = "int32"


@dataclass(frozen=True)
class Reducer:
    """How two partial results become one; `rows` reduces the columns of a block (None: there is no such instruction)."""

    kind: type
    combine: Callable[..., Any]
    rows: Callable[..., Any] | None
    identity: float
    negated: bool = False  # the row instruction takes the opposite: a minimum is the maximum of the negative


REDUCERS: dict[type, Reducer] = {
    r.kind: r
    for r in (
        Reducer(prim.Add, R.add, R.reduce_sum, 0.0),
        Reducer(prim.Max, R.maximum, R.reduce_max, -math.inf),
        Reducer(prim.Min, R.minimum, R.reduce_max, math.inf, negated=True),
        Reducer(prim.Mul, R.mul, None, 1.0),
        Reducer(prim.Or, R.maximum, R.reduce_max, 0.0),
        Reducer(prim.And, R.minimum, R.reduce_max, 1.0, negated=True),
    )
}


def sum_type(dtype: str) -> str:
    """The type of a word that a reduction of this type keeps."""
    return "float32" if is_float(stored(dtype)) else I32


def whole(vectors: Vectors, value: Value, shape: str, dtype: str) -> Value:
    """A value in a shape; rows of blocks are reduced, so broadcasts have to be written out."""
    if value.shape == shape and (value.dtype == dtype or is_float(value.dtype) == is_float(dtype)):
        return value
    return access.repeated(vectors, value, shape, dtype)


def opposite(vectors: Vectors, value: Value, dtype: str) -> Value:
    """What is in the opposite order: -x, and of integers, where the lowest has no negative, -1 - x."""
    value = vectors.emit(R.mul, dtype, value, vectors.imm(-1.0))
    return value if is_float(dtype) else vectors.emit(R.add, dtype, value, vectors.imm(-1, I32))


def accumulator(top: Vectors, stage: Stage, reducer: Reducer, shape: str) -> _Word | _Words:
    """The accumulator of a stage, filled with what it begins with."""
    store, start = stage.stores[0], stage.init[0].value
    if str(store.buffer.dtype) == "int64" and not _one_word(stage, store, reducer, top.frame.emitter):
        return _Words(top, reducer, shape, top.pair(start))
    return _Word(top, reducer, shape, start, sum_type(str(store.buffer.dtype)))


def _one_word(stage: Stage, store: Store, reducer: Reducer, emitter: Emitter) -> bool:
    """Whether no partial result leaves the range of int32."""
    taken = [p for p in (store.value.a, store.value.b) if not any(x.source.same_as(store.buffer) for x in find(p, TensorLoad))]
    low, high = ranges.bounds(taken[0], emitter.analyzer)
    if reducer.kind is prim.Add:
        points = math.prod(max(ranges.bounds(a.extent, emitter.analyzer)[1], 0) for a in stage.reduction)
        start = ranges.bounds(stage.init[0].value, emitter.analyzer)
        return ranges.within((start[0] + min(low, 0) * points, start[1] + max(high, 0) * points), ranges.INT32)
    # What an extremum begins with is the end of its range.
    constant = isinstance(stage.init[0].value, prim.IntImm)
    return reducer.kind in (prim.Max, prim.Min) and constant and ranges.within((low, high), ranges.INT32)


class _Word:
    """fp32, or an int32."""

    def __init__(self, top: Vectors, reducer: Reducer, shape: str, start: Any, dtype: str):
        self.top, self.reducer, self.shape, self.dtype = top, reducer, shape, dtype
        if isinstance(start, prim.IntImm) and reducer.kind in (prim.Max, prim.Min):
            start = tirx.const(min(max(int(start.value), ranges.INT32[0]), ranges.INT32[1]), "int64")
        value = top(start, dtype) if find(start, TensorLoad) else top(start)
        self.total = access.repeated(top, value, shape, dtype)

    @property
    def words(self) -> tuple[Value]:
        return (self.total,)

    def take(self, vectors: Vectors, body: Any) -> None:
        """Combines a window of elements with the window of results."""
        frame, part, value = self.top.frame, vectors.frame, vectors(body)
        total, extent = frame.block(self.total), frame.extent(self.shape)
        frame.emitter.add(self.reducer.combine(total, total, part.operand(value, self.shape), *extent))
        frame.drop(value)

    def take_rows(self, vectors: Vectors, body: Any) -> None:
        """Reduces the rows of a block of elements, and combines what comes out with the results."""
        frame, part, reducer, dtype = self.top.frame, vectors.frame, self.reducer, self.dtype
        value = vectors.settled(vectors(body))
        value = whole(vectors, value, "full" if part.row is not None else "row", dtype)
        if reducer.negated:
            value = opposite(vectors, value, dtype)
        partial = part.new("partial", dtype, self.shape)
        emit, extent = frame.emitter.add, frame.extent(self.shape)
        emit(reducer.rows(R.tile(part.first(partial), pitch=1), part.block(value), part.rows, part.cols))  # type: ignore[misc]
        part.drop(value)
        if reducer.negated:
            partial = opposite(vectors, partial, dtype)
        emit(reducer.combine(frame.block(self.total), frame.block(self.total), part.block(partial), *extent))
        frame.drop(partial)


def _extreme(kind: type) -> Callable[[Vectors, Pair, Pair], Pair]:
    return lambda v, a, b: wide.chosen(v, wide.compared(v, kind, a.shared, b.shared), a, b)


_COMBINE: dict[type, Callable[[Vectors, Pair, Pair], Pair]] = {
    prim.Add: wide.add,
    prim.Mul: wide.multiply,
    prim.Max: _extreme(prim.GT),
    prim.Min: _extreme(prim.LT),
}


class _Words:
    """Both words of an int64."""

    def __init__(self, top: Vectors, reducer: Reducer, shape: str, start: Pair):
        self.top, self.reducer, self.shape = top, reducer, shape
        low, high = (access.repeated(top, word, shape, I32) for word in (start.low, start.high))
        self.total = Pair(low, high)

    @property
    def words(self) -> tuple[Value, Value]:
        return self.total.low, self.total.high

    def take(self, vectors: Vectors, body: Any) -> None:
        self._combine(vectors, vectors.pair(body))

    def take_rows(self, vectors: Vectors, body: Any) -> None:
        shape = "full" if vectors.frame.row is not None else "row"
        both = vectors.pair(body)
        both = Pair(*(whole(vectors, vectors.settled(word, I32), shape, I32) for word in (both.low, both.high)))
        self._combine(vectors, self._sums(vectors, both) if self.reducer.kind is prim.Add else self._largest(vectors, both))

    def _combine(self, vectors: Vectors, more: Pair) -> None:
        """Totals have a slot of their own: they are copied into that of the block, and back."""
        frame, part, emit = self.top.frame, vectors.frame, vectors.frame.emitter.add
        extent = frame.extent(self.shape)
        now = [part.new("total", I32, self.shape) for _ in self.words]
        for copy, word in zip(now, self.words):
            emit(R.copy(part.block(copy), frame.block(word), *extent))
        new = _COMBINE[self.reducer.kind](vectors, Pair(*now), more)
        for copy, word in zip((new.low, new.high), self.words):
            emit(R.copy(frame.block(word), part.block(copy), *extent))
            part.drop(copy)

    def _rows(self, vectors: Vectors, instruction: Any, value: Value) -> Value:
        part = vectors.frame
        out = part.new("partial", I32, self.shape)
        part.emitter.add(instruction(R.tile(part.first(out), pitch=1), part.block(value), part.rows, part.cols))
        part.drop(value)
        return out

    def _sums(self, vectors: Vectors, x: Pair) -> Pair:
        """Low words are summed by their halves: 2^15 of them, more than a block has columns, stay below 2^31."""
        upper, lower = wide.halves(vectors, x.low)
        high, upper, lower = (self._rows(vectors, R.reduce_sum, word) for word in (x.high, upper, lower))
        over, rest = wide.halves(vectors, upper)
        return wide.add(vectors, Pair(lower, high), Pair(vectors.emit(R.mul, I32, rest, vectors.imm(65536, I32)), over))

    def _largest(self, vectors: Vectors, x: Pair) -> Pair:
        """The largest high word, and of the low words that go with it the largest."""
        low, high = wide.ordered(vectors, x.low), x.high
        if self.reducer.negated:
            low, high = opposite(vectors, low, I32), opposite(vectors, high, I32)
        top = self._rows(vectors, R.reduce_max, shared(high))
        same = vectors.emit(R.eq, I32, high, shared(top))
        low = self._rows(vectors, R.reduce_max, vectors.emit(R.select, I32, same, low, vectors.imm(wide.LOWEST, I32)))
        if self.reducer.negated:
            low, top = opposite(vectors, low, I32), opposite(vectors, top, I32)
        return Pair(wide.ordered(vectors, low), top)
