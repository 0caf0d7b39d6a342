"""Fusion of the stages of one function, so that fewer intermediates go through HBM.

* An injective producer is computed where it is read, if it has one reader or costs next to nothing.
* An injective reader of a reduction or contraction, point by point, becomes its epilogue: computed on the result while that is in SRAM.

Stages are fused as read, before they are normalized, when indices are still the axes themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from tvm.ir import Call, TensorLoad, Var, prim

from ..codegen.walk import post_order_visit
from .emitter import constant
from .rewrite import find, is_call, rewrite, substitute
from .stage import Stage

CHEAP = 3  # instructions that are rather done twice than stored and loaded


class Part:
    """A top-level statement of a function, as a stage if it could be read as one.

    Producers that are computed where the stage reads their results are put in when somebody asks for the stage: a concatenation of a
    hundred functions is rewritten once."""

    def __init__(self, stmt: Any, stage: Stage | None, reasons: list[str] | None = None):
        self.stmt = stmt
        self.reasons = reasons or []  # why no rule takes it
        self._producers: list[Stage] = []
        self._behind: set[Any] = set()  # buffers that the producers read
        self._reads: Counter[Any] | None = None  # of buffers, by the stage without its producers
        self._stage = stage

    @property
    def stage(self) -> Stage | None:
        if self._producers:
            self.stage = _inlined(self._producers, self._stage)  # type: ignore[arg-type]
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._stage, self._producers, self._behind, self._reads = stage, [], set(), None

    @property
    def is_stage(self) -> bool:
        return self._stage is not None

    @property
    def reduces(self) -> bool:
        return self._stage is not None and bool(self._stage.init)

    def inline(self, producer: Stage) -> None:
        """Lets the stage compute a buffer where it reads it."""
        self._producers.append(producer)
        self._behind.update(x.source for x in producer.loads())

    def reads(self, buffer: Any) -> int:
        """How often the stage names an element of a buffer."""
        stage = self.stage if buffer in self._behind else self._stage
        if self._reads is None:
            self._reads = Counter(x.source for x in stage.loads())  # type: ignore[union-attr]
        return self._reads[buffer]

    def uses(self, buffer: Any) -> bool:
        return self.reads(buffer) > 0 if self.is_stage else self.mentions(buffer)

    def writes(self, buffer: Any) -> bool:
        if self._stage is not None:
            return any(s.buffer.same_as(buffer) for s in [*self._stage.stores, *self._stage.after])
        return self.mentions(buffer)

    def mentions(self, buffer: Any) -> bool:
        found = False

        def visit(node: Any) -> None:
            nonlocal found
            for name in ("source", "buffer"):
                other = getattr(node, name, None)
                found = found or other is not None and other.same_as(buffer)
            found = found or isinstance(node, Var) and node.same_as(buffer)

        post_order_visit(self.stmt, visit)
        return found


def fuse(parts: list[Part], intermediates: list[Any]) -> list[Part]:
    """The parts with producers and epilogues merged. Intermediates that nobody writes any more are the caller's to drop."""
    for buffer in intermediates:
        writers = [p for p in parts if p.writes(buffer)]
        if len(writers) != 1 or not writers[0].is_stage:
            continue
        producer = writers[0]
        readers = [p for p in parts if p is not producer and p.uses(buffer)]
        if not readers or not all(p.is_stage for p in readers):
            continue
        stage = producer.stage
        if stage is not None and _inlinable(stage, readers):
            for p in readers:
                p.inline(stage)
            parts = [p for p in parts if p is not producer]
        elif len(readers) == 1:
            merged = _with_epilogue(stage, readers[0].stage)  # type: ignore[arg-type]
            if merged is not None:
                readers[0].stage = merged
                parts = [p for p in parts if p is not producer]
    return parts


