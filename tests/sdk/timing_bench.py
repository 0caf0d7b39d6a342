"""What the timing tests write out on purpose: figures of the chip, and the fixture that runs a program."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.timing.program_data import Program
from benchmarks.timing.timed_device import Run

LAUNCH = 1250  # cycles before a sequencer starts
BARRIER = 100
DMA_LATENCY = 600
HBM_BYTES = 64 << 20

RunProgram = Callable[[Program], Run]
