"""The error of a kernel that cannot be turned into a Rigi-1 module."""

from __future__ import annotations

import tvm_ffi


@tvm_ffi.register_error
class CodegenError(ValueError):
    """The text names the kernel, the construct, the limit and what to use instead. It keeps its type on its way through TVM."""
