"""The emulated chip's own clock, statistics and trace, and its state after a fault."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from sglang_ext import _C
from sglang_ext.device.devices import Device, get_device_properties, index_of


def simulated_cycles(device: Device = None) -> int:
    """The clock of the device's current stream, in cycles of the chip; waits for the stream. Stands still in functional mode."""
    return _C.cycles(index_of(device))


def simulated_time(device: Device = None) -> float:
    """The same clock in seconds of the chip."""
    return simulated_cycles(device) / get_device_properties(device).clock_hz


def statistics(device: Device = None) -> dict[str, Any]:
    """What ran since the last call: {"launches": n, "cycles": n, "kernels": {name: {"launches": n, "cycles": n}}}; waits for the device."""
    return json.loads(_C.take_statistics(index_of(device)))


def set_timed(timed: bool, device: Device = None) -> bool:
    """Timed or functional mode; returns whether it was timed. Data is the same in both."""
    previous = _C.is_timed(index_of(device))
    _C.set_timed(index_of(device), timed)
    return previous


def is_timed(device: Device = None) -> bool:
    return _C.is_timed(index_of(device))


@contextlib.contextmanager
def trace(path: str | os.PathLike[str], device: Device = None) -> Iterator[None]:
    """Writes every instruction launched inside to `path`, one JSON object a line. Timed mode only."""
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
