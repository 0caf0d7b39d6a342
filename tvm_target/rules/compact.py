"""Parameters as the chip's functions take them: compact tensors that begin where their pointer says."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Var, prim
from tvm.tirx.buffer import is_buffer_var


def compact_parameters(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """`func` with buffers whose first element has no offset of its own. Bodies made by te.extern (scans, sorts, scatters) allow one."""
    new: dict[Any, Any] = {}
    for param in func.params:
        if not is_buffer_var(param) or param.elem_offset is None or isinstance(param.elem_offset, prim.IntImm):
            continue
        new[param] = tirx.decl_buffer(param.shape, param.dtype, param.name, strides=param.strides or None, scope=param.scope())
    if not new:
        return func
    body = tvm_ffi.structural_map(func.body, (Var, lambda v: new.get(v, v) if is_buffer_var(v) else v))
    return tirx.PrimFunc([new.get(p, p) for p in func.params], body, func.ret_type, func.attrs)
