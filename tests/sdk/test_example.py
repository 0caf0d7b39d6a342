"""The example programs in C: they build with every warning an error and need nothing but rigi.h; each checks its own results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import sdk_sim

PACKAGE = Path(sdk_sim.__file__).parent
EXAMPLES = sorted((PACKAGE / "examples").glob("*.c"))


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_builds_and_checks_itself(source: Path, tmp_path: Path) -> None:
    includes = {line for line in source.read_text().splitlines() if line.startswith("#include")}
    standard = {"inttypes", "stddef", "stdint", "stdio", "stdlib", "string"}
    assert includes <= {"#include <rigi.h>", *(f"#include <{name}.h>" for name in standard)}
    program, library = tmp_path / source.stem, PACKAGE / "lib"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{PACKAGE / 'include'}", f"-L{library}"]
    subprocess.run(["cc", *flags, str(source), "-lrigi", f"-Wl,-rpath,{library}", "-o", str(program)], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIGI_")}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
