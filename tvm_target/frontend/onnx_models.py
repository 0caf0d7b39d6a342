"""From ONNX to Relax: TVM's importer, after what it does not know of older models is said in newer terms.

Before version 10 the bounds of a Slice were attributes; the importer reads them from inputs, whatever the version. Softmax, LogSoftmax and
Hardmax of version 12 and older it flattens itself, but Hardmax along an axis whose size is a symbol, or a product of some, it refuses.
"""

from __future__ import annotations

from typing import Any

import onnx
import tvm
from onnx import helper
from tvm import relax
from tvm.relax.frontend import onnx as frontend
from tvm.relax.frontend.onnx import onnx_frontend


def from_onnx(model: onnx.ModelProto, **options: Any) -> tvm.IRModule:
    """The Relax module of an ONNX model; `options` are those of `tvm.relax.frontend.onnx.from_onnx`. The model stays as it is."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _inputs_of_slices(prepared.graph)
    return frontend.from_onnx(prepared, **options)


def _inputs_of_slices(graph: onnx.GraphProto) -> None:
    for number, node in enumerate(graph.node):
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for inner in given.values():
            if isinstance(inner, onnx.GraphProto):
                _inputs_of_slices(inner)
        if node.op_type != "Slice" or "starts" not in given:
            continue
        given.setdefault("axes", list(range(len(given["starts"]))))
        for name in ("starts", "ends", "axes"):
            place = f"{node.output[0]}_slice{number}_{name}"
            graph.initializer.append(helper.make_tensor(place, onnx.TensorProto.INT64, [len(given[name])], given[name]))
            node.input.append(place)
        del node.attribute[:]


def _hardmax(_importer: Any, builder: relax.BlockBuilder, data: relax.Expr, axis: int) -> relax.Expr:
    """1 where the first largest element of the axis is, else 0; the axis may have any size."""
    data = builder.normalize(data)
    shape = list(data.ty.shape.values)
    axis %= len(shape)
    places = relax.op.arange(0, shape[axis], 1, "int64")
    places = relax.op.reshape(places, [shape[axis] if k == axis else 1 for k in range(len(shape))])
    return relax.op.astype(relax.op.equal(places, relax.op.argmax(data, axis, keepdims=True)), data.ty.dtype)


onnx_frontend.Hardmax._hardmax_impl = classmethod(_hardmax)
