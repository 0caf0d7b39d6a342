"""The packaged kernels: the index that `rigi build` writes, which kernel serves which sizes, and loading.

Modules load without TVM, through `tvm_target.runtime`. A module built for another chip, revision or SDK is refused.
"""

import importlib.util
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sglang_ext import _C
from sglang_ext.shapes import dtype_name


@dataclass(eq=False)
class Kernel:
    """One packaged kernel: an entry of index.json."""

    op: str
    name: str
    dtype: str
    config: dict[str, Any]
    limits: dict[str, tuple[int | None, int | None]]  # size -> smallest, largest; "<size>_multiple" -> it must be a multiple of the first
    path: Path
    symbol: str
    built_for: tuple[str, str, str]  # chip, revision, SDK version
    source_hash: str = ""
    _function: Callable[..., Any] | None = field(default=None, repr=False)

    def fits(self, sizes: Mapping[str, int]) -> bool:
        for name, (low, high) in self.limits.items():
            if name.endswith("_multiple"):
                if sizes[name.removesuffix("_multiple")] % (low or 1):
                    return False
                continue
            size = sizes[name]
            if (low is not None and size < low) or (high is not None and size > high):
                return False
        return True

    def function(self) -> Callable[..., Any]:
        """The kernel's host function, loaded at first use: tensors and numbers in, launched on torch's current stream."""
        if self._function is None:
            with _lock:
                if self._function is None:
                    self._function = _load(self)
        return self._function

    @property
    def limits_text(self) -> str:
        return ", ".join(_limit_text(name, *limit) for name, limit in self.limits.items()) or "any size"


def _limit_text(name: str, low: int | None, high: int | None) -> str:
    if name.endswith("_multiple"):
        return f"{name.removesuffix('_multiple')} % {low} = 0"
    if low == high:
        return f"{name} = {low}"
    if high is None or high >= 1 << 31:
        return f"{name} >= {low}"
    return f"{name} <= {high}" if low in (None, 0, 1) else f"{name} {low}..{high}"


class KernelsMissing(RuntimeError):
    """The packaged kernels are not there, or not for this chip."""


MAX_CHOICES = 16384  # remembered (op, dtype, sizes) -> kernel

_lock = threading.RLock()
_index: dict[str, list[Kernel]] | KernelsMissing | None = None
_modules: dict[Path, Any] = {}
_added: list[Path] = []  # folders besides the packaged one; later ones come first
_choices: dict[tuple[Any, ...], Kernel | None] = {}


def folder() -> Path:
    """Where the packaged kernels are: RIGI_MODULES, or `modules` in the package tvm_target (found, not imported)."""
    if named := os.environ.get("RIGI_MODULES"):
        return Path(named)
    spec = importlib.util.find_spec("tvm_target")
    if spec is None or not spec.submodule_search_locations:
        raise KernelsMissing(
            "package tvm_target is not installed, so there are no packaged kernels; set RIGI_MODULES to a folder that `rigi build` made"
        )
    return Path(spec.submodule_search_locations[0]) / "modules"


def index() -> dict[str, list[Kernel]]:
    """Packaged kernels by op, in table order; read once, and so is their absence, until `reload`. Raises KernelsMissing."""
    global _index
    if _index is None:
        with _lock:
            if _index is None:
                _index = _read_all()
    if isinstance(_index, KernelsMissing):
        raise _index.with_traceback(None)
    return _index


def _read_all() -> dict[str, list[Kernel]] | KernelsMissing:
    try:
        result = read_index(folder())
    except KernelsMissing as error:
        if not _added:
            return error
        result = {}
    for where in _added:
        for op, found in read_index(where).items():
            result[op] = found + result.get(op, [])
    return result


def add_folder(where: Path) -> None:
    """Serves also the kernels of `where`, before those packaged and those added earlier. Raises KernelsMissing if it has no index."""
    read_index(where)
    with _lock:
        if where in _added:
            _added.remove(where)
        _added.append(where)
    reload()


def reload() -> None:
    """Forgets the index and the loaded modules."""
    global _index
    with _lock:
        _index = None
        _modules.clear()
        _choices.clear()


