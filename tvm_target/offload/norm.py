"""RMS norms, as one operator or as the steps that Llama and its relatives export; alone or of a sum. Softmax. Rows of a table."""

from __future__ import annotations

import numpy as np
from tvm import relax

from .emitter import Emit, Emitter, Plan
from .graph import Expr, Graph, dtype, equal, product, shape, sizes
from .library import choices
from .matmul import BF16, linear_with


def rms_norm(graph: Graph, var: relax.Var) -> Plan | None:
    """x / rms(x) * w over the last dimension, w bf16 [h]. Steps of it that Relax rounds are not rounded here."""
    found = _whole(graph, var) or _steps(graph, var)
    if found is None:
        return None
    x, w, eps = found
    whole = sizes(x)
    if whole is None or len(whole) < 2 or not equal(sizes(w) or [], [whole[-1]]) or (dtype(x), dtype(w)) != (BF16, BF16):
        return None
    rows = [product(whole[:-1]), whole[-1]]
    both = _of_sum(graph, var, x, w, eps, rows)
    if both is not None:
        return both
    kernels = choices(graph, "rms_norm", {"h": whole[-1]})
    if kernels is None:
        return None

    def emit(emitter: Emitter) -> Expr:
        return emitter.shaped(emitter.kernel(kernels, [emitter.rows(x), w], [(rows, BF16)], eps=eps), whole)

    return {var: emit}


def _of_sum(graph: Graph, var: relax.Var, x: Expr, w: Expr, eps: float, rows: list[object]) -> Plan | None:
    """The norm of a sum that nothing else computes as cheaply: both come from one kernel, where the sum was."""
    total, whole = graph.call(x, "add"), shape(x)
    if total is None or not isinstance(x, relax.Var) or linear_with(graph, x) is not None or not graph.known_before(w, x):
        return None
    a, b = total.args
    kernels = choices(graph, "add_rms_norm", {"h": rows[1]})
    if kernels is None or not (equal(sizes(a) or [], whole) and equal(sizes(b) or [], whole)):
        return None

    def pair(emitter: Emitter) -> Expr:
        return emitter.once(
            x.__chandle__(), lambda: emitter.kernel(kernels, [emitter.rows(a), emitter.rows(b), w], [(rows, BF16)] * 2, eps=eps)
        )

    def result(index: int) -> Emit:
        return lambda emitter: emitter.shaped(emitter.emit(relax.TupleGetItem(pair(emitter), index)), whole)

    return {x: result(1), var: result(0)}


def _whole(graph: Graph, var: relax.Var) -> tuple[Expr, Expr, float] | None:
    call = graph.call(var, "nn.rms_norm")
    if call is None or [int(a) % len(sizes(call.args[0]) or [0]) for a in call.attrs.axes] != [len(sizes(call.args[0]) or [0]) - 1]:
        return None
    return call.args[0], call.args[1], float(call.attrs.epsilon)


def _steps(graph: Graph, var: relax.Var) -> tuple[Expr, Expr, float] | None:
    """w * bf16(y) or bf16(w * y), with y = x * rsqrt(mean(x^2) + eps) in fp32."""
    outer = graph.call(var, "astype")
    scaled = graph.call(outer.args[0] if outer is not None else var, "multiply")
    if scaled is None or outer is not None and dtype(outer) != BF16:
        return None
    for w, y in ((scaled.args[0], scaled.args[1]), (scaled.args[1], scaled.args[0])):
        inner = graph.call(y, "astype")
        if inner is not None and dtype(inner) == BF16 and outer is None:
            y = inner.args[0]
        found = _normalized(graph, y)
        if found is None:
            continue
        widened = graph.call(w, "astype")
        return found[0], widened.args[0] if widened is not None else w, found[1]
    return None


def _normalized(graph: Graph, expr: Expr) -> tuple[Expr, float] | None:
    product_ = graph.call(expr, "multiply")
    if product_ is None or dtype(product_) != "float32":
        return None
    for wide, factor in ((product_.args[0], product_.args[1]), (product_.args[1], product_.args[0])):
        root, source = graph.call(factor, "rsqrt"), graph.call(wide, "astype")
        shifted = graph.call(root.args[0], "add") if root is not None else None
        if shifted is None or source is None:
            continue
        for mean, eps in ((shifted.args[0], graph.scalar(shifted.args[1])), (shifted.args[1], graph.scalar(shifted.args[0]))):
            square = _mean_of_square(graph, mean)
            if eps is not None and square is not None and graph.value(square).same_as(graph.value(wide)):
                return source.args[0], eps
    return None


def _mean_of_square(graph: Graph, expr: Expr) -> Expr | None:
    mean = graph.call(expr, "mean")
    ndim = len(sizes(mean.args[0]) or []) if mean is not None else 0
    if mean is None or not mean.attrs.keepdims or mean.attrs.axis is None or [int(a) % ndim for a in mean.attrs.axis] != [ndim - 1]:
        return None
    square = graph.call(mean.args[0], "power", "square", "multiply")
    if square is None:
        return None
    if square.op.name == "relax.power":
        return square.args[0] if graph.scalar(square.args[1]) == 2 else None
    same = square.op.name == "relax.square" or square.args[0].same_as(square.args[1])
    return square.args[0] if same else None


LARGE = 4096  # columns from which the library's softmax, which cuts a row into 16 parts, is the better one


def softmax(graph: Graph, var: relax.Var) -> Plan | None:
    """Softmax of long rows (logits) in fp32; short ones, as in attention, stay with the rules, which give every core whole rows."""
    call = graph.call(var, "nn.softmax")
    whole = sizes(call) if call is not None else None
    if call is None or not whole or len(whole) < 2 or dtype(call) != "float32" or int(call.attrs.axis) % len(whole) != len(whole) - 1:
        return None
    rows, columns = product(whole[:-1]), whole[-1]
    kernels = choices(graph, "softmax", {"b": rows, "v": columns})
    if kernels is None or columns < LARGE:
        return None

    def emit(emitter: Emitter) -> Expr:
        ones = relax.const(np.ones((rows, 1), np.float32))
        return emitter.shaped(emitter.kernel(kernels, [emitter.rows(call.args[0]), ones], [([rows, columns], "float32")]), whole)

    return {var: emit}


def embedding(graph: Graph, var: relax.Var) -> Plan | None:
    """Rows of a bf16 table. The kernel reads int64 ids; those that a front end has narrowed to int32 are taken from before that."""
    call = graph.call(var, "take")
    if call is None or call.attrs.axis is None or int(call.attrs.axis) != 0 or str(call.attrs.mode) != "fast":
        return None
    table, ids, whole = call.args[0], call.args[1], sizes(call)
    shape = sizes(table) or []
    if len(shape) != 2 or dtype(table) != BF16 or whole is None:
        return None
    while dtype(ids) != "int64":
        step = graph.call(ids, "astype", "reshape", "expand_dims", "squeeze")
        if step is None or dtype(ids) != "int32":
            return None
        ids = step.args[0]
    known = sizes(ids)
    kernels = choices(graph, "embedding", {"v": shape[0]})
    if known is None or kernels is None:
        return None
    rows = [product(known), whole[-1]]

    def emit(emitter: Emitter) -> Expr:
        arguments = [emitter.shaped(ids, rows[:1]), table, emitter.no_records()]
        return emitter.shaped(emitter.kernel(kernels, arguments, [(rows, BF16)]), whole)

    return {var: emit}
