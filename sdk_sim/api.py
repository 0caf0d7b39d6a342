"""The SDK's Python side: devices, buffers, streams, events, modules and launches.

Calls are those of rigi.h with its rules: launches and `..._async` return at once, `synchronize` waits, every refusal is a `RigiError`
with the SDK's text and its `status`. Times are simulated cycles or milliseconds of the chip, never of the host.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _rigi, isa
from ._rigi import RigiError, Status
from .graph import Graph, GraphExec, capture, collective_cycles

Mode = Literal["functional", "timed", "timing-only", "strict"]
_MODES: tuple[Mode, ...] = ("functional", "timed", "timing-only", "strict")

# ---- devices


def version() -> str:
    """The SDK's version; modules are bound to it."""
    return _rigi.version()


def device_count() -> int:
    """How many devices are emulated (RIGI_DEVICES)."""
    return _rigi.device_count()


def properties(device: int = 0) -> dict[str, Any]:
    """Figures of a device by the names of rigiDeviceProperties; sizes in bytes, rates per second unless the name says otherwise."""
    return _rigi.properties(device)


def synchronize(device: int = 0) -> None:
    """Waits for all submitted work. Raises RigiError if a kernel faulted."""
    _rigi.synchronize(device)


def reset(device: int = 0) -> None:
    """Drops queued work and the device's fault. Memory, streams and modules stay."""
    _rigi.reset(device)


def set_mode(mode: Mode, device: int = 0) -> None:
    """What work submitted from now on does: compute ("functional"), compute and take simulated time ("timed"), take time without
    touching data ("timing-only"), or both with every access checked ("strict")."""
    if mode not in _MODES:
        raise ValueError(f"mode {mode!r} is unknown; allowed: {', '.join(_MODES)}")
    _rigi.set_mode(device, _MODES.index(mode))


def get_mode(device: int = 0) -> Mode:
    """The mode in which work is submitted."""
    return _MODES[_rigi.get_mode(device)]


def set_num_threads(threads: int) -> None:
    """Host threads that run the cores of a launch. Never changes results."""
    _rigi.set_num_threads(threads)


def take_statistics(device: int = 0) -> dict[str, Any]:
    """What ran since the last call: {"launches", "cycles", "kernels": {name: {"launches", "cycles"}}, "copies": {direction: {...}}}.

    Simulated cycles. Waits for submitted work."""
    return json.loads(_rigi.take_statistics(device))


def take_findings(device: int = 0) -> list[dict[str, Any]]:
    """What strict mode found since the last call: [{"kind", "kernel", "core", "phase", "instruction", "op", "operand", "line", "text"}].

    Waits for submitted work; works on a faulted device."""
    return json.loads(_rigi.take_findings(device))


@contextlib.contextmanager
def trace(path: str | os.PathLike[str], device: int = 0) -> Iterator[None]:
    """Writes the instructions of the launches submitted inside to a file, one JSON object a line. Not in functional mode."""
    _rigi.trace_start(device, os.fspath(path))
    try:
        yield
    finally:
        _rigi.trace_stop(device)


@contextlib.contextmanager
def profiler(path: str | os.PathLike[str], device: int = 0) -> Iterator[None]:
    """Writes where the cycles of the launches and copies submitted inside went to a file, for `rigi profile --read` and `sdk_sim.profile`.

    Not in functional mode, which has no time: RigiError says so."""
    _rigi.profiler_start(device, os.fspath(path))
    try:
        yield
    finally:
        _rigi.profiler_stop(device)


@contextlib.contextmanager
def range(kind: str, name: str, stream: Stream | int | None = None) -> Iterator[None]:
    """What the stream (or its handle) is given inside belongs, in a profile, to this `kind` ("request", "layer", ...) of work.

    Ranges nest. Without a profile they do nothing."""
    handle = stream if isinstance(stream, int) else _handle(stream)
    _rigi.range_push(handle, kind, name)
    try:
        yield
    finally:
        _rigi.range_pop(handle)


# ---- memory


