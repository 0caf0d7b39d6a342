"""The manual's costs as formulas (sdk_sim/README.md, sections 4 and 5), with the figures of the chip file.

The microbenchmarks are computed from these alone: neither the emulator nor the reference schedule is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from benchmarks.timing.program_data import Program

Times = tuple[int | None, int | None, int | None, int | None]  # issue, start, end, done; None: not stated
Stated = dict[tuple[int, int, int], Times]  # by core, phase, place in the phase (the barrier last)


@dataclass(frozen=True)
class Case:
    """A program and what the rules say of it: cycles of the launch, and times of single instructions."""

    topic: str
    name: str
    program: Program
    cycles: int
    times: Stated = field(default_factory=dict)
    launches: int = 1  # how often it is launched, one after the other; `cycles` counts them all


Cases = Iterator[Case]


def padded(count: int, to: int) -> int:
    """`count` rounded up to a multiple of `to`."""
    return -(-count // to) * to


class Rules:
    """Costs in cycles. `chip`: the chip file as nested dicts; `launched` from the "host" or inside a "graph"."""

    def __init__(self, chip: dict[str, Any], launched: str = "host") -> None:
        self.chip, self.launched = chip, launched
        self.cores = chip["grid"]["rows"] * chip["grid"]["cols"]
        self.start = chip["launch"][launched]  # when sequencers start
        self.barrier = chip["launch"]["barrier"]
        self.depth = chip["sequencer"]["queue_depth"]
        self.rate = chip["hbm"]["bytes_per_cycle"]
        self.dma_latency = chip["dma"]["latency"]
        self.send_latency = chip["dma"]["send_latency"]
        self.vector_latency = chip["vector"]["latency"]
        self.act_latency = chip["activation"]["latency"]
        self.mma_latency = chip["matrix"]["latency"]
        self.miss, self.hit, self.read = (chip["scalar"][name] for name in ("load_miss", "load_hit", "read"))

    def dma(self, size: int, indexed_rows: int = 0) -> int:
        """Busy cycles of a load or store of `size` bytes."""
        dma = self.chip["dma"]
        return dma["setup"] + ceil(Fraction(size, dma["bytes_per_cycle"])) + dma["cycles_per_index"] * indexed_rows

    def hbm(self, *pieces: int) -> Fraction:
        """Cycles of the HBM server for pieces of so many bytes."""
        return Fraction(sum(padded(piece, self.chip["hbm"]["burst_bytes"]) for piece in pieces), self.rate)

    def moved(self, size: int, *pieces: int, indexed_rows: int = 0, passes: int = 1) -> int:
        """Cycles of a load or store when nobody else uses HBM: its queue's or the server's, whichever take longer."""
        return max(self.dma(size, indexed_rows), ceil(passes * self.hbm(*(pieces or (size,)))))

    def mma(self, m: int, n: int, k: int, eight_bit: bool = False) -> int:
        matrix = self.chip["matrix"]
        depth = matrix["k_8bit" if eight_bit else "k_16bit"]
        return ceil(Fraction(k, depth)) * ceil(Fraction(n, matrix["n"])) * max(m, matrix["min_m"])

    def vector(self, rows: int, cols: int, passes: int = 1) -> int:
        unit = self.chip["vector"]
        return unit["setup"] + passes * ceil(Fraction(rows * padded(cols, unit["row_pad"]), unit["lanes"]))

    def act(self, rows: int, cols: int) -> int:
        unit = self.chip["activation"]
        return unit["setup"] + ceil(Fraction(rows * padded(cols, unit["row_pad"]), unit["lanes"]))
