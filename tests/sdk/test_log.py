"""RIGI_LOG: a ladder of what the SDK says on standard error."""

import os
import subprocess
import sys

import pytest

CODE = """
import sdk_sim
buffer = sdk_sim.malloc(100)
sdk_sim.set_mode("timed")
sdk_sim.launch_program([{}], "hello")
sdk_sim.synchronize()
try:
    sdk_sim.set_num_threads(0)
except sdk_sim.RigiError:
    pass
"""
SAID = ["RIGI_ERROR_INVALID_VALUE: rigiSetNumThreads: 0 threads", "mode 1", "hello, 1350 cycles", "100 bytes at"]


@pytest.mark.parametrize("level", range(5))
def test_each_level_says_what_the_lower_ones_say_and_one_thing_more(level):
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**os.environ, "RIGI_LOG": str(level)}, capture_output=True, text=True, check=True, timeout=60
    )
    assert [words in done.stderr for words in SAID] == [i < level for i in range(4)]
    assert done.stdout == ""


def test_what_is_no_level_is_told():
    done = subprocess.run([sys.executable, "-c", CODE], env={**os.environ, "RIGI_LOG": "all"}, capture_output=True, text=True, timeout=60)
    assert "RIGI_LOG='all' is not a level from 0 to 4" in done.stderr and done.returncode == 0
