"""Launches: results, faults, statistics, traces, threads."""

import json
import threading

import numpy as np
import pytest
from test_runtime_memory import refused

import sdk_sim
from sdk_sim import Buffer, Status, Stream, isa
from sdk_sim.isa import ADD, F32, I32, binary, fill, gather, imm, load, mma, sram, store, store_add

CORES = sdk_sim.properties()["cores"]


@pytest.fixture(autouse=True)
def clean_device():
    sdk_sim.set_mode("timed")
    sdk_sim.take_statistics()
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")
    sdk_sim.set_num_threads(2)


def plus_one(x: Buffer, y: Buffer, core: int) -> list[np.ndarray]:
    at = core * 1024
    return [
        load(sram(0, 1024, F32), x.address + at, 1024, 1, 1024),
        binary(ADD, sram(2048, 1024, F32), sram(0, 1024, F32), imm(1.0), 1, 256),
        store(y.address + at, 1024, sram(2048, 1024, F32), 1, 1024),
    ]


@pytest.mark.parametrize("mode", ["functional", "timed"])
def test_a_program_as_data(mode):
    sdk_sim.set_mode(mode)
    x = np.random.default_rng(0).normal(size=(CORES, 256)).astype(np.float32)
    a, b = Buffer.from_numpy(x), sdk_sim.malloc(x.nbytes)
    sdk_sim.launch_program([{c: plus_one(a, b, c) for c in range(CORES)}, [plus_one(b, a, c) for c in range(CORES)]], "plus_one")
    assert np.array_equal(b.to_numpy(np.float32, x.shape), x + 1)
    assert np.array_equal(a.to_numpy(np.float32, x.shape), x + 1 + np.float32(1))


def test_wrong_programs_are_refused_when_they_are_submitted():
    with refused(Status.INVALID_VALUE, "0 phases"):
        sdk_sim.launch_program([])
    with refused(Status.INVALID_VALUE, "name"):
        sdk_sim.launch_program([{}], name='a"b')
    with pytest.raises(ValueError, match="core 16"):
        sdk_sim.launch_program([{16: []}])
    offsets = np.zeros(17, np.uint64)
    offsets[3] = 5
    with refused(Status.INVALID_VALUE, "must not decrease"):
        sdk_sim._rigi.launch_program(0, "x", 0, offsets.ctypes.data, 1)
    offsets[:] = 1
    with refused(Status.INVALID_VALUE, "offsets.0. is 1"):
        sdk_sim._rigi.launch_program(0, "x", 0, offsets.ctypes.data, 1)


BAD = fill(sram(1 << 22, 64, F32), 0, 1, 16)
GOOD = fill(sram(0, 64, F32), 0, 1, 16)


def test_a_fault_names_the_first_by_phase_core_and_instruction_on_any_number_of_threads():
    for threads in (1, 2, 4) * 5:
        sdk_sim.set_num_threads(threads)
        sdk_sim.launch_program([{c: [GOOD] * 4 for c in range(CORES)}, {3: [GOOD, GOOD, BAD], 2: [GOOD], 9: [BAD]}, {0: [BAD]}], "wrong")
        # Instructions are counted over the launch; core 3 ran four and a barrier before this phase.
        with refused(Status.KERNEL_FAULT, "kernel wrong, core 3, phase 1, instruction 7 .fill.: "):
            sdk_sim.synchronize()
        sdk_sim.reset()


def test_a_fault_stays_until_reset_and_names_the_source_line():
    stream, buffer = Stream(), sdk_sim.malloc(64)
    bad = BAD.copy()
    bad["line"] = 42
    sdk_sim.launch_program([{0: [bad]}], "wrong", stream)
    calls = [
        sdk_sim.synchronize,
        stream.synchronize,
        stream.query,
        lambda: sdk_sim._rigi.check(0),
        lambda: sdk_sim.launch_program([{}]),
        lambda: buffer.to_numpy(),
        lambda: buffer.fill(0),
        lambda: sdk_sim.Event().record(stream),
        sdk_sim.take_statistics,
    ]
    for call in calls:
        with refused(Status.KERNEL_FAULT, "kernel wrong, core 0", "source line 42", "rigiDeviceReset"):
            call()
    sdk_sim.malloc(100).free()
    sdk_sim.reset()
    for call in calls:
        call()


