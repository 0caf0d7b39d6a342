"""`rigi bench` of single ops: the same cycles with and without data, and nothing computed on the host where the chip computes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sdk_sim
from benchmarks import cli, kernels
from sdk_sim.origin import origin

BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "gemm": lambda: kernels.gemm(33, 200, 190),
    "prefill": lambda: kernels.attention_prefill(37, 6, 2, 64, prefix=20),
    "decode": lambda: kernels.attention_decode(3, 77, 6, 2, 64),
}


@pytest.fixture(autouse=True)
def mode() -> Iterator[None]:
    yield
    sdk_sim.set_mode("timed")


@pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES.keys())
def test_timing_only_takes_the_cycles_of_timed_and_computes_no_error(bench: Callable[[], dict[str, Any]]) -> None:
    results = {}
    for name in ("timed", "timing-only"):
        sdk_sim.set_mode(name)
        results[name] = bench()
        assert results[name]["mode"] == name
    timed, untouched = results["timed"], results["timing-only"]
    assert 0 < timed["max_error"] < 0.05 and untouched["max_error"] is None
    assert {key: timed[key] for key in ("cycles", "launches", "ideal_cycles")} == {
        key: untouched[key] for key in ("cycles", "launches", "ideal_cycles")
    }


def test_a_mode_without_time_is_refused() -> None:
    sdk_sim.set_mode("functional")
    with pytest.raises(ValueError, match="need a mode with time; set RIGI_MODE to timed"):
        kernels.gemm(1, 64, 64)


def test_a_product_larger_than_this_machine_needs_none_of_its_memory() -> None:
    code = """
        import json, resource
        from benchmarks import kernels
        kernels.gemm(64, 64, 64)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = kernels.gemm(64, 1 << 17, 1 << 12)  # a weight of 1 GiB, 2 GiB in fp32
        print(json.dumps([result["max_error"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
    """
    environment = {**os.environ, "RIGI_MODE": "timing-only"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    error, grown_kib = json.loads(done.stdout)
    assert error is None and grown_kib < 512 << 10


def test_a_result_names_what_it_was_made_with(tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text("[hbm]\nbytes_per_cycle = 800\n")
    command = [sys.executable, "-m", "sdk_sim.cli", "bench", "gemm", "--m", "1", "--n", "64", "--k", "64", "--json"]
    environment = {**os.environ, "RIGI_CHIP": str(tmp_path / "slow.toml")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    named = json.loads(done.stdout)["origin"]
    assert (named["chip"], named["revision"], named["sdk_version"]) == ("rigi1", "A0", sdk_sim.version())
    assert named["override"] == str(tmp_path / "slow.toml") and named["torch"].startswith("2.")
    assert origin()["override"] == "" and origin("no-such-package")["no-such-package"] is None


def test_a_table_without_an_error_says_so() -> None:
    sdk_sim.set_mode("timing-only")
    shown = CliRunner().invoke(cli.bench, ["gemm", "--m", "1", "--n", "64", "--k", "64"]).output
    assert "not computed" in shown and "timing-only mode has no data" in shown


def test_the_readmes_table_is_what_the_commands_give() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    rows = re.findall(r"^\| `((?:gemm|attention)[^`]*)` \| ([\d,]+) \| (0\.\d\d) \|$", readme, re.MULTILINE)
    assert len(rows) == 4
    sdk_sim.set_mode("timing-only")
    for arguments, cycles, utilization in rows:
        shown = CliRunner().invoke(cli.bench, [*arguments.split(), "--json"])
        result = json.loads(shown.stdout)
        assert (f"{result['cycles']:,}", f"{result['utilization']:.2f}") == (cycles, utilization), arguments
