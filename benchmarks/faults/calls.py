"""Wrong calls of the C API: pointers, handles, sizes, memory, streams, and what the environment asks for."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_uint64, c_void_p

import numpy as np

from sdk_sim.isa import F32, fill, sram

from .case import BYTES, FUNCTIONAL, Bench, Case, good
from .native import Outcome

HOST = ctypes.create_string_buffer(4096)
HOST_FUNCTION = ctypes.CFUNCTYPE(None, c_void_p)
OUT = c_uint64()
Inject = Callable[[Bench], Outcome]


def call(name: str, status: str, inject: Inject, *words: str) -> Case:
    return Case("call", name, status, words, inject)


# ---- memory


def freed(bench: Bench) -> int:
    pointer = bench.malloc(4096)
    bench.api.must("rigiFree", pointer)
    return pointer


def free_twice(bench: Bench) -> Outcome:
    return bench.api("rigiFree", freed(bench))


def free_inside(bench: Bench) -> Outcome:
    return bench.api("rigiFree", bench.x + 256)


def memory_full(bench: Bench) -> Outcome:
    held = bench.api.new("rigiMalloc", 0, 60 << 30)
    outcome = bench.api("rigiMalloc", 0, 5 << 30, byref(OUT))
    bench.api.must("rigiFree", held)
    return outcome


MEMORY = [
    call("malloc-null-result", "INVALID_VALUE", lambda b: b.api("rigiMalloc", 0, 64, None), "rigiMalloc", "`pointer` is null"),
    call(
        "malloc-more-than-there-is",
        "OUT_OF_MEMORY",
        lambda b: b.api("rigiMalloc", 0, 1 << 40, byref(OUT)),
        "1.0 TiB",
        "of 64.0 GiB",
        "smaller",
    ),
    call(
        "malloc-largest-size",
        "OUT_OF_MEMORY",
        lambda b: b.api("rigiMalloc", 0, (1 << 64) - 1, byref(OUT)),
        "device 0 has no room",
        "largest block",
    ),
    call("malloc-when-full", "OUT_OF_MEMORY", memory_full, "5.0 GiB", "are free", "allocations are live", "Free some"),
    call("free-twice", "INVALID_POINTER", free_twice, "rigiFree", "not a live allocation of device 0", "freed already"),
    call("free-inside-an-allocation", "INVALID_POINTER", free_inside, "256 bytes inside the allocation", "rigiMalloc returned"),
    call("free-host-memory", "INVALID_POINTER", lambda b: b.api("rigiFree", HOST), "not device memory"),
    call(
        "allocation-of-freed-memory",
        "INVALID_POINTER",
        lambda b: b.api("rigiPointerGetAllocation", freed(b), None, None),
        "in no live allocation",
    ),
    call(
        "copy-past-end",
        "INVALID_POINTER",
        lambda b: b.api("rigiMemcpy", b.x + BYTES - 8, HOST, 9),
        "`dst`",
        "leave the allocation",
        "by 1 bytes",
    ),
    call("copy-from-freed", "INVALID_POINTER", lambda b: b.api("rigiMemcpy", HOST, freed(b), 64), "HBM of device 0", "no live allocation"),
    call(
        "copy-host-to-host",
        "INVALID_VALUE",
        lambda b: b.api("rigiMemcpy", HOST, ctypes.addressof(HOST) + 64, 64),
        "both",
        "host memory; use memcpy",
    ),
    call("copy-null", "INVALID_VALUE", lambda b: b.api("rigiMemcpy", b.x, None, 8), "`src` is null"),
    call("copy-size-wraps", "INVALID_POINTER", lambda b: b.api("rigiMemcpy", b.x, HOST, (1 << 64) - 1), "`dst`", "leave the allocation"),
    call(
        "copy-on-the-other-devices-stream",
        "INVALID_VALUE",
        lambda b: b.api("rigiMemcpyAsync", b.x, HOST, 64, b.stream(1)),
        "memory is on device 0",
        "stream on device 1",
    ),
    call(
        "peer-copy-with-host",
        "INVALID_POINTER",
        lambda b: b.api("rigiMemcpyPeerAsync", b.other, HOST, 64, None),
        "not device memory",
        "device to device",
    ),
    call("set-host-memory", "INVALID_POINTER", lambda b: b.api("rigiMemset", HOST, 0, 64), "not device memory"),
    call("set-past-end", "INVALID_POINTER", lambda b: b.api("rigiMemsetAsync", b.x + 8, 0, BYTES, None), "`dst`", "by 8 bytes"),
    call(
        "set-on-the-other-devices-stream",
        "INVALID_VALUE",
        lambda b: b.api("rigiMemsetAsync", b.x, 0, 64, b.stream(1)),
        "memory is on device 0",
        "device 1",
    ),
]


# ---- devices


DEVICES = [
    call(
        "device-negative", "INVALID_DEVICE", lambda b: b.api("rigiMalloc", -1, 64, byref(OUT)), "device -1 does not exist", "RIGI_DEVICES"
    ),
    call("device-too-large", "INVALID_DEVICE", lambda b: b.api("rigiDeviceSynchronize", 2), "device 2 does not exist", "there are 2"),
    call("properties-null", "INVALID_VALUE", lambda b: b.api("rigiGetDeviceProperties", 0, None), "`properties` is null"),
    call("mode-unknown", "INVALID_VALUE", lambda b: b.api("rigiDeviceSetMode", 0, 9), "mode 9 is unknown", "RIGI_TIMED"),
    call("threads-zero", "INVALID_VALUE", lambda b: b.api("rigiSetNumThreads", 0), "0 threads", "allowed: 1 to"),
    call("threads-too-many", "INVALID_VALUE", lambda b: b.api("rigiSetNumThreads", 1000), "1000 threads", "allowed: 1 to"),
    call("statistics-null", "INVALID_VALUE", lambda b: b.api("rigiDeviceTakeStatistics", 0, None), "`json` is null"),
]


# ---- streams, events and host functions


def destroyed_stream(bench: Bench) -> int:
    stream = bench.stream()
    bench.api.must("rigiStreamDestroy", stream)
    return stream


def destroyed_event(bench: Bench) -> int:
    event = bench.api.new("rigiEventCreate")
    bench.api.must("rigiEventDestroy", event)
    return event


def reused_handle(bench: Bench) -> Outcome:
    """The slot of a destroyed stream goes to a new one; the old handle must not mean it."""
    old = destroyed_stream(bench)
    bench.stream()
    return bench.api("rigiStreamSynchronize", old)


def destroy_default(bench: Bench) -> Outcome:
    return bench.api("rigiStreamDestroy", bench.api.new("rigiDefaultStream", 1))


def elapsed_never_recorded(bench: Bench) -> Outcome:
    start, end = bench.api.new("rigiEventCreate"), bench.api.new("rigiEventCreate")
    bench.api.must("rigiEventRecord", end, None)
    bench.api.must("rigiEventSynchronize", end)
    return bench.api("rigiEventElapsedCycles", start, end, byref(OUT))


def in_host_function(bench: Bench, wait: str) -> Outcome:
    """What a call says inside a host function of the device it waits for."""
    inside: list[Outcome] = []
    function = HOST_FUNCTION(lambda _: inside.append(bench.api(wait, 0)))
    bench.api.must("rigiLaunchHostFunc", None, function, None)
    bench.api.must("rigiDeviceSynchronize", 0)
    return inside[0]


def elapsed_not_done(bench: Bench) -> Outcome:
    """The event stands behind a host function that waits for this very call."""
    event, gate = bench.api.new("rigiEventCreate"), threading.Event()
    function = HOST_FUNCTION(lambda _: gate.wait(30))
    bench.api.must("rigiLaunchHostFunc", None, function, None)
    bench.api.must("rigiEventRecord", event, None)
    outcome = bench.api("rigiEventElapsedTime", event, event, byref(OUT))
    gate.set()
    bench.api.must("rigiDeviceSynchronize", 0)
    return outcome


def sticky(bench: Bench) -> Outcome:
    """A fault is still there at the next, innocent call."""
    bench.launch([{3: [fill(sram(1 << 22, 64, F32), 0, 1, 16)]}], "sticky")
    bench.api("rigiDeviceSynchronize", 0)
    return bench.launch([{0: [good()]}], "innocent")


STREAMS = [
    call(
        "stream-destroyed",
        "INVALID_HANDLE",
        lambda b: b.api("rigiStreamSynchronize", destroyed_stream(b)),
        "not a live stream",
        "destroyed",
    ),
    call("stream-destroyed-then-reused", "INVALID_HANDLE", reused_handle, "not a live stream"),
    call("stream-made-up", "INVALID_HANDLE", lambda b: b.api("rigiStreamQuery", 0xDEADBEEF), "0xdeadbeef is not a live stream"),
    call("stream-is-an-event", "INVALID_HANDLE", lambda b: b.api("rigiStreamQuery", b.api.new("rigiEventCreate")), "not a live stream"),
    call("default-stream-destroyed", "INVALID_VALUE", destroy_default, "default stream cannot be destroyed"),
    call(
        "launch-on-destroyed-stream",
        "INVALID_HANDLE",
        lambda b: b.launch([{}], "late", destroyed_stream(b)),
        "rigiLaunchProgram",
        "not a live stream",
    ),
    call(
        "event-destroyed", "INVALID_HANDLE", lambda b: b.api("rigiEventRecord", destroyed_event(b), None), "not a live event", "destroyed"
    ),
    call("event-null", "INVALID_HANDLE", lambda b: b.api("rigiEventSynchronize", None), "not a live event"),
    call("event-destroyed-twice", "INVALID_HANDLE", lambda b: b.api("rigiEventDestroy", destroyed_event(b)), "not a live event"),
    call("elapsed-never-recorded", "INVALID_VALUE", elapsed_never_recorded, "start event was never recorded"),
    call("elapsed-not-completed", "NOT_READY", elapsed_not_done, "has not completed yet", "rigiEventSynchronize"),
    call("wait-in-host-function", "INVALID_VALUE", lambda b: in_host_function(b, "rigiDeviceSynchronize"), "host function cannot wait"),
    call("reset-in-host-function", "INVALID_VALUE", lambda b: in_host_function(b, "rigiDeviceReset"), "host function cannot wait"),
    call("host-function-null", "INVALID_VALUE", lambda b: b.api("rigiLaunchHostFunc", None, None, None), "`function` is null"),
    call("work-after-a-fault", "KERNEL_FAULT", sticky, "kernel sticky, core 3, phase 0, instruction 0 (fill)", "rigiDeviceReset"),
]


# ---- programs as data, traces and collectives


def program(bench: Bench, offsets: list[int], phases: int, name: bytes | None = b"program") -> Outcome:
    array = np.zeros(17, np.uint64)
    array[: len(offsets)] = offsets
    return bench.api("rigiLaunchProgram", None, name, None, array.ctypes.data, phases)


def trace_functional(bench: Bench) -> Outcome:
    with bench.mode(FUNCTIONAL):
        return bench.api("rigiTraceStart", 0, str(bench.folder / "t.jsonl").encode())


def collective(bench: Bench, kind: int, algorithm: int, devices: int) -> Outcome:
    return bench.api("rigiCollectiveGetCycles", kind, algorithm, devices, 1 << 20, byref(OUT))


LAUNCHES = [
    call("program-no-phases", "INVALID_VALUE", lambda b: program(b, [0], 0), "0 phases", "allowed: 1 to 4096"),
    call("program-too-many-phases", "INVALID_VALUE", lambda b: program(b, [0], 5000), "5000 phases", "allowed: 1 to 4096"),
    call("program-offsets-decrease", "INVALID_VALUE", lambda b: program(b, [0, 9], 1), "offsets[1]", "must not decrease"),
    call("program-offsets-start", "INVALID_VALUE", lambda b: program(b, [1] * 17, 1), "offsets[0] is 1, not 0"),
    call("program-instructions-null", "INVALID_VALUE", lambda b: program(b, [0] + [1] * 16, 1), "`instrs` is null"),
    call("program-offsets-null", "INVALID_VALUE", lambda b: b.api("rigiLaunchProgram", None, b"p", None, None, 1), "`offsets` is null"),
    call("program-name-null", "INVALID_VALUE", lambda b: program(b, [0], 1, None), "name", "1 to 255 printable"),
    call("program-name-quoted", "INVALID_VALUE", lambda b: program(b, [0], 1, b'a"b'), "name", "without quotes"),
    call("program-name-too-long", "INVALID_VALUE", lambda b: program(b, [0], 1, b"x" * 300), "name", "1 to 255"),
    call("trace-into-no-folder", "IO", lambda b: b.api("rigiTraceStart", 0, b"/no/such/folder/t"), "/no/such/folder/t", "No such file"),
    call("trace-without-time", "INVALID_VALUE", trace_functional, "functional mode", "rigiDeviceSetMode"),
    call(
        "profile-into-no-folder", "IO", lambda b: b.api("rigiProfilerStart", 0, b"/no/such/folder/p"), "/no/such/folder/p", "No such file"
    ),
    call("range-kind-null", "INVALID_VALUE", lambda b: b.api("rigiRangePush", None, None, b"x"), "rigiRangePush", "`kind` is null"),
    call("collective-unknown", "INVALID_VALUE", lambda b: collective(b, 7, 0, 4), "collective 7 is unknown", "allowed: 0 to 3"),
    call("collective-no-devices", "INVALID_VALUE", lambda b: collective(b, 0, 0, 0), "0 devices", "allowed: 1 to 4096"),
    call("collective-algorithm", "INVALID_VALUE", lambda b: collective(b, 0, 5, 4), "algorithm 5 is unknown", "RIGI_RING"),
]


# ---- the environment, read by a process's first call


def first_call(bench: Bench) -> Outcome:
    return bench.api("rigiGetDeviceCount", byref(c_int()))


def process(name: str, status: str, variable: str, value: str, *words: str) -> Case:
    return Case("process", name, status, (variable, value, *words), first_call, {variable: value})


PROCESS = [
    process("environment-devices", "INVALID_VALUE", "RIGI_DEVICES", "many", "from 1 to 16"),
    process("environment-mode", "INVALID_VALUE", "RIGI_MODE", "quick", "allowed: functional, timed"),
    process("environment-threads", "INVALID_VALUE", "RIGI_NUM_THREADS", "0", "from 1 to 64"),
    Case("process", "environment-chip-missing", "CHIP_FILE", ("/no/such/chip.toml",), first_call, {"RIGI_CHIP": "/no/such/chip.toml"}),
]

CASES = [*MEMORY, *DEVICES, *STREAMS, *LAUNCHES, *PROCESS]
