"""HBM: allocation, limits, copies, and what they refuse."""

import random

import numpy as np
import pytest
from runtime_process import run

import sdk_sim
from sdk_sim import RigiError, Status, _rigi

GIB = 1 << 30


def refused(status: Status, *words: str):
    """The error a block must raise: its status and words of its text."""
    return pytest.raises(RigiError, match=".*".join(words), check=lambda error: error.status == status)


def test_allocations_are_aligned_disjoint_and_come_back():
    free, total = sdk_sim.memory_info()
    assert total == sdk_sim.properties()["hbm_bytes"] == 64 * GIB
    sizes = [1, 255, 256, 257, 4096, 1 << 20, (1 << 20) + 1]
    buffers = [sdk_sim.malloc(n) for n in sizes]
    spans = sorted((b.address, b.address + b.nbytes) for b in buffers)
    assert all(start % 256 == 0 for start, _ in spans)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))
    rounded = sum((n + 255) // 256 * 256 for n in sizes)
    assert sdk_sim.memory_info() == (free - rounded, total)
    for buffer in buffers:
        buffer.free()
    assert sdk_sim.memory_info() == (free, total)


def test_freed_neighbours_merge():
    quarter = sdk_sim.memory_info()[0] // 4 // 256 * 256 - 4096
    buffers = [sdk_sim.malloc(quarter) for _ in range(4)]
    with refused(Status.OUT_OF_MEMORY, "no room"):
        sdk_sim.malloc(quarter)
    for i in (2, 0, 3, 1):
        buffers[i].free()
    sdk_sim.malloc(4 * quarter).free()


def test_random_use_leaves_nothing_behind_and_never_overlaps():
    rng = random.Random(5)
    before = sdk_sim.memory_info()
    live: dict[int, int] = {}
    for _ in range(20000):
        if live and rng.random() < 0.5:
            address = rng.choice(list(live)) if len(live) < 50 else next(iter(live))
            _rigi.free(address)
            del live[address]
        else:
            size = int(2 ** rng.uniform(0, 28))
            live[_rigi.malloc(0, size)] = size
    spans = sorted((a, a + n) for a, n in live.items())
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))
    for address, size in live.items():
        for inside in (address, address + size // 2, address + size - 1):
            assert _rigi.pointer_allocation(inside) == (address, size)
        _rigi.free(address)
    assert sdk_sim.memory_info() == before


def test_all_of_the_memory_can_be_one_allocation_and_costs_nothing_until_touched():
    free = sdk_sim.memory_info()[0]
    everything = sdk_sim.malloc(free // 2)
    everything.copy_from(np.arange(4), offset=everything.nbytes - 32)
    assert everything.to_numpy(np.int64, 4, everything.nbytes - 32).tolist() == [0, 1, 2, 3]
    everything.fill(0)
    assert everything.to_numpy(np.int64, 4, everything.nbytes - 32).tolist() == [0, 0, 0, 0]
    everything.free()


def test_out_of_memory_says_what_was_asked_and_what_there_is():
    with refused(Status.OUT_OF_MEMORY, "1.0 TiB", "64.0 GiB", "are free", "largest block", "smaller"):
        sdk_sim.malloc(1 << 40)
    with refused(Status.OUT_OF_MEMORY, "no room"):
        _rigi.malloc(0, (1 << 64) - 1)


def test_wrong_frees_are_refused_by_name():
    buffer = sdk_sim.malloc(1000)
    address = buffer.address
    with refused(Status.INVALID_POINTER, "512 bytes inside the allocation", "rigiMalloc returned"):
        _rigi.free(address + 512)
    buffer.free()
    with refused(Status.INVALID_POINTER, "freed already"):
        _rigi.free(address)
    with refused(Status.INVALID_POINTER, "not device memory"):
        _rigi.free(np.zeros(4).ctypes.data)
    _rigi.free(0)
    assert _rigi.malloc(0, 0) == 0


def test_pointers_are_told_apart():
    buffer = sdk_sim.malloc(1000)
    assert _rigi.pointer_device(buffer.address + 999) == 0
    assert _rigi.pointer_device(np.zeros(4).ctypes.data) is None
    assert _rigi.pointer_device(0) is None
    assert _rigi.pointer_allocation(buffer.address + 999) == (buffer.address, 1000)
    with refused(Status.INVALID_POINTER, "no live allocation"):
        _rigi.pointer_allocation(buffer.address + 1023)


@pytest.mark.parametrize("nbytes", [1, 63, 64, 4097, 65536, 65537, 1 << 22])
def test_copies_in_every_direction(nbytes):
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
    a, b = sdk_sim.Buffer.from_numpy(data), sdk_sim.malloc(nbytes)
    stream = sdk_sim.Stream()
    _rigi.memcpy_async(b.address, a.address, nbytes, stream.handle)
    stream.synchronize()
    back = np.zeros_like(data)
    _rigi.memcpy_async(back.ctypes.data, b.address, nbytes, stream.handle)
    stream.synchronize()
    assert np.array_equal(back, data)
    _rigi.memset_async(b.address, 7, nbytes, stream.handle)
    stream.synchronize()
    assert (b.to_numpy() == 7).all()


def test_small_host_data_may_be_reused_at_once():
    stream, buffers = sdk_sim.Stream(), [sdk_sim.malloc(8) for _ in range(100)]
    host = np.zeros(1, np.int64)
    for i, buffer in enumerate(buffers):
        host[0] = i
        _rigi.memcpy_async(buffer.address, host.ctypes.data, 8, stream.handle)
    stream.synchronize()
    assert [int(b.to_numpy(np.int64)[0]) for b in buffers] == list(range(100))


def test_copies_that_leave_an_allocation_or_miss_the_device_are_refused():
    buffer, host = sdk_sim.malloc(1000), np.zeros(4096, np.uint8)
    with refused(Status.INVALID_POINTER, "`dst`", "leave the allocation of 1000 bytes", "by 1 bytes"):
        _rigi.memcpy(buffer.address, host.ctypes.data, 1001)
    with refused(Status.INVALID_POINTER, "`src`", "by 24 bytes"):
        _rigi.memcpy(host.ctypes.data, buffer.address + 24, 1000)
    with refused(Status.INVALID_VALUE, "both", "host memory"):
        _rigi.memcpy(host.ctypes.data, host.ctypes.data + 2048, 16)
    with refused(Status.INVALID_VALUE, "`src` is null"):
        _rigi.memcpy(buffer.address, 0, 16)
    with refused(Status.INVALID_POINTER, "not device memory"):
        _rigi.memset(host.ctypes.data, 0, 16)
    address = buffer.address
    buffer.free()
    with refused(Status.INVALID_POINTER, "in no live allocation"):
        _rigi.memcpy(address, host.ctypes.data, 16)


def test_large_freed_memory_returns_to_the_host():
    out = run("""
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        before = resident()
        x = sdk_sim.malloc(600 << 20)
        x.fill(1)
        assert resident() - before > 500 << 20
        x.free()
        sdk_sim.synchronize()
        assert resident() - before < 100 << 20, resident() - before
        y = sdk_sim.malloc(600 << 20)
        y.fill(1)
        y.fill(0)
        assert resident() - before < 100 << 20, resident() - before
        print("ok")
    """)
    assert out == "ok"


def test_a_host_that_refuses_the_address_space_is_told_what_to_do():
    out = run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        try:
            sdk_sim.malloc(1000)
        except RigiError as error:
            print(error.status.name, error)
    """)
    assert out.startswith("OUT_OF_MEMORY") and "64.0 GiB" in out and "ulimit -v" in out and "RIGI_CHIP" in out
