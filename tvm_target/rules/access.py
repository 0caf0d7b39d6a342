"""Between HBM and a frame: which DMA an access needs, by how it moves along the frame's rows and columns.

    step of a column 1              2-D load; 1-D if the rows do not move it (broadcast), or if the columns do not (then down the rows)
    step of a row 1                 2-D load of the transposed block, and R.transpose
    any other affine step           a list of one-element rows, where the block is a vector; else by index
    columns 1, rows by any index    R.gather of rows (an embedding)
    anything else                   R.gather of single elements by an index computed on the vector engine

An access under a condition may point outside its buffer where that excludes it; unless it provably stays inside, it is gathered by an
index that is 0 at the excluded points, so that no element is read but the first and those that count. int64 is seen as pairs of int32,
which come and go one word (`part`) at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.ir import TensorLoad, prim

from .. import dialect as R
from . import wide
from .emitter import constant, integer, product
from .frame import Frame, Value
from .rewrite import find, flat_offset, linear, substitute, uses
from .stage import Store, Unsupported, flat_indices
from .vector import Vectors, stored
from .wide import sign_word


def words(buffer: Any) -> int:
    """SRAM elements that one HBM element takes: 2 for int64."""
    return 2 if str(buffer.dtype) == "int64" else 1


def view(buffer: Any, offset: Any, pitch: Any, part: int = 0) -> Any:
    """HBM at an element, rows `pitch` elements apart, in the type in which the engines see it. `part` 1: the high word of an int64."""
    first = R.tile(buffer[tuple(flat_indices(buffer, offset))], dtype=stored(str(buffer.dtype)))
    if part:
        first = replace(first, address=tirx.handle_add_byte_offset(first.address, 4))
    return R.tile(first, pitch=pitch * words(buffer))


def plain(buffer: Any) -> None:
    if len(buffer.strides):
        raise Unsupported(f"{buffer.name} has strides")


class Access:
    """One access on one frame."""

    def __init__(self, frame: Frame, buffer: Any, indices: list[Any]):
        plain(buffer)
        self.frame, self.buffer = frame, buffer
        self.indices = [substitute(i, frame.outer) for i in indices]
        self.flat = frame.emitter.simplified(flat_offset(buffer, self.indices))
        self.axes = [a.var for a in (frame.row, frame.col) if a is not None]
        steps = linear(self.flat, self.axes, frame.emitter.analyzer)
        self.affine = steps is not None
        zero = integer(0)
        if steps is not None:
            *along, base = steps
            self.row_step = along[0] if frame.row is not None else zero
            self.col_step = along[-1] if frame.col is not None else zero
            self.start = frame.emitter.simplified(base + self.row_step * frame.row_start + self.col_step * frame.col_start)

    def inside(self) -> bool:
        """Whether the access provably stays in the buffer: each index does, or the place that they name. (Axes that move along
        neighbouring dimensions together are one axis here, whose index of the last dimension counts through the others.)"""
        prove = self.frame.emitter.analyzer.can_prove
        pairs = [*zip(self.indices, self.buffer.shape)]
        return all(prove(i >= 0) and prove(i < n) for i, n in pairs) or prove(self.flat >= 0) and prove(self.flat < self.elements())

    def last_inside(self) -> bool:
        """Whether the index of the last dimension provably is one of it."""
        prove = self.frame.emitter.analyzer.can_prove
        return prove(self.indices[-1] >= 0) and prove(self.indices[-1] < self.buffer.shape[-1])

    def elements(self) -> Any:
        """How many elements the buffer has."""
        return self.frame.emitter.simplified(product(self.buffer.shape))


def load(vectors: Vectors, e: Any, part: int) -> Value:
    """Brings an element's window in; of an int64 its low or its high word."""
    frame = vectors.frame
    access = Access(frame, e.source, list(e.indices))
    masked = bool(vectors.guards) and not access.inside()
    if access.affine and not masked:
        value = _affine(frame, access, part)
        if value is not None:
            return value
    return _gathered(vectors, access, masked, part)


