"""Random calls of the C API and damaged module files, in processes that may die.

`LLVMFuzzerTestOneInput` (calls.cpp) makes calls from bytes, so that libFuzzer can drive it where there is clang:

    clang++ -std=c++20 -fsanitize=fuzzer,address -Isdk_sim/include benchmarks/faults/fuzz/{calls,objects,program}.cpp -Lsdk_sim/lib -lrigi

driver.cpp does the same from a seed, with several threads at once. CXXFLAGS reaches the compiler, for sanitizers.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from ..kernels import compile_code, compiler
from ..native import INCLUDE, LIBRARY

SOURCES = [Path(__file__).with_name(f"{name}.cpp") for name in ("calls", "objects", "program", "modules", "driver")]


def compile_driver(folder: Path) -> Path:
    program = folder / "driver"
    flags = ["-std=c++20", "-O1", "-g1", "-pthread", *shlex.split(os.environ.get("CXXFLAGS", "")), f"-I{INCLUDE}"]
    link = [f"-L{LIBRARY.parent}", "-lrigi", f"-Wl,-rpath,{LIBRARY.parent}", "-o", str(program)]
    done = subprocess.run([compiler(), *flags, *map(str, SOURCES), *link], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the fuzzer does not compile: {done.stderr}")
    return program


def fuzz(calls: int, modules: int, seed: int) -> tuple[dict[str, int], dict[str, set[str]]]:
    """The figures, and the statuses that each function has returned.

    Half of the calls come from one thread, half from four at a time. What a process says before it dies goes to standard error."""
    seen: dict[str, set[str]] = {}
    total = {"calls": 0, "modules": 0, "crashes": 0, "leaked_bytes": 0}
    jobs = [(calls - calls // 2, 0, 1), (calls // 2, 0, 4), (0, modules, 1)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIGI_")}
    with tempfile.TemporaryDirectory(prefix="rigi-fuzz-") as name:
        folder = Path(name)
        driver, code = compile_driver(folder), compile_code(folder)
        for number, (some_calls, some_modules, threads) in enumerate(jobs):
            if not some_calls and not some_modules:
                continue
            command = [driver, some_calls, some_modules, 3 * seed + number, threads, code, folder]
            done = subprocess.run([str(word) for word in command], env={**kept, "RIGI_DEVICES": "2"}, capture_output=True, text=True)
            if done.returncode:
                print(f"fuzz: {' '.join(map(str, command[1:5]))} ended with {done.returncode}:\n{done.stderr}", file=sys.stderr)
                total["crashes"] += 1
                continue
            result = json.loads(done.stdout)
            for function, statuses in result["statuses"].items():
                seen.setdefault(function, set()).update(statuses)
            for key in ("calls", "modules", "leaked_bytes"):
                total[key] += result[key]
    return total, seen
