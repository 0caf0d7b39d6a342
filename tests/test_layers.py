"""Imports go down only: sglang_ext -> tvm_target.runtime -> sdk_sim. Also inside functions: an import is an import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "sdk_sim": ["tvm_target", "sglang_ext", "benchmarks", "torch", "tvm", "tvm_ffi", "sglang", "transformers"],
    "tvm_target": ["sglang_ext", "benchmarks", "sglang", "transformers"],
    "tvm_target/runtime": ["tvm", "torch"],
    "sglang_ext": ["tvm", "benchmarks"],
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_layer_imports_nothing_above_it(folder: str) -> None:
    up = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in imports(path)
        if any(within(name, package) for package in FORBIDDEN[folder])
    ]
    assert up == []


def test_serving_reaches_the_compiler_layer_only_through_its_loader() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "sglang_ext").rglob("*.py"))
        for line, name in imports(path)
        if within(name, "tvm_target") and not within(name, "tvm_target.runtime")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["sdk_sim", "tvm_target", "sglang_ext", "benchmarks"])
def test_a_package_says_what_lives_there(package: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))


def test_the_installed_metadata_is_this_checkouts() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="rigi")
    assert script.value == "sdk_sim.cli:main"
