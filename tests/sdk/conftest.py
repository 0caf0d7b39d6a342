"""What tests share: a timed device, programs that are checked against the reference schedule as they run, and a module of kernels."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from timing_bench import HBM_BYTES, RunProgram

import sdk_sim
from benchmarks.timing.program_data import Program
from benchmarks.timing.reference_schedule import compare, read_trace
from benchmarks.timing.timed_device import TIMED, Device, Run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def device() -> Device:
    device = Device()
    device.set_mode(TIMED)
    return device


@pytest.fixture(scope="module")
def hbm(device: Device) -> Iterator[int]:
    """The address of 64 MiB of zeros that nobody minds."""
    pointer = device.malloc(HBM_BYTES)
    device.write(pointer, bytes(HBM_BYTES))
    yield pointer
    device.reset()
    device.free(pointer)


@pytest.fixture
def run(device: Device, tmp_path: Path) -> RunProgram:
    """Runs a program and checks its trace against the reference."""

    def run(program: Program) -> Run:
        device.reset()  # whatever an earlier test met
        before = device.cycles()
        with device.trace(tmp_path / "trace.jsonl"):
            device.launch(program)
            device.synchronize()
        records = read_trace(tmp_path / "trace.jsonl")
        assert [str(d) for d in compare(records)] == []
        return Run(records, device.cycles() - before)

    return run


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The kernels of runtime_kernels.cpp, compiled."""
    out = tmp_path_factory.mktemp("kernels") / "kernels.so"
    include = HERE.parents[1] / "sdk_sim" / "include"
    subprocess.run(
        ["c++", "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{include}", str(HERE / "runtime_kernels.cpp"), "-o", str(out)], check=True
    )
    return out.read_bytes()


@pytest.fixture(scope="session")
def manifest() -> dict[str, list[str]]:
    """Of these kernels."""
    return {"kernels": ["add", "rotate", "sum", "faulty", "chase", "peek", "follow"]}


@pytest.fixture(scope="session")
def image(code: bytes, manifest: dict[str, list[str]]) -> bytes:
    return sdk_sim.pack_module(code, manifest, "rigi1", "A0")


@pytest.fixture
def module(image: bytes) -> Iterator[sdk_sim.Module]:
    yield sdk_sim.Module(image)
    sdk_sim.reset()
