"""The module loader: calls and their errors, saving and loading, and processes without TVM."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tvm_ffi

from tvm_target import build, runtime, testing
from tvm_target.packing import pack, sdk_version
from tvm_target.target import chip

X = np.linspace(-4, 4, 6 * 128).astype(ml_dtypes.bfloat16).reshape(6, 128)


@pytest.fixture(scope="module")
def library(compiled, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("library") / "silu_mul.so"
    build.export(compiled("silu_mul"), path)
    return path


@pytest.fixture(scope="module")
def compiled(request):
    from tvm_target import package

    spec = next(found.spec for found in package.discover() if found.spec.name == "silu_mul")
    executable = build.compile_kernel(spec)
    return lambda _name: executable


def call(module) -> np.ndarray:
    return testing.run(module, "silu_mul", X, np.zeros((6, 64), X.dtype), out=[1])


def test_a_library_gives_the_bits_of_the_executable(compiled, library) -> None:
    assert (call(runtime.load(library)) == call(compiled("silu_mul"))).all()


def test_the_manifest(compiled, library) -> None:
    about = runtime.manifest(runtime.load(library))
    assert about == runtime.manifest(compiled("silu_mul").mod)
    assert {"chip", "revision", "sdk", "kernels", "config", "source_hash", "compiler"} <= about.keys()
    assert (about["chip"], about["revision"], about["sdk"]) == ("rigi1", "A0", sdk_version())
    (kernel,) = about["kernels"]
    assert kernel["name"] == "silu_mul" and kernel["phases"] == 1 and 0 < kernel["sram_bytes"] < chip().sram_bytes
    assert [(a["name"], a["kind"], a["dtype"]) for a in kernel["args"]][:2] == [("X", "pointer", "bfloat16"), ("Y", "pointer", "bfloat16")]


def test_the_source_can_be_read(library) -> None:
    (device,) = [m for m in runtime.load(library).imports if m.kind == "rigi"]
    assert "core.act(RIGI_SILU" in device.inspect_source()
    assert json.loads(device.inspect_source("json"))["chip"] == "rigi1"


BAD_CALLS = {
    "too few": ([X], "Expected 2 arguments"),
    "a dtype": ([X, np.zeros((6, 64), np.float32)], "Y.dtype.*expected bfloat16"),
    "a shape": ([X, np.zeros((6, 65), X.dtype)], "Mismatched X.(shape|strides)"),
    "a rank": ([X, np.zeros(64, X.dtype)], "Y.ndim.*expected 2"),
    "a number": ([X, 3], "expected Tensor"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_arguments_are_refused_before_the_launch(library, case: str) -> None:
    arguments, text = BAD_CALLS[case]
    with pytest.raises((TypeError, ValueError), match=f"(?s){text}"):
        testing.run(runtime.load(library), "silu_mul", *arguments)


def test_host_tensors_are_refused(library) -> None:
    function = runtime.load(library)["silu_mul"]
    host = tvm_ffi.from_dlpack(np.zeros((6, 128), np.float32))
    with pytest.raises((TypeError, ValueError), match="(?s)dtype|device"):
        function(host, host)


def test_a_module_for_another_chip_is_refused(compiled) -> None:
    about = runtime.manifest(compiled("silu_mul").mod)
    foreign = type(chip())(**{**chip().__dict__, "revision": "B7"})
    image = pack(foreign, json.dumps({**about, "revision": "B7"}), b"\x7fELF nothing that would run")
    with pytest.raises(RuntimeError, match="(?s)B7.*A0|A0.*B7"):
        runtime.create_module(image, "", json.dumps(about)).get_function("silu_mul")(*[0] * len(about["kernels"][0]["args"]))


def test_damaged_libraries_are_refused(library, tmp_path) -> None:
    with pytest.raises(runtime.LoaderError, match="does not exist.*rigi build"):
        runtime.load(tmp_path / "none.so")
    broken, sealed = tmp_path / "broken.so", library.read_bytes()
    plain = sealed[: sealed.index(b"\nrigi-kernels:sha256")]
    middle = len(plain) // 2
    changed = plain[:middle] + bytes([plain[middle] ^ 1]) + sealed[middle + 1 :]
    holes = [whole[:5000] + bytes(len(whole) - 5000) for whole in (plain, sealed)]
    for content in (sealed[:1000], sealed[:40], plain[:-1], b"", b"kernels", changed, *holes):
        broken.write_bytes(content)
        with pytest.raises(runtime.LoaderError, match="damaged or no kernel library.*rigi build"):
            runtime.load(broken)


def test_libraries_that_tvm_exported_load_too(compiled, tmp_path) -> None:
    compiled("silu_mul").export_library(str(tmp_path / "plain.so"))
    assert (call(runtime.load(tmp_path / "plain.so")) == call(compiled("silu_mul"))).all()


WITHOUT_TVM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "tvm" or name.startswith("tvm."):
            raise ImportError("TVM is not for serving")

sys.meta_path.insert(0, Refuse())
import tvm_target.runtime
loaded = [name for name in sys.modules if name == "tvm" or name.startswith("tvm.")]
assert not loaded, loaded
import numpy as np, ml_dtypes
from tvm_target import testing
module = tvm_target.runtime.load(sys.argv[1])
x = np.linspace(-4, 4, 6 * 128).astype(ml_dtypes.bfloat16).reshape(6, 128)
y = testing.run(module, "silu_mul", x, np.zeros((6, 64), x.dtype), out=[1])
sys.stdout.buffer.write(y.tobytes())
"""


def test_a_process_without_tvm_loads_and_runs(compiled, library) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TVM, str(library)], capture_output=True, env=dict(os.environ), timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == call(compiled("silu_mul")).tobytes()


LOADER_FIRST = """
import sys
import tvm_target.runtime
module = tvm_target.runtime.load(sys.argv[1])
import tvm, tvm_target.target
tvm_target.target.register()
assert tvm.target.Target("rigi1").kind.name == "ext_dev"
import numpy as np, ml_dtypes
from tvm_target import testing
x = np.ones((2, 128), ml_dtypes.bfloat16)
assert (testing.run(module, "silu_mul", x, np.zeros((2, 64), x.dtype), out=[1]).astype("float32") == 0.73046875).all()
"""


def test_tvm_may_come_after_the_loader(library) -> None:
    done = subprocess.run([sys.executable, "-c", LOADER_FIRST, str(library)], capture_output=True, env=dict(os.environ), timeout=120)
    assert done.returncode == 0, done.stderr.decode()


def test_launches_run_on_the_current_stream(library) -> None:
    import ctypes

    sdk, stream, cycles = testing._sdk(), ctypes.c_void_p(), ctypes.c_uint64()
    assert sdk.rigiStreamCreate(0, ctypes.byref(stream)) == 0
    function = runtime.load(library)["silu_mul"]
    x, y = testing.DeviceArray(X), testing.DeviceArray(np.zeros((6, 64), X.dtype))
    before = testing.device_cycles()
    with tvm_ffi.use_raw_stream(tvm_ffi.device("ext_dev", 0), stream.value):
        function(tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(y))
    assert sdk.rigiStreamGetCycles(stream, ctypes.byref(cycles)) == 0
    assert cycles.value > 1250 and testing.device_cycles() == before
