"""`rigi demo`, `rigi parity` and `rigi bench serve` on the tiny model: one JSON object on standard output, with the promised fields."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def rigi(*arguments: str) -> dict:
    """Runs the command as the console script would; returns its standard output, which must be one JSON object."""
    code = "from sdk_sim.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_demo(tiny_model: Path):
    result = rigi("demo", "--model-path", str(tiny_model), "--prompt", "Hello", "--prompt", "Bye now", "--max-new-tokens", "6", "--json")
    assert [entry["prompt"] for entry in result["prompts"]] == ["Hello", "Bye now"]
    assert all(0 < entry["tokens"] <= 6 for entry in result["prompts"])
    assert result["host"]["decode_tok_s"] > 0
    simulated = result["simulated"]
    assert sum(step["batch"] for step in simulated["prefill"]) == 2
    assert all(step["simulated_us"] > 0 for step in simulated["prefill"])
    assert simulated["decode_step"]["steps"] >= 1 and simulated["decode_step"]["simulated_us"]["min"] > 0
    assert not any(part in op for op in result["fallbacks"] for part in ("mm", "softmax", "embedding", "silu", "rsqrt"))


def test_demo_says_what_is_wrong(tmp_path: Path):
    code = "from sdk_sim.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--model-path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "config.json" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_architecture_is_refused_with_its_name(tiny_model: Path, tmp_path: Path):
    import shutil

    folder = tmp_path / "unknown"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "frobnicator", "architectures": ["FrobnicatorForCausalLM"]}))
    code = "from sdk_sim.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--model-path", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "frobnicator" in done.stderr and "Traceback" not in done.stderr


def test_parity(tiny_model: Path, tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("Hello there\n\nHow are you today?\n")
    result = rigi("parity", "--model-path", str(tiny_model), "--prompts", str(tmp_path / "prompts.txt"), "--tokens", "6", "--json")
    fields = "prompts tokens kl kl_bf16_cpu kl_ratio disagreement disagreement_bf16_cpu disagreement_ratio"
    assert list(result) == ["origin", *fields.split()] and result["origin"]["sglang"] == metadata.version("sglang")
    assert (result["prompts"], result["tokens"]) == (2, 6)
    assert 0 <= result["kl"] < 0.1 and 0 <= result["disagreement"] <= 1


def test_bench_serve(tiny_model: Path):
    result = rigi("bench", "serve", "--model-path", str(tiny_model), "--tokens", "8", "--repeat", "1", "--json")
    assert set(result["decode_tok_s"]) == {"1", "8"} and set(result["prefill_tok_s"]) == {"128", "512"}
    assert result["transformers_fp32_decode_tok_s"] > 0 and result["ratio_decode_b1"] > 0
    assert all(us > 0 for group in ("decode_step_us", "prefill_us") for us in result["simulated"][group].values())
