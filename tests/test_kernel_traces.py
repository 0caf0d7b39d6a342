"""The library's kernels under the timing rules: their instruction traces recompute to the cycle, and timing changes no bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import sdk_sim
from benchmarks.timing import library

QUICK = (
    "linear 1 x 1536 x 576",
    "linear 512 x 1000 x 300",
    "attention_extend [500, 37, 130] x 9 x 3 x 64",
    "attention_decode [1, 300, 777] x 8 x 2 x 128",
)


@pytest.mark.parametrize("case", QUICK)
def test_a_kernels_trace_recomputes_and_timing_changes_no_bit(case: str, tmp_path: Path) -> None:
    launch = library.CASES[case]()
    try:
        timed = library.traced(launch, tmp_path / "trace.jsonl")
        sdk_sim.set_mode("functional")
        functional = launch()
        torch.rigi.synchronize()
    finally:
        sdk_sim.set_mode("timed")
    assert torch.equal(timed.cpu().view(torch.int16), functional.cpu().view(torch.int16))
    outcome = library.recompute(case, tmp_path / "trace.jsonl")
    assert outcome.wrong == []
    assert len(outcome.kernels) == 1 and outcome.instructions > 50


@pytest.mark.slow
def test_every_packaged_kernel_recomputes(tmp_path: Path) -> None:
    outcomes = [library.run(case, tmp_path) for case in library.CASES]
    assert [(o.case, o.wrong[:3]) for o in outcomes if o.wrong] == []
    index = json.loads((Path(__file__).parent.parent / "tvm_target" / "modules" / "index.json").read_text())
    assert {entry["function"] for entry in index["kernels"]} == {kernel for o in outcomes for kernel in o.kernels}
