"""The C API's promises: the reference is current, the library exports rigi.h and nothing else, and the ABI is the one recorded."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import sdk_sim
from sdk_sim.isa import INSTR_DTYPE, OPERAND_DTYPE

ROOT = Path(__file__).parents[2]
LIBRARY = Path(sdk_sim.__file__).parent / "lib" / "librigi.so"
RECORD = tomllib.loads((ROOT / "sdk_sim" / "abi.toml").read_text())


def test_the_reference_and_the_record_are_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "c_api.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_library_exports_the_functions_of_the_header_and_nothing_else() -> None:
    listing = subprocess.run(["nm", "--dynamic", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in listing.splitlines()} == set(RECORD["functions"])


def test_the_soname_has_no_folder_and_the_library_needs_only_the_standard_libraries() -> None:
    dynamic = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"SONAME.*\[(.*)\]", dynamic) == ["librigi.so"]
    allowed = {"libstdc++.so", "libm.so", "libgcc_s.so", "libc.so", "ld-linux-x86-64.so", "ld-linux-aarch64.so"}
    assert {re.sub(r"\.\d+$", "", name) for name in re.findall(r"NEEDED.*\[(.*)\]", dynamic)} <= allowed


def test_python_has_the_same_instruction_and_statuses() -> None:
    for dtype, name in ((INSTR_DTYPE, "rigi_instr"), (OPERAND_DTYPE, "rigi_operand")):
        layout = {"size": dtype.itemsize} | {field: dtype.fields[field][1] for field in dtype.names}
        assert layout == RECORD["structs"][name]
    statuses = {name.removeprefix("RIGI_ERROR_").removeprefix("RIGI_"): value for name, value in RECORD["enums"]["rigiStatus"].items()}
    assert {s.name: int(s) for s in sdk_sim.Status} == statuses


def test_every_status_has_its_own_name() -> None:
    library = ctypes.CDLL(str(LIBRARY))
    library.rigiGetStatusName.restype = ctypes.c_char_p
    for name, value in RECORD["enums"]["rigiStatus"].items():
        assert library.rigiGetStatusName(value).decode() == name
    assert library.rigiGetStatusName(1000) == b"RIGI_ERROR_UNKNOWN"
