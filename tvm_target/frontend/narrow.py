"""Operators on 16-bit floats that TVM's importer computes in fp32 and leaves there: torch gives the result in the type of the input.

Convolutions take their operands as they are and sum in fp32; the bias is added there, before the one rounding. Normalizations may have
parameters and statistics of another type than the input; all are widened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tvm import relax

NARROW = ("float16", "bfloat16")
Converter = Callable[[torch.fx.Node, Any], Any]


def _in_fp32(method: str, widened: slice) -> Converter:
    """The importer's `method` with those of the node's arguments that `widened` names in fp32, and its results as torch types them."""

    def convert(node: torch.fx.Node, importer: Any) -> Any:
        own: Any = getattr(importer, method)
        tensors = [a for a in node.args if isinstance(a, torch.fx.Node) and isinstance(importer.env.get(a), relax.Expr)]
        if not any(str(importer.env[a].ty.dtype) in NARROW for a in tensors):
            return own(node)
        before = {a: importer.env[a] for a in node.args[widened] if a in tensors}
        try:
            for a, value in before.items():
                if str(value.ty.dtype) in NARROW:
                    importer.env[a] = importer.block_builder.emit(relax.op.astype(value, "float32"))
            return _typed(own(node), node.meta["val"], importer)
        finally:
            importer.env.update(before)

    return convert


def _typed(result: Any, like: Any, importer: Any) -> Any:
    """A result in the type of torch's; of a tuple that TVM gives as one tensor, the first is that."""
    if isinstance(result.ty, relax.TensorType):
        dtype = str((like if isinstance(like, torch.Tensor) else like[0]).dtype).removeprefix("torch.")
        return result if str(result.ty.dtype) == dtype else importer.block_builder.emit(relax.op.astype(result, dtype))
    emit = importer.block_builder.emit
    return emit(relax.Tuple([_typed(emit(relax.TupleGetItem(result, k)), part, importer) for k, part in enumerate(like)]))


_SUMS = {
    "convolution.default": "_convolution",
    "conv1d.default": "_conv1d",
    "conv2d.default": "_conv2d",
    "conv3d.default": "_conv3d",
    "conv_transpose1d.default": "_conv_transpose1d",
    "conv_transpose2d.input": "_conv_transpose2d",
}
_NORMS = {
    "batch_norm.default": "_batch_norm_legit_no_training",
    "_native_batch_norm_legit_no_training.default": "_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional.default": "_batch_norm_legit_functional",
    "_native_batch_norm_legit.no_stats": "_batch_norm_legit_no_stats",
    "native_group_norm.default": "_native_group_norm",
    "group_norm.default": "_group_norm",
    "instance_norm.default": "_instance_norm",
}
CONVERTERS: dict[str, Converter] = {
    **{name: _in_fp32(method, slice(2, 3)) for name, method in _SUMS.items()},  # the bias
    **{name: _in_fp32(method, slice(None)) for name, method in _NORMS.items()},
}
