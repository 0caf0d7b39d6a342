"""The device as torch sees it: memory, streams, events, pinned memory, generators, properties."""

import gc
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CHIP = tomllib.loads((ROOT / "sdk_sim/chips/rigi1.toml").read_text())


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A fresh process: what the environment says is read once."""
    code = "import torch, sglang_ext.device\n" + script
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_properties_come_from_the_chip_file() -> None:
    properties = torch.rigi.get_device_properties()
    assert properties.name == CHIP["name"] and properties.revision == CHIP["revision"]
    assert properties.total_memory == CHIP["hbm"]["bytes"] == torch.rigi.mem_get_info()[1]
    assert properties.multi_processor_count == CHIP["grid"]["rows"] * CHIP["grid"]["cols"]
    assert torch.rigi.get_device_name() == CHIP["name"] and torch.rigi.get_device_capability() == (1, 0)
    assert torch.rigi.is_available() and torch.rigi.device_count() >= 1 and not torch.rigi._is_in_bad_fork()


def test_accelerator_api_answers() -> None:
    assert torch.accelerator.current_accelerator().type == "rigi"
    assert torch.accelerator.is_available() and torch.accelerator.device_count() == torch.rigi.device_count()
    assert torch.rigi.is_current_stream_capturing() is False
    assert isinstance(torch.rigi.memory_stats(), dict)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.bool, torch.float8_e4m3fn])
def test_new_tensors(dtype: torch.dtype) -> None:
    x = torch.empty(3, 5, dtype=dtype, device="rigi")
    assert x.device == torch.device("rigi", 0) and x.shape == (3, 5) and x.is_rigi and x.data_ptr() % 256 == 0
    zeros = torch.zeros(3, 5, dtype=dtype, device="rigi")
    assert torch.equal(zeros.cpu().view(torch.uint8), torch.zeros(3, 5, dtype=dtype).view(torch.uint8))
    assert torch.empty(0, 7, dtype=dtype, device="rigi").cpu().shape == (0, 7)
    assert torch.rigi.fallbacks() == {}


def test_memory_is_counted_and_returned() -> None:
    gc.collect()
    torch.rigi.synchronize()
    before, free = torch.rigi.memory_allocated(), torch.rigi.mem_get_info()[0]
    torch.rigi.reset_peak_memory_stats()
    x = torch.empty(1 << 20, dtype=torch.float32, device="rigi")
    y = x[1:]
    assert torch.rigi.memory_allocated() - before == 4 << 20
    assert free - torch.rigi.mem_get_info()[0] >= 4 << 20
    del x
    assert torch.rigi.memory_allocated() - before == 4 << 20  # the view keeps it
    del y
    torch.rigi.synchronize()
    assert torch.rigi.memory_allocated() == before and torch.rigi.mem_get_info()[0] == free
    assert torch.rigi.max_memory_allocated() - before == 4 << 20


def test_out_of_memory_says_how_much_there_is() -> None:
    free = torch.rigi.mem_get_info()[0]
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2 * CHIP["hbm"]["bytes"], dtype=torch.uint8, device="rigi")
    assert str(2 * CHIP["hbm"]["bytes"]) in str(caught.value)
    torch.rigi.synchronize()
    assert torch.rigi.mem_get_info()[0] == free
    assert torch.ones(4).to("rigi").cpu().sum() == 4  # the device goes on


def test_device_numbers() -> None:
    with pytest.raises(RuntimeError, match="does not exist.*RIGI_DEVICES"):
        torch.empty(1, device="rigi:15")
    with pytest.raises(RuntimeError, match="pinned"):
        torch.empty(1, device="rigi", pin_memory=True)
    with torch.rigi.device(0):
        assert torch.rigi.current_device() == 0
    with pytest.raises(ValueError, match="expected a rigi device"):
        torch.rigi.mem_get_info("cpu")


def test_two_devices() -> None:
    script = """
a = torch.arange(1000, dtype=torch.float32)
x = a.to("rigi:0"); y = x.to("rigi:1")
assert y.device.index == 1 and torch.equal(y.cpu(), a)
z = x.view(10, 100)[:, ::3].to("rigi:1", torch.float64)
assert torch.equal(z.cpu(), a.view(10, 100)[:, ::3].double())
with torch.rigi.device(1):
    assert torch.empty(1, device="rigi").device.index == 1
try:
    x + y
except RuntimeError as e:
    assert "rigi:0" in str(e) and "rigi:1" in str(e), e
else:
    raise AssertionError("mixed chips were accepted")
