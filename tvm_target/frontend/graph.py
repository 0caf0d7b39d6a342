"""An exported program made ready for TVM's importer: operators that it knows, types that it need not guess, memory that it can borrow."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.fx import Node
from torch.fx.node import map_arg

from .decompositions import DECOMPOSITIONS, custom

ALIGNMENT = 64  # bytes; what TVM asks of memory that it borrows
ROUNDS = 8  # what an operator is taken apart into may have to be taken apart
_aten = torch.ops.aten
_CONDITIONS = ("condition", "mask")  # arguments whose type says nothing about the result's


def prepared(exported: torch.export.ExportedProgram, whole: Collection[Any], known: Collection[str]) -> torch.export.ExportedProgram:
    """The program in operators named in `known` as far as possible; those in `whole` are not taken apart."""
    table = torch.export.default_decompositions()
    for op in whole:
        table.pop(op, None)
    table.update(DECOMPOSITIONS)
    exported = exported.run_decompositions(table)
    tried: set[Any] = set()
    for _ in range(ROUNDS):
        unknown = {n.target for n in _calls(exported) if n.target.__name__ not in known} - tried
        further = {op: function for op in unknown if (function := _decomposition(op)) is not None}
        if not further:
            break
        exported = exported.run_decompositions(DECOMPOSITIONS | further)
        tried |= unknown
    _promote(exported)
    return _aligned(exported)


def _calls(exported: torch.export.ExportedProgram) -> list[Node]:
    return [node for node in exported.graph.nodes if node.op == "call_function"]


def _decomposition(op: Any) -> Callable[..., Any] | None:
    return custom(op) or decomposition_table.get(op)


def _promote(exported: torch.export.ExportedProgram) -> None:
    """Casts where torch widens operands by itself. The importer gives a number its tensor's type: integers times 0.5 would be 0."""
    for node in _calls(exported):
        wanted = _common_type(node)
        if wanted is None:
            continue

        def widened(x: Any, node: Node = node, wanted: torch.dtype = wanted) -> Any:
            value = x.meta.get("val")
            if not isinstance(value, torch.Tensor) or value.dtype == wanted:
                return x
            with exported.graph.inserting_before(node):
                cast = exported.graph.call_function(_aten._to_copy.default, (x,), {"dtype": wanted})
            cast.meta["val"] = value.to(wanted)
            return cast

        names = [a.name for a in node.target._schema.arguments]
        node.args = tuple(x if name in _CONDITIONS else map_arg(x, widened) for name, x in zip(names, node.args))


def _common_type(node: Node) -> torch.dtype | None:
    """The type in which an elementwise operator computes; None if its operands may stay as they are."""
    value = node.meta.get("val")
    pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
    if not isinstance(value, torch.Tensor) or not (pointwise or node.target == _aten.cat.default) or node.target == _aten._to_copy.default:
        return None
    if value.dtype != torch.bool:
        return None if value.dtype.is_complex else value.dtype
    operands = [x.meta.get("val") if isinstance(x, Node) else x for x in node.args[:2]]
    if len(operands) < 2 or not all(isinstance(x, (torch.Tensor, int, float)) for x in operands) or "logical" in str(node.target):
        return None
    return torch.result_type(*operands)


def _aligned(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Tensors read from a file lie anywhere in it; TVM would copy them through NumPy, which has no bf16."""
    for tensors in (exported.state_dict, exported.constants):
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor) and tensor.data_ptr() % ALIGNMENT:
                copy = tensor.detach().clone()
                tensors[name] = torch.nn.Parameter(copy, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else copy
    return exported
