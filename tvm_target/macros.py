"""TVMScript's macros (`T.inline`) find their parser without reading sources.

TVM looks for it with `inspect.getouterframes`, which wants the module and the source of every frame, and for those that have none searches
all modules of the process. Beside torch and transformers that is a tenth of a second a call, half of the time in which a model compiles.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tvm.script.parser.core.parser import ScriptMacro


def _parser(self: ScriptMacro) -> Any:
    """The parser in whose evaluation this macro is called: in the globals of the nearest frame that has one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = frame.f_globals.get(self.parser_object_name)
        if found is not None:
            return found
        frame = frame.f_back
    raise RuntimeError("a macro (T.inline) is called outside of TVMScript; only kernels can call it, while they are parsed")


def register() -> None:
    """Puts the search in the place of TVM's. Safe to call again."""
    ScriptMacro._find_parser_def = _parser