assert torch.rigi.memory_allocated(1) > 0
print("fine")
"""
    done = run(script, RIGI_DEVICES="2")
    assert done.stdout.strip() == "fine", done.stderr


def test_streams_and_events() -> None:
    side = torch.rigi.Stream()
    assert side != torch.rigi.current_stream() and torch.rigi.default_stream() == torch.rigi.current_stream()
    with torch.rigi.stream(side):
        assert torch.rigi.current_stream() == side
        start, end = torch.rigi.Event(enable_timing=True), torch.rigi.Event(enable_timing=True)
        start.record()
        x = torch.ones(1 << 16).to("rigi", non_blocking=True)
        end.record()
    assert torch.rigi.current_stream() == torch.rigi.default_stream()
    torch.rigi.current_stream().wait_event(end)
    side.synchronize()
    assert side.query() and end.query()
    x.record_stream(torch.rigi.current_stream())
    assert x.cpu().sum() == 1 << 16


def test_elapsed_time_is_simulated() -> None:
    """The host link moves 64 GB/s after 2 us, whatever the host's own speed."""
    torch.rigi.set_mode("timed")
    data = torch.ones(1 << 20, dtype=torch.uint8)
    start, end = torch.rigi.Event(enable_timing=True), torch.rigi.Event(enable_timing=True)
    before = torch.rigi.simulated_cycles()
    start.record()
    data.to("rigi")
    end.record()
    end.synchronize()
    seconds = (1 << 20) / CHIP["link"]["host_bytes_per_s"] + CHIP["link"]["host_latency"] / CHIP["clock"]["hz"]
    assert start.elapsed_time(end) == pytest.approx(seconds * 1e3, rel=0.01)
    assert torch.rigi.simulated_cycles() - before == pytest.approx(seconds * CHIP["clock"]["hz"], rel=0.01)


def test_many_streams_come_from_a_ring() -> None:
    streams = [torch.rigi.Stream() for _ in range(100)]
    assert len({s.stream_id for s in streams}) == 32


def test_current_stream_is_per_thread() -> None:
    side = torch.rigi.Stream()
    seen: list[bool] = []

    def look() -> None:
        seen.append(torch.rigi.current_stream() == torch.rigi.default_stream())

    with torch.rigi.stream(side):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [True]


def test_pinned_memory() -> None:
    host = torch.arange(1 << 18, dtype=torch.float32).pin_memory()
    assert host.is_pinned() and host[5:].is_pinned() and not torch.ones(4).is_pinned()
    x = host.to("rigi", non_blocking=True)
    want = host.clone()
    del host  # the copy may still be queued: the block lives until it has run
    junk = [torch.empty(1 << 18).pin_memory().fill_(-1) for _ in range(4)]
    assert torch.equal(x.cpu(), want)
    back = torch.empty(1 << 18).pin_memory()
    back.copy_(x, non_blocking=True)
    torch.rigi.synchronize()
    assert torch.equal(back, want) and len(junk) == 4


def test_seeds_repeat() -> None:
    torch.manual_seed(3)
    first = torch.randn(100, device="rigi").cpu()
    torch.manual_seed(3)
    assert torch.equal(first, torch.randn(100, device="rigi").cpu())
    generator = torch.Generator(device="rigi")
    generator.manual_seed(5)
    cpu = torch.Generator().manual_seed(5)
    assert torch.equal(torch.rand(9, device="rigi", generator=generator).cpu(), torch.rand(9, generator=cpu))
    state = torch.rigi.get_rng_state()
    drawn = torch.rand(3, device="rigi").cpu()
    torch.rigi.set_rng_state(state)
    assert torch.equal(drawn, torch.rand(3, device="rigi").cpu())


def test_dlpack_device() -> None:
    from torch.utils.dlpack import DLDeviceType

    assert torch.empty(2, device="rigi").__dlpack_device__() == (DLDeviceType.kDLExtDev, 0)
    assert torch.empty(2).__dlpack_device__()[0] == DLDeviceType.kDLCPU


def test_a_forked_child_is_told() -> None:
    script = """
import os
torch.ones(2).to("rigi")
pid = os.fork()
if pid == 0:
    try:
        torch.empty(2, device="rigi")
    except RuntimeError as e:
        os._exit(0 if "spawn" in str(e) and torch.rigi._is_in_bad_fork() else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("fine")
"""
    done = run(script)
    assert done.stdout.strip() == "fine", done.stderr


def test_save_and_load(tmp_path: Path) -> None:
    x = torch.randn(4, 4).bfloat16().to("rigi")
    torch.save({"x": x}, tmp_path / "x.pt")
    assert torch.equal(torch.load(tmp_path / "x.pt")["x"].cpu(), x.cpu())
    assert torch.load(tmp_path / "x.pt", map_location="cpu")["x"].device.type == "cpu"


def test_resize_keeps_what_fits() -> None:
    for seed in range(20):  # other data each time: memory is used again
        host = torch.arange(6.0) + seed
        x = host.to("rigi")
        pointer = x.data_ptr()
        x.resize_(10)
        assert torch.equal(x[:6].cpu(), host)
        x.resize_(2, 2)
        assert torch.equal(x.cpu(), host[:4].view(2, 2)) and x.data_ptr() != pointer
    x.untyped_storage().resize_(0)
    assert x.untyped_storage().nbytes() == 0


def test_set_shares_memory() -> None:
    x, y = torch.arange(12.0).to("rigi"), torch.empty(0, device="rigi")
    y.set_(x)
    assert y.shape == (12,) and y.data_ptr() == x.data_ptr()
    y.set_(x.untyped_storage())
    assert torch.equal(y.cpu(), x.cpu())
    y.set_(x.untyped_storage(), 2, (2, 3), (1, 2))
    assert torch.equal(y.cpu(), torch.arange(12.0).as_strided((2, 3), (1, 2), 2))
    with pytest.raises(RuntimeError, match="different device"):
        y.set_(torch.zeros(3).untyped_storage(), 0, (3,), (1,))
    w = torch.empty(0, device="rigi").set_(x.untyped_storage(), 0, (20,), (1,))  # grows the storage
    assert torch.equal(w[:12].cpu(), torch.arange(12.0)) and x.untyped_storage().nbytes() == 80
