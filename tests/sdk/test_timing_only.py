"""Timing-only mode: the cycles of timed mode, and memory that is never touched."""

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from runtime_process import run

import sdk_sim
from benchmarks.timing.random_places import HBM_BYTES
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.timed_device import TIMED, Device
from sdk_sim import Buffer
from sdk_sim.isa import F32, load, sram, store

TIMING_ONLY = 2


@pytest.fixture(autouse=True)
def timed() -> Iterator[None]:
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")


def test_random_programs_take_the_same_cycles():
    device = Device()
    pointer = device.malloc(HBM_BYTES)
    device.write(pointer, bytes(HBM_BYTES))
    for seed in range(40):
        program = Maker(seed, pointer, False).program(Random(seed).choice((1, 2, 3)))
        taken = {}
        for mode in (TIMED, TIMING_ONLY):
            device.set_mode(mode)
            before = device.cycles()
            device.launch(program, "random")
            taken[mode] = device.cycles() - before
        assert taken[TIMED] == taken[TIMING_ONLY] > 0, seed
    device.free(pointer)


def test_nothing_is_computed():
    sdk_sim.set_mode("timing-only")
    x, y = Buffer.from_numpy(np.ones(16, np.float32)), sdk_sim.malloc(64)
    y.fill(7)  # small enough to be kept: kernels read lengths and page tables from such blocks
    sdk_sim.launch_program([{0: [load(sram(0, 64, F32), x.address, 64, 1, 64), store(y.address, 64, sram(0, 64, F32), 1, 64)]}])
    assert (y.to_numpy() == 7).all() and (x.to_numpy(np.float32) == 1).all()
    large = Buffer.from_numpy(np.ones(1 << 20, np.uint8))
    assert not large.to_numpy().any()


def test_a_device_full_of_model_needs_no_host_memory():
    grown = run("""
        import resource
        sdk_sim.set_mode("timing-only")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = 15 << 30
        weights = [sdk_sim.malloc(size) for _ in range(4)]
        rows, row = 1024, 2048
        for w in weights:
            w.fill(0)
            _rigi.memcpy_async(w.address, weights[0].address, size, 0)
            whole = [w.address + (c << 29) for c in range(16)]
            move = [(load(sram(0, row, BF16), at, row, rows, row), store(at, row, sram(0, row, BF16), rows, row)) for at in whole]
            sdk_sim.launch_program([{c: move[c] * 20 for c in range(16)}], "stream")
        sdk_sim.synchronize()
        assert sdk_sim.take_statistics()["kernels"]["stream"]["cycles"] > 4 * 2 * 16 * 20 * rows * row / 1600
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)  # KiB
    """)
    assert int(grown) < 64 << 10


def test_faults_are_found_without_data():
    sdk_sim.set_mode("timing-only")
    sdk_sim.launch_program([{3: [load(sram(1 << 22, 64, F32), 0, 64, 1, 64)]}], "wrong")
    with pytest.raises(sdk_sim.RigiError, match="kernel wrong, core 3, phase 0"):
        sdk_sim.synchronize()


def test_scalars_come_from_small_copies(module):
    """A kernel that follows a list in HBM takes the same way, and time, as in timed mode."""
    links, taken = np.array([3, 0, 1, 2], np.int64), []
    for mode in ("timed", "timing-only"):
        sdk_sim.set_mode(mode)
        where, out, stream = Buffer.from_numpy(links), sdk_sim.malloc(64), sdk_sim.Stream()
        sdk_sim.launch(module.kernel("chase"), [where, out, 0], stream)
        before = stream.cycles
        sdk_sim.launch(module.kernel("chase"), [where, out, 9], stream)
        taken.append(stream.cycles - before)
    assert taken[0] > 600 and len(set(taken)) == 1


def test_a_replay_follows_scalars_that_have_changed(module):
    """What a graph remembers of a launch holds as long as the scalars that it read."""
    near, far = (np.arange(64) + 1) % 8, (np.arange(64) + 8) % 64  # steps within a line of HBM; each to another line
    taken = {}
    for mode in ("timed", "timing-only"):
        sdk_sim.set_mode(mode)
        links, out, stream = Buffer.from_numpy(near.astype(np.int64)), sdk_sim.malloc(64), sdk_sim.Stream()
        with sdk_sim.capture(stream) as captured:
            sdk_sim.launch(module.kernel("chase"), [links, out, 7], stream)
        graph = captured.graph.instantiate()
        graph.launch(stream)  # catches up with the device's clock
        taken[mode] = []
        for chain in (near, near, far, far, near):
            links.copy_from(chain.astype(np.int64))
            before = stream.cycles
            graph.launch(stream)
            taken[mode].append(stream.cycles - before)
    assert taken["timed"] == taken["timing-only"] and taken["timed"][2] - taken["timed"][0] >= 5 * 600
    sdk_sim.set_mode("timed")  # the other way round: what timing-only mode has learnt does not count where scalars are computed
    before = stream.cycles
    graph.launch(stream)
    assert stream.cycles - before == taken["timed"][-1]
