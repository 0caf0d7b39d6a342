"""Tuning by simulated time.

    tune.tune("linear", {"m": 256, "n": 4096, "k": 1024})      # search, and remember
    tune.best("linear", {"m": 256, "n": 4096, "k": 1024})      # {"gm": 1, "bm": 256, ...}, or None: no search
    tune.compile("linear", {"m": 256, "n": 4096, "k": 1024})   # an executable of the best configuration known: no search

The clock is the emulator's, so a trial is exact and costs the host a compilation, not a run: data is not touched.
"""

from __future__ import annotations

from .database import Database
from .space import Space, TuneError
from .spaces import space_of, spaces
from .tuner import Result, best, compile, spec, tune, tuned

__all__ = ["Database", "Result", "Space", "TuneError", "best", "compile", "space_of", "spaces", "spec", "tune", "tuned"]
