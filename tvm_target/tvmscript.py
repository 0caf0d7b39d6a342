"""TVMScript beside this target: macros that find their parser quickly, and virtual devices by the chip's name.

TVM looks for the parser of a macro (`T.inline`) with `inspect.getouterframes`, which wants the module and the source of every frame, and
for those that have none searches all modules of the process. Beside torch and transformers that is a tenth of a second a call, half of the
time in which a model compiles. And it knows a virtual device by the kind of its target alone, here TVM's `ext_dev`; one that is not in the
module's list it gives as none, which ends the process when the module is printed or compiled.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tvm.script.ir_builder.ir import ir as builder
from tvm.script.parser.core.parser import ScriptMacro

from .target import MODELS

_find_vdevice = builder._ffi_api.LookupVDevice


def _parser(self: ScriptMacro) -> Any:
    """The parser in whose evaluation this macro is called: in the globals of the nearest frame that has one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = frame.f_globals.get(self.parser_object_name)
        if found is not None:
            return found
        frame = frame.f_back
    raise RuntimeError("a macro (T.inline) is called outside of TVMScript; only kernels can call it, while they are parsed")


def _vdevice(kind: str | None, index: int) -> Any:
    """The index-th virtual device of a kind, or of a chip by its name, in the list of the module that is being built."""
    found = _find_vdevice("ext_dev" if kind in MODELS else kind, index)
    if found is None and kind is not None:
        raise ValueError(
            f"the module has no virtual device {kind}:{index}; list it in I.module_global_infos, as "
            f'{{"vdevice": [I.vdevice("{kind}")]}}, and count from 0 those of one kind'
        )
    return found


def register() -> None:
    """Puts both in the place of TVM's. Safe to call again."""
    ScriptMacro._find_parser_def = _parser
    builder._ffi_api.LookupVDevice = _vdevice
