"""Contractions: sums of products of two operands, on the matrix engine.

Axes are sorted by who uses them: both operands (batch), the first alone (M), the second alone (N), and those summed over (K). A unit is
a block of C of TILE rows (one M axis) and columns (one N axis); the core walks K in steps, brings both operands in as blocks, whatever
their layout, and multiplies. Where units are many, cores share what they bring in (see `tiles`). Of K only one axis is cut in steps;
further ones (the kernel of a convolution) are loops around it.

fp32 operands are split: x = high + middle + low, each bf16, and six of the nine products are summed (those left out are below 2^-24 of
the largest): the error is that of an fp32 dot product, 1e-6 relative to sum |a b|. An infinity in an operand gives NaN. 16-bit floats and
int8 go to the engine as they are.

Source: Henry, Tang and Heinecke, Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations (2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.ir import TensorLoad, prim

from .. import dialect as R
from . import access
from .emitter import constant, integer, product
from .frame import Frame, Value
from .injective import length
from .reduction import finish, loops, term
from .rewrite import dtype_of, find, flat_offset, linear, rewrite, substitute, uses
from .stage import Axis, Stage, Unsupported, bind, coefficients, collapsed, flat_indices
from .vector import Vectors, stored
from .work import Kernel, least, tiles

TILE, STEP, SLOTS, WORTH = 256, 256, 4, 1.5  # rows and columns of C; of K; blocks of an operand; see `tiles`
SPLIT_TILE, SPLIT_STEP, SPLIT_SLOTS, SPLIT_WORTH = 128, 128, 2, 0  # of operands in parts: the vector engine is what they wait for
NATIVE = ("bfloat16", "float16", "int8")
# Which parts of the operands are multiplied (0 is the high one), and into which accumulator: an mma finds its accumulator ready only if
# two others lie between it and the one before on the same.
PRODUCTS = ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 0), (0, 2, 1), (2, 0, 2))


@dataclass(frozen=True)
class Factor:
    """One operand: its expression and element type, and whether the engine takes it as it is."""

    body: Any
    dtype: str

    @property
    def native(self) -> bool:
        return self.dtype in NATIVE


def lower(stage: Stage, kernel: Kernel) -> None:
    if len(stage.stores) != 1 or len(stage.init) != 1 or not stage.reduction:
        raise Unsupported("no contraction")
    stage = collapsed(stage, kernel.emitter.analyzer)
    store = stage.stores[0]
    kind, body = term(store)
    start = stage.init[0].value
    if kind is not prim.Add or not isinstance(start, (prim.IntImm, prim.FloatImm)) or float(start.value) != 0:
        raise Unsupported("no sum from zero")
    a, b = _factors(body)
    stage, a, b = _one_sum(stage, a, b, kernel)
    m_axes = [x for x in stage.spatial if uses(a.body, [x.var]) and not uses(b.body, [x.var])]
    n_axes = [x for x in stage.spatial if uses(b.body, [x.var]) and not uses(a.body, [x.var])]
    if not m_axes or not n_axes:
        raise Unsupported("one operand has no axis of its own")
    place = coefficients(stage.result.buffer, stage.result.indices, stage.axes, kernel.emitter.analyzer)
    if place is None:
        raise Unsupported("the result is written at places that are not affine")
    if any(constant(place[stage.axes.index(x)]) == 1 for x in m_axes):  # rows of C are contiguous along N
        a, b, m_axes, n_axes = b, a, n_axes, m_axes
    m, n = max(reversed(m_axes), key=length), max(reversed(n_axes), key=lambda x: (constant(place[stage.axes.index(x)]) == 1, length(x)))
    k = max(stage.reduction, key=lambda x: (length(x), _contiguous(b, x, stage, kernel)))
    if length(m) * length(n) * length(k) < 512:
        raise Unsupported("too small for the matrix engine")
    outer = [x for x in stage.spatial if x is not m and x is not n]
    inner = [x for x in stage.reduction if x is not k]
    _emit(stage, kernel, (a, b), (m, n, k), outer, inner)


def _factors(body: Any) -> tuple[Factor, Factor]:
    if isinstance(body, prim.Cast) and isinstance(body.value, prim.Mul):
        body = body.value
    if not isinstance(body, prim.Mul) or not find(body.a, TensorLoad) or not find(body.b, TensorLoad):
        raise Unsupported("no product of two operands")
    factors = [Factor(e, dtype_of(e)) for e in map(_narrow, (body.a, body.b))]
    types = {f.dtype for f in factors}
    if len(types) > 1 or not types <= {"float32", *NATIVE}:
        floats = all(f.dtype.startswith(("float", "bfloat")) for f in factors)
        if not floats or not types <= {"float32", "bfloat16", "float16"}:
            raise Unsupported(f"the matrix engine multiplies no {' and '.join(sorted(types))}")
        return Factor(factors[0].body, "float32"), Factor(factors[1].body, "float32")
    return factors[0], factors[1]


def _narrow(e: Any) -> Any:
    """An operand before it was widened for the sum: the engine widens by itself, exactly."""
    while isinstance(e, prim.Cast) and dtype_of(e.value) in NATIVE and dtype_of(e) in ("float32", "int32"):
        e = e.value
    return e


def _one_sum(stage: Stage, a: Factor, b: Factor, kernel: Kernel) -> tuple[Stage, Factor, Factor]:
    """Several summed axes as one, if one operand walks them as one, as a convolution its weights: the other gathers rows by index."""
    axes = stage.reduction
    if len(axes) < 2:
        return stage, a, b
    variables = [x.var for x in axes]
    extent = kernel.emitter.simplified(product(x.extent for x in axes))
    k = Axis(tirx.Var("_".join(v.name for v in variables), "int64"), extent, reduce=True)
    for together, apart in ((a, b), (b, a)):
        loads = {}
        for x in find(together.body, TensorLoad):
            steps = linear(flat_offset(x.source, list(x.indices)), variables, kernel.emitter.analyzer)
            if steps is None or constant(steps[len(axes) - 1]) != 1 or not _nested(axes, steps, kernel):
                break
            loads[x] = tirx.BufferLoad(x.source, flat_indices(x.source, steps[-1] + k.var))
        else:
            values, rest = {}, k.var
            for x in reversed(axes):
                values[x.var] = tirx.floormod(rest, x.extent) if x is not axes[0] else rest
                rest = tirx.floordiv(rest, x.extent)
            joined = replace(stage, axes=[*stage.spatial, k])
            bind(joined, kernel.emitter.analyzer)
            one = replace(together, body=rewrite(together.body, lambda e: loads.get(e) if isinstance(e, TensorLoad) else None))  # noqa: B023
            other = replace(apart, body=substitute(apart.body, values))
            return (joined, one, other) if together is a else (joined, other, one)
    return stage, a, b


def _nested(axes: list[Axis], steps: list[Any], kernel: Kernel) -> bool:
    pairs = zip(zip(axes, steps), zip(axes[1:], steps[1:]))
    return all(kernel.emitter.analyzer.can_prove_equal(outer, inner * axis.extent) for (_, outer), (axis, inner) in pairs)


def _contiguous(f: Factor, axis: Axis, stage: Stage, kernel: Kernel) -> bool:
    for x in find(f.body, TensorLoad):
        steps = coefficients(x.source, list(x.indices), stage.axes, kernel.emitter.analyzer)
        if steps is not None and constant(steps[stage.axes.index(axis)]) == 1:
            return True
    return False


def _emit(
    stage: Stage, kernel: Kernel, factors: tuple[Factor, Factor], axes: tuple[Axis, Axis, Axis], outer: list[Axis], inner: list[Axis]
) -> None:
    (a, b), (m, n, k) = factors, axes
    emit = kernel.emitter
    turned = _contiguous(b, k, stage, kernel) or not _contiguous(b, n, stage, kernel)  # B as [N, K]
    sums = "int32" if a.dtype == "int8" else "float32"
    whole, split = (TILE, STEP, SLOTS, WORTH), (SPLIT_TILE, SPLIT_STEP, SPLIT_SLOTS, SPLIT_WORTH)
    side, long, slots, worth = whole if a.native else split
    room = kernel.sram.sizes["full"]  # smaller where the kernel's other stages, or epilogues, need the scratchpad
    side = min(side, 256 if room >= 32768 else 128 if room >= 4096 else 64)
    line = max(side, long)
    scratch = kernel.sram.sized({"one": 16, "row": line, "col": line, "full": side * long}, slots)
    sums_of = kernel.sram.sized({"one": 16, "row": side, "col": side, "full": side * side}, 2)
    with tiles(replace(kernel, sram=sums_of), outer, m, n, side, worth) as frame:
        totals = [frame.new("C", sums, "full") for _ in range(1 if a.native else 3)]
        steps = tirx.floordiv(k.extent + (long - 1), integer(long))
        around = product(x.extent for x in inner)
        depth = emit.let("blocks", steps * around)
        some_rows, some_cols = (tirx.const(1, "bool"),) * 2 if frame.shared is None else (frame.rows > 0, frame.cols > 0)
        some = prim.And(some_rows, some_cols)
        with emit.when(prim.And(some, k.extent * around == 0)):  # the sum of nothing
            for total in totals:
                emit.add(R.fill(frame.block(total), 0.0, frame.rows, frame.cols))
        with loops(frame, inner), emit.loop("step", steps) as step:
            turn: Any = integer(0)
            for x in inner:
                turn = turn * x.extent + frame.outer[x.var]
            turn = emit.let("turn_k", turn * steps + step)
            k0 = emit.let("k0", step * long)
            count = emit.let("depth", least(k.extent - k0, long))
            slot = emit.let("block", frame.slot * depth + turn)
            left = replace(frame, sram=scratch, col=k, col_start=k0, cols=count, slot=slot, group="row")
            if turned:
                right = replace(left, row=n, row_start=frame.col_start, rows=frame.cols, group="col")
            else:
                right = replace(frame, sram=scratch, row=k, row_start=k0, rows=count, slot=slot, group="col")
            with emit.when(some_rows):
                parts_a = _parts(left, a)
            with emit.when(some_cols):
                parts_b = _parts(right, b)
            with emit.when(some):
                for number, (i, j, c) in enumerate(PRODUCTS if len(parts_a) == 3 else PRODUCTS[:1]):
                    again = turn > 0 if number < len(totals) else True
                    blocks = frame.block(totals[c]), left.block(parts_a[i]), right.block(parts_b[j])
                    emit.add(R.mma(*blocks, frame.rows, frame.cols, count, accumulate=again, transpose_b=turned))
            for frame_, parts in ((left, parts_a), (right, parts_b)):
                for part in parts:
                    frame_.drop(part)
        with emit.when(some):
            vectors = Vectors(frame, access.load)
            total = totals[0]
            for other in totals[1:]:
                total = vectors.emit(R.add, sums, total, other)
            finish(vectors, stage, total)
            vectors.release()


def _parts(frame: Frame, factor: Factor) -> list[Value]:
    """An operand's block, or the three bf16 blocks whose sum it is."""
    vectors = Vectors(frame, access.load)
    value = vectors(factor.body)
    wanted = stored(factor.dtype)
    if value.shape != "full" or value.dtype != wanted:
        value = access.repeated(vectors, value, "full", wanted)
    if factor.native:
        kept = Value("full", value.at, value.dtype, own=True)
        vectors.release(keep=kept)
        return [kept]
    rest = Value("full", value.at, value.dtype, own=value.own)
    parts = []
    for name in ("high", "middle", "low"):
        part = frame.new(name, "bfloat16", "full")
        frame.emitter.add(R.cast(frame.block(part), frame.block(rest), *frame.extent("full")))
        parts.append(part)
        if name != "low":
            left = rest if rest.own else frame.new("rest", "float32", "full")
            frame.emitter.add(R.sub(frame.block(left), frame.block(rest), frame.block(part), *frame.extent("full")))
            rest = left
    frame.drop(rest)
    vectors.release()
    return parts