def test_what_follows_a_fault_is_skipped_but_host_functions_run():
    buffer, seen, stream = Buffer.from_numpy(np.ones(16, np.float32)), [], Stream()
    sdk_sim.launch_program([{0: [BAD]}], "wrong", stream)
    try:
        sdk_sim.launch_program([{0: [GOOD, store(buffer.address, 64, sram(0, 64, F32), 1, 64)]}], "later", stream)
        stream.call(lambda: seen.append(1))
    except sdk_sim.RigiError:
        seen.append(1)  # the fault was there before the call
    with refused(Status.KERNEL_FAULT, "kernel wrong"):
        sdk_sim.synchronize()
    sdk_sim.reset()
    assert seen == [1] and (buffer.to_numpy(np.float32) == 1).all()


def test_reset_drops_what_is_queued_but_runs_its_host_functions():
    buffer, seen, stream, gate = Buffer.from_numpy(np.ones(16, np.float32)), [], Stream(), threading.Event()
    stream.call(lambda: gate.wait(30))
    sdk_sim.launch_program([{0: [GOOD, store(buffer.address, 64, sram(0, 64, F32), 1, 64)]}], "dropped", stream)
    stream.call(lambda: seen.append(1))
    event = sdk_sim.Event().record(stream)
    threading.Timer(0.2, gate.set).start()
    sdk_sim.reset()
    assert seen == [1] and event.query() and (buffer.to_numpy(np.float32) == 1).all()
    assert sdk_sim.take_statistics()["launches"] == 0


def test_memory_freed_while_queued_work_reads_it_keeps_its_contents():
    stream, gate = Stream(), threading.Event()
    other, big, out = sdk_sim.malloc(600 << 20), sdk_sim.malloc(600 << 20), sdk_sim.malloc(64)
    big.copy_from(np.full(16, 7, np.float32), offset=512 << 20)
    stream.call(lambda: gate.wait(30))
    other.free()  # large enough for free memory to be given back to the host, in its turn: before the launch
    copy = [load(sram(0, 64, F32), big.address + (512 << 20), 64, 1, 64), store(out.address, 64, sram(0, 64, F32), 1, 64)]
    sdk_sim.launch_program([{0: copy}], stream=stream)
    big.free()
    gate.set()
    assert (out.to_numpy(np.float32) == 7).all()


def test_faults_that_only_data_can_tell():
    table, index = sdk_sim.malloc(64 * 4), Buffer.from_numpy(np.array([0, -1] + [0] * 14, np.int32))
    sdk_sim.launch_program(
        [{1: [load(sram(0, 64, I32), index.address, 64, 1, 64), gather(sram(128, 64, F32), table.address, 64, sram(0, 64, I32), 2, 64)]}],
        "lookup",
    )
    with refused(Status.KERNEL_FAULT, "kernel lookup, core 1, phase 0, instruction 1 .gather."):
        sdk_sim.synchronize()


def test_statistics_count_launches_and_cycles_by_kernel():
    for name, count in (("a", 3), ("b", 2)):
        for _ in range(count):
            sdk_sim.launch_program([{0: [GOOD]}], name)
    sdk_sim.malloc(1000).fill(1)
    stats = sdk_sim.take_statistics()
    launch = 1250 + 1 + 100  # launch cost, one issue (a barrier does not wait for the load engine), the barrier
    assert stats["kernels"] == {"a": {"launches": 3, "cycles": 3 * launch}, "b": {"launches": 2, "cycles": 2 * launch}}
    assert (stats["launches"], stats["cycles"]) == (5, 5 * launch)
    assert stats["copies"]["set"] == {"count": 1, "bytes": 1000, "cycles": 1250 + 600 + 1}
    assert sdk_sim.take_statistics()["launches"] == 0
    sdk_sim.set_mode("functional")
    sdk_sim.launch_program([{0: [GOOD]}], "a")
    assert sdk_sim.take_statistics()["kernels"] == {"a": {"launches": 1, "cycles": 0}}


