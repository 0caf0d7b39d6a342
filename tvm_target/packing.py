"""Device binaries: the manifest and the image, made by the SDK's own packer."""

from __future__ import annotations

import ctypes
import json
import os
import re
from functools import cache
from typing import Any

from .compiler import compiler_version, find_compiler, source_hash
from .target import Chip, sdk_root


class PackError(RuntimeError):
    """The SDK's library is missing or refused to pack."""


@cache
def sdk_version() -> str:
    """RIGI_SDK_VERSION of the headers in use."""
    found = re.search(r'#define\s+RIGI_SDK_VERSION\s+"([^"]+)"', (sdk_root() / "include" / "rigi.h").read_text())
    if found is None:
        raise PackError("rigi.h does not say RIGI_SDK_VERSION")
    return found.group(1)


def manifest(chip: Chip, source: str, kernels: list[dict[str, Any]], config: dict[str, Any] | None = None) -> str:
    """The manifest of a module as JSON: chip, revision, sdk, kernels, config, source_hash, compiler."""
    about = {
        "chip": chip.name,
        "revision": chip.revision,
        "sdk": sdk_version(),
        "kernels": kernels,
        "config": config or {},
        "source_hash": source_hash(source),
        "compiler": compiler_version(find_compiler(os.environ.get("CXX"))),
    }
    return json.dumps(about)


@cache
def _library() -> ctypes.CDLL:
    path = sdk_root() / "lib" / "librigi.so"
    if not path.exists():
        raise PackError(f"{path} does not exist; build the native parts first (make build)")
    library = ctypes.CDLL(str(path))
    library.rigiGetLastErrorString.restype = ctypes.c_char_p
    return library


def pack(chip: Chip, about: str, code: bytes) -> bytes:
    """A module image from a manifest and a shared object that exports `rigi_module`."""
    library = _library()
    image, size = ctypes.c_void_p(), ctypes.c_size_t()
    head = [text.encode() for text in (chip.name, chip.revision, about)]
    status = library.rigiModulePack(*head, code, ctypes.c_size_t(len(code)), ctypes.byref(image), ctypes.byref(size))
    if status != 0:
        raise PackError(f"rigiModulePack: {library.rigiGetLastErrorString().decode()}")
    try:
        return ctypes.string_at(image, size.value)
    finally:
        free = ctypes.CDLL(None).free
        free.argtypes = [ctypes.c_void_p]
        free(image)
