"""How single operators of torch are said in Relax, where TVM's importer would say something else or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import sympy
import torch
import tvm
from tvm import relax

SWAP_LENGTH_AND_HEADS = (0, 2, 1, 3)

# Converters: (node of the graph, importer) -> Relax variable. `retrieve_args` gives the values behind a node's arguments.


def _matmul(node: torch.fx.Node, importer: Any) -> relax.Var:
    x, y = importer.retrieve_args(node)
    return importer.block_builder.emit(relax.op.matmul(x, y))


def _addmm(node: torch.fx.Node, importer: Any) -> relax.Var:
    if any(node.kwargs.get(name, 1) != 1 for name in ("alpha", "beta")):
        return importer._addmm(node)
    bias, x, y = importer.retrieve_args(node)
    return importer.block_builder.emit(relax.op.add(importer.block_builder.emit(relax.op.matmul(x, y)), bias))


def _linear(node: torch.fx.Node, importer: Any) -> relax.Var:
    return importer.block_builder.emit(relax.op.linear(*importer.retrieve_args(node)))


def _slice(node: torch.fx.Node, importer: Any) -> relax.Var:
    """A slice whose bounds torch has proved to lie inside: Relax would keep a minimum in its shape, or lose the shape."""
    given = importer.retrieve_args(node)
    x, dim, start, end, step = given + (0, None, None, 1)[len(given) - 1 :]
    source, start = node.args[0].meta["val"], start or 0
    dim %= source.ndim
    size = x.ty.shape[dim]
    to_end = end is None or (isinstance(end, int) and end == sys.maxsize)
    last = source.shape[dim] if to_end else node.args[3].meta["val"] if isinstance(node.args[3], torch.fx.Node) else end
    if step != 1 or not isinstance(start, int):
        return importer._slice(node)
    first = _symbolic(source.shape[dim]) + start if start < 0 else sympy.Integer(start)
    if _symbolic(node.meta["val"].shape[dim]) != _symbolic(last) - first:
        return importer._slice(node)
    if first == 0 and _symbolic(source.shape[dim]) == _symbolic(last):
        return x
    begin, end = size + start if start < 0 else start, size if to_end else end
    return importer.block_builder.emit(relax.op.strided_slice(x, [dim], [begin], [end], [1], assume_inbound=True))


def _symbolic(size: int | torch.SymInt) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


def _cumsum(node: torch.fx.Node, importer: Any) -> relax.Var:
    x, dim = importer.retrieve_args(node)[:2]
    return importer.block_builder.emit(relax.op.cumsum(x, dim, importer._convert_data_type(node.meta["val"].dtype)))


def _attention(node: torch.fx.Node, importer: Any) -> relax.Var:
    """torch's [batch, heads, length, width] to Relax's [batch, length, heads, width] and back. Without heads there is one."""
    schema = {argument.name: argument.default_value for argument in node.target._schema.arguments}
    schema |= dict(zip(schema, importer.retrieve_args(node))) | {name: importer.env.get(x, x) for name, x in node.kwargs.items()}
    if schema["dropout_p"]:
        raise ValueError(f"{node.name}: attention with dropout {schema['dropout_p']}; export the model after model.eval()")
    emit = importer.block_builder.emit
    given = list(schema["query"].ty.shape)
    query, key, value = (_four_dimensions(schema[name], importer) for name in ("query", "key", "value"))
    mask = schema["attn_mask"]
    query, key, value = (_permuted(importer, x, SWAP_LENGTH_AND_HEADS) for x in (query, key, value))
    heads, groups = (int(x.ty.shape[2]) for x in (query, key))
    if groups != heads:
        key, value = (emit(relax.op.repeat(x, heads // groups, axis=2)) for x in (key, value))
    if mask is not None:
        mask = _four_dimensions(_bias(mask, query, importer), importer)
    causal = "TopLeft" if schema["is_causal"] else None
    scale = None if schema["scale"] is None else tvm.tirx.FloatImm("float32", schema["scale"])
    out = emit(relax.op.nn.attention(query, key, value, bias=mask, scale=scale, causal_mask=causal))
    out = _permuted(importer, out, SWAP_LENGTH_AND_HEADS)
    return out if len(given) == 4 else emit(relax.op.reshape(out, [*given[:-1], out.ty.shape[3]]))


def _four_dimensions(x: relax.Var, importer: Any) -> relax.Var:
    """[batch, heads, length, width] of any number of leading dimensions: all but the last are one batch."""
    shape = list(x.ty.shape)
    if len(shape) == 4:
        return x
    *batch, heads = [*shape[:-2], 1] if len(shape) < 4 else shape[:-2]
    total: Any = tvm.tirx.IntImm("int64", 1)
    for size in batch:
        total = total * size
    return importer.block_builder.emit(relax.op.reshape(x, [total, heads, *shape[-2:]]))


def _permuted(importer: Any, x: relax.Var, axes: Sequence[int]) -> relax.Var:
    """A permutation; of what is itself one, both at once, and none if they undo each other."""
    axes = [axis % len(axes) for axis in axes]
    before = importer.block_builder.lookup_binding(x)
    if isinstance(before, relax.Call) and before.op == tvm.ir.Op.get("relax.permute_dims") and before.attrs.axes:
        x, axes = before.args[0], [int(before.attrs.axes[axis]) for axis in axes]
    if axes == sorted(axes):
        return x
    return importer.block_builder.emit(relax.op.permute_dims(x, axes))


def _bias(mask: relax.Var, query: relax.Var, importer: Any) -> relax.Var:
    """What is added to the scores, in the type of `query`. A bool mask says what may be seen; the rest gets the lowest finite value."""
    if mask.ty.dtype != "bool":
        return mask
    dtype = str(query.ty.dtype)
    lowest = relax.const(torch.finfo(getattr(torch, dtype)).min, dtype)
    return importer.block_builder.emit(relax.op.where(mask, relax.const(0, dtype), lowest))


def _reduced(op: Any) -> Any:
    """amax and amin over any dimensions; prod over one."""

    def convert(node: torch.fx.Node, importer: Any) -> relax.Var:
        x, *rest = importer.retrieve_args(node)
        rest = [*rest, *((), False)[len(rest) :]]
        return importer.block_builder.emit(op(x, rest[0] if rest[0] != () and rest[0] != [] else None, rest[1]))

    return convert


def _shift(op: Any) -> Any:
    def convert(node: torch.fx.Node, importer: Any) -> relax.Var:
        x, by = importer.retrieve_args(node)
        return importer.block_builder.emit(op(x, relax.const(by, x.ty.dtype) if isinstance(by, int) else by))

    return convert


def _clamp(node: torch.fx.Node, importer: Any) -> relax.Var:
    """The importer puts an infinity for a limit that is not there, which integers do not have."""
    x, *limits = importer.retrieve_args(node)
    limits += [node.kwargs.get(name) for name in ("min", "max")[len(limits) :]]
    for limit, op in zip(limits, (relax.op.maximum, relax.op.minimum)):
        if limit is not None:
            bound = limit if isinstance(limit, relax.Expr) else relax.const(limit, x.ty.dtype)
            x = importer.block_builder.emit(op(x, bound))
    return x


def _empty(node: torch.fx.Node, importer: Any) -> relax.Var:
    """Zeros: nobody may read what is there, but what is not written may be multiplied by zero."""
    shape, dtype = importer.retrieve_args(node)[0], importer._convert_data_type(node.meta["val"].dtype)
    return importer.block_builder.emit(relax.op.zeros(relax.ShapeExpr(list(shape)), dtype))


def _rsub(node: torch.fx.Node, importer: Any) -> relax.Var:
    x, y = importer.retrieve_args(node)[:2]
    if node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:
        raise ValueError(f"{node.name}: rsub with alpha is not supported; multiply before")
    y = y if isinstance(y, relax.Expr) else relax.const(y, x.ty.dtype)
    return importer.block_builder.emit(relax.op.subtract(y, x))


def _divide(node: torch.fx.Node, importer: Any) -> relax.Var:
    """Division with a rounding; the importer's takes numbers for int32. Relax divides integers as C does."""
    x, y = importer.retrieve_args(node)[:2]
    mode = "floor" if "floor_divide" in str(node.target) else node.kwargs.get("rounding_mode")
    dtype = str((x if isinstance(x, relax.Expr) else y).ty.dtype)
    x, y = (v if isinstance(v, relax.Expr) else relax.const(v, dtype) for v in (x, y))
    emit = importer.block_builder.emit
    if "float" not in dtype:
        return emit(relax.op.floor_divide(x, y) if mode == "floor" else relax.op.divide(x, y))
    quotient = emit(relax.op.divide(x, y))
    return emit({"floor": relax.op.floor, "trunc": relax.op.trunc}[mode](quotient)) if mode else quotient