def cost(e: Any) -> int:
    """Instructions of an expression, roughly."""
    count = 0
    for node in _outside_indices(e):
        if isinstance(node, Call):
            count += 1 if is_call(node, "if_then_else") else 4
        elif not isinstance(node, (TensorLoad, Var, prim.IntImm, prim.FloatImm, prim.Cast)):
            count += 1
    return count


def _outside_indices(e: Any) -> list[Any]:
    from ..codegen.walk import children

    nodes = [e]
    if not isinstance(e, TensorLoad):
        for child in children(e):
            nodes += _outside_indices(child)
    return nodes


def _own_axes(stage: Stage, indices: list[Any], shape: list[Any]) -> list[Any] | None:
    """The axis of each dimension, if indices are the stage's axes, each once (None: a dimension of one)."""
    names: list[Any] = []
    for i, n in zip(indices, shape):
        if isinstance(i, Var) and any(i.same_as(a.var) for a in stage.axes) and not any(i.same_as(x) for x in names if x is not None):
            names.append(i)
        elif constant(i) == 0 and constant(n) == 1:
            names.append(None)
        else:
            return None
    return names


def _inlinable(stage: Stage, readers: list[Part]) -> bool:
    if stage.init or stage.reduction or stage.after or len(stage.stores) != 1:
        return False
    store = stage.stores[0]
    if _own_axes(stage, store.indices, list(store.buffer.shape)) is None or any(x.source.same_as(store.buffer) for x in stage.loads()):
        return False
    guarded = any(is_call(c, "if_then_else") for c in find(store.value, Call))
    price = cost(store.value)
    for p in readers:
        if p.reduces and guarded:
            return False
        if p.reduces and _product(p.stage) and price > 1:  # type: ignore[arg-type]
            return False
    return price <= CHEAP or sum(p.reads(store.buffer) for p in readers) == 1


def _product(stage: Stage) -> bool:
    """Whether a reduction multiplies, as a contraction does: its operands are brought in again and again."""
    return any(len(find(m.a, TensorLoad)) and len(find(m.b, TensorLoad)) for s in stage.stores for m in find(s.value, prim.Mul))


def _inlined(producers: list[Stage], reader: Stage) -> Stage:
    """The reader with what the producers store in place of its loads."""
    known = {p.stores[0].buffer: (p.stores[0], _own_axes(p, p.stores[0].indices, list(p.stores[0].buffer.shape)) or []) for p in producers}

    def leaf(e: Any) -> Any:
        if isinstance(e, TensorLoad) and e.source in known:
            store, names = known[e.source]
            values = {n: rewrite(i, leaf) for n, i in zip(names, e.indices) if n is not None}
            return substitute(store.value, values)
        return None

    return reader.map(lambda e: rewrite(e, leaf))


def _with_epilogue(producer: Stage, reader: Stage) -> Stage | None:
    if not producer.init or producer.after or len(producer.stores) != 1 or reader.init or reader.reduction or reader.after:
        return None
    if len(reader.stores) != 1:
        return None
    store, out = producer.stores[0], reader.stores[0]
    own = _own_axes(producer, store.indices, list(store.buffer.shape))
    if own is None:
        return None
    reads = [x for x in reader.loads() if x.source.same_as(store.buffer)]
    values: dict[Any, Any] = {}
    for x in reads:
        theirs = _own_axes(reader, list(x.indices), list(store.buffer.shape))
        if theirs is None:
            return None
        for mine, their in zip(own, theirs):
            if (mine is None) != (their is None):
                return None
            if their is not None:
                if their in values and not values[their].same_as(mine):
                    return None
                values[their] = mine
    covered = [any(a.var.same_as(v) for v in values) for a in reader.axes if constant(a.extent) != 1]
    if not all(covered):
        return None
    values.update({a.var: prim.IntImm("int64", 0) for a in reader.axes if constant(a.extent) == 1 and a.var not in values})
    return replace(producer, name=reader.name, after=[out.map(lambda e: substitute(e, values))])
