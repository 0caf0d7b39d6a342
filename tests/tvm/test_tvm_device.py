"""TVM's runtime on the device: tensors, copies, scratch memory of host code, the Relax VM; and their errors."""

import os
import subprocess
import sys
import textwrap

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from tvm_target import build, testing
from tvm_target import dialect as R
from tvm_target.target import chip

DEVICE = tvm.device("ext_dev", 0)

ARRAYS = {
    "int64": np.arange(6).reshape(2, 3) - (1 << 40),
    "float64": np.array([0.1, np.inf, -0.0]),
    "bool": np.array([True, False, True]),
    "int8": np.arange(-5, 5, dtype=np.int8),
    "bfloat16": np.linspace(-2, 2, 9).astype(ml_dtypes.bfloat16),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((3, 0, 4), np.float32),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_tensors_go_to_the_device_and_back(case: str) -> None:
    array = ARRAYS[case]
    tensor = tvm.runtime.tensor(array, DEVICE)
    assert tensor.device == DEVICE and tensor.shape == array.shape
    for copy in (tensor, tensor.copyto(DEVICE), tensor.copyto(tvm.cpu()), tensor.copyto(DEVICE).copyto(tvm.cpu())):
        back = copy.numpy()
        assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()


def test_a_view_at_an_offset_is_copied_from_there() -> None:
    tensor = tvm.runtime.tensor(np.arange(16, dtype=np.int32), DEVICE)
    view = tensor._create_view((4,), "int32", relative_byte_offset=24)
    assert view.numpy().tolist() == [6, 7, 8, 9]
    view.copyfrom(np.array([1, 2, 3, 4], np.int32))
    assert tensor.numpy().tolist() == [*range(6), 1, 2, 3, 4, *range(10, 16)]


def test_what_the_device_says_of_itself() -> None:
    assert DEVICE.exist and not tvm.device("ext_dev", 15).exist
    assert (DEVICE.device_name, DEVICE.compute_version) == ("rigi1", chip().revision)
    assert (DEVICE.multi_processor_count, DEVICE.max_shared_memory_per_block) == (chip().cores, chip().sram_bytes)
    assert 0 < DEVICE.available_global_memory <= DEVICE.total_global_memory == chip().figures["hbm"]["bytes"]


def test_errors_have_the_text_of_the_sdk() -> None:
    with pytest.raises(MemoryError, match="device 0 has no room for 1024.0 TiB"):
        tvm.runtime.empty((1 << 50,), "int8", DEVICE)
    with pytest.raises(RuntimeError, match="device 15 does not exist"):
        tvm.runtime.empty((4,), "int8", tvm.device("ext_dev", 15))


def through_scratch():
    """y = 2 x + 1, the product by way of a buffer of the host's code."""

    @T.prim_func
    def kernel(x: T.handle, y: T.handle, extra: T.int64):
        n = T.int64()
        X = T.match_buffer(x, (n,), "float32")
        Y = T.match_buffer(y, (n,), "float32")
        W = T.alloc_buffer((n + extra,), "float32", scope="global")
        core = T.launch_thread("blockIdx.x", 16)
        S = T.alloc_buffer((1024,), "float32", scope="shared.sram")
        if core == 0:
            R.load(S[0], X[0], 1, n)
            R.mul(S[0], S[0], 2.0, 1, n)
            R.store(W[0], S[0], 1, n)
        R.barrier()
        if core == 1:
            R.load(S[0], W[0], 1, n)
            R.add(S[0], S[0], 1.0, 1, n)
            R.store(Y[0], S[0], 1, n)

    return kernel


def test_scratch_memory_of_the_host_code(compile_kernel) -> None:
    executable = compile_kernel(through_scratch())
    x, y = tvm.runtime.tensor(np.arange(10, dtype=np.float32), DEVICE), tvm.runtime.empty((10,), "float32", DEVICE)
    before = DEVICE.available_global_memory
    executable.mod["kernel"](x, y, 0)
    assert (y.numpy() == 2 * np.arange(10) + 1).all()
    assert DEVICE.available_global_memory == before
    with pytest.raises(MemoryError, match="device 0 has no room for"):
        executable.mod["kernel"](x, y, 1 << 45)


def test_scratch_memory_in_a_process_without_tvm(compile_kernel, tmp_path) -> None:
    build.export(compile_kernel(through_scratch()), tmp_path / "kernel.so")
    script = f"""
        import sys
        import numpy as np
        from tvm_target import runtime, testing
        kernel = runtime.load({str(tmp_path / "kernel.so")!r})
        x = np.arange(7, dtype=np.float32)
        assert (testing.run(kernel, "kernel", x, np.zeros_like(x), 0, out=[1]) == 2 * x + 1).all()
        try:
            testing.run(kernel, "kernel", x, np.zeros_like(x), 1 << 45)
        except MemoryError as error:
            assert "has no room for" in str(error)
        else:
            raise AssertionError
        assert "tvm" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


def test_a_fault_appears_at_the_next_read_and_goes_away_with_a_reset(compile_kernel, fresh_device) -> None:
    executable = compile_kernel(through_scratch())
    empty, y = tvm.runtime.empty((0,), "float32", DEVICE), tvm.runtime.empty((0,), "float32", DEVICE)
    tensor = tvm.runtime.tensor(np.arange(3), DEVICE)
    executable.mod["kernel"](empty, y, 1)
    for wait in (tensor.numpy, DEVICE.sync):
        with pytest.raises(RuntimeError, match="kernel kernel, core 0, phase 0, instruction 0 .load.: columns.*rigiDeviceReset"):
            wait()
    testing.reset()
    assert tensor.numpy().tolist() == [0, 1, 2]


def test_streams() -> None:
    stream = DEVICE.create_raw_stream()
    DEVICE.set_raw_stream(stream)
    try:
        tensor = tvm.runtime.tensor(np.arange(3), DEVICE)
        DEVICE.sync(stream)
        assert tensor.numpy().tolist() == [0, 1, 2]
    finally:
        DEVICE.set_raw_stream(0)
        DEVICE.free_raw_stream(stream)


def test_two_devices() -> None:
    script = """
        import numpy as np, tvm
        a = tvm.runtime.tensor(np.arange(1000), tvm.device("ext_dev", 0))
        b = a.copyto(tvm.device("ext_dev", 1))
        assert b.device.index == 1 and (b.numpy() == np.arange(1000)).all()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120, env={**os.environ, "RIGI_DEVICES": "2"})
