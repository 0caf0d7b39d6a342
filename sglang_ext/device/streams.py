"""Streams and events. Times between events are simulated milliseconds of the chip, never host time."""

from typing import Any

import torch

from sglang_ext import _C
from sglang_ext.device.devices import Device, index_of


class Stream(torch.Stream):
    """A stream of the chip. Work of all streams runs in submission order; a stream is a line of simulated time."""

    def __new__(cls, device: Device = None, priority: int = 0, **raw: Any) -> "Stream":
        if raw:  # stream_id, device_index, device_type: an existing one
            return super().__new__(cls, priority=priority, **raw)
        return super().__new__(cls, device=torch.device("rigi", index_of(device)), priority=priority)


class Event:
    """Makes a plain torch.Event: `Stream.wait_event` refuses subclasses of it."""

    def __new__(cls, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> torch.Event:  # type: ignore[misc]
        return torch.Event("rigi", enable_timing=enable_timing, blocking=blocking, interprocess=interprocess)


class StreamContext:
    """Context manager: makes a stream the current one of its device. None leaves it as it is."""

    def __init__(self, stream: torch.Stream | None):
        self.stream = stream
        self.previous: torch.Stream | None = None

    def __enter__(self) -> None:
        if self.stream is not None:
            self.previous = torch.accelerator.current_stream(self.stream.device)
            torch.accelerator.set_stream(self.stream)

    def __exit__(self, *_: Any) -> None:
        if self.previous is not None:
            torch.accelerator.set_stream(self.previous)


def stream(stream: torch.Stream | None) -> StreamContext:
    return StreamContext(stream)


def current_stream(device: Device = None) -> torch.Stream:
    return torch.accelerator.current_stream(torch.device("rigi", index_of(device)))


def default_stream(device: Device = None) -> torch.Stream:
    kind = int(torch._C._autograd.DeviceType.PrivateUse1)
    return Stream(stream_id=0, device_index=index_of(device), device_type=kind)


def set_stream(stream: torch.Stream) -> None:
    torch.accelerator.set_stream(stream)


def synchronize(device: Device = None) -> None:
    """Waits for all work submitted to the device. Raises torch.AcceleratorError if a kernel faulted."""
    torch.accelerator.synchronize(torch.device("rigi", index_of(device)))


def is_current_stream_capturing() -> bool:
    """Whether work on the current stream is noted for a graph (torch.accelerator.Graph) instead of run."""
    return _C.is_capturing(index_of(None))