def _affine(frame: Frame, access: Access, part: int) -> Value | None:
    buffer, emit, one = access.buffer, frame.emitter.add, integer(1)
    dtype, wide = stored(str(buffer.dtype)), words(buffer) == 2
    row, col = constant(access.row_step), constant(access.col_step)
    shape = "one" if row == 0 and col == 0 else "row" if row == 0 else "col" if col == 0 else "full"
    if shape in ("one", "row", "col"):
        step = {"one": one, "row": access.col_step, "col": access.row_step}[shape]
        value, count = frame.new(buffer.name, dtype, shape), frame.size(shape)
        if constant(step) == 1 and not wide:
            emit(R.load(frame.block(value), view(buffer, access.start, count), 1, count))
        elif (known := constant(step)) is not None and known < 0:
            return None
        else:
            emit(R.load(R.tile(frame.first(value), pitch=1), view(buffer, access.start, step, part), count, 1))
        return value
    if wide:
        if frame.emitter.analyzer.can_prove_equal(access.row_step, frame.cols) and col == 1:
            value = frame.new(buffer.name, dtype, "full")
            emit(R.load(R.tile(frame.first(value), pitch=1), view(buffer, access.start, one, part), frame.rows * frame.cols, 1))
            return value
        return None
    if col == 1:
        value = frame.new(buffer.name, dtype, "full")
        frame.load(frame.block(value), view(buffer, access.start, access.row_step), frame.rows, frame.cols)
        return value
    if row == 1:
        turned = frame.new(buffer.name, dtype, "full")
        frame.load(R.tile(frame.first(turned), pitch=frame.rows), view(buffer, access.start, access.col_step), frame.cols, frame.rows)
        value = frame.new(buffer.name, dtype, "full")
        source = R.tile(frame.first(turned), pitch=frame.rows)
        emit(R.transpose(frame.block(value), source, frame.cols, frame.rows))
        frame.drop(turned)
        return value
    return None


def _gathered(vectors: Vectors, access: Access, masked: bool, part: int) -> Value:
    frame, buffer = vectors.frame, access.buffer
    dtype = stored(str(buffer.dtype))
    value = _gathered_rows(vectors, access, masked)
    if value is not None:
        return value
    base, flat = _split(access, masked)
    index = vectors.settled(vectors.exact(vectors.index(flat)), "int32")
    if masked:
        index = vectors.masked(index)
    if words(buffer) == 2:
        index = vectors.emit(R.mul, "int32", index, vectors.imm(2, "int32"))
    value = frame.new(buffer.name, dtype, index.shape)
    target = R.tile(frame.first(value), pitch=1)
    source = R.tile(view(buffer, base, integer(1), part), pitch=1)
    _gather(frame, access, masked, target, source, index, frame.size(index.shape), integer(1))
    return value


def _gathered_rows(vectors: Vectors, access: Access, masked: bool) -> Value | None:
    """Whole rows by an index, as of an embedding: if the frame's columns are neighbours, and all that they share depends on the row."""
    frame, buffer = vectors.frame, access.buffer
    col = frame.col.var if frame.col is not None else None
    if col is None or words(buffer) == 2 or masked and not all(g.value.shape in ("imm", "one", "col") for g in vectors.guards):
        return None
    split = linear(access.flat, [col], frame.emitter.analyzer)
    if split is None or constant(split[0]) != 1 or not uses(split[1], access.axes) or uses(split[1], [col]):
        return None
    base, which = _split(access, masked, [substitute(i, {col: integer(0)}) for i in access.indices])
    if masked and not (constant(base) == 0 and access.last_inside()):
        return None
    rows = vectors.index(which)
    if rows.shape != "col":
        frame.drop(rows)
        return None
    if masked:
        rows = vectors.masked(rows)
    value = frame.new(buffer.name, stored(str(buffer.dtype)), "full")
    source = view(buffer, frame.emitter.simplified(base + frame.col_start), integer(1))
    _gather(frame, access, masked, frame.block(value), source, rows, frame.rows, frame.cols)
    return value


def _gather(frame: Frame, access: Access, masked: bool, target: Any, source: Any, index: Value, rows: Any, cols: Any) -> None:
    """Of an empty buffer not even the first element can stand for those that are excluded: all of them are."""
    gather = R.gather(target, source, frame.first(index), rows, cols)
    if masked:
        frame.emitter.either(access.elements() > 0, gather, R.fill(target, 0.0, rows, cols))
    else:
        frame.emitter.add(gather)
    frame.drop(index)


def _split(access: Access, masked: bool, indices: list[Any] | None = None) -> tuple[Any, Any]:
    """The element where the address begins, and the index to add: both 0 or more, as the DMA wants them. What is one number for the frame
    belongs to the address, as the index has 32 bits; but not where the rest may then be negative. A masked index may be 0 anywhere, so
    its address is that of an element."""
    frame, base, index, stride = access.frame, integer(0), integer(0), integer(1)
    prove = frame.emitter.analyzer.can_prove
    for i, n in reversed([*zip(access.indices if indices is None else indices, access.buffer.shape)]):
        fixed, moving = _parted(frame.emitter.simplified(i * stride), access.axes)
        if constant(moving) != 0:
            least = frame.emitter.analyzer.const_int_bound(moving).min_value
            if -(1 << 30) < least < 0 and not find(moving, TensorLoad):
                fixed, moving, least = fixed + integer(least), moving - integer(least), 0
            if least < 0 or not prove(fixed >= 0):
                fixed, moving = integer(0), fixed + moving
        base, index, stride = base + fixed, index + moving, stride * n
    if masked and not (prove(base >= 0) and prove(base < access.elements())):
        base, index = integer(0), base + index
    return frame.emitter.simplified(base), frame.emitter.simplified(index)