def read_index(where: Path) -> dict[str, list[Kernel]]:
    """Reads `where`/index.json. Raises KernelsMissing if it isn't there or can't be understood."""
    file = where / "index.json"
    try:
        entries = json.loads(file.read_text())
    except FileNotFoundError:
        raise KernelsMissing(
            f"no packaged kernels: {file} does not exist. Run `rigi build` (or set RIGI_MODULES to the folder they are in)"
        ) from None
    except (OSError, ValueError) as error:
        raise KernelsMissing(f"{file} cannot be read: {error}. Run `rigi build` again") from error
    if isinstance(entries, dict):
        entries = entries.get("kernels", entries.get("entries", []))
    result: dict[str, list[Kernel]] = {}
    for entry in entries:
        try:
            kernel = Kernel(
                op=entry["op"],
                name=entry["name"],
                dtype=entry["dtype"],
                config=entry.get("config", {}),
                limits={name: (limit[0], limit[1]) for name, limit in entry.get("limits", {}).items()},
                path=where / entry["file"],
                symbol=entry["function"],
                built_for=(entry["chip"], entry["revision"], entry["sdk"]),
                source_hash=entry.get("source_hash", ""),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise KernelsMissing(f"{file}: entry {entry} is not a kernel ({error!r}). Run `rigi build` again") from error
        result.setdefault(kernel.op, []).append(kernel)
    return result


def find(op: str, dtype: torch.dtype, sizes: Mapping[str, int]) -> Kernel | None:
    """The first kernel in table order that takes these sizes, or None."""
    key = (op, dtype, *sizes.items())
    try:
        return _choices[key]
    except KeyError:
        pass
    if len(_choices) > MAX_CHOICES:
        _choices.clear()
    _choices[key] = kernel = _first_fit(op, dtype_name(dtype), sizes)
    return kernel


def _first_fit(op: str, dtype: str, sizes: Mapping[str, int]) -> Kernel | None:
    for kernel in index().get(op, ()):
        try:
            if kernel.dtype == dtype and kernel.fits(sizes):
                return kernel
        except KeyError as error:
            raise KernelsMissing(
                f"kernel '{kernel.name}' limits {error}, which is not a size of op '{op}' ({', '.join(sizes)}): it was packaged by another "
                "version. Run `rigi build` again"
            ) from None
    return None


def select(op: str, dtype: torch.dtype, sizes: Mapping[str, int], device: int) -> Kernel:
    """The kernel that serves a call; raises KernelsMissing or NotImplementedError, saying what there is."""
    kernel = find(op, dtype, sizes)
    if kernel is None:
        asked = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        there = "; ".join(f"{k.name} ({k.dtype}, {k.limits_text})" for k in index().get(op, ()))
        if not there:
            raise KernelsMissing(f"rigi.{op}: {folder() / 'index.json'} has no kernel for this op. Run `rigi build`")
        raise NotImplementedError(
            f"rigi.{op}: no packaged kernel takes {dtype_name(dtype)} with {asked}. Packaged: {there}. Package one for these sizes "
            "(tvm_target/kernels, then `rigi build`) or compute it with aten ops"
        )
    check_built_for(kernel, device)
    return kernel


def check_built_for(kernel: Kernel, device: int) -> None:
    properties = _C.properties(device)
    here = (properties["name"], properties["revision"], _C.sdk_version())
    built_for = kernel.built_for
    if built_for != here:
        raise KernelsMissing(
            f"kernel '{kernel.name}' ({kernel.path}) was built for chip {built_for[0]} revision {built_for[1]}, SDK {built_for[2]}; "
            f"this is chip {here[0]} revision {here[1]}, SDK {here[2]}. Run `rigi build` for this chip"
        )


def _load(kernel: Kernel) -> Callable[..., Any]:
    from tvm_target import runtime  # TVM-free

    module = _modules.get(kernel.path)
    if module is None:
        if not kernel.path.is_file():
            raise KernelsMissing(f"kernel '{kernel.name}': {kernel.path} does not exist. Run `rigi build`")
        module = _modules[kernel.path] = runtime.load(kernel.path)
    return module[kernel.symbol]
