"""The target tag `rigi1` and the chip's figures.

A TargetKind cannot be added from Python, so Rigi-1 is TVM's kind for external devices, `ext_dev`, with the model's name:
`Target("rigi1")` is `{"kind": "ext_dev", "model": "rigi1", "keys": ["rigi"], "host": "llvm"}`. The figures of the chip are not target
attributes; they come from the built-in chip file of the SDK by the model's name. An experiment's (`RIGI_CHIP`) is the emulator's alone.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODELS = ("rigi1",)


class ChipError(ValueError):
    """An unknown chip model, or a chip file that cannot be read."""


@dataclass(frozen=True)
class Chip:
    """What the compiler needs from the chip file. `path` is where the figures were read."""

    name: str
    revision: str
    cores: int
    grid: tuple[int, int]
    sram_bytes: int
    line_bytes: int
    figures: dict[str, Any]
    path: Path


@cache
def sdk_root() -> Path:
    """The folder of the `sdk_sim` package: headers in `include`, chip files in `chips`, the library in `lib`. Imports nothing."""
    spec = find_spec("sdk_sim")
    if spec is None or not spec.submodule_search_locations:
        raise ChipError("the package sdk_sim is not importable; install the distribution `rigi` or put the repository on PYTHONPATH")
    return Path(next(iter(spec.submodule_search_locations)))


def check_model(model: str | None) -> None:
    """Raises ChipError for a model that there is no chip of."""
    if model not in MODELS:
        what = "a target of kind ext_dev that names no chip model" if model is None else f"unknown chip model {str(model)!r}"
        raise ChipError(f"{what}; this target knows: {', '.join(MODELS)}; use target={MODELS[0]!r}")


@cache
def chip(model: str = "rigi1") -> Chip:
    """Figures of a chip model from `sdk_sim/chips/<model>.toml`. Raises ChipError for a model without a chip file."""
    check_model(model)
    path = sdk_root() / "chips" / f"{model}.toml"
    try:
        figures = tomllib.loads(path.read_text())
        return Chip(
            name=figures["name"],
            revision=figures["revision"],
            cores=figures["grid"]["rows"] * figures["grid"]["cols"],
            grid=(figures["grid"]["rows"], figures["grid"]["cols"]),
            sram_bytes=figures["sram"]["bytes"],
            line_bytes=figures["sram"]["line_bytes"],
            figures=figures,
            path=path,
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ChipError(f"cannot read the chip file {path}: {error!r}") from error


def _load_native() -> None:
    """Loads what TVM finds by name: the module kind `rigi`, so that exported models can be loaded, and the device's memory for TVM's
    runtime (tensors, copies, the Relax VM), `device_api.ext_dev`."""
    import ctypes

    import tvm_ffi

    from . import runtime

    path = runtime.library_path().with_name("librigi_device_api.so")
    try:
        runtime._native()
        ctypes.CDLL(str(path))
    except (OSError, runtime.LoaderError) as error:
        reason = f"the device's memory is not known to TVM: {error}; build the native parts with apache-tvm installed (make build)"

        # Kernels compile all the same; what needs the device says why it cannot have it.
        @tvm_ffi.register_global_func("device_api.ext_dev", override=True)
        def missing() -> None:
            raise RuntimeError(reason)


_registered = False


def register() -> None:
    """Registers the tags, the lowering pipeline and the codegen with TVM. Safe to call again. Also the `tvm.backends` entry point."""
    global _registered
    if _registered:
        return
    _registered = True
    import tvm_ffi
    from tvm.target.tag import register_tag

    tvm_ffi.register_error("ChipError", ChipError)
    for model in MODELS:
        register_tag(model, {"kind": "ext_dev", "model": model, "keys": ["rigi"], "host": {"kind": "llvm"}})

    from . import model_cache, paged_cache, pipeline, relax_pipeline, tvmscript

    tvmscript.register()
    paged_cache.register()
    pipeline.register()
    relax_pipeline.register()
    model_cache.register()
    _load_native()

    # The codegen is imported at the first build, so that `import tvm` stays as quick as it was.
    @tvm_ffi.register_global_func("target.build.ext_dev", override=True)
    def build(mod: Any, target: Any) -> Any:
        from .codegen import build_module

        return build_module(mod, target)
