"""The SDK of the Rigi-1 accelerator, emulated: devices, memory, streams, events, modules, launches, and simulated time.

`api` is the Python interface (its names are names of this package), `isa` the instructions as NumPy records, `_rigi` the C API one to
one. The C side is in `include` and `src`, the chip's figures in `chips`. Nothing here may know TVM, torch or SGLang. The native library
is loaded when the first name of `api` is used, so that the command line works while it is not built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *  # noqa: F403
    from .isa import INSTR_DTYPE

__all__ = [
    "INSTR_DTYPE",
    "Buffer",
    "Event",
    "Graph",
    "GraphExec",
    "Kernel",
    "Mode",
    "Module",
    "RigiError",
    "Status",
    "Stream",
    "allocations",
    "capture",
    "collective_cycles",
    "device_count",
    "get_mode",
    "launch",
    "launch_program",
    "malloc",
    "memory_info",
    "pack_module",
    "profiler",
    "properties",
    "range",
    "reset",
    "set_mode",
    "set_num_threads",
    "synchronize",
    "take_findings",
    "take_statistics",
    "trace",
    "version",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import api
    except ImportError as error:
        raise ImportError(f"the native part of {__name__} cannot be loaded ({error}); run `make build` in the checkout") from error
    for public in api.__all__:
        globals()[public] = getattr(api, public)
    globals()["INSTR_DTYPE"] = api.isa.INSTR_DTYPE
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
