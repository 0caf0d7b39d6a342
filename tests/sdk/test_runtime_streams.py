"""Streams, events, host functions: order, simulated clocks, and what they refuse."""

import threading
import time

import numpy as np
import pytest
from runtime_process import run
from test_runtime_memory import refused

import sdk_sim
from sdk_sim import Event, Status, Stream, _rigi

EMPTY = [{}]
CHIP = sdk_sim.properties()
LAUNCH = CHIP["launch_cycles"] + CHIP["barrier_cycles"]  # an empty launch of one phase
HOST_LATENCY, HOST_BYTES_PER_CYCLE = 2500, 64e9 / CHIP["clock_hz"]


@pytest.fixture(autouse=True)
def timed():
    sdk_sim.set_mode("timed")
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")


def test_launches_on_one_stream_follow_each_other():
    stream = Stream()
    start = Event().record(stream)
    for n in range(1, 4):
        sdk_sim.launch_program(EMPTY, stream=stream)
        end = Event().record(stream)
        end.synchronize()
        # The device may still be busy, in simulated time, with what other streams gave it.
        if n == 1:
            first = end
    assert end.cycles_since(first) == 2 * LAUNCH
    assert end.milliseconds_since(first) == pytest.approx(2 * LAUNCH / CHIP["clock_hz"] * 1e3)
    assert first.cycles_since(end) == -2 * LAUNCH
    assert first.cycles_since(start) >= LAUNCH


def test_one_kernel_at_a_time_has_the_cores_but_copies_overlap():
    a, b, c = Stream(), Stream(), Stream()
    sdk_sim.launch_program(EMPTY, stream=a)
    busy_until = a.cycles
    sdk_sim.launch_program(EMPTY, stream=b)
    assert b.cycles == busy_until + LAUNCH
    buffer = sdk_sim.malloc(8)
    _rigi.memcpy_async(buffer.address, np.zeros(8, np.uint8).ctypes.data, 8, c.handle)
    assert c.cycles < b.cycles or c.cycles >= HOST_LATENCY


@pytest.mark.parametrize("nbytes", [1, 512, 513, 1 << 20])
def test_a_host_copy_costs_latency_and_bytes(nbytes):
    stream, host = Stream(), np.zeros(nbytes, np.uint8)
    buffer = sdk_sim.malloc(nbytes)
    _rigi.memcpy_async(buffer.address, host.ctypes.data, nbytes, stream.handle)
    before = stream.cycles
    _rigi.memcpy_async(buffer.address, host.ctypes.data, nbytes, stream.handle)
    assert stream.cycles - before == HOST_LATENCY + int(np.ceil(nbytes / HOST_BYTES_PER_CYCLE))


def test_waiting_for_an_event_moves_a_stream_up_to_it():
    fast, slow = Stream(), Stream()
    sdk_sim.launch_program(EMPTY, stream=slow)
    event = Event().record(slow)
    assert fast.cycles == 0
    fast.wait(event)
    assert fast.cycles == slow.cycles > 0
    slow.wait(Event().record(fast))
    slow.wait(Event())  # never recorded: nothing to wait for
    assert slow.cycles == fast.cycles


def test_an_event_means_its_latest_recording():
    stream, event, first = Stream(), Event(), Event()
    first.record(stream)
    event.record(stream)
    sdk_sim.launch_program(EMPTY, stream=stream)
    event.record(stream)
    event.synchronize()
    assert event.cycles_since(first) >= LAUNCH


def test_events_that_are_not_there_yet():
    with refused(Status.INVALID_VALUE, "start event was never recorded"):
        Event().cycles_since(Event())
    assert Event().query()
    gate = threading.Event()
    stream, event = Stream(), Event()
    stream.call(gate.wait)
    event.record(stream)
    assert not event.query() and not stream.query()
    with refused(Status.NOT_READY, "start event has not completed"):
        event.cycles_since(event)
    gate.set()
    event.synchronize()
    assert event.query() and stream.query() and event.cycles_since(event) == 0


def test_host_functions_run_in_order_and_take_no_simulated_time():
    stream, seen = Stream(), []
    before = stream.cycles
    for i in range(50):
        stream.call(lambda i=i: seen.append((i, threading.get_ident())))
    stream.synchronize()
    assert [i for i, _ in seen] == list(range(50))
    assert {t for _, t in seen}.isdisjoint({threading.get_ident()})
    assert stream.cycles == before


def test_a_host_function_cannot_wait_for_its_own_device():
    stream, errors = Stream(), []

    def wait():
        for call in (sdk_sim.synchronize, stream.synchronize, sdk_sim.reset, sdk_sim.take_statistics, lambda: stream.cycles):
            try:
                call()
            except sdk_sim.RigiError as error:
                errors.append(error)

    stream.call(wait)
    stream.synchronize()
    assert len(errors) == 5 and all(e.status == Status.INVALID_VALUE and "host function" in str(e) for e in errors)


def test_submission_returns_at_once():
    gate, stream = threading.Event(), Stream()
    stream.call(lambda: gate.wait(30))
    start = time.perf_counter()
    for _ in range(100):
        sdk_sim.launch_program(EMPTY, stream=stream)
    assert time.perf_counter() - start < 10
    assert not stream.query()
    gate.set()
    stream.synchronize()


