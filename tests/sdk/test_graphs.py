"""Graphs: capture, replay, changed arguments, streams that join, and what is refused. The collectives' cost model beside its formulas."""

from collections.abc import Iterator
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_runtime_launch import plus_one
from test_runtime_memory import refused

import sdk_sim
from sdk_sim import Buffer, Event, Module, Status, Stream, _rigi

CHIP = sdk_sim.properties()
CORES = CHIP["cores"]
EMPTY = CHIP["graph_launch_cycles"] + CHIP["barrier_cycles"]  # an empty launch of one phase, in a graph
FLOATS = CORES * 256


@pytest.fixture(autouse=True)
def timed() -> Iterator[None]:
    sdk_sim.set_mode("timed")
    sdk_sim.take_statistics()
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")


def add_rows(x: Buffer, y: Buffer, stream: Stream) -> None:
    sdk_sim.launch_program([{c: plus_one(x, y, c) for c in range(CORES)}], "plus_one", stream)


def zeros() -> Buffer:
    return Buffer.from_numpy(np.zeros(FLOATS, np.float32))


def test_a_capture_runs_nothing_and_a_launch_runs_all_of_it():
    stream, x, y = Stream(), zeros(), zeros()
    with sdk_sim.capture(stream) as captured:
        add_rows(x, y, stream)
        add_rows(y, x, stream)
        assert _rigi.stream_is_capturing(stream.handle)
    assert not _rigi.stream_is_capturing(stream.handle)
    sdk_sim.synchronize()
    assert not x.to_numpy(np.float32).any() and sdk_sim.take_statistics()["launches"] == 0
    graph = captured.graph.instantiate()
    for n in range(1, 4):
        graph.launch(stream)
        stream.synchronize()
        assert (x.to_numpy(np.float32) == 2 * n).all()
    assert sdk_sim.take_statistics()["kernels"]["plus_one"]["launches"] == 6
    assert [(node.kind, node.name, node.stream) for node in captured.graph.nodes] == [("kernel", "plus_one", 0)] * 2


@pytest.mark.parametrize("count", [1, 7, 300])
def test_launches_in_a_graph_pay_the_graph_launch_cost(count):
    stream = Stream()
    with sdk_sim.capture(stream) as captured:
        for _ in range(count):
            sdk_sim.launch_program([{}], "empty", stream)
    graph = captured.graph.instantiate()
    graph.launch(stream)
    for _ in range(2):  # the second time is known by heart
        before = stream.cycles
        graph.launch(stream)
        assert stream.cycles - before == count * EMPTY


@pytest.mark.parametrize("mode", ["functional", "timed", "timing-only"])
def test_a_graph_takes_the_mode_of_its_launch(mode):
    stream, x, y = Stream(), zeros(), zeros()
    with sdk_sim.capture(stream) as captured:
        add_rows(x, y, stream)
    graph = captured.graph.instantiate()
    graph.launch(stream)
    sdk_sim.set_mode(mode)
    before = stream.cycles
    graph.launch(stream)
    took = stream.cycles - before
    sdk_sim.set_mode("timed")
    before = stream.cycles
    graph.launch(stream)
    assert took == (0 if mode == "functional" else stream.cycles - before)


def test_arguments_change_from_the_next_launch_on(image):
    kernel = Module(image).kernel("add")
    stream, x, y, z = Stream(), zeros(), zeros(), zeros()
    with sdk_sim.capture(stream) as captured:
        sdk_sim.launch(kernel, [x, y, 1.0], stream)
    first, second = captured.graph.instantiate(), captured.graph.instantiate()
    for value in range(20):  # submitted, perhaps not yet run, when the arguments change
        first.set_args(0, [x, y, float(value)])
        first.launch(stream)
    second.launch(stream)
    first.set_args(0, [y, z, 5.0])
    first.launch(stream)
    assert (y.to_numpy(np.float32) == 1).all() and (z.to_numpy(np.float32) == 6).all()
    with refused(Status.INVALID_VALUE, "takes 3 arguments, 2 were given"):
        first.set_args(0, [x, y])
    with refused(Status.INVALID_VALUE, "node 1 does not exist"):
        first.set_args(1, [x, y, 1.0])


