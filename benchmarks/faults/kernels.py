"""The module of kernels.cpp: errors that only native code can make. Built when first needed, by the host's compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import sdk_sim

from .native import INCLUDE, Skip

SOURCE = Path(__file__).with_name("kernels.cpp")


def compiler() -> str:
    """Raises Skip if there is none."""
    for name in (os.environ.get("CXX"), "g++", "c++", "clang++"):
        if name and shutil.which(name):
            return name
    raise Skip("needs a C++ compiler (apt install g++)")


def compile_code(folder: Path) -> Path:
    """The kernels as a shared object."""
    out = folder / "kernels.so"
    command = [compiler(), "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{INCLUDE}", str(SOURCE), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{SOURCE.name} does not compile: {done.stderr}")
    return out


def build(folder: Path) -> bytes:
    """A module image for this chip."""
    chip = sdk_sim.properties()
    return sdk_sim.pack_module(compile_code(folder).read_bytes(), {"kernels": ["scale", "faulty"]}, chip["name"], chip["revision"])
