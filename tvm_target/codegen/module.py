"""`target.build.ext_dev`: device functions to a runtime module that holds a packed Rigi-1 image."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi

from ..compiler import compile_source
from ..packing import manifest, pack
from ..target import chip
from .source import kernel_facts, print_module


def build_module(mod: tvm.IRModule, target: Any) -> tvm_ffi.Module:
    """Prints, compiles and packs all functions of `mod`; returns the runtime module of kind `rigi`."""
    figures = chip(target.attrs.get("model"))
    functions = {gv.name_hint: func for gv, func in mod.functions.items()}
    source, kernels = print_module(functions, figures)
    about = manifest(figures, source, [kernel_facts(k) for k in kernels])
    image = pack(figures, about, compile_source(source))
    from .. import runtime

    return runtime.create_module(image, source, about)
