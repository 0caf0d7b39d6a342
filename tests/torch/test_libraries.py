"""What other libraries, and torch's own tools, ask of the device: they import, they measure, or they say what to use instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sdk_sim

R = "rigi"


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process that knows nothing of SGLang: where it has been imported, the platform turns torch.compile off."""
    prefix = "".join(f"import sys; sys.path.insert(0, {str(folder)!r})\n" for folder in path)
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_COMPILE_DISABLE"}
    return subprocess.run([sys.executable, "-c", prefix + code], capture_output=True, text=True, timeout=300, env=environment)


# ---- torchvision, whose native half does not load beside PyTorch's CPU build


def test_importing_torch_is_enough_for_torchvision_and_imports_it_not() -> None:
    code = "import sys, torch\nassert 'torchvision' not in sys.modules\nimport torchvision.transforms\nprint(torchvision.__version__)"
    done = python(code)
    assert done.returncode == 0 and done.stdout.startswith("0."), done.stderr


@pytest.mark.slow
def test_transformers_models_import_without_sglang() -> None:
    done = python("from transformers import Gemma3ForCausalLM, LlamaForCausalLM\nimport sys\nprint('sglang' in sys.modules)")
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.parametrize("loads", [True, False])
def test_a_torchvision_whose_operators_load_is_left_alone(loads: bool, tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    define = 'library = torch.library.Library("torchvision", "DEF")\nlibrary.define("nms(Tensor boxes, Tensor scores) -> Tensor")\n'
    (package / "extension.py").write_text("import torch\n" + (define if loads else ""))
    (package / "_meta_registrations.py").write_text("import torch\nnames = [torch.ops.torchvision.nms, torch.ops.torchvision.qnms]\n")
    (package / "__init__.py").write_text("from . import _meta_registrations\n")
    done = python("import torch, torchvision\nprint(torch.ops.torchvision.nms.default._schema)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torchvision::nms(Tensor boxes" if loads else "torchvision::nms(Tensor dets, Tensor scores, float")


# ---- torch.compile


@pytest.mark.slow
def test_the_default_backend_of_compile_says_what_serves() -> None:
    code = """
import torch
module, x = torch.nn.Linear(4, 4).to("rigi"), torch.ones(2, 4, device="rigi")
for compiled in (lambda: torch.compile(module)(x), torch.compile(lambda: torch.ones(3, device="rigi") + 1)):
    try:
        compiled()
    except RuntimeError as error:
        print(str(error).replace("\\n", " "))
    torch._dynamo.reset()
for backend in ("eager", "aot_eager"):
    print(torch.equal(torch.compile(module, backend=backend)(x).cpu(), module(x).cpu()))
    torch._dynamo.reset()
"""
    done = python(code)
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[2:] == ["True", "True"], done.stderr
    for line in lines[:2]:
        assert "Inductor, generates no code for the device 'rigi'; use " in line and 'backend="aot_eager"' in line


# ---- torch.autograd.profiler


def test_the_profiler_gives_simulated_times_of_the_device(capfd: pytest.CaptureFixture[str]) -> None:
    x, w = torch.ones(64, 128, dtype=torch.bfloat16, device=R), torch.ones(256, 128, dtype=torch.bfloat16, device=R)
    with torch.autograd.profiler.profile(use_device=R) as profile:
        before = torch.rigi.simulated_cycles()
        torch.nn.functional.linear(x, w)
        took = torch.rigi.simulated_cycles() - before
    (row,) = [event for event in profile.key_averages() if event.key == "aten::linear"]
    assert row.device_time_total == pytest.approx(took * 0.8e-3, abs=1), "1 cycle is 0.8 ns"
    assert "RIGI total" in profile.key_averages().table()
    assert "Exception" not in capfd.readouterr().err


def test_the_profiler_gives_no_time_where_there_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(64, 64, dtype=torch.bfloat16, device=R)
    torch.nn.functional.linear(x, x)
    with torch.autograd.profiler.profile(use_device=R) as captured, sdk_sim.capture(sdk_sim.Stream.default()):
        kept = torch.nn.functional.linear(x, x)
    torch.rigi.set_mode("functional")
    try:
        with torch.autograd.profiler.profile(use_device=R) as functional:
            torch.nn.functional.linear(x, x)
    finally:
        torch.rigi.set_mode("timed")
    for profile in (captured, functional):
        assert {event.device_time_total for event in profile.key_averages()} == {0}
    assert "Exception" not in capfd.readouterr().err and kept.shape == (64, 64)
