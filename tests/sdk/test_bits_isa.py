"""The three builds of the kernels give the same bytes, with any number of host threads: RIGI_ISA forces each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def has(*flags: str) -> bool:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    return all(f in words for f in flags)


HOST = ["portable"]
if has("avx2", "fma", "f16c"):
    HOST.append("avx2")
if has("avx512f", "avx512bw", "avx512vl", "avx512dq"):
    HOST.append("avx512")


@cache
def digests(isa: str, threads: int = 0, *options: str) -> dict[str, str]:
    """`threads` 0: as many as the host has."""
    environment = os.environ | {"RIGI_ISA": isa} | ({"RIGI_NUM_THREADS": str(threads)} if threads else {})
    command = [sys.executable, str(HERE / "bits_digest.py"), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=HERE)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("isa", HOST)
def test_same_bytes_as_the_portable_build(isa: str) -> None:
    want, got = digests("portable"), digests(isa)
    assert len(want) > 110
    assert {name for name in want if want[name] != got.get(name)} == set()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("isa", HOST)
def test_same_bytes_from_any_number_of_threads(isa: str, threads: int) -> None:
    """Programs of all 16 cores, with every opcode, against the portable build."""
    want = digests("portable")
    assert digests(isa, threads, "--programs") == {name: digest for name, digest in want.items() if name.startswith("program-")}


def test_a_host_that_flushes_denormals_changes_nothing() -> None:
    assert digests(HOST[-1], 0, "--flush-denormals") == digests(HOST[-1])
