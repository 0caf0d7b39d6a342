"""A process that checks the programs of some seeds and prints one JSON line for each: python -m benchmarks.programs.worker FIRST COUNT."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from .check import check


def main(first: int, count: int) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    for seed in range(first, first + count):
        print(json.dumps(asdict(check(seed))), file=answers)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
