"""`rigi bench sdk` on small sizes: every field is there, and means what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import host_exec, sdk

HARNESS = """
import json, pathlib, sys
from benchmarks import sdk
from sglang_ext.serving.model_folder import make_tiny
folder = make_tiny(pathlib.Path(sys.argv[1]))
bar = lambda what, total: lambda: None
sys.stdout = sys.stderr
result = sdk.measure(folder, bar, gemm=96, megabytes=2, steps=3, repeat=2)
print(json.dumps(result), file=sys.__stdout__)
"""


@pytest.mark.timeout(240)
def test_every_field_is_there(tmp_path: Path) -> None:
    """In a process of its own: a model runner is one to a process."""
    environment = {**os.environ, "RIGI_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", HARNESS, str(tmp_path / "tiny")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    for field in sdk.LIMITS:
        assert field in result
        assert result[field] is None and field == "profiler_off_overhead" or isinstance(result[field], float)
    for field in ("gemm_vs_torch_fp32", "gemv_vs_read_bandwidth", "empty_launch_us", "graph300_us"):
        assert result[field] > 0
    assert result["gemm_vs_torch_fp32"] == pytest.approx(result["gemm"]["rigi_gflops"] / result["gemm"]["torch_fp32_gflops"], rel=2e-3)
    assert result["gemv"]["best_ratio"] == pytest.approx(result["gemv"]["rigi_gb_s"] / result["gemv"]["read_gb_s"], rel=2e-3)
    assert result["empty_launch_us"] == result["launches_us"]["timed"]["launch"]
    assert result["graph300_us"] == result["launches_us"]["timed"]["graph300"]
    assert result["decode"]["steps"] == 3 and result["decode"]["timed_ms"] > 0
    assert [line["instruction"] for line in result["exec"]] == [case.name for case in host_exec.cases()]
    assert all(line["throughput"] > 0 for line in result["exec"])
    sdk._print(result)


def test_every_instruction_is_measured() -> None:
    """The cases hold every opcode, and names are not used twice."""
    from sdk_sim.isa import Op

    cases = host_exec.cases()
    opcodes: Callable[[host_exec.Case], int] = lambda case: int(case.make(1 << 20)["op"])  # noqa: E731
    assert {opcodes(case) for case in cases} == {int(op) for op in Op}
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [("gemm_vs_torch_fp32", 0.6, True), ("gemm_vs_torch_fp32", 0.59, False), ("graph300_us", 150.0, True), ("graph300_us", 151.0, False),
     ("timing_overhead", -0.01, True), ("profiler_off_overhead", None, None)],
)  # fmt: skip
def test_limits(field: str, value: float | None, kept: bool | None) -> None:
    assert sdk.met(field, value) is kept
