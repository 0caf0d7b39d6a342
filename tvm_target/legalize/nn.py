"""Relax operators of neural networks whose legalization in TVM does not suit the chip.

Attention: TVM's rounds scores and sums to the type of the inputs (and fails for bf16), and first copies queries, keys and values into
another order of dimensions. Here scores and sums are fp32, operands are read where they lie, and only the weights are rounded to the
type of the values, for the matrix engine.

Adaptive means whose parts are not equal: as products with tables of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from .common import Legalize, attempt, cast, dtype_of, shape_of, static

MASKED = -3.0e38  # finite: a row that sees nothing gives the mean of the values, never NaN


def _scores(query: te.Tensor, key: te.Tensor, bias: te.Tensor | None, scale: Any, causal: str | None) -> te.Tensor:
    """fp32 [batch, heads, length, keys] of [batch, length, heads, width] and [batch, keys, heads, width]."""
    batch, length, heads, width = query.shape
    keys = key.shape[1]
    d = te.reduce_axis((0, width), "d")
    shape = (batch, heads, length, keys)

    def product(b: Any, h: Any, i: Any, j: Any) -> Any:
        return te.sum(query[b, i, h, d].astype("float32") * key[b, j, h, d].astype("float32"), axis=d)

    raw = te.compute(shape, product, name="scores")

    def finished(b: Any, h: Any, i: Any, j: Any) -> Any:
        value = raw[b, h, i, j] * scale
        if bias is not None:
            place = [0 if isinstance(size, tirx.IntImm) and size.value == 1 else index for index, size in zip((b, h, i, j), bias.shape)]
            value = value + bias(*place).astype("float32")
        if causal is None:
            return value
        last = i if causal == "TopLeft" else i + (keys - length)
        return tirx.Select(j <= last, value, tirx.const(MASKED, "float32"))

    return te.compute(shape, finished, name="masked")


def _weights(query: te.Tensor, key: te.Tensor, bias: te.Tensor | None, scale: Any, causal: str | None) -> list[te.Tensor]:
    """exp(score - the row's largest) in the type of `query`, and in fp32 the sum of each row."""
    scores = _scores(query, key, bias, scale, causal)
    largest = topi.max(scores, axis=-1)
    raised = te.compute(scores.shape, lambda b, h, i, j: te.exp(scores[b, h, i, j] - largest[b, h, i]), name="raised")
    return [topi.cast(raised, query.dtype), topi.sum(raised, axis=-1)]


def _context(weights: te.Tensor, sums: te.Tensor, value: te.Tensor) -> te.Tensor:
    """[batch, length, heads, width] in the type of `value`. Rows are divided by their sums here, where they are shortest."""
    batch, keys, heads, width = value.shape
    j = te.reduce_axis((0, keys), "j")

    def product(b: Any, i: Any, h: Any, d: Any) -> Any:
        return te.sum(weights[b, h, i, j].astype("float32") * value[b, j, h, d].astype("float32"), axis=j)

    raw = te.compute((batch, weights.shape[2], heads, width), product, name="context")
    mean = te.compute(raw.shape, lambda b, i, h, d: raw[b, i, h, d] / sums[b, h, i], name="mean")
    return topi.cast(mean, value.dtype)


def _attention(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    query, key, value, *bias = call.args
    if call.attrs.window_size is not None:
        raise ValueError(f"{call.op.name} with window_size {call.attrs.window_size}: windows are not supported; pass the window as a bias")
    scale = tirx.const(float(call.attrs.scale) if call.attrs.scale is not None else int(query.ty.shape[3]) ** -0.5, "float32")

    def weights(q: te.Tensor, k: te.Tensor, b: te.Tensor | None = None) -> list[te.Tensor]:
        return _weights(q, k, b, scale, call.attrs.causal_mask)

    both = builder.emit_te(weights, query, key, *bias, primfunc_name_hint="attention_weights")
    parts = [builder.emit(relax.TupleGetItem(both, k)) for k in (0, 1)]
    return builder.call_te(_context, *parts, value, primfunc_name_hint="attention_context")


def _pooling(size: int, parts: int) -> relax.Expr:
    """fp32 [parts, size]: what each element counts in the mean of each part, as torch and TVM divide."""
    table = np.zeros((parts, size), "float32")
    for k in range(parts):
        first, end = k * size // parts, -(-(k + 1) * size // parts)
        table[k, first:end] = 1.0 / (end - first)
    return relax.const(table)


def _uneven(op: relax.Call) -> bool:
    sizes = [static(n) for n in shape_of(op.args[0])[2:]] if op.args[0].ty.shape is not None else []
    if str(op.attrs.layout) != "NCHW" or dtype_of(op.args[0]) != "float32" or op.attrs.output_size is None or None in sizes:
        return False
    return any(n % int(parts) for n, parts in zip(sizes, op.attrs.output_size) if n is not None)


def _adaptive_mean(bb: relax.BlockBuilder, op: relax.Call) -> relax.Expr:
    """Means over parts of unequal sizes, which are loops of unequal length to TVM: a product from either side."""
    x, (rows, columns) = op.args[0], (int(n) for n in op.attrs.output_size)
    height, width = (int(n) for n in shape_of(x)[2:])
    narrow = bb.emit(relax.op.matmul(x, bb.emit(relax.op.permute_dims(_pooling(width, columns)))))
    return bb.emit(relax.op.matmul(_pooling(height, rows), narrow))


def _in_fp32(bb: relax.BlockBuilder, op: relax.Call) -> relax.Expr:
    """A normalization of bf16, which TVM's legalization refuses, rounded once at the end."""
    args = [cast(bb, x, "float32") for x in op.args]
    return cast(bb, bb.emit(relax.Call(op.op, args, op.attrs)), "bfloat16")


def _is_bf16(op: relax.Call) -> bool:
    return dtype_of(op.args[0]) == "bfloat16"


OPS: dict[str, Legalize] = {
    **{f"relax.nn.{name}_norm": attempt(_in_fp32, _is_bf16) for name in ("layer", "group", "instance")},
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
    "relax.nn.adaptive_avg_pool2d": attempt(_adaptive_mean, _uneven),
}
