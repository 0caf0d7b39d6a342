"""From torch.export to Relax, with the meaning that torch gives to it.

`tvm.relax.frontend.torch.from_exported_program` alone compiles for Rigi-1 too, but for bf16 models it changes what is computed: every
product becomes fp32 and stays so, attention is taken apart into fp32 pieces (or, kept whole, loses its scale, grouped heads and bool
masks), SiLU into four elementwise steps. `from_torch` keeps these operators whole and their results in the model's own type, which is
what the packaged kernels compute. It also takes operators that the importer does not know apart (`decompositions`), and writes down what
torch does to types by itself (`graph`).

    exported = torch.export.export(model.eval(), (ids,), dynamic_shapes=({1: torch.export.Dim("tokens", max=2048)},))
    module, parameters = from_torch(exported)
    executable = tvm.compile(module, target="rigi1")           # main(*inputs, *parameters)
"""

from __future__ import annotations

from typing import Any

import torch
import tvm
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from . import narrow, operators
from .graph import prepared

__all__ = ["from_onnx", "from_torch"]


def from_onnx(model: Any, **options: Any) -> tvm.IRModule:
    """The Relax module of an ONNX model, as `tvm.relax.frontend.onnx.from_onnx` makes it, with older operators that it does not know."""
    from .onnx_models import from_onnx as run  # onnx is an extra of its own

    return run(model, **options)


_aten = torch.ops.aten
WHOLE = (_aten.linear.default, _aten.matmul.default, _aten.scaled_dot_product_attention.default, _aten.silu.default)


def from_torch(exported: torch.export.ExportedProgram) -> tuple[tvm.IRModule, list[tvm.runtime.Tensor]]:
    """The Relax module of an exported program, and its parameters.

    The module's `main` takes the program's inputs, then the parameters, and gives the tuple of its outputs. The parameters are apart so
    that a compiled model does not depend on weights; buffers (tables of positions and the like) are constants.
    """
    converters = {**narrow.CONVERTERS, **operators.CONVERTERS}
    known = {*ExportedProgramImporter().create_convert_map(), *converters}
    exported = prepared(exported, WHOLE, known)
    module = from_exported_program(exported, keep_params_as_input=True, run_ep_decomposition=False, custom_convert_map=converters)
    main = module["main"]
    parameters = list(main.attrs["params"])
    module["main"] = main.without_attr("params")
    return module, parameters