# torch's names of what happens to values that meet in one place, and Relax's.
_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "mean": "mean"}


def _scatter(reduction: str | None) -> Any:
    """torch reads as many elements of the source as there are indices; Relax wants both of one shape."""

    def convert(node: torch.fx.Node, importer: Any) -> relax.Var:
        x, axis, index, source, *how = importer.retrieve_args(node)
        how = how or [node.kwargs.get("reduce")]
        if how[0] == "mean" or node.kwargs.get("include_self") is False:
            raise ValueError(
                f"{node.name}: scatter_reduce with {how[0]} and include_self={node.kwargs.get('include_self', True)} is not supported"
            )
        shape = list(index.ty.shape)
        ends = [k for k, (a, b) in enumerate(zip(source.ty.shape, shape)) if not tvm.sym.Analyzer().can_prove_equal(a, b)]
        if ends:
            begin, end = [0] * len(ends), [shape[k] for k in ends]
            source = importer.block_builder.emit(relax.op.strided_slice(source, ends, begin, end, assume_inbound=True))
        kind = reduction or _REDUCTIONS[how[0]]
        return importer.block_builder.emit(relax.op.scatter_elements(x, index, source, axis=axis, reduction=kind))

    return convert


def _indexed(importer: Any, x: relax.Var, indices: Sequence[relax.Var | None]) -> tuple[list[relax.Var], list[Any]]:
    """One index for each dimension of x, shaped so that all together name the elements of torch's result, and the result's shape.

    Dimensions without an index are counted through. Those with one become the dimensions of the indices' common shape, which stand where
    the first of them stood, or in front if they are not neighbours."""
    emit, shape = importer.block_builder.emit, list(x.ty.shape)
    given = {k: i for k, i in enumerate(indices) if i is not None}
    common: list[Any] = [tvm.tirx.IntImm("int64", 1)] * max(len(i.ty.shape) for i in given.values())
    for i in given.values():
        for place, size in enumerate(reversed(list(i.ty.shape)), 1):
            common[-place] = size if _is_one(common[-place]) else common[-place]
    first, last = min(given), max(given)
    before = first if len(given) == last - first + 1 else 0
    rest = [k for k in range(len(shape)) if k not in given]
    after = len(rest) - before
    result = [*(shape[k] for k in rest[:before]), *common, *(shape[k] for k in rest[before:])]
    full = []
    for k, size in enumerate(shape):
        if k in given:
            index, own = given[k], list(given[k].ty.shape)
            full.append(emit(relax.op.reshape(index, [*own, *[1] * after])) if after else index)
        else:
            place = rest.index(k) if rest.index(k) < before else rest.index(k) + len(common)
            counted = emit(relax.op.arange(relax.prim_value(0), size, relax.prim_value(1), "int64"))
            full.append(emit(relax.op.reshape(counted, [size, *[1] * (len(result) - 1 - place)])))
    return full, result


