"""`target.build.ext_dev`: device functions to a runtime module that holds a packed Rigi-1 image."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi

from ..compiler import compile_source
from ..packing import manifest, pack
from ..target import MODELS, Chip, chip
from .errors import CodegenError
from .source import kernel_facts, print_module


def model_of(target: Any) -> Chip:
    """The chip of an `ext_dev` target. Raises CodegenError for a model that is not ours."""
    model = target.attrs.get("model", None)
    if model is None or str(model) not in MODELS:
        named = "no model" if model is None else f"the model {str(model)!r}"
        raise CodegenError(
            f"the target {target} has {named}; this codegen builds for: {', '.join(MODELS)} (write Target('rigi1'), "
            "or {'kind': 'ext_dev', 'model': 'rigi1', 'keys': ['rigi'], 'host': 'llvm'})"
        )
    return chip(str(model))


def build_module(mod: tvm.IRModule, target: Any) -> tvm_ffi.Module:
    """Prints, compiles and packs all functions of `mod`; returns the runtime module of kind `rigi`."""
    figures = model_of(target)
    functions = {gv.name_hint: func for gv, func in mod.functions.items()}
    source, kernels = print_module(functions, figures)
    about = manifest(figures, source, [kernel_facts(k) for k in kernels])
    image = pack(figures, about, compile_source(source))
    from .. import runtime

    return runtime.create_module(image, source, about)
