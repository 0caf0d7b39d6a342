"""Where an engine's cycles went, worked out anew from an instruction trace by the manual's words: each cycle is painted with a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.timing.program_data import CORES
from benchmarks.timing.reference_costs import EIGHT_BIT, busy_cycles
from benchmarks.timing.timed_device import Record

ENGINES = ("load", "store", "matrix", "vector", "act")
STATES = ("busy", "launch", "operand", "queue", "hbm", "barrier")
BUSY, LAUNCH, OPERAND, QUEUE, HBM, BARRIER = range(6)


def paint(lines: Sequence[Record], cycles: int, launch_cost: int, chip: dict[str, Any]) -> np.ndarray:
    """The states of one engine of one core, [cycles] of int8, from the core's lines of one launch without other engines' ones."""
    states = np.full(cycles, BARRIER, np.int8)
    states[:launch_cost] = LAUNCH
    free = phase_begin = launch_cost
    for line in lines:
        if line["engine"] == "barrier":
            phase_begin = line["end"]
            continue
        for cycle_range, state in (
            (slice(max(free, phase_begin), line["issue"]), QUEUE),
            (slice(max(free, line["issue"]), line["start"]), OPERAND),
            (slice(line["start"], line["start"] + busy_cycles(line, chip)), BUSY),
            (slice(line["start"] + busy_cycles(line, chip), line["end"]), HBM),
        ):
            states[cycle_range] = state
        free = line["end"]
    return states


def profile(lines: Sequence[Record], chip: dict[str, Any], launch_cost: int) -> dict[str, Any]:
    """What a `program` line of the profiler says of the launch with these trace lines: engines with `cores`, counts, HBM bytes."""
    cycles = max(line["end"] for line in lines if line["engine"] == "barrier")
    engines = {}
    for engine in ENGINES:
        cores = []
        for core in range(CORES):
            own = [line for line in lines if line["core"] == core and line["engine"] in (engine, "barrier")]
            cores.append(np.bincount(paint(own, cycles, launch_cost, chip), minlength=len(STATES)).tolist())
        engines[engine] = cores
    read = written = 0
    seen = set()
    for line in lines:
        if line["op"] == "load_multicast":
            if line["args"]["group"] in seen:
                continue
            seen.add(line["args"]["group"])
        moved = line["args"].get("hbm_bytes", 0)
        read += moved if line["engine"] == "load" or line["op"] == "store_add" else 0
        written += moved if line["engine"] == "store" else 0
    flops = {"16": 0, "8": 0}
    for line in lines:
        if line["op"] == "mma":
            size = "8" if line["args"]["dtype"] in EIGHT_BIT else "16"
            flops[size] += 2 * line["args"]["m"] * line["args"]["n"] * line["args"]["k"]
    return {
        "cycles": cycles,
        "engines": engines,
        "instructions": {e: sum(line["engine"] == e for line in lines) for e in (*ENGINES, "scalar")},
        "hbm_read": read,
        "hbm_written": written,
        "flops_16bit": flops["16"],
        "flops_8bit": flops["8"],
        "vector_elements": sum(line["args"]["n"] for line in lines if line["engine"] == "vector"),
        "act_elements": sum(line["args"]["n"] for line in lines if line["engine"] == "act"),
    }
