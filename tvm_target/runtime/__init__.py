"""Packaged kernels without TVM: loads what `rigi build` or `export_library` wrote, with tvm-ffi alone.

Imports neither TVM nor torch. `load(path)` gives a module whose functions take tensors of a Rigi device (anything with DLPack, device type
kDLExtDev), integers and floats, check them, and launch on the current stream of that device without waiting.
"""

from __future__ import annotations

import ctypes
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import tvm_ffi

from . import integrity

__all__ = ["LoaderError", "create_module", "library_path", "load", "manifest", "manifests"]


class LoaderError(RuntimeError):
    """The loader's native part, or a module, cannot be loaded. The text says what to do."""


def library_path() -> Path:
    """Where librigi_tvm.so lies once it is built."""
    return Path(__file__).with_name("librigi_tvm.so")


@cache
def _native() -> ctypes.CDLL:
    path = library_path()
    if not path.exists():
        raise LoaderError(f"{path} does not exist; build the native parts first (make build)")
    try:
        # Loading it registers the module kind with tvm-ffi, and what compiled host code expects of a process without TVM.
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LoaderError(f"cannot load {path}: {error}; build the native parts again (make build)") from error


def load(path: str | os.PathLike[str]) -> tvm_ffi.Module:
    """A kernel library (`*.so`) as a tvm-ffi module: `load(path)["name"](tensors, ints, floats)`.

    Raises LoaderError if there is no such file or it is no kernel library. An image for another chip or SDK is refused at the first call,
    with a text that names both.
    """
    _native()
    path = Path(path)
    if not path.exists():
        raise LoaderError(f"{path} does not exist; build the kernels first (rigi build)")
    damage = integrity.damage(path)
    if damage is not None:
        raise LoaderError(f"{path} is damaged or no kernel library: {damage}; build the kernels again (rigi build --force)")
    try:
        return tvm_ffi.load_module(str(path.resolve()))
    except (RuntimeError, ValueError, OSError) as error:
        raise LoaderError(f"{path} is no kernel library that this version can load: {error}") from error


def create_module(image: bytes, source: str, about: str) -> tvm_ffi.Module:
    """A module of kind `rigi` from a packed image, its C++ source and its manifest (JSON)."""
    _native()
    return tvm_ffi.get_global_func("ffi.Module.create.rigi")(image, source, about)


def manifests(module: Any) -> list[dict[str, Any]]:
    """The manifests of all device code in a module and what it imports."""
    own = [json.loads(module.inspect_source("json"))] if module.kind == "rigi" else []
    return own + [about for part in module.imports for about in manifests(part)]


def manifest(module: Any) -> dict[str, Any]:
    """The manifest of the device code in a module: chip, revision, sdk, kernels, config, source_hash, compiler."""
    found = manifests(module)
    if not found:
        raise LoaderError(f"the module (kind {module.kind!r}) holds no Rigi kernels")
    return found[0]