class Buffer:
    """A piece of a device's HBM, freed when the object goes away. `address` is what kernels take; it can be offset."""

    def __init__(self, nbytes: int, device: int = 0) -> None:
        self._address = 0
        if nbytes < 0:
            raise ValueError(f"a buffer of {nbytes} bytes")
        self.nbytes = nbytes
        self.device = device
        self._address = _rigi.malloc(device, nbytes)

    @classmethod
    def from_numpy(cls, array: npt.ArrayLike, device: int = 0) -> Buffer:
        """A buffer with the array's bytes, in C order."""
        host = np.asarray(array)
        buffer = cls(host.nbytes, device)
        buffer.copy_from(host)
        return buffer

    @property
    def address(self) -> int:
        """The device pointer."""
        if self._address == 0 and self.nbytes != 0:
            raise ValueError("this buffer was freed")
        return self._address

    def copy_from(self, array: npt.ArrayLike, offset: int = 0) -> None:
        """Host to device, in C order, `offset` bytes into the buffer. Returns when done."""
        host = np.ascontiguousarray(array)
        self._check(offset, host.nbytes)
        if host.nbytes:
            _rigi.memcpy(self.address + offset, host.ctypes.data, host.nbytes)

    def to_numpy(self, dtype: npt.DTypeLike = np.uint8, shape: int | Sequence[int] | None = None, offset: int = 0) -> np.ndarray:
        """Device to host. Without a shape: all from `offset` on, one-dimensional."""
        kind = np.dtype(dtype)
        host = np.empty((self.nbytes - offset) // kind.itemsize if shape is None else shape, kind)
        self._check(offset, host.nbytes)
        if host.nbytes:
            _rigi.memcpy(host.ctypes.data, self.address + offset, host.nbytes)
        return host

    def fill(self, byte: int = 0) -> None:
        """Sets every byte. Returns when done."""
        if self.nbytes:
            _rigi.memset(self.address, byte, self.nbytes)

    def free(self) -> None:
        """Gives the memory back, after work that was already submitted. Freeing twice does nothing."""
        address, self._address = self._address, 0
        if address:
            _rigi.free(address)

    def _check(self, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"{nbytes} bytes at offset {offset} do not lie inside the buffer of {self.nbytes} bytes")

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the process the library may be gone
            self.free()

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self._address:#x}, device {self.device})"


def malloc(nbytes: int, device: int = 0) -> Buffer:
    """`nbytes` bytes of HBM, 256-byte aligned."""
    return Buffer(nbytes, device)


def memory_info(device: int = 0) -> tuple[int, int]:
    """(free, total) bytes of HBM."""
    return _rigi.memory_info(device)


def allocations(device: int = 0) -> list[dict[str, int]]:
    """Live allocations, oldest first: {"address", "bytes", "number"}, number counting the device's allocations from 1."""
    return json.loads(_rigi.allocations(device))


# ---- streams and events


class Stream:
    """A line of simulated time on a device."""

    def __init__(self, device: int = 0) -> None:
        self.handle = _rigi.stream_create(device)
        self.device = device
        self._owned = True

    @classmethod
    def default(cls, device: int = 0) -> Stream:
        """The device's default stream."""
        stream = cls.__new__(cls)
        stream.handle, stream.device, stream._owned = _rigi.stream_default(device), device, False
        return stream

    @property
    def cycles(self) -> int:
        """The stream's simulated clock, after the work submitted so far. Waits for it."""
        return _rigi.stream_cycles(self.handle)

    def synchronize(self) -> None:
        """Waits for the work submitted on this stream."""
        _rigi.stream_synchronize(self.handle)

    def query(self) -> bool:
        """Whether the work submitted on this stream is done."""
        return _rigi.stream_query(self.handle)

    def wait(self, event: Event) -> None:
        """Later work of this stream starts no earlier than the event."""
        _rigi.stream_wait_event(self.handle, event.handle)

    def call(self, function: Callable[[], Any]) -> None:
        """Calls a host function in its turn, in another thread. It must not wait for any device."""
        _rigi.launch_host_function(self.handle, function)

    def __del__(self) -> None:
        if getattr(self, "_owned", False):
            with contextlib.suppress(Exception):
                _rigi.stream_destroy(self.handle)


class Event:
    """A moment of simulated time on a stream."""

    def __init__(self) -> None:
        self.handle = _rigi.event_create()

    def record(self, stream: Stream | None = None) -> Event:
        """The moment when the work submitted on the stream so far is done."""
        _rigi.event_record(self.handle, _handle(stream))
        return self

    def query(self) -> bool:
        """Whether that moment has come."""
        return _rigi.event_query(self.handle)

    def synchronize(self) -> None:
        """Waits for that moment."""
        _rigi.event_synchronize(self.handle)

    def cycles_since(self, start: Event) -> int:
        """Simulated cycles from `start` to here; both must have completed."""
        return _rigi.event_elapsed_cycles(start.handle, self.handle)

    def milliseconds_since(self, start: Event) -> float:
        """Simulated milliseconds from `start` to here; both must have completed."""
        return _rigi.event_elapsed_ms(start.handle, self.handle)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            with contextlib.suppress(Exception):
                _rigi.event_destroy(self.handle)


def _handle(stream: Stream | None) -> int:
    return 0 if stream is None else stream.handle


# ---- modules and launches


class Kernel:
    """A kernel of a loaded module. Keeps the module loaded."""

    def __init__(self, module: Module, name: str) -> None:
        self.module = module
        self.name = name
        self.handle = _rigi.module_kernel(module.handle, name)


class Module:
    """A module file (or its bytes), checked and loaded for a device."""

    def __init__(self, source: str | os.PathLike[str] | bytes, device: int = 0) -> None:
        if isinstance(source, bytes):
            self.handle = _rigi.module_load_data(device, source)
        else:
            self.handle = _rigi.module_load(device, os.fspath(source))
        self.device = device

    @property
    def manifest(self) -> dict[str, Any]:
        """What the module says about itself."""
        return json.loads(_rigi.module_manifest(self.handle))

    def kernel(self, name: str) -> Kernel:
        """Raises RigiError listing the module's kernels if there is no such one."""
        return Kernel(self, name)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            with contextlib.suppress(Exception):
                _rigi.module_unload(self.handle)


def pack_module(code: bytes, manifest: Mapping[str, Any], chip: str, revision: str) -> bytes:
    """A module image from a shared object that exports `rigi_module`."""
    return _rigi.module_pack(chip, revision, json.dumps(manifest), code)


def launch(kernel: Kernel, args: Sequence[Buffer | int | float], stream: Stream | None = None) -> None:
    """Submits a kernel on a stream (the default one of the kernel's device). A Buffer stands for its address."""
    target = stream if stream is not None else Stream.default(kernel.module.device)
    _rigi.launch_kernel(kernel.handle, target.handle, [a.address if isinstance(a, Buffer) else a for a in args])


Instructions = Sequence[np.ndarray] | np.ndarray
Phase = Mapping[int, Instructions] | Sequence[Instructions]


def launch_program(phases: Sequence[Phase], name: str = "program", stream: Stream | None = None) -> None:
    """Submits instructions as data. A phase gives each core's instructions (see `isa`): {core: [...]}, or one list for each core."""
    cores = properties(0 if stream is None else stream.device)["cores"]
    parts: list[np.ndarray] = []
    for p, phase in enumerate(phases):
        if isinstance(phase, Mapping):
            if bad := [core for core in phase if not 0 <= core < cores]:
                raise ValueError(f"phase {p} names core {bad[0]}; there are {cores}, numbered from 0")
            parts += [isa.program(phase.get(core, ())) for core in builtins.range(cores)]
        elif len(phase) == cores:
            parts += [isa.program(core) for core in phase]
        else:
            raise ValueError(f"phase {p} has instructions for {len(phase)} cores; there are {cores}. To leave cores out give a dict")
    instrs = np.concatenate(parts) if parts else np.zeros(0, isa.INSTR_DTYPE)
    offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.uint64)
    _rigi.launch_program(_handle(stream), name, instrs.ctypes.data, offsets.ctypes.data, len(phases))


def _drain() -> None:
    # Host functions need the interpreter: they run before it goes away. A device that was never used has nothing to wait for.
    with contextlib.suppress(Exception):
        for device in builtins.range(device_count()):
            with contextlib.suppress(RigiError):
                _rigi.synchronize(device)


atexit.register(_drain)

__all__ = [
    "Buffer",
    "Event",
    "Graph",
    "GraphExec",
    "Kernel",
    "Mode",
    "Module",
    "RigiError",
    "Status",
    "Stream",
    "allocations",
    "capture",
    "collective_cycles",
    "device_count",
    "get_mode",
    "launch",
    "launch_program",
    "malloc",
    "memory_info",
    "pack_module",
    "profiler",
    "properties",
    "range",
    "reset",
    "set_mode",
    "set_num_threads",
    "synchronize",
    "take_findings",
    "take_statistics",
    "trace",
    "version",
]
