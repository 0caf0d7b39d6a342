"""docs/compiler.md shows what the compiler makes now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_compiler_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "compiler.py", "--check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