def test_copies_and_fills_are_nodes_and_read_the_host_when_they_run():
    stream, x, y, host = Stream(), zeros(), zeros(), np.arange(FLOATS, dtype=np.float32)
    with sdk_sim.capture(stream) as captured:
        _rigi.memcpy_async(x.address, host.ctypes.data, host.nbytes, stream.handle)
        _rigi.memset_async(y.address, 0, 1024, stream.handle)
        _rigi.memcpy_async(y.address, x.address, host.nbytes, stream.handle)
    graph = captured.graph.instantiate()
    host += 1
    graph.launch(stream)
    assert (y.to_numpy(np.float32) == np.arange(FLOATS) + 1).all()
    graph.set_copy(2, y.address + 4, x.address, 4)
    host[0] = 77
    graph.launch(stream)
    assert list(y.to_numpy(np.float32)[:3]) == [0, 77, 0]
    assert [(n.kind, n.nbytes) for n in captured.graph.nodes] == [("copy", host.nbytes), ("set", 1024), ("copy", host.nbytes)]
    with refused(Status.INVALID_VALUE, "node 1 is not a copy"):
        graph.set_copy(1, y.address, x.address, 4)


def test_streams_join_by_an_event_and_have_clocks_of_their_own():
    main, side = Stream(), Stream()
    with sdk_sim.capture(main) as captured:
        sdk_sim.launch_program([{}], "before", main)
        side.wait(Event().record(main))
        sdk_sim.launch_program([{}], "beside", side)
        sdk_sim.launch_program([{}], "meanwhile", main)
        main.wait(Event().record(side))
        sdk_sim.launch_program([{}], "after", main)
    nodes = captured.graph.nodes
    assert [(n.name or n.kind, n.stream) for n in nodes] == [
        ("before", 0), ("record", 0), ("wait", 1), ("beside", 1), ("meanwhile", 0), ("record", 1), ("wait", 0), ("after", 0),
    ]  # fmt: skip
    graph = captured.graph.instantiate()
    graph.launch(main)
    before = main.cycles
    graph.launch(main)
    assert main.cycles - before == 4 * EMPTY  # one kernel at a time has the cores
    assert side.cycles == 0


def test_a_copy_on_a_joined_stream_overlaps_kernels():
    main, side, host, x = Stream(), Stream(), np.zeros(1 << 20, np.uint8), sdk_sim.malloc(1 << 20)

    def cycles(other: Stream) -> int:
        with sdk_sim.capture(main) as captured:
            if other is not main:
                other.wait(Event().record(main))
            _rigi.memcpy_async(x.address, host.ctypes.data, host.nbytes, other.handle)
            for _ in range(100):
                sdk_sim.launch_program([{}], "empty", main)
            if other is not main:
                main.wait(Event().record(other))
        graph = captured.graph.instantiate()
        graph.launch(main)  # after whatever other tests left on the device
        before = main.cycles
        graph.launch(main)
        return main.cycles - before

    copy = 2500 + ceil((1 << 20) / (64e9 / CHIP["clock_hz"]))
    assert cycles(main) == copy + 100 * EMPTY
    assert cycles(side) == max(copy, 100 * EMPTY)


def test_what_a_capture_refuses():
    main, side = Stream(), Stream()
    with refused(Status.CAPTURE, "does not capture"):
        _rigi.stream_end_capture(main.handle)
    old = Event().record(side)
    old.synchronize()
    with sdk_sim.capture(main):
        for call in (main.synchronize, main.query, lambda: main.cycles):
            with refused(Status.CAPTURE, "while the stream captures"):
                call()
        with refused(Status.CAPTURE, "captures already"):
            _rigi.stream_begin_capture(main.handle)
        with refused(Status.CAPTURE, "same capture"):
            main.wait(old)
        mark = Event().record(main)
        with refused(Status.CAPTURE, "recorded in a capture"):
            mark.synchronize()
    with refused(Status.CAPTURE, "has ended"):
        side.wait(mark)
    with refused(Status.CAPTURE, "recorded in a capture"):
        mark.cycles_since(old)
    mark.record(side).synchronize()


def test_a_stream_left_behind_is_named_and_nothing_stays_in_capture():
    main, side = Stream(), Stream()
    with refused(Status.CAPTURE, "stream 1", "does not wait"), sdk_sim.capture(main):
        side.wait(Event().record(main))
        sdk_sim.launch_program([{}], "beside", side)
    with pytest.raises(KeyError), sdk_sim.capture(main):
        raise KeyError
    for stream in (main, side):
        sdk_sim.launch_program([{}], "free", stream)
        stream.synchronize()


