"""One JSON line per forward of the scheduler process, in the file named by ``RIGI_STEP_LOG``; nothing when it is unset.

A line: {"mode": "extend"|"decode", "batch": B, "tokens": T, "start_s": host clock (time.monotonic) at its first launch, "host_s":
seconds until the next forward began (idle time included), "simulated_us": microseconds of the chip from the forward's first launch
to its sampled token (null in functional mode), "fallbacks": {aten op: calls} up to the next forward}. Simulated times come from
device events read once they have completed: the log never makes the host wait. A line appears when the next forward begins.
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
    """Writes the lines in the order of the forwards."""

    def __init__(self, path: str):
        self._file = Path(path).open("a", buffering=1)
        self._pending: deque[dict[str, Any]] = deque()
        self._counts: dict[str, int] = {}
        self._timed = torch.rigi.get_mode() != "functional"

    def begin(self, forward_batch: Any) -> None:
        """Called before a forward's first launch."""
        now = time.monotonic()
        if self._pending:
            self._pending[-1].update(host_s=now - self._pending[-1]["start_s"], fallbacks=self._new_fallbacks())
        else:
            self._new_fallbacks()
        self._drain()
        mode = forward_batch.forward_mode
        line = {
            "mode": "decode" if mode.is_decode() else "extend" if mode.is_extend() else mode.name.lower(),
            "batch": forward_batch.batch_size,
            "tokens": forward_batch.positions.shape[0],
            "start_s": now,
            "events": [_mark()] if self._timed else [],
        }
        self._pending.append(line)

    def end(self) -> None:
        """Called after the forward's tokens have been sampled."""
        if self._pending and len(self._pending[-1]["events"]) == 1:
            self._pending[-1]["events"].append(_mark())

    def _new_fallbacks(self) -> dict[str, int]:
        counts = torch.rigi.fallbacks()
        new = {op: n - self._counts.get(op, 0) for op, n in counts.items() if n != self._counts.get(op, 0)}
        self._counts = dict(counts)
        return new

    def _drain(self) -> None:
        while self._pending:
            line = self._pending[0]
            events = line["events"]
            if len(events) == 2 and not events[1].query():
                return
            self._pending.popleft()
            del line["events"]
            line["simulated_us"] = events[0].elapsed_time(events[1]) * 1e3 if len(events) == 2 else None
            self._file.write(json.dumps(line) + "\n")


def _mark() -> Any:
    event = torch.rigi.Event(enable_timing=True)
    event.record()
    return event


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


def summarize(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the forwards in `lines`: simulated times and fallback calls, prefill (extend) and decode apart.

    Returns {"prefill": [{batch, tokens, simulated_us}], "decode": {"steps", "batch" (largest), "simulated_us" {mean, min, max}},
    "fallbacks": {op: {"prefill": calls, "decode": calls, "per_decode_step": calls}}}.
    """
    prefill = [line for line in lines if line["mode"] == "extend"]
    decode = [line for line in lines if line["mode"] == "decode"]
    times = [line["simulated_us"] for line in decode if line["simulated_us"] is not None]
    fallbacks: dict[str, dict[str, float]] = {}
    for kind, group in (("prefill", prefill), ("decode", decode)):
        for line in group:
            for op, calls in line["fallbacks"].items():
                row = fallbacks.setdefault(op, {"prefill": 0, "decode": 0})
                row[kind] += calls
    for row in fallbacks.values():
        row["per_decode_step"] = round(row["decode"] / len(decode), 2) if decode else 0.0
    return {
        "prefill": [{key: line[key] for key in ("batch", "tokens", "simulated_us")} for line in prefill],
        "decode": {
            "steps": len(decode),
            "batch": max((line["batch"] for line in decode), default=0),
            "simulated_us": {"mean": sum(times) / len(times), "min": min(times), "max": max(times)} if times else None,
        },
        "fallbacks": dict(sorted(fallbacks.items(), key=lambda item: -item[1]["decode"])),
    }