def _is_one(size: Any) -> bool:
    return isinstance(size, tvm.tirx.IntImm) and size.value == 1


def _index(node: torch.fx.Node, importer: Any) -> relax.Var:
    x, indices = importer.retrieve_args(node)
    given = [i for i in indices if i is not None]
    if len(given) == 1 or any(str(i.ty.dtype) == "bool" for i in given):
        return importer._index_tensor(node)
    return importer.block_builder.emit(relax.op.index_tensor(x, _indexed(importer, x, indices)[0]))


def _index_put(node: torch.fx.Node, importer: Any) -> relax.Var:
    x, indices, values, *accumulate = importer.retrieve_args(node)
    emit = importer.block_builder.emit
    given = [k for k, i in enumerate(indices) if i is not None]
    if any(str(indices[k].ty.dtype) == "bool" for k in given):
        return _masked_put(node, importer, x, indices, values, given, bool(accumulate and accumulate[0]))
    full, shape = _indexed(importer, x, indices)
    values = emit(relax.op.broadcast_to(values, shape))
    return emit(relax.op.index_put(x, relax.Tuple(full), values, bool(accumulate and accumulate[0])))


def _masked_put(
    node: torch.fx.Node, importer: Any, x: relax.Var, indices: Sequence[Any], values: relax.Var, given: list[int], accumulate: bool
) -> relax.Var:
    """x[mask] = one value, or one for each place behind the mask."""
    emit = importer.block_builder.emit
    mask = indices[given[0]]
    behind = len(x.ty.shape) - given[0] - len(mask.ty.shape)
    if len(given) > 1 or accumulate or not all(_is_one(size) for size in list(values.ty.shape)[: len(values.ty.shape) - behind]):
        raise ValueError(f"{node.name}: values put where a mask is set have to be one for all places; use torch.where or masked_scatter")
    if behind:
        mask = emit(relax.op.reshape(mask, [*mask.ty.shape, *[1] * behind]))
    return emit(relax.op.where(mask, values, x))