def test_a_fault_names_the_node_and_reset_makes_the_graph_usable(image):
    module, stream, x, y = Module(image), Stream(), zeros(), zeros()
    with sdk_sim.capture(stream) as captured:
        sdk_sim.launch(module.kernel("add"), [x, y, 1.0], stream)
        sdk_sim.launch(module.kernel("faulty"), [0], stream)
    graph = captured.graph.instantiate()
    graph.launch(stream)
    with refused(Status.KERNEL_FAULT, "graph node 1", "kernel faulty", "core 5"):
        stream.synchronize()
    sdk_sim.reset()
    graph.set_args(1, [99])
    with refused(Status.KERNEL_FAULT, "gave up"):
        graph.launch(stream)
        stream.synchronize()
    sdk_sim.reset()
    assert (y.to_numpy(np.float32) == 1).all()


def test_handles_and_devices():
    stream = Stream()
    with sdk_sim.capture(stream) as captured:
        sdk_sim.launch_program([{}], "empty", stream)
    graph, exec_handle = captured.graph, captured.graph.instantiate().handle
    with refused(Status.INVALID_HANDLE, "graph ready to launch", "destroyed"):
        _rigi.graph_launch(exec_handle, stream.handle)
    with refused(Status.INVALID_HANDLE, "not a live graph"):
        _rigi.graph_instantiate(stream.handle)
    with refused(Status.INVALID_VALUE, "node 1 does not exist; the graph has 1"):
        _rigi.graph_node(graph.handle, 1)
    ready = graph.instantiate()
    with refused(Status.CAPTURE, "graph cannot be launched into a graph"), sdk_sim.capture(stream):
        ready.launch(stream)


# ---- collectives: 400 GB/s at 1.25 GHz are 320 bytes a cycle, a message takes 900 cycles more


def message(nbytes: int) -> int:
    return 900 + ceil(nbytes / 320)


@given(n=st.integers(2, 300), nbytes=st.integers(1, 1 << 34))
def test_collectives_cost_what_the_formulas_say(n, nbytes):
    block, rounds = -(-nbytes // n), ceil(log2(n))
    cost = sdk_sim.collective_cycles
    assert cost("all_gather", "ring", n, nbytes) == cost("reduce_scatter", "ring", n, nbytes) == (n - 1) * message(block)
    assert cost("all_reduce", "ring", n, nbytes) == 2 * (n - 1) * message(block)
    assert cost("all_to_all", "ring", n, nbytes) == sum(message(k * block) for k in range(1, n))
    assert cost("all_reduce", "tree", n, nbytes) == 2 * rounds * message(nbytes)
    sent = [min(2**r, n - 2**r) for r in range(rounds)]
    assert sum(sent) == n - 1  # every other device's block, once
    assert cost("all_gather", "tree", n, nbytes) == cost("reduce_scatter", "tree", n, nbytes) == sum(message(s * block) for s in sent)
    bits = [sum(bool(d >> r & 1) for d in range(n)) for r in range(rounds)]
    assert cost("all_to_all", "tree", n, nbytes) == sum(message(b * block) for b in bits)


def test_a_ring_wins_on_bytes_and_a_tree_on_latency():
    assert sdk_sim.collective_cycles("all_reduce", "ring", 16, 1 << 30) < sdk_sim.collective_cycles("all_reduce", "tree", 16, 1 << 30)
    assert sdk_sim.collective_cycles("all_reduce", "tree", 16, 1 << 10) < sdk_sim.collective_cycles("all_reduce", "ring", 16, 1 << 10)
    assert sdk_sim.collective_cycles("all_reduce", "ring", 1, 1 << 30) == sdk_sim.collective_cycles("all_gather", "tree", 8, 0) == 0


def test_collectives_refuse():
    with refused(Status.INVALID_VALUE, "0 devices", "1 to 4096"):
        sdk_sim.collective_cycles("all_reduce", "ring", 0, 1)
    with pytest.raises(ValueError, match="all_reduce, all_gather"):
        sdk_sim.collective_cycles("broadcast", "ring", 2, 1)
