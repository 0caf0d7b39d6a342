"""A served model in a profile: forwards are "request" ranges, decoder layers "layer" ranges in them; none without a profile."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import run_python

from sdk_sim.profile import read

ENGINE = """
import sys
if __name__ == "__main__":
    import sglang
    engine = sglang.Engine(model_path=sys.argv[1], log_level="error", max_total_tokens=4096, context_length=256)
    greedy = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}
    engine.generate(["Hello there, how are", "12 plus 30 is"], greedy)
    engine.shutdown()
"""


@pytest.mark.slow
def test_a_served_model(tiny_model: Path, tmp_path: Path):
    """Every launch of the model lies in its layer, every layer in its forward; the file survives the end of the engine's processes."""
    script, out = tmp_path / "engine.py", tmp_path / "profile"
    script.write_text(ENGINE)
    command = [sys.executable, str(script), str(tiny_model)]
    profiled = [sys.executable, "-m", "sdk_sim.cli", "profile", "--json", "--out", str(out), "--", *command]
    done = subprocess.run(profiled, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert Path(result["files"]["perfetto"]).stat().st_size > 10_000
    (profile,) = read(out)
    assert result["launches"] == len(profile.launches)
    forwards: dict[int, list[dict[str, Any]]] = {}
    for launch in profile.launches:
        if launch["ranges"]:
            assert [place[0] for place in launch["ranges"]] in (["request"], ["request", "layer"])
            forwards.setdefault(launch["ranges"][0][2], []).append(launch)
    titles = [launches[0]["ranges"][0][1] for launches in forwards.values()]
    assert sum(title.startswith("extend of") for title in titles) >= 1
    decodes = [launches for title, launches in zip(titles, forwards.values()) if title.startswith("decode of 2 requests (")]
    assert len(decodes) == 3
    for launches in decodes:
        layers = [launch["ranges"][1][1] for launch in launches if len(launch["ranges"]) == 2]
        assert list(dict.fromkeys(layers)) == ["layer 0", "layer 1"]
        outside = [launch["kernel"] for launch in launches if len(launch["ranges"]) == 1]
        assert "argmax" in outside and any(kernel.startswith("embedding") for kernel in outside)
        inside = [launch["kernel"] for launch in launches if launch["ranges"][1:] and launch["ranges"][1][1] == "layer 1"]
        assert any(kernel.startswith("attention_decode") for kernel in inside)
        assert all(a["end"] <= b["start"] for a, b in zip(launches, launches[1:]))


LAYERS = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
import torch
import sdk_sim
import sglang_ext.device
from sglang_ext.serving import ranges
assert ranges.open_from_env() is None and not ranges.wanted()
x = torch.zeros(64, dtype=torch.int64, device="rigi")
class Layer(torch.nn.Module):
    def forward(self, x):
        if x is None:
            raise ValueError
        return x + 1
modules = SimpleNamespace(model=SimpleNamespace(layers=torch.nn.ModuleList([Layer(), Layer()])))
planned = SimpleNamespace(model=SimpleNamespace(rigi_plan=[1, 2]))
for model in (modules, planned):
    ranges.mark_layers(model)
ranges.mark_layers(SimpleNamespace())
with sdk_sim.profiler(sys.argv[1]):
    for layer in modules.model.layers:
        x = layer(x)
    try:
        layer(None)
    except ValueError:
        pass
    for number in planned.model.rigi_plan:
        x = x + number
    x = x - 1
launches = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
print(json.dumps([[kind_name[:2] for kind_name in r["ranges"]] for r in launches if r["kind"] == "launch"]))
"""


def test_layers_of_any_model(tmp_path: Path):
    """Modules get hooks, which also end the range of a layer that fails; the plan of a Llama is ranged while it is iterated over."""
    assert "RIGI_PROFILE" not in os.environ
    first, second = [["layer", "layer 0"]], [["layer", "layer 1"]]
    assert run_python(LAYERS, str(tmp_path / "p")) == [first, second, first, second, []]