def test_a_trace_holds_the_launches_between_start_and_stop(tmp_path):
    path = tmp_path / "t.jsonl"
    x, y = sdk_sim.malloc(1024 * CORES), sdk_sim.malloc(1024 * CORES)
    sdk_sim.launch_program([{0: [GOOD]}], "before")
    with sdk_sim.trace(path):
        sdk_sim.launch_program([{0: plus_one(x, y, 0)}, {1: [GOOD]}], "first")
        sdk_sim.launch_program([{0: [GOOD]}], "second")
    sdk_sim.launch_program([{0: [GOOD]}], "after")
    sdk_sim.synchronize()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(r["launch"], r["kernel"]) for r in lines} == {(0, "first"), (1, "second")}
    mine = [r for r in lines if r["launch"] == 0 and r["core"] == 0]
    assert [r["op"] for r in mine] == ["load", "binary", "store", "barrier", "barrier"]
    assert [r["index"] for r in mine] == list(range(5))


def test_traces_that_cannot_be_written(tmp_path):
    with refused(Status.IO, "cannot be written", "No such file"), sdk_sim.trace(tmp_path / "no" / "t.jsonl"):
        pass
    sdk_sim.set_mode("functional")
    with refused(Status.INVALID_VALUE, "mode with time"), sdk_sim.trace(tmp_path / "t.jsonl"):
        pass


def big_program(x: Buffer, w: Buffer, y: Buffer, total: Buffer) -> list[dict[int, list[np.ndarray]]]:
    """Per core: y[core] = x[core] (64x128) times w^T (64x128), and its first row added to a common total."""
    cores = {}
    for c in range(CORES):
        cores[c] = [
            load(sram(0, 512, F32), x.address + c * 32768, 512, 64, 512),
            isa.cast(sram(65536, 256, isa.BF16), sram(0, 512, F32), 64, 128),
            load(sram(0, 512, F32), w.address, 512, 64, 512),
            isa.cast(sram(131072, 256, isa.BF16), sram(0, 512, F32), 64, 128),
            mma(sram(262144, 256, F32), sram(65536, 256, isa.BF16), sram(131072, 256, isa.BF16), 64, 64, 128, transpose_b=True),
            isa.act(isa.Act.SILU, sram(393216, 256, F32), sram(262144, 256, F32), 64, 64),
            store(y.address + c * 16384, 256, sram(393216, 256, F32), 64, 256),
            store_add(total.address, 256, sram(393216, 256, F32), 1, 256),
        ]
    return [cores] * 3


@pytest.mark.parametrize("mode", ["functional", "timed"])
def test_the_number_of_threads_changes_no_bit(mode):
    sdk_sim.set_mode(mode)
    rng = np.random.default_rng(1)
    x, w = (Buffer.from_numpy(rng.normal(size=n).astype(np.float32)) for n in ((CORES, 64, 128), (64, 128)))
    results = set()
    for threads in (1, 2, 4, 4, 2, 1):
        sdk_sim.set_num_threads(threads)
        y, total = sdk_sim.malloc(CORES * 16384), sdk_sim.malloc(256)
        total.fill(0)
        for _ in range(5):
            sdk_sim.launch_program(big_program(x, w, y, total))
        results.add((y.to_numpy().tobytes(), total.to_numpy().tobytes()))
    assert len(results) == 1
    with refused(Status.INVALID_VALUE, "0 threads"):
        sdk_sim.set_num_threads(0)
