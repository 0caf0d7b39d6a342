"""Causal attention of whole sequences, and the rotary embedding before it, in the layout [batch, length, heads, width]."""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.ir import prim

from .emitter import Emit, Emitter, Plan
from .graph import Expr, Graph, dtype, equal, product, shape, sizes
from .library import choices
from .matmul import BF16


def attention(graph: Graph, var: relax.Var) -> Plan | None:
    """softmax(scale q k^T) v where every token sees itself and what came before. Keys and values that are repeated for groups of query
    heads are taken before the repetition. The cache of the kernel is the batch itself: sequence after sequence."""
    call = graph.call(var, "nn.attention")
    if call is None or call.attrs.window_size is not None or str(call.attrs.causal_mask) not in ("TopLeft", "BottomRight"):
        return None
    q, (k, v) = call.args[0], (_unrepeated(graph, x) for x in call.args[1:3])
    whole, keys, values = sizes(q), sizes(k), sizes(v)
    if whole is None or keys is None or values is None or {dtype(x) for x in (q, k, v)} != {BF16}:
        return None
    batch, length, heads, width = whole
    alike = equal(keys, values) and equal([keys[0], keys[1], keys[3]], [batch, length, width])
    if not alike or not all(isinstance(n, int) for n in (heads, keys[2], width)) or heads % keys[2]:
        return None
    kernels = choices(graph, "attention_extend", {"batch": batch, "group": heads // keys[2], "head_dim": width})
    if kernels is None:
        return None
    scale = width**-0.5 if call.attrs.scale is None else float(call.attrs.scale.value)
    tokens = product([batch, length])

    def emit(emitter: Emitter) -> Expr:
        tables = emitter.once(("attention", str(batch), str(length)), lambda: _tables(emitter, batch, length))
        flat = [emitter.shaped(x, [tokens, n * width]) for x, n in ((q, heads), (k, keys[2]), (v, keys[2]))]
        result = ([tokens, heads * width], BF16)
        return emitter.shaped(emitter.kernel(kernels, [*flat, *tables], [result], D=width, page=1, scale=scale), whole)

    return {var: emit}


def _unrepeated(graph: Graph, expr: Expr) -> Expr:
    call = graph.call(expr, "repeat")
    return call.args[0] if call is not None and call.attrs.axis is not None and int(call.attrs.axis) == 2 else expr


def _tables(emitter: Emitter, batch: Any, length: Any) -> list[Expr]:
    kernels = choices(emitter.graph, "attention_tables", {})
    assert kernels is not None
    tables = emitter.kernel(kernels, [], [([batch, length], "int32"), *([([batch], "int64")] * 4)])
    return [emitter.emit(relax.TupleGetItem(tables, k)) for k in range(5)]


class Rotation:
    """x cos + (-x2, x1) sin for x [b, heads, s, width] that is x' [b, s, heads, width] transposed; cos and sin are [b or 1, s, width]."""

    def __init__(self, var: relax.Var, source: Expr, cos: Expr, sin: Expr):
        self.var, self.source, self.cos, self.sin = var, source, cos, sin

    @property
    def key(self) -> tuple[int, int]:
        return self.cos.__chandle__(), self.sin.__chandle__()


def rotations(graph: Graph, variables: list[relax.Var]) -> Plan:
    """Pairs of rotations by the same angles (queries and keys) as one kernel call each, in place on what the projections gave."""
    found: dict[Any, Rotation] = {}
    plan: Plan = {}
    for var in variables:
        rotation = _rotation(graph, var)
        if rotation is None:
            continue
        first = found.pop(rotation.key, None)
        if first is None:
            found[rotation.key] = rotation
        elif graph.known_before(rotation.source, first.var) and equal(shape(first.source)[:2], shape(rotation.source)[:2]):
            plan |= _pair(graph, first, rotation)
    return plan


def _rotation(graph: Graph, var: relax.Var) -> Rotation | None:
    total = graph.call(var, "add")
    if total is None or dtype(total) != BF16:
        return None
    left, right = (graph.call(x, "multiply") for x in total.args)
    if left is None or right is None:
        return None
    turned = graph.call(right.args[0], "concat")
    swap = graph.call(left.args[0], "permute_dims")
    if turned is None or swap is None or swap.attrs.axes is None or [int(a) for a in swap.attrs.axes] != [0, 2, 1, 3]:
        return None
    layout, parts = sizes(left.args[0]), graph.value(turned.args[0])
    if layout is None or not isinstance(layout[3], int) or not isinstance(parts, relax.Tuple) or len(parts.fields) != 2:
        return None
    negated = graph.call(parts.fields[0], "negative")
    if negated is None:
        return None
    half = layout[3] // 2
    halves = [_slice(graph, x, left.args[0]) for x in (negated.args[0], parts.fields[1])]
    if halves != [(half, 2 * half), (0, half)] or layout[3] % 2:
        return None
    tables = [_table(graph, x, layout) for x in (left.args[1], right.args[1])]
    # What is rotated in place must be nobody else's.
    uses = graph.uses.get(left.args[0].__chandle__(), 0) if isinstance(left.args[0], relax.Var) else 0
    source = swap.args[0]
    flat = graph.call(source, "reshape")
    if any(table is None for table in tables) or uses != 3 or not graph.only_here(source) or flat is None:
        return None
    if not graph.only_here(flat.args[0]) or graph.call(flat.args[0], "matmul", "add") is None:
        return None
    return Rotation(var, source, *tables)


def _slice(graph: Graph, expr: Expr, of: Expr) -> tuple[int, int] | None:
    """Begin and end of a slice of the last of four dimensions."""
    call = graph.call(expr, "strided_slice")
    if call is None or not call.args[0].same_as(of):
        return None
    numbers = [_numbers(argument) for argument in call.args[1:]]
    axes, begin, end = numbers[:3]
    if axes not in ([3], [-1]) or begin is None or end is None or len(numbers) > 3 and numbers[3] != [1]:
        return None
    return begin[0], end[0]


def _numbers(expr: Expr) -> list[int] | None:
    fields = expr.fields if isinstance(expr, relax.Tuple) else []
    found = [int(x.value) for x in fields if isinstance(x, prim.IntImm)]
    return found if found and len(found) == len(fields) else None


def _table(graph: Graph, expr: Expr, layout: list[Any]) -> Expr | None:
    """[b or 1, s, width] behind [b or 1, 1, s, width], if both halves of a row are the same."""
    call = graph.call(expr, "expand_dims")
    if call is None or [int(a) for a in call.attrs.axis] != [1]:
        return None
    known = sizes(call.args[0])
    if known is None or len(known) != 3 or not equal(known[1:], layout[2:]) or not equal(known[0], layout[0]):
        return None
    step = call.args[0]
    while True:
        inner = graph.call(step, "astype", "cos", "sin", "multiply", "concat")
        if inner is None or inner.op.name == "relax.multiply" and graph.scalar(inner.args[1]) is None:
            return None
        if inner.op.name == "relax.concat":
            parts = getattr(graph.value(inner.args[0]), "fields", [])
            same = len(parts) == 2 and parts[0].same_as(parts[1]) and int(inner.attrs.axis) in (-1, 2)
            return call.args[0] if same else None
        step = inner.args[0]


def _pair(graph: Graph, first: Rotation, second: Rotation) -> Plan:
    batch, length, heads, width = shape(first.source)
    kv_heads = shape(second.source)[2]
    known = {"heads": heads, "kv_heads": kv_heads, "width": heads * width, "kv_width": kv_heads * width, "r": width}
    tokens = product([batch, length])
    kernels = choices(graph, "rope", known) if all(isinstance(n, int) for n in known.values()) else None
    if kernels is None:
        return {}

    def rotated(emitter: Emitter) -> Expr:
        table, positions = emitter.once(("rope", *first.key), lambda: _angles(emitter, first, tokens, width))
        flat = [emitter.shaped(x.source, [tokens, n * width]) for x, n in ((first, heads), (second, kv_heads))]
        return emitter.kernel_in_place(kernels, [*flat, positions, table, emitter.no_records()], [0, 1], D=width)

    def result(rotation: Rotation, index: int) -> Emit:
        def emit(emitter: Emitter) -> Expr:
            both = emitter.once(("rotated", first.var.__chandle__()), lambda: rotated(emitter))
            part = emitter.shaped(emitter.emit(relax.TupleGetItem(both, index)), shape(rotation.source))
            return relax.op.permute_dims(emitter.emit(part) if not isinstance(part, relax.Var) else part, [0, 2, 1, 3])

        return emit

    return {first.var: result(first, 0), second.var: result(second, 1)}


def _angles(emitter: Emitter, rotation: Rotation, tokens: Any, width: int) -> tuple[Expr, Expr]:
    """A row of cosines and sines for every token, in fp32, and the number of every token's row."""
    tables = (rotation.cos, rotation.sin)
    halves = [emitter.emit(relax.op.strided_slice(x, [2], [0], [width // 2], [1], assume_inbound=True)) for x in tables]
    table = emitter.emit(relax.op.astype(emitter.emit(relax.op.concat(halves, axis=2)), "float32"))
    positions = emitter.emit(relax.op.arange(0, tokens, 1, "int64"))
    return emitter.shaped(table, [tokens, width]), positions
