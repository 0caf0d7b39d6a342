"""A device through the C interface alone (ctypes on librigi.so): launches programs as data and reads back times, traces and bytes."""

from __future__ import annotations

import ctypes
import json
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sdk_sim
from benchmarks.timing.program_data import Op, Program
from tvm_target.compiler import compile_source

SDK = Path(sdk_sim.__file__).parent  # a sanitized build has its own
FUNCTIONAL, TIMED, STRICT = 0, 1, 3
Record = dict[str, Any]


class Image:
    """A program as the C interface takes it. Keeps the memory alive."""

    def __init__(self, program: Program) -> None:
        instrs = [i for phase in program for core in phase for i in core]
        counts = [len(core) for phase in program for core in phase]
        self.phases = len(program)
        self.instrs = ctypes.create_string_buffer(b"".join(i.pack() for i in instrs), max(112 * len(instrs), 1))
        offsets, total = array("Q", [0]), 0
        for count in counts:
            total += count
            offsets.append(total)
        self.offsets = (ctypes.c_uint64 * len(offsets)).from_buffer_copy(offsets)


class Device:
    """Device 0. Every failing call raises RuntimeError with the library's text."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL(str(SDK / "lib" / "librigi.so"))
        self.lib.rigiGetLastErrorString.restype = ctypes.c_char_p
        self.stream = ctypes.c_void_p()
        self.call("rigiDefaultStream", 0, ctypes.byref(self.stream))
        self._kernels: dict[int, ctypes.c_void_p] = {}
        self._alive: list[Image] = []  # until the next synchronize

    def call(self, name: str, *args: Any) -> None:
        status = getattr(self.lib, name)(*args)
        if status:
            raise RuntimeError(f"{name}: {self.lib.rigiGetLastErrorString().decode()}")

    def malloc(self, size: int) -> int:
        pointer = ctypes.c_void_p()
        self.call("rigiMalloc", 0, ctypes.c_size_t(size), ctypes.byref(pointer))
        assert pointer.value
        return pointer.value

    def free(self, pointer: int) -> None:
        self.call("rigiFree", ctypes.c_void_p(pointer))

    def write(self, pointer: int, data: bytes) -> None:
        self.call("rigiMemcpy", ctypes.c_void_p(pointer), data, ctypes.c_size_t(len(data)))

    def read(self, pointer: int, size: int) -> bytes:
        data = ctypes.create_string_buffer(size)
        self.call("rigiMemcpy", data, ctypes.c_void_p(pointer), ctypes.c_size_t(size))
        return data.raw

    def set_mode(self, mode: int) -> None:
        self.call("rigiDeviceSetMode", 0, mode)

    def set_threads(self, threads: int) -> None:
        self.call("rigiSetNumThreads", threads)

    def synchronize(self) -> None:
        self.call("rigiDeviceSynchronize", 0)
        self._alive.clear()

    def reset(self) -> None:
        self.call("rigiDeviceReset", 0)
        self._alive.clear()

    def cycles(self) -> int:
        """The default stream's simulated clock."""
        value = ctypes.c_uint64()
        self.call("rigiStreamGetCycles", self.stream, ctypes.byref(value))
        return value.value

    @contextmanager
    def trace(self, path: Path) -> Iterator[None]:
        """Everything launched inside is written to `path`."""
        self.call("rigiTraceStart", 0, str(path).encode())
        try:
            yield
        finally:
            self.call("rigiTraceStop", 0)

    def launch(self, program: Program, name: str = "program") -> None:
        """As data; a program with scalar accesses (1 to 5 phases) by a compiled kernel that carries out data and knows them too."""
        image = Image(program)
        self._alive.append(image)
        if not any(i.op >= Op.SCALAR_LOAD for phase in program for core in phase for i in core):
            self.call("rigiLaunchProgram", self.stream, name.encode(), image.instrs, image.offsets, ctypes.c_uint32(image.phases))
            return
        if not self._kernels:
            self._load_interpreter()
        args = (ctypes.c_int64 * 2)(ctypes.addressof(image.instrs), ctypes.addressof(image.offsets))
        self.call("rigiLaunchKernel", self._kernels[image.phases], self.stream, args, ctypes.c_size_t(2))

    def launch_graph(self, *programs: Program) -> None:
        """The programs captured as one graph, which is launched once."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("rigiStreamBeginCapture", self.stream)
        try:
            for program in programs:
                self.launch(program)
        finally:
            self.call("rigiStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("rigiGraphInstantiate", graph, ctypes.byref(ready))
        self.call("rigiGraphLaunch", ready, self.stream)
        self.call("rigiGraphExecDestroy", ready)
        self.call("rigiGraphDestroy", graph)

    def _load_interpreter(self) -> None:
        binary = compile_source(Path(__file__).with_name("scalar_kernel.cpp").read_text(encoding="utf-8"))
        manifest = {"kernels": [{"name": f"interpret{n}", "args": ["i64", "i64"]} for n in range(1, 6)]}
        image, size = ctypes.c_void_p(), ctypes.c_size_t()
        text = json.dumps(manifest).encode()
        self.call("rigiModulePack", b"rigi1", b"A0", text, binary, ctypes.c_size_t(len(binary)), ctypes.byref(image), ctypes.byref(size))
        module = ctypes.c_void_p()
        self.call("rigiModuleLoadData", 0, image, size, ctypes.byref(module))
        for n in range(1, 6):
            kernel = ctypes.c_void_p()
            self.call("rigiModuleGetKernel", module, f"interpret{n}".encode(), ctypes.byref(kernel))
            self._kernels[n] = kernel


class Run:
    """What one traced launch left: its lines, and its cycles by the stream's clock."""

    def __init__(self, records: list[Record], cycles: int) -> None:
        self.records, self.cycles = records, cycles

    def lines(self, core: int, phase: int = 0) -> list[Record]:
        """The lines of a core in a phase in program order, the barrier last."""
        return [r for r in self.records if r["core"] == core and r["phase"] == phase]

    def times(self, core: int, index: int, phase: int = 0) -> tuple[int, int, int, int]:
        """(issue, start, end, done) of one instruction."""
        r = self.lines(core, phase)[index]
        return r["issue"], r["start"], r["end"], r["done"]
