"""Tries cases one after the other and writes a line of JSON about each. It may be killed by a case: then the line is missing.

python -m benchmarks.faults.worker NAME...
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import calls, graphs, modules, programs, strict
from .case import Bench, Case
from .native import Skip

CASES: dict[str, Case] = {case.name: case for case in [*programs.CASES, *strict.CASES, *calls.CASES, *graphs.CASES, *modules.CASES]}


def attempt(case: Case, bench: Bench) -> dict[str, Any]:
    """What came of a case: {name, skipped} or {name, status, text, usable}."""
    try:
        status, text = case.inject(bench)
    except Skip as reason:
        return {"name": case.name, "skipped": str(reason)}
    except Exception as error:
        status, text = "NONE", f"{type(error).__name__}: {error}"
    for variable in case.environment:
        os.environ.pop(variable)
    os.environ["RIGI_DEVICES"] = "2"  # read at the first call that finds nothing wrong
    return {"name": case.name, "status": status, "text": text, "usable": bench.usable()}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rigi-faults-") as folder:
        bench = Bench(Path(folder))
        for name in sys.argv[1:]:
            print(json.dumps(attempt(CASES[name], bench)), flush=True)


if __name__ == "__main__":
    main()