_SHIFTS = {
    **dict.fromkeys(("__lshift__", "bitwise_left_shift"), relax.op.left_shift),
    **dict.fromkeys(("__rshift__", "bitwise_right_shift"), relax.op.right_shift),
}


def _grid_sample(node: torch.fx.Node, importer: Any) -> relax.Var:
    """torch's grid is [batch, height, width, 2], Relax's has the two coordinates before the places."""
    emit = importer.block_builder.emit
    x, grid, interpolation, padding, align_corners = importer.retrieve_args(node)
    method, mode = ("bilinear", "nearest", "bicubic")[interpolation], ("zeros", "border", "reflection")[padding]
    grid = emit(relax.op.permute_dims(grid, [0, 3, 1, 2]))
    return emit(relax.op.image.grid_sample(x, grid, method=method, layout="NCHW", padding_mode=mode, align_corners=align_corners))


CONVERTERS: dict[str, Callable[[torch.fx.Node, Any], relax.Var]] = {
    "linear.default": _linear,
    "mm.default": _matmul,
    "bmm.default": _matmul,
    "matmul.default": _matmul,
    "addmm.default": _addmm,
    "slice.Tensor": _slice,
    "cumsum.default": _cumsum,
    "permute.default": lambda node, importer: _permuted(importer, *importer.retrieve_args(node)),
    "scaled_dot_product_attention.default": _attention,
    "amax.default": _reduced(relax.op.max),
    "amin.default": _reduced(relax.op.min),
    "prod.dim_int": _reduced(relax.op.prod),
    "scatter.src": _scatter("update"),
    "scatter_add.default": _scatter("add"),
    "scatter_reduce.two": _scatter(None),
    **{f"{name}.{kind}": _shift(op) for name, op in _SHIFTS.items() for kind in ("Scalar", "Tensor", "Tensor_Scalar")},
    **dict.fromkeys(("floor_divide.default", "div.Tensor_mode", "div.Scalar_mode"), _divide),
    **dict.fromkeys(("rsub.Scalar", "rsub.Tensor"), _rsub),
    **dict.fromkeys(("empty.memory_format", "empty_permuted.default"), _empty),
    **dict.fromkeys(("clamp.default", "clamp.Tensor"), _clamp),
    "grid_sampler_2d.default": _grid_sample,
    "index.Tensor": _index,
    "index_put.default": _index_put,
    "index_put_.default": _index_put,
}
