"""TVM target `rigi1`: codegen, kernel dialect, tensor intrinsics, kernel library and packaging.

Lives here: everything that turns TIR into Rigi-1 modules. Nothing here may import torch or SGLang, and nothing under `runtime` may
import TVM, so this file stays light: TVM is touched only if the process has already imported it.
"""

from __future__ import annotations

import sys

if "tvm" in sys.modules and hasattr(sys.modules["tvm"], "compile"):
    from . import target

    target.register()
    del target
