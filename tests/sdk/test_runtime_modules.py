"""Modules: kernels in native code, what is checked before any of it runs, and damage."""

import json
import random

import numpy as np
import pytest
from test_runtime_memory import refused

import sdk_sim
from sdk_sim import Buffer, Module, Status


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(16, 256)).astype(np.float32)


def test_a_kernel_computes(module, manifest, rows):
    x, y = Buffer.from_numpy(rows), sdk_sim.malloc(rows.nbytes)
    sdk_sim.launch(module.kernel("add"), [x, y, 1.5])
    assert np.array_equal(y.to_numpy(np.float32, rows.shape), rows + np.float32(1.5))
    sdk_sim.launch(module.kernel("rotate"), [x, y.address], sdk_sim.Stream())
    assert np.array_equal(y.to_numpy(np.float32, rows.shape), np.roll(rows, 1, axis=0))
    assert module.manifest == manifest


def test_adds_from_all_cores_are_in_core_order(module, rows):
    x, total = Buffer.from_numpy(rows), Buffer.from_numpy(np.zeros(256, np.float32))
    sdk_sim.launch(module.kernel("sum"), [x, total])
    expected = np.zeros(256, np.float32)
    for row in rows:
        expected += row
    assert np.array_equal(total.to_numpy(np.float32), expected)


def test_scalars_steer_a_kernel_and_take_time(module):
    links = np.roll(np.arange(64), -8)  # i -> i + 8: a new 64-byte line each time
    table, out = Buffer.from_numpy(links), sdk_sim.malloc(64)
    sdk_sim.take_statistics()
    sdk_sim.launch(module.kernel("chase"), [table, out, 11])
    assert (out.to_numpy(np.int32) == (11 * 8) % 64).all()
    cycles = sdk_sim.take_statistics()["kernels"]["chase"]["cycles"]
    # 8 lines missed, 3 hit again, then a fill and a store (one line: 16 + 1 busy, 600 until done) and the barrier.
    assert cycles == 1250 + 8 * 600 + 3 * 1 + (16 + 1) + (16 + 1) + 600 + 100


@pytest.mark.parametrize(
    "which, instruction, words",
    [(0, 4, "fill"), (1, 4, "load"), (2, 4, "scalar_load"), (3, 4, "scalar_read"), (4, 3, "the kernel itself gave up")],
)
def test_faults_in_native_code_are_named(module, which, instruction, words):
    sdk_sim.launch(module.kernel("faulty"), [which])
    # Core 5: a fill and the barrier of phase 0, two fills of phase 1, then the bad one. Core 9 faults too, but comes later.
    with refused(Status.KERNEL_FAULT, f"kernel faulty, core 5, phase 1, instruction {instruction}", words):
        sdk_sim.synchronize()


def test_a_fault_names_the_line_that_the_kernel_gave(module):
    sdk_sim.launch(module.kernel("faulty"), [0])
    with refused(Status.KERNEL_FAULT, "source line 77"):
        sdk_sim.synchronize()


def test_wrong_launches_are_refused(module):
    with refused(Status.INVALID_VALUE, "kernel add takes 3 arguments, 1 were given"):
        sdk_sim.launch(module.kernel("add"), [1])
    with refused(Status.NOT_FOUND, "no kernel 'sub'", "add, rotate, sum"):
        module.kernel("sub")


def test_an_unloaded_module_is_gone_but_finishes_what_was_launched(image, rows):
    module = Module(image)
    x, y, stream = Buffer.from_numpy(rows), sdk_sim.malloc(rows.nbytes), sdk_sim.Stream()
    kernel = module.kernel("add").handle
    for _ in range(50):
        sdk_sim._rigi.launch_kernel(kernel, stream.handle, [x.address, y.address, 2.0])
    handle = module.handle
    del module
    assert np.array_equal(y.to_numpy(np.float32, rows.shape), rows + 2)
    with refused(Status.INVALID_HANDLE, "not a live kernel"):
        sdk_sim._rigi.launch_kernel(kernel, stream.handle, [x.address, y.address, 2.0])
    with refused(Status.INVALID_HANDLE, "not a live module"):
        sdk_sim._rigi.module_unload(handle)


def test_many_modules_live_side_by_side(image, rows):
    x, y = Buffer.from_numpy(rows), sdk_sim.malloc(rows.nbytes)
    modules = [Module(image) for _ in range(20)]
    for i, module in enumerate(modules):
        sdk_sim.launch(module.kernel("add"), [x, y, float(i)])
        assert np.array_equal(y.to_numpy(np.float32, rows.shape), rows + np.float32(i))
    del modules[::2]
    sdk_sim.launch(modules[0].kernel("add"), [x, y, 1.0])
    Module(image)
    assert np.array_equal(y.to_numpy(np.float32, rows.shape), rows + 1)


def test_a_module_of_another_chip_is_refused_with_both_sides(code, manifest, tmp_path):
    for chip, revision in (("rigi2", "A0"), ("rigi1", "B3")):
        path = tmp_path / "other.rigi"
        path.write_bytes(sdk_sim.pack_module(code, manifest, chip, revision))
        with refused(
            Status.MODULE_MISMATCH, "other.rigi", f"built for {chip} revision {revision}", "this device is rigi1 revision A0", "rigi build"
        ):
            Module(path)
    with refused(Status.INVALID_VALUE, "chip's name", "1 to 15 characters"):
        sdk_sim.pack_module(code, manifest, "a chip with a long name", "A0")


def test_a_module_of_another_sdk_is_refused_with_both_sides(image):
    def fnv1a(data: bytes) -> int:
        value = 0xCBF29CE484222325
        for byte in data:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        return value

    header = 88
    small = bytearray(sdk_sim.pack_module(b"no code", {}, "rigi1", "A0"))
    at = small.index(sdk_sim.version().encode())
    small[at : at + 5] = b"0.9.1"
    small[header - 8 : header] = fnv1a(bytes(small[: header - 8] + small[header:])).to_bytes(8, "little")
    with refused(Status.MODULE_MISMATCH, "SDK 0.9.1", f"SDK {sdk_sim.version()}", "rigi build"):
        Module(bytes(small))


def test_code_that_is_none_is_refused():
    with refused(Status.MODULE_FORMAT, "cannot be loaded"):
        Module(sdk_sim.pack_module(b"this is no shared object", {}, "rigi1", "A0"))
    with refused(Status.MODULE_FORMAT, "cannot be loaded"):
        Module(sdk_sim.pack_module(b"", {}, "rigi1", "A0"))


def test_files_that_are_no_modules(tmp_path):
    with refused(Status.IO, "cannot be opened", "No such file"):
        Module(tmp_path / "missing.rigi")
    with pytest.raises(sdk_sim.RigiError, match="cannot be|not a usable"):
        Module(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    with refused(Status.MODULE_FORMAT, "0 bytes"):
        Module(tmp_path / "empty")
    (tmp_path / "text").write_text("x" * 1000)
    with refused(Status.MODULE_FORMAT, "signature"):
        Module(tmp_path / "text")


def test_damage_anywhere_is_found(image):
    rng = random.Random(0)
    for _ in range(300):
        bad = bytearray(image)
        kind = rng.randrange(3)
        if kind == 0:
            bad[rng.randrange(88) if rng.random() < 0.5 else rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del bad[rng.randrange(len(bad)) :]
        else:
            bad += rng.randbytes(rng.randrange(1, 100))
        with refused(Status.MODULE_FORMAT, "not a usable Rigi module", "rigi build"):
            Module(bytes(bad))
    json.dumps(Module(image).manifest)
