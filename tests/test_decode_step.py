"""`rigi bench decode-step`: a whole model's decode step takes the same cycles with and without data, and a full chip no host memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import sdk_sim
from benchmarks.decode_step import PAGE, PRESETS, Shape, check_fits, decode_step, from_config

SMALL = Shape(layers=2, hidden=192, heads=6, kv_heads=2, head_dim=64, intermediate=320, vocab=1000)


@pytest.mark.parametrize(("batch", "kv"), [(1, 1), (1, 300), (5, 77)])
def test_timing_only_is_timed_to_the_cycle(batch: int, kv: int) -> None:
    try:
        timed, untouched = (decode_step(SMALL, batch, kv, mode) for mode in ("timed", "timing-only"))
    finally:
        sdk_sim.set_mode("timed")
    same = ("launches", "cycles", "graph_cycles", "kernels", "ideal_cycles")
    assert {name: timed[name] for name in same} == {name: untouched[name] for name in same}
    saved = sdk_sim.properties()["launch_cycles"] - sdk_sim.properties()["graph_launch_cycles"]
    assert timed["cycles"] - timed["graph_cycles"] == timed["launches"] * saved
    assert 0 < timed["utilization"] < 1


def test_a_model_that_fills_the_chip_runs_on_a_small_host() -> None:
    code = """
        import json, resource, sys
        import sdk_sim, torch, sglang_ext.device
        from benchmarks.decode_step import PRESETS, decode_step
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = decode_step(PRESETS["32b"], 8, 1024)
        print(json.dumps([result["gib"], result["cycles"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    gib, cycles, grown_kib = json.loads(done.stdout)
    assert gib > 60
    assert cycles > gib * 2**30 / 1600 * 0.97  # the embedding table is not read
    assert grown_kib < 512 << 10


def test_the_shape_comes_from_a_config(tmp_path: Path) -> None:
    config = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 96, "vocab_size": 10}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_config(tmp_path) == Shape(3, 64, 2, 2, 32, 96, 10)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no 'num_attention_heads'"):
        from_config(tmp_path)
    assert PRESETS["smollm2-135m"].weights * 2 == pytest.approx(269e6, rel=0.01)  # the checkpoint's bytes, head tied


@pytest.mark.parametrize(("batch", "kv"), [(16, 2048), (1, 1 << 20)])
def test_what_does_not_fit_is_told_before_anything_is_made(batch: int, kv: int) -> None:
    with pytest.raises(ValueError, match=rf"batch {batch} with {kv} tokens .* needs \d+\.\d\d GiB .* GiB are free. What fits: ") as refused:
        decode_step(PRESETS["32b"], batch, kv)
    for option, value in re.findall(r"--(batch|kv) (\d+)", str(refused.value)):
        check_fits(PRESETS["32b"], **{"batch": batch, "kv": kv, option: int(value)})
        more = int(value) + (1 if option == "batch" else PAGE)
        with pytest.raises(ValueError):
            check_fits(PRESETS["32b"], **{"batch": batch, "kv": kv, option: more})


def test_the_largest_that_fits_runs() -> None:
    """Room for what a step needs besides weights and cache is part of the sum."""
    try:
        assert decode_step(PRESETS["32b"], 5, 2048)["gib"] > 63.5
    finally:
        sdk_sim.set_mode("timed")


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="What fits: fewer --layers"):
        decode_step(replace(PRESETS["32b"], layers=80), 1, 16)
