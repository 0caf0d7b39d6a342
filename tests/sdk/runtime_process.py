"""Runs a piece of Python in a process of its own: for what the environment decides at first use, and for what could end the process."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import sdk_sim

PACKAGES = Path(sdk_sim.__file__).parents[1]


def run(code: str, status: int = 0, **environment: str) -> str:
    """Standard output of `code`, which has sdk_sim, numpy as np and everything of sdk_sim.isa at hand."""
    head = "import numpy as np, sdk_sim\nfrom sdk_sim import RigiError, _rigi\nfrom sdk_sim.isa import *\n"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIGI_")}
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        env={**kept, "PYTHONPATH": str(PACKAGES), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.strip()
