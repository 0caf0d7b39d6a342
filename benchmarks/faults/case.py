"""A case, and the place where cases are tried."""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdk_sim import isa
from sdk_sim.isa import F32, binary, fill, imm, load, sram, store

from .native import Api, Outcome

FUNCTIONAL, TIMED, TIMING_ONLY, STRICT = range(4)
BYTES = 64 << 10  # of the buffers at hand


@dataclass(frozen=True)
class Case:
    """`inject` makes the error; `words` must all stand in the text."""

    kind: str  # program, strict, call, module, graph, process
    name: str
    status: str
    words: tuple[str, ...]
    inject: Callable[[Bench], Outcome]
    environment: Mapping[str, str] = field(default_factory=dict)  # needs a process of its own


class Bench:
    """Two devices with a buffer each, and ways to run programs on them."""

    def __init__(self, folder: Path) -> None:
        self.api = Api()
        self.folder = folder  # for files; it goes away with the worker
        self._images: dict[str, bytes] = {}
        self._buffers: list[int] = []

    @property
    def x(self) -> int:
        """64 KiB on device 0, zero."""
        return self._buffer(0)

    @property
    def other(self) -> int:
        """64 KiB on device 1, zero."""
        return self._buffer(1)

    def _buffer(self, device: int) -> int:
        while len(self._buffers) <= device:
            self._buffers.append(self.malloc(BYTES, len(self._buffers)))
        return self._buffers[device]

    def malloc(self, nbytes: int, device: int = 0) -> int:
        """Zeroed memory."""
        pointer = self.api.new("rigiMalloc", device, nbytes)
        self.api.must("rigiMemset", pointer, 0, nbytes)
        return pointer

    def stream(self, device: int = 0) -> int:
        return self.api.new("rigiStreamCreate", device)

    def launch(self, phases: Sequence[Mapping[int, Sequence[np.ndarray]]], name: str = "wrong", stream: int | None = None) -> Outcome:
        """Submits a program as data."""
        parts = [isa.program(phase.get(core, ())) for phase in phases for core in range(16)]
        instrs = np.concatenate(parts)
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.uint64)
        return self.api("rigiLaunchProgram", stream, name.encode(), instrs.ctypes.data, offsets.ctypes.data, len(phases))

    def run(self, phases: Sequence[Mapping[int, Sequence[np.ndarray]]], name: str = "wrong") -> Outcome:
        """Submits a program and waits for it."""
        outcome = self.launch(phases, name)
        return self.api("rigiDeviceSynchronize", 0) if outcome.status == "SUCCESS" else outcome

    @contextlib.contextmanager
    def mode(self, mode: int) -> Any:
        self.api.must("rigiDeviceSetMode", 0, mode)
        try:
            yield
        finally:
            self.api.must("rigiDeviceReset", 0)
            self.api.must("rigiDeviceSetMode", 0, TIMED)

    def findings(self) -> list[dict[str, Any]]:
        """What strict mode noted on device 0."""
        return self._json("rigiDeviceTakeFindings")

    def allocations(self) -> list[dict[str, Any]]:
        return self._json("rigiDeviceGetAllocations")

    def _json(self, name: str) -> list[dict[str, Any]]:
        text = ctypes.c_void_p()
        self.api.must(name, 0, ctypes.byref(text))
        value = json.loads(ctypes.string_at(text.value or 0))
        ctypes.CDLL(None).free(text)
        return value

    def image(self) -> bytes:
        """A module with the kernels of kernels.cpp."""
        from .kernels import build

        if "good" not in self._images:
            self._images["good"] = build(self.folder)
        return self._images["good"]

    def module(self, device: int = 0) -> int:
        image = self.image()
        return self.api.new("rigiModuleLoadData", device, image, len(image))

    def kernel(self, name: str, device: int = 0) -> int:
        return self.api.new("rigiModuleGetKernel", self.module(device), name.encode())

    def usable(self) -> bool:
        """Whether both devices, once reset, compute what they should."""
        if self.api("rigiSetNumThreads", 2).status != "SUCCESS":
            return False
        return all(self._computes(device) for device in (0, 1))

    def _computes(self, device: int) -> bool:
        api = self.api
        if {api("rigiDeviceReset", device).status, api("rigiDeviceSetMode", device, TIMED).status} != {"SUCCESS"}:
            return False
        host = np.arange(256, dtype=np.float32)
        back = np.zeros_like(host)
        buffer, stream = self.malloc(2048, device), self.api.new("rigiDefaultStream", device)
        api.must("rigiMemcpy", buffer, host.ctypes.data, 1024)
        a, b = sram(0, 1024, F32), sram(1024, 1024, F32)
        core = [load(a, buffer, 1024, 1, 1024), binary(isa.ADD, b, a, imm(1.0), 1, 256), store(buffer + 1024, 1024, b, 1, 1024)]
        launched = self.launch([{7: core}], "usable", stream)
        copied = api("rigiMemcpy", back.ctypes.data, buffer + 1024, 1024)
        freed = api("rigiFree", buffer)
        return {launched.status, copied.status, freed.status} == {"SUCCESS"} and bool((back == host + 1).all())


def good() -> np.ndarray:
    """An instruction that nothing is wrong with."""
    return fill(sram(0, 64, F32), 0, 1, 16)
