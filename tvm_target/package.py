"""What a packaged kernel is, and the list of all of them.

A kernel file in `tvm_target/kernels` has a list `KERNELS` of KernelSpec. Order counts: within an op the first one whose limits hold is
taken. Nothing here imports TVM; a spec's `make` does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
KERNEL_FOLDER = _HERE / "kernels"
# Everything between a kernel's source and its module.
_TOOLCHAIN = ("dialect.py", "operands.py", "isa.py", "pipeline.py", "compiler.py", "packing.py", "target.py", "package.py", "codegen")


@dataclass(frozen=True)
class KernelSpec:
    """One kernel to package. `make()` gives its prim_func; `limits` maps a size of the op to [smallest, largest] (either may be None), and
    "<size>_multiple" to [of, of]; `config` is what distinguishes it from its siblings, for people and for tuning."""

    op: str
    name: str
    dtype: str
    make: Callable[[], Any]
    config: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A spec and the file that holds it (None: not in a file, as in a notebook)."""

    spec: KernelSpec
    source: Path | None


class KernelListError(ValueError):
    """A kernel file that cannot be used, or an unknown op."""


def discover(folder: Path = KERNEL_FOLDER) -> list[Found]:
    """All kernels, by file name and then in the order of each list. Raises KernelListError for two of one name."""
    found: list[Found] = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        module = importlib.import_module(f"tvm_target.kernels.{path.stem}")
        found += [Found(spec, path) for spec in getattr(module, "KERNELS", ())]
    names = [f.spec.name for f in found]
    for name in names:
        if names.count(name) > 1:
            files = ", ".join(f.source.name for f in found if f.source and f.spec.name == name)
            raise KernelListError(
                f"{names.count(name)} kernels are named {name!r} (in {files}); names are file names, so each must be its own"
            )
    return found


def select(found: Iterable[Found], only: Iterable[str]) -> list[Found]:
    """Those whose op or name is in `only`; all if that is empty. Raises KernelListError for a name that matches nothing."""
    found, wanted = list(found), list(only)
    for word in wanted:
        if not any(word in (f.spec.op, f.spec.name) for f in found):
            ops = ", ".join(sorted({f.spec.op for f in found}))
            raise KernelListError(f"no op and no kernel is named {word!r}; ops: {ops}")
    return [f for f in found if not wanted or f.spec.op in wanted or f.spec.name in wanted]


@cache
def toolchain_hash() -> str:
    """Hash of the dialect, the codegen, the headers and the chip file."""
    from .compiler import FLAGS, header_hash
    from .packing import sdk_version
    from .target import MODELS, chip

    digest = hashlib.sha256(f"{header_hash()} {sdk_version()} {FLAGS}".encode())
    for model in MODELS:
        digest.update(chip(model).path.read_bytes())
    for name in _TOOLCHAIN:
        path = _HERE / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@cache
def file_hash(path: Path) -> str:
    """Hash of a kernel file and of the files of its folder that it imports."""
    digest = hashlib.sha256()
    for file in sorted(_with_imports(path)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _with_imports(path: Path, seen: set[Path] | None = None) -> set[Path]:
    seen = set() if seen is None else seen
    if path in seen or not path.exists():
        return seen
    seen.add(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.module is None and not node.level:
            continue
        module = (node.module or "").removeprefix("tvm_target.kernels").lstrip(".")
        if node.level == 1 or (node.module or "").startswith("tvm_target.kernels"):
            for stem in [module.split(".")[0]] if module else [alias.name for alias in node.names]:
                _with_imports(path.parent / f"{stem}.py", seen)
    return seen


def source_hash(found: Found) -> str:
    """What decides whether a built kernel is current."""
    spec = found.spec
    text = file_hash(found.source) if found.source else spec.make().script()
    words = (toolchain_hash(), text, spec.op, spec.name, spec.dtype, repr(sorted(spec.config.items())))
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