def _parted(e: Any, axes: list[Any]) -> tuple[Any, Any]:
    """A sum as what is one number for the whole frame, and the rest: the number belongs to the address, the rest fits in 32 bits."""
    if isinstance(e, prim.Add):
        (a, b), (c, d) = _parted(e.a, axes), _parted(e.b, axes)
        return a + c, b + d
    if uses(e, axes) or find(e, TensorLoad):
        return integer(0), e
    return e, integer(0)


def store(vectors: Vectors, buffer: Any, indices: list[Any], value: Value, high: Value | None = None) -> None:
    """Writes a frame's result; a smaller value is repeated to the frame's size first. `high` is the high word of an int64; without one
    the value is an int32."""
    frame = vectors.frame
    access = Access(frame, buffer, indices)
    if not access.affine:
        raise Unsupported(f"{buffer.name} is written at places that are not affine")
    row, col = constant(access.row_step), constant(access.col_step)
    wanted = (
        "full"
        if frame.row is not None and frame.col is not None
        else "row"
        if frame.col is not None
        else "col"
        if frame.row is not None
        else "one"
    )
    dtype, emit = stored(str(buffer.dtype)), frame.emitter.add
    if value.shape != wanted or value.dtype != dtype:
        value = repeated(vectors, value, wanted, dtype)
    if (row is not None and row < 0) or (col is not None and col < 0):
        raise Unsupported(f"{buffer.name} is written backwards")
    if words(buffer) == 2 and high is None:
        high = sign_word(vectors, value)
    elif high is not None and (high.shape != wanted or high.dtype != dtype):
        high = repeated(vectors, high, wanted, dtype)
    for part in range(words(buffer)):
        out = high if part else value
        assert out is not None
        first = frame.first(out)
        if wanted != "full":
            step = {"one": integer(1), "row": access.col_step, "col": access.row_step}[wanted]
            count = frame.size(wanted)
            if constant(step) == 1 and words(buffer) == 1:
                emit(R.store(view(buffer, access.start, count), R.tile(first, pitch=count), 1, count))
            else:
                emit(R.store(view(buffer, access.start, step, part), R.tile(first, pitch=1), count, 1))
        elif col == 1 and words(buffer) == 1:
            emit(R.store(view(buffer, access.start, access.row_step), frame.block(out), frame.rows, frame.cols))
        elif row == 1 and words(buffer) == 1:
            turned = frame.new("turned", dtype, "full")
            emit(R.transpose(R.tile(frame.first(turned), pitch=frame.rows), frame.block(out), frame.rows, frame.cols))
            source = R.tile(frame.first(turned), pitch=frame.rows)
            emit(R.store(view(buffer, access.start, access.col_step), source, frame.cols, frame.rows))
            frame.drop(turned)
        else:
            _scattered(vectors, access, out, part)
        frame.drop(out)


def result(vectors: Vectors, out: Store) -> None:
    """Evaluates what a stage leaves behind, and stores it."""
    if wide.is_wide(vectors, out.value):
        both = vectors.pair(out.value)
        store(vectors, out.buffer, out.indices, both.low, both.high)
    else:
        store(vectors, out.buffer, out.indices, vectors(out.value, stored(str(out.buffer.dtype))))


def _scattered(vectors: Vectors, access: Access, value: Value, part: int) -> None:
    """A block whose elements lie apart in both directions: element by element, by index."""
    frame, buffer = vectors.frame, access.buffer
    base, flat = _split(access, masked=False)
    index = vectors.settled(vectors.index(flat * words(buffer)), "int32")
    target = view(buffer, base, integer(1), part)
    source = R.tile(frame.first(value), pitch=1)
    frame.emitter.add(R.scatter(R.tile(target, pitch=1), source, frame.first(index), frame.size("full"), 1))
    frame.drop(index)


def repeated(vectors: Vectors, value: Value, shape: str, dtype: str) -> Value:
    """A value in a larger shape, or another type."""
    frame = vectors.frame
    target = frame.new("out", dtype, shape)
    value = vectors.exact(value)
    if value.shape == "imm":
        frame.emitter.add(R.fill(frame.block(target), frame.operand(value, shape), *frame.extent(shape)))
    else:
        frame.emitter.add(R.cast(frame.block(target), frame.operand(value, shape), *frame.extent(shape)))
        frame.drop(value)
    return target
