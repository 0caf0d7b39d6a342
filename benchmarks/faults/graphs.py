"""Misuse of captures and graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_uint64

from sdk_sim.isa import F32, fill, sram

from .case import Bench, Case, good
from .native import Outcome

OUT = c_uint64()
Inject = Callable[[Bench], Outcome]


def graph(name: str, status: str, inject: Inject, *words: str) -> Case:
    return Case("graph", name, status, words, inject)


def capture(bench: Bench, stream: int) -> int:
    """A graph of one program."""
    bench.api.must("rigiStreamBeginCapture", stream)
    bench.launch([{0: [good()]}], "noted", stream)
    return bench.api.new("rigiStreamEndCapture", stream)


def while_capturing(bench: Bench, inject: Callable[[int], Outcome]) -> Outcome:
    stream = bench.stream()
    bench.api.must("rigiStreamBeginCapture", stream)
    outcome = inject(stream)
    bench.api("rigiStreamEndCapture", stream, byref(OUT))
    return outcome


def not_joined(bench: Bench) -> Outcome:
    first, second, event = bench.stream(), bench.stream(), bench.api.new("rigiEventCreate")
    bench.api.must("rigiStreamBeginCapture", first)
    bench.api.must("rigiEventRecord", event, first)
    bench.api.must("rigiStreamWaitEvent", second, event)
    bench.launch([{0: [good()]}], "noted", second)
    return bench.api("rigiStreamEndCapture", first, byref(OUT))


def foreign_event(bench: Bench) -> Outcome:
    event = bench.api.new("rigiEventCreate")
    bench.api.must("rigiEventRecord", event, None)
    return while_capturing(bench, lambda stream: bench.api("rigiStreamWaitEvent", stream, event))


def launched_elsewhere(bench: Bench) -> Outcome:
    exec_ = bench.api.new("rigiGraphInstantiate", capture(bench, bench.stream()))
    return bench.api("rigiGraphLaunch", exec_, bench.stream(1))


def destroyed_graph(bench: Bench) -> Outcome:
    captured = capture(bench, bench.stream())
    bench.api.must("rigiGraphDestroy", captured)
    return bench.api("rigiGraphInstantiate", captured, byref(OUT))


def set_arguments(bench: Bench) -> Outcome:
    exec_ = bench.api.new("rigiGraphInstantiate", capture(bench, bench.stream()))
    return bench.api("rigiGraphExecSetKernelArgs", exec_, 0, None, 0)


def no_such_node(bench: Bench) -> Outcome:
    node = ctypes.create_string_buffer(512)
    return bench.api("rigiGraphGetNode", capture(bench, bench.stream()), 5, node)


def fault_in_graph(bench: Bench) -> Outcome:
    stream = bench.stream()
    bench.api.must("rigiStreamBeginCapture", stream)
    bench.launch([{0: [good()]}], "first", stream)
    bench.launch([{4: [good(), fill(sram(1 << 22, 64, F32), 0, 1, 16)]}], "second", stream)
    exec_ = bench.api.new("rigiGraphInstantiate", bench.api.new("rigiStreamEndCapture", stream))
    bench.api.must("rigiGraphLaunch", exec_, stream)
    return bench.api("rigiStreamSynchronize", stream)


CASES = [
    graph(
        "capture-twice",
        "CAPTURE",
        lambda b: while_capturing(b, lambda s: b.api("rigiStreamBeginCapture", s)),
        "captures already",
        "rigiStreamEndCapture",
    ),
    graph(
        "capture-never-begun",
        "CAPTURE",
        lambda b: b.api("rigiStreamEndCapture", b.stream(), byref(OUT)),
        "does not capture",
        "rigiStreamBeginCapture",
    ),
    graph(
        "wait-while-capturing",
        "CAPTURE",
        lambda b: while_capturing(b, lambda s: b.api("rigiStreamSynchronize", s)),
        "cannot be waited for",
        "rigiStreamEndCapture",
    ),
    graph(
        "clock-while-capturing",
        "CAPTURE",
        lambda b: while_capturing(b, lambda s: b.api("rigiStreamGetCycles", s, byref(OUT))),
        "no clock",
        "rigiStreamEndCapture",
    ),
    graph("stream-not-joined", "CAPTURE", not_joined, "stream 1 of the capture", "record an event on it"),
    graph("foreign-event-in-capture", "CAPTURE", foreign_event, "recorded in the same capture", "before the capture begins"),
    graph("graph-on-another-device", "INVALID_VALUE", launched_elsewhere, "captured on device 0", "stream is on device 1"),
    graph("graph-destroyed", "INVALID_HANDLE", destroyed_graph, "not a live graph"),
    graph("graph-arguments-of-a-program", "INVALID_VALUE", set_arguments, "node 0", "not the launch of a module's kernel"),
    graph("graph-node-missing", "INVALID_VALUE", no_such_node, "node 5 does not exist", "has 1"),
    graph(
        "fault-in-a-graph",
        "KERNEL_FAULT",
        fault_in_graph,
        "graph node 1",
        "kernel second, core 4, phase 0, instruction 1 (fill)",
        "operand dst",
    ),
]
