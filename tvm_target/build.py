"""Builds packaged kernels: one library each, and index.json, which says what every one of them is for.

A kernel whose source hash is the one in the index is left alone. The index is rewritten after every kernel, so an interrupted build
loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .package import Found, KernelSpec, discover, select, source_hash

MODULES = Path(os.environ.get("RIGI_MODULES") or Path(__file__).with_name("modules"))
INDEX = "index.json"
Progress = Callable[[str, int, int], None]


@dataclass
class BuildResult:
    """Names of kernels by what became of them; `failed` maps to the reason."""

    out: str
    built: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.failed


def read_index(out: Path = MODULES) -> list[dict[str, Any]]:
    """The entries of a folder's index; none if there is no index, or one that cannot be read."""
    try:
        return list(json.loads((out / INDEX).read_text())["kernels"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write_index(out: Path, entries: list[dict[str, Any]]) -> None:
    temporary = out / f".{INDEX}.{os.getpid()}"
    temporary.write_text(json.dumps({"kernels": entries}, indent=1) + "\n")
    os.replace(temporary, out / INDEX)


def compile_kernel(spec: KernelSpec) -> Any:
    """The executable of a spec, its function named like the spec."""
    import tvm

    from . import target

    target.register()
    func = spec.make().with_attr("global_symbol", spec.name)
    return tvm.compile(tvm.IRModule({spec.name: func}), target="rigi1")


def export(executable: Any, path: Path) -> None:
    """Writes a kernel library, with the compiler that compiled the kernel. Written beside and renamed: a reader never sees half of one."""
    from tvm.support import cc

    from .compiler import find_compiler
    from .runtime import integrity

    compiler = find_compiler(os.environ.get("CXX"))
    temporary = path.with_name(f".{os.getpid()}.{path.name}")

    def link(output: str, objects: list[str], options: list[str] | None = None, **_kwargs: Any) -> None:
        cc.create_shared(output, objects, options=[*compiler[1:], *(options or [])], cc=compiler[0])

    link.output_format = "so"  # type: ignore[attr-defined]
    try:
        executable.export_library(str(temporary), fcompile=link)
        integrity.seal(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _limits(spec: KernelSpec) -> dict[str, list[Any]]:
    return {name: list(limit) for name, limit in spec.limits.items()}


def _entry(found: Found, digest: str, module: Any) -> dict[str, Any]:
    from .runtime import manifest

    about, spec = manifest(module), found.spec
    return {
        "op": spec.op,
        "name": spec.name,
        "dtype": spec.dtype,
        "config": spec.config,
        "limits": _limits(spec),
        "file": f"{spec.name}.so",
        "function": spec.name,
        "chip": about["chip"],
        "revision": about["revision"],
        "sdk": about["sdk"],
        "source_hash": digest,
        "sram_bytes": max(kernel["sram_bytes"] for kernel in about["kernels"]),
        "source": found.source.name if found.source else "",
    }


def build(only: tuple[str, ...] = (), out: Path = MODULES, force: bool = False, progress: Progress | None = None) -> BuildResult:
    """Builds all packaged kernels (or those of some ops) into `out`. `progress(name, done, total)` is called before each, and at the end.

    A kernel that cannot be built is reported in `failed` and leaves no entry; the others are built all the same. Kernels that no longer
    exist are removed with their files.
    """
    known = discover()
    return _build(select(known, only), known, out, force, progress)


def build_specs(specs: Iterable[KernelSpec], out: Path, force: bool = False, progress: Progress | None = None) -> BuildResult:
    """Builds kernels from anywhere, say a notebook, into a folder of their own; the registry can serve it beside the packaged ones."""
    known = [Found(spec, None) for spec in specs]
    return _build(known, known, Path(out), force, progress)


def _build(chosen: list[Found], known: list[Found], out: Path, force: bool, progress: Progress | None) -> BuildResult:
    out.mkdir(parents=True, exist_ok=True)
    result = BuildResult(str(out))
    before = {entry["name"]: entry for entry in read_index(out)}
    after = dict(before)
    for name in before.keys() - {f.spec.name for f in known}:
        (out / after.pop(name)["file"]).unlink(missing_ok=True)
        result.removed.append(name)

    def save() -> None:
        _write_index(out, [after[f.spec.name] for f in known if f.spec.name in after])

    for done, found in enumerate(chosen):
        spec, path = found.spec, out / f"{found.spec.name}.so"
        if progress is not None:
            progress(spec.name, done, len(chosen))
        try:
            digest = source_hash(found)
            entry = before.get(spec.name)
            if not force and entry is not None and entry.get("source_hash") == digest and path.exists():
                entry["limits"] = _limits(spec)
                result.current.append(spec.name)
                continue
            executable = compile_kernel(spec)
            export(executable, path)
            after[spec.name] = _entry(found, digest, executable.mod)
            result.built.append(spec.name)
        except Exception as error:  # one kernel's failure, whatever it is, is reported and does not stop the others
            after.pop(spec.name, None)
            result.failed[spec.name] = f"{type(error).__name__}: {error}"
        save()
    save()
    if progress is not None:
        progress("", len(chosen), len(chosen))
    return result
