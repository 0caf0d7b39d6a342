"""Loads that wait until somebody needs them leave the same bytes and take the same cycles as loads that do not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdk_sim

NEVER = 1 << 60


def digests(first: int, last: int, threads: int, least: int) -> list[str]:
    """A line a program, with loads of at least `least` bytes waiting."""
    program = Path(__file__).with_name("lazy_programs.py")
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "RIGI_LAZY_LOAD_BYTES": str(least),
    }
    arguments = [sys.executable, str(program), *map(str, (first, last, threads))]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == last - first
    return lines


@pytest.mark.parametrize(("least", "threads"), [(1, 1), (1, 3), (4096, 2)])
def test_random_programs_cannot_tell(least: int, threads: int) -> None:
    assert digests(0, 60, threads, least) == digests(0, 60, 1, NEVER)


@pytest.mark.slow
def test_many_random_programs_cannot_tell() -> None:
    assert digests(1000, 1240, 2, 1) == digests(1000, 1240, 2, NEVER)


@pytest.mark.parametrize("at", [0, 1020, 32764])
def test_a_scalar_is_read_from_a_load_that_waits(module, at):
    x, out = sdk_sim.Buffer.from_numpy(np.arange(8192, dtype=np.int32) + 7), sdk_sim.malloc(64)
    sdk_sim.launch(module.kernel("peek"), [x, out, at])
    assert (out.to_numpy(np.int32) == at // 4 + 7).all()
