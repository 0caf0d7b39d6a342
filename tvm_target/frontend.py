"""From torch.export to Relax, with the meaning that torch gives to low precision.

`tvm.relax.frontend.torch.from_exported_program` alone compiles for Rigi-1 too, but for bf16 models it changes what is computed: every
product becomes fp32 and stays so, attention is taken apart into fp32 pieces (or, kept whole, loses its scale, grouped heads and bool
masks), SiLU into four elementwise steps. `from_torch` keeps these operators whole and their results in the model's own type, which is
what the packaged kernels compute.

    exported = torch.export.export(model.eval(), (ids,), dynamic_shapes=({1: torch.export.Dim("tokens", max=2048)},))
    module, parameters = from_torch(exported)
    executable = tvm.compile(module, target="rigi1")           # main(*inputs, *parameters)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import sympy
import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

ALIGNMENT = 64  # bytes; what TVM asks of memory that it borrows
_aten = torch.ops.aten
SWAP_LENGTH_AND_HEADS = (0, 2, 1, 3)
WHOLE = (_aten.linear.default, _aten.matmul.default, _aten.scaled_dot_product_attention.default, _aten.silu.default)


def from_torch(exported: torch.export.ExportedProgram) -> tuple[tvm.IRModule, list[tvm.runtime.Tensor]]:
    """The Relax module of an exported program, and its parameters.

    The module's `main` takes the program's inputs, then the parameters, and gives the tuple of its outputs. The parameters are apart so
    that a compiled model does not depend on weights; buffers (tables of positions and the like) are constants.
    """
    table = torch.export.default_decompositions()
    for op in WHOLE:
        table.pop(op, None)
    exported = _aligned(exported.run_decompositions(table))
    converters = {
        "linear.default": _linear,
        "mm.default": _matmul,
        "bmm.default": _matmul,
        "matmul.default": _matmul,
        "addmm.default": _addmm,
        "slice.Tensor": _slice,
        "cumsum.default": _cumsum,
        "permute.default": lambda node, importer: _permuted(importer, *importer.retrieve_args(node)),
        "scaled_dot_product_attention.default": _attention,
    }
    module = from_exported_program(exported, keep_params_as_input=True, run_ep_decomposition=False, custom_convert_map=converters)
    main = module["main"]
    parameters = list(main.attrs["params"])
    module["main"] = main.without_attr("params")
    return module, parameters


def _aligned(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Tensors read from a file lie anywhere in it; TVM would copy them through NumPy, which has no bf16."""
    for tensors in (exported.state_dict, exported.constants):
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor) and tensor.data_ptr() % ALIGNMENT:
                copy = tensor.detach().clone()
                tensors[name] = torch.nn.Parameter(copy, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else copy
    return exported


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
    """torch's [batch, heads, length, width] to Relax's [batch, length, heads, width] and back."""
    schema = {argument.name: argument.default_value for argument in node.target._schema.arguments}
    schema |= dict(zip(schema, importer.retrieve_args(node))) | {name: importer.env.get(x, x) for name, x in node.kwargs.items()}
    if schema["dropout_p"]:
        raise ValueError(f"{node.name}: attention with dropout {schema['dropout_p']}; export the model after model.eval()")
    query, key, value, mask = (schema[name] for name in ("query", "key", "value", "attn_mask"))
    if len(query.ty.shape) != 4:
        raise ValueError(f"{node.name}: attention over {len(query.ty.shape)} dimensions; [batch, heads, length, width] is supported")
    emit = importer.block_builder.emit
    query, key, value = (_permuted(importer, x, SWAP_LENGTH_AND_HEADS) for x in (query, key, value))
    heads, groups = (int(x.ty.shape[2]) for x in (query, key))
    if groups != heads:
        key, value = (emit(relax.op.repeat(x, heads // groups, axis=2)) for x in (key, value))
    if mask is not None:
        mask = _bias(mask, query, importer)
    causal = "TopLeft" if schema["is_causal"] else None
    scale = None if schema["scale"] is None else tvm.tirx.FloatImm("float32", schema["scale"])
    out = emit(relax.op.nn.attention(query, key, value, bias=mask, scale=scale, causal_mask=causal))
    return _permuted(importer, out, SWAP_LENGTH_AND_HEADS)


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
