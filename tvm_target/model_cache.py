"""Compiled models, kept: `tvm.compile` of a Relax module that was compiled before loads the result.

A model is known by the hash of its text (functions, attributes, constants) with the target, TVM's pass context, and all that takes part
in compiling: this package, TVM, the SDK's headers, the chip file, the C++ compiler. Results lie in `$RIGI_CACHE` or `~/.cache/rigi`, in
`executables/`. Compiled every time are models with more than `MOST_CONSTANTS` bytes of constants (pass weights as parameters), modules
that compile in less than `LEAST_SECONDS` (keeping one costs a link), and whatever is compiled with passes or rules of someone else's.

TVM has no seam before its compilation begins, so `register` wraps `relax.build`, which `tvm.compile` calls.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from .compiler import cache_dir, compiler_version, find_compiler, header_hash, keep, kept_bytes
from .pipeline import PRE_LOWERING, is_rigi

MOST_CONSTANTS = 32 << 20
LEAST_SECONDS = 1.5
_HERE = Path(__file__).parent


class CachedExecutable(relax.VMExecutable):
    """A compiled model that was loaded from the cache."""

    def __init__(self, path: Path):
        super().__init__(tvm.runtime.load_module(str(path)))
        self.path = path

    def export_library(self, file_name: Any, **_kwargs: Any) -> None:
        """Writes what the first compilation exported. Raises RuntimeError if that is no longer in the cache."""
        library = kept_bytes(self.path)
        if library is None:
            raise RuntimeError(
                f"{self.path}, from which this model was loaded, is gone or damaged; compile the model again and export that"
            )
        Path(file_name).write_bytes(library)


def key(mod: tvm.IRModule, target: tvm.target.Target) -> str | None:
    """The name of a model's compiled form; None for what is not kept."""
    context = tvm.transform.PassContext.current()
    if context.instruments or _foreign() or _constants(mod) > MOST_CONSTANTS:
        return None
    digest = hashlib.sha256(toolchain_hash().encode())
    settings = (context.opt_level, list(context.required_pass), list(context.disabled_pass), sorted(dict(context.config).items()))
    digest.update(f"{target} {settings}".encode())
    digest.update(tvm.ir.save_json(mod).encode())
    return digest.hexdigest()


def toolchain_hash() -> str:
    """Hash of all that takes part in compiling. Files are read each time: a tuning run may have changed a database."""
    from .packing import sdk_version
    from .target import MODELS, chip
    from .tune.database import default_path

    compiler = find_compiler(os.environ.get("CXX"))
    digest = hashlib.sha256(f"{tvm.__version__} {sdk_version()} {header_hash()} {compiler} {compiler_version(compiler)}".encode())
    files = [path for path in sorted(_HERE.rglob("*")) if path.suffix in (".py", ".json", ".jsonl") and path.parent.name != "modules"]
    if default_path() not in files and default_path().exists():
        files.append(default_path())  # RIGI_TUNED
    for path in [*files, *(chip(model).path for model in MODELS)]:
        digest.update(str(path.name).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _foreign() -> bool:
    """Whether passes or rules are registered that the files of this package do not describe."""
    from . import relax_pipeline
    from .rules import function

    registered: Iterable[Any] = (*PRE_LOWERING, *relax_pipeline.LEGALIZE.values(), *function.RULES)
    return any(not f.__module__.startswith(f"{__package__}.") for f in registered)


def _constants(mod: tvm.IRModule) -> int:
    total = 0

    def add(expr: Any) -> None:
        nonlocal total
        if isinstance(expr, tvm.ir.GenericConst) and isinstance(expr.ty, relax.TensorType):
            bits = tvm.DataType(str(expr.ty.dtype)).bits
            total += math.prod(int(size) for size in expr.ty.shape) * bits // 8

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, add)
    return total


def register() -> None:
    """Puts the cache before TVM's `relax.build`, for modules compiled whole for a Rigi chip."""
    stock: Callable[..., Any] = relax.build
    if getattr(stock, "rigi", False):
        return

    @wraps(stock)
    def build(mod: tvm.IRModule, target: Any = None, params: Any = None, *args: Any, **kwargs: Any) -> Any:
        chosen = tvm.target.Target(target) if isinstance(target, str) else target
        whole = not params and not args and all(value == "default" for value in kwargs.values())
        name = key(mod, chosen) if whole and is_rigi(chosen) else None
        if name is None:
            return stock(mod, target, params, *args, **kwargs)
        path = cache_dir() / "executables" / name[:2] / f"{name}.so"
        if kept_bytes(path) is not None:  # a library cut short would end the process when it is mapped
            try:
                return CachedExecutable(path)
            except (RuntimeError, OSError):
                pass  # of another world; it is replaced
        begin = time.perf_counter()
        executable = stock(mod, target, params, **kwargs)
        if time.perf_counter() - begin >= LEAST_SECONDS:
            with tempfile.TemporaryDirectory(prefix="rigi-") as folder:
                file = Path(folder) / "model.so"
                executable.export_library(str(file))
                keep(path, file.read_bytes())
        return executable

    build.rigi = True  # type: ignore[attr-defined]
    relax.build = build