def test_time_stands_still_in_functional_mode():
    stream, event = Stream(), Event().record()
    sdk_sim.set_mode("functional")
    assert sdk_sim.get_mode() == "functional"
    x = sdk_sim.Buffer.from_numpy(np.arange(1000))
    sdk_sim.launch_program(EMPTY, stream=stream)
    assert x.to_numpy(np.int64).sum() == 499500
    assert stream.cycles == 0
    end = Event().record()
    end.synchronize()
    assert end.cycles_since(event) == 0
    with pytest.raises(ValueError, match="allowed: functional, timed"):
        sdk_sim.set_mode("fast")


def test_handles_that_are_gone_or_made_up():
    stream = _rigi.stream_create(0)
    _rigi.stream_destroy(stream)
    for bad in (stream, 1, 0x1234567890, _rigi.event_create()):
        with refused(Status.INVALID_HANDLE, "not a live stream"):
            _rigi.stream_synchronize(bad)
    with refused(Status.INVALID_HANDLE, "not a live event"):
        _rigi.event_query(_rigi.stream_default(0))
    with refused(Status.INVALID_VALUE, "default stream"):
        _rigi.stream_destroy(0)
    with refused(Status.INVALID_DEVICE, "device 1 does not exist", "RIGI_DEVICES"):
        _rigi.stream_create(1)


def test_a_destroyed_stream_finishes_its_work():
    seen = []
    stream = Stream()
    stream.call(lambda: time.sleep(0.05))
    stream.call(lambda: seen.append(1))
    del stream
    sdk_sim.synchronize()
    assert seen == [1]


def test_many_threads_at_once():
    def work(seed):
        rng, stream = np.random.default_rng(seed), Stream()
        for _ in range(30):
            data = rng.integers(0, 1000, 5000)
            buffer = sdk_sim.Buffer.from_numpy(data)
            sdk_sim.launch_program(EMPTY, stream=stream)
            Event().record(stream).synchronize()
            assert np.array_equal(buffer.to_numpy(np.int64), data)
        done.append(seed)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(done) == list(range(8))


def test_two_devices_and_peer_copies():
    out = run(
        """
        assert sdk_sim.device_count() == 2
        x = sdk_sim.Buffer.from_numpy(np.arange(1000), device=0)
        y = sdk_sim.malloc(8000, device=1)
        s0, s1 = sdk_sim.Stream(0), sdk_sim.Stream(1)
        _rigi.memcpy_peer_async(y.address, x.address, 8000, s1.handle)
        x.free()                                   # held back until the copy is done
        assert s1.cycles == 900 + 25               # 8000 bytes at 320 bytes a cycle
        assert y.to_numpy(np.int64).sum() == 499500
        sdk_sim.launch_program([{}], stream=s0)
        s1.wait(sdk_sim.Event().record(s0))
        assert s1.cycles == s0.cycles == 1350
        try:
            _rigi.memcpy_async(y.address, np.zeros(8).ctypes.data, 8, s0.handle)
        except RigiError as error:
            print(error)
        assert sdk_sim.memory_info(0)[0] == sdk_sim.memory_info(0)[1]
    """,
        RIGI_DEVICES="2",
    )
    assert "on device 1" in out and "stream on device 0" in out


def test_a_link_carries_both_ways_at_once_and_one_copy_at_a_time_each_way():
    run(
        """
        x, y = (sdk_sim.malloc(320000, device=d) for d in (0, 1))
        out, back, again = (sdk_sim.Stream(1) for _ in range(3))
        _rigi.memcpy_peer_async(x.address, y.address, 320000, out.handle)
        _rigi.memcpy_peer_async(y.address, x.address, 320000, back.handle)
        _rigi.memcpy_peer_async(x.address, y.address, 320000, again.handle)
        assert (out.cycles, back.cycles, again.cycles) == (1000 + 900, 1000 + 900, 2000 + 900)
        copies = sdk_sim.take_statistics(1)["copies"]
        assert (copies["to_peer"]["count"], copies["from_peer"]["count"]) == (2, 1)
    """,
        RIGI_DEVICES="2",
    )


def test_a_host_function_cannot_wait_for_another_device_which_could_wait_for_it():
    out = run(
        """
        import threading
        s0, s1, gate, said = sdk_sim.Stream(0), sdk_sim.Stream(1), threading.Event(), []
        def wait():
            gate.wait(30)
            try:
                s0.synchronize()                   # in it: a wait for what comes after this function
            except RigiError as error:
                said.append(str(error))
        s1.call(wait)
        s0.wait(sdk_sim.Event().record(s1))
        gate.set()
        s0.synchronize()
        print(said)
    """,
        RIGI_DEVICES="2",
    )
    assert "a host function cannot wait for a device" in out


def test_a_forked_child_is_told_so():
    out = run("""
        import os
        sdk_sim.properties()
        child = os.fork()
        if child == 0:
            sdk_sim.malloc(10)                     # nothing was used before the fork: fine
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        buffer = sdk_sim.malloc(10)
        sdk_sim.launch_program([{}])
        child = os.fork()
        if child == 0:
            try:
                sdk_sim.synchronize()
            except RigiError as error:
                os._exit(7 if "forked" in str(error) and "spawn" in str(error) else 8)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sdk_sim.synchronize()
    """)
    assert out == "7"


def test_a_process_may_end_with_work_queued():
    assert (
        run("""
        stream = sdk_sim.Stream()
        for _ in range(200):
            sdk_sim.launch_program([{}], stream=stream)
        stream.call(lambda: print("drained"))
    """)
        == "drained"
    )
