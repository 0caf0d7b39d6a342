"""Codegen: device functions to C++ against `rigi_kernel.h`, and to a module.

One file an idea: `context` (names and buffers of a kernel), `expr` and `stmt` (the sequencer), `instr` (the engines), `phases` (barriers),
`sram` (scratchpad), `kernel` (one function), `source` (the file), and `build_module`, which TVM calls as `target.build.ext_dev`.
Nothing here knows an operator by name.
"""

from __future__ import annotations

from .errors import CodegenError
from .module import build_module
from .source import print_module

__all__ = ["CodegenError", "build_module", "print_module"]
