"""Tests of the compiler layer. Kernels are compiled once a session; objects of the C++ compiler are cached between sessions."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tvm

import sdk_sim
from tvm_target import build, package, target, testing

target.register()


@pytest.fixture(scope="session")
def compiled() -> Callable[[str], Any]:
    """Executables of packaged kernels by name."""
    specs = {found.spec.name: found.spec for found in package.discover()}
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = build.compile_kernel(specs[name])
        return made[name]

    return get


@pytest.fixture
def compile_kernel() -> Callable[..., Any]:
    """Compiles a prim_func for rigi1 under the name "kernel"."""

    def run(func: Any) -> Any:
        return tvm.compile(tvm.IRModule({"kernel": func.with_attr("global_symbol", "kernel")}), target="rigi1")

    return run


@pytest.fixture
def fresh_device() -> Iterator[None]:
    """Clears the sticky error that the test leaves behind."""
    yield
    testing.reset()


@pytest.fixture
def strict() -> Iterator[None]:
    """Strict mode, and a device without faults afterwards."""
    sdk_sim.set_mode("strict")
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")
