"""The emulated chip's own clock, statistics and trace, and its state after a fault."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from sglang_ext import _C
from sglang_ext.device.devices import Device, get_device_properties, index_of

MODES = ("functional", "timed", "timing-only", "strict")  # in the order of rigiMode


def simulated_cycles(device: Device = None) -> int:
    """The clock of the device's current stream, in cycles of the chip; waits for the stream. Stands still in functional mode."""
    return _C.cycles(index_of(device))


def simulated_time(device: Device = None) -> float:
    """The same clock in seconds of the chip."""
    return simulated_cycles(device) / get_device_properties(device).clock_hz


def statistics(device: Device = None) -> dict[str, Any]:
    """What ran since the last call: {"launches": n, "cycles": n, "kernels": {name: {"launches": n, "cycles": n}}}; waits for the device."""
    return json.loads(_C.take_statistics(index_of(device)))


def set_mode(mode: str, device: Device = None) -> str:
    """What work submitted from now on does; returns the mode before. One of "functional" (computes), "timed" (and takes simulated time),
    "timing-only" (takes time, touches no data) and "strict" (timed, with every access checked)."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; allowed: {', '.join(MODES)}")
    previous = get_mode(device)
    _C.set_mode(index_of(device), MODES.index(mode))
    return previous


def get_mode(device: Device = None) -> str:
    """The mode in which work is submitted."""
    return MODES[_C.get_mode(index_of(device))]


@contextlib.contextmanager
def trace(path: str | os.PathLike[str], device: Device = None) -> Iterator[None]:
    """Writes every instruction launched inside to `path`, one JSON object a line. Not in functional mode."""
    index = index_of(device)
    _C.trace_start(index, os.fspath(path))
    try:
        yield
    finally:
        _C.trace_stop(index)


def device_error(device: Device = None) -> str | None:
    """The text of the fault that stopped the device, or None."""
    return _C.device_error(index_of(device)) or None


def reset_device(device: Device = None) -> None:
    """Drops queued work and the fault. Tensors, streams and modules stay valid."""
    _C.reset_device(index_of(device))
