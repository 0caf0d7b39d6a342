"""The three builds of the kernels give the same bytes: RIGI_ISA forces each in a process of its own."""

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
def digests(isa: str, *options: str) -> dict[str, str]:
    command = [sys.executable, str(HERE / "bits_digest.py"), *options]
    done = subprocess.run(command, env=os.environ | {"RIGI_ISA": isa}, capture_output=True, text=True, check=False, cwd=HERE)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("isa", HOST)
def test_same_bytes_as_the_portable_build(isa: str) -> None:
    want, got = digests("portable"), digests(isa)
    assert len(want) > 90
    assert {name for name in want if want[name] != got.get(name)} == set()


def test_a_host_that_flushes_denormals_changes_nothing() -> None:
    assert digests(HOST[-1], "--flush-denormals") == digests(HOST[-1])
