"""One JSON line per forward of the scheduler process, in the file named by ``RIGI_STEP_LOG``; nothing when it is unset.

A line: {"mode": "extend"|"decode", "batch": B, "tokens": T, "host_s": seconds since the previous forward of this process began,
"start_s": host clock (time.monotonic), "cycles": simulated cycles from the forward's first launch to its sampled token, or null
in functional mode, "fallbacks": {aten op: calls since the previous line}}. Cycles come from device events, read when they have
completed: the log never makes the host wait.
"""

import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch

_current: "StepLog | None" = None


class StepLog:
    """Writes the lines in forward order; the last ones appear when a later forward begins or the process ends."""

    def __init__(self, path: str):
        self._file = Path(path).open("a", buffering=1)
        self._pending: deque[dict[str, Any]] = deque()
        self._fallbacks: dict[str, int] = {}
        self._last_start: float | None = None

    def begin(self, forward_batch: Any) -> None:
        """Called before a forward's first launch."""
        self._drain()
        mode = forward_batch.forward_mode
        now = time.monotonic()
        start = torch.rigi.Event(enable_timing=True)
        start.record()
        tokens = forward_batch.input_ids.shape[0] if forward_batch.input_ids is not None else 0
        self._pending.append(
            {
                "mode": "decode" if mode.is_decode() else "extend" if mode.is_extend() else mode.name.lower(),
                "batch": forward_batch.batch_size,
                "tokens": tokens,
                "host_s": None if self._last_start is None else now - self._last_start,
                "start_s": now,
                "events": [start],
                "fallbacks": self._new_fallbacks(),
            }
        )
        self._last_start = now

    def end(self) -> None:
        """Called after the forward's token has been sampled."""
        if self._pending and len(self._pending[-1]["events"]) == 1:
            end = torch.rigi.Event(enable_timing=True)
            end.record()
            self._pending[-1]["events"].append(end)

    def _new_fallbacks(self) -> dict[str, int]:
        counts = torch.rigi.fallback_counts()
        new = {op: n - self._fallbacks.get(op, 0) for op, n in counts.items() if n != self._fallbacks.get(op, 0)}
        self._fallbacks = dict(counts)
        return new

    def _drain(self) -> None:
        while self._pending:
            line = self._pending[0]
            events = line["events"]
            if len(events) == 2 and not events[1].query():
                return
            self._pending.popleft()
            del line["events"]
            line["cycles"] = torch.rigi.elapsed_cycles(*events) if len(events) == 2 else None
            self._file.write(json.dumps(line) + "\n")


def open_from_env() -> StepLog | None:
    """The process's log if ``RIGI_STEP_LOG`` names a file, else None."""
    global _current
    if _current is None and (path := os.environ.get("RIGI_STEP_LOG")):
        _current = StepLog(path)
    return _current


def end_current() -> None:
    """Marks the end of the forward in flight, if a log is open."""
    if _current is not None:
        _current.end()


def read(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a log file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line]
