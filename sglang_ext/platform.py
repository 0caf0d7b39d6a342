"""The SGLang platform of Rigi: what SGLang 0.5.23 asks about the device, through its own seams.

Found by SGLang through the entry point ``sglang.srt.platforms`` (see `activate`); nothing in SGLang is patched. The registry of
attention backend, sampler and fused ops is in `sglang_ext.serving.hooks`.
"""

import os
from typing import Any

import torch
from sglang.srt.platforms.device_mixin import DeviceCapability, PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform

NAME = "rigi"
PAGE_SIZE = 16
# HBM is 64 GiB but lives lazily in the host's memory: the default pool and batch are sized for a development host.
DEFAULT_MAX_TOTAL_TOKENS = 131_072
DEFAULT_MAX_RUNNING_REQUESTS = 64
DEFAULT_CHUNKED_PREFILL = 2_048


class RigiPlatform(SRTPlatform):
    """Rigi-1 as an SGLang device: bf16, paged KV of 16 tokens a page, overlap scheduler, no Triton."""

    _enum = PlatformEnum.OOT
    device_name = NAME
    device_type = NAME
    capabilities = PlatformCapabilities(graph_capture=True)

    # ---- the device
    def get_device(self, device_id: int = 0) -> str:
        return NAME  # a string: SGLang 0.5.23 compares it with names

    def set_device(self, device: torch.device) -> None:
        torch.rigi.set_device(device)

    def get_device_name(self, device_id: int = 0) -> str:
        return "Rigi-1"

    def get_device_uuid(self, device_id: int = 0) -> str:
        return f"rigi-{device_id}"

    def get_device_capability(self, device_id: int = 0) -> DeviceCapability:
        return DeviceCapability(1, 0)

    def synchronize(self) -> None:
        torch.rigi.synchronize()

    # ---- memory, in bytes
    def get_device_total_memory(self, device_id: int = 0) -> int:
        return torch.rigi.mem_get_info(device_id)[1]

    def get_current_memory_usage(self, device: torch.device | None = None) -> float:
        free, total = torch.rigi.mem_get_info(0 if device is None or device.index is None else device.index)
        return float(total - free)

    def get_available_memory(self, device_id: int = 0) -> tuple[int, int]:
        return torch.rigi.mem_get_info(device_id)

    def is_pin_memory_available(self, device: torch.device | None = None) -> bool:
        return True  # copies from and to pinned memory do not wait: the scheduler works while the chip does

    def empty_cache(self) -> None:
        torch.rigi.empty_cache()

    # ---- what serves what
    def apply_server_args_defaults(self, server_args: Any) -> None:
        """Fills in what the user left open, and refuses a model whose configuration the kernels do not serve, before weights are loaded.

        Arguments that the chip cannot serve have been refused before (`serving/arguments.py`).
        """
        from sglang.srt.plugins import load_plugins

        from sglang_ext.serving import model_check

        load_plugins()  # launchers have done so; tools such as sglang.benchmark.one_batch never do
        defaults = {
            "attention_backend": NAME,
            "sampling_backend": "pytorch",  # `serving.hooks` puts the chip's sampler behind this name
            "page_size": PAGE_SIZE,
            "dtype": "bfloat16",
            "max_total_tokens": DEFAULT_MAX_TOTAL_TOKENS,
            "max_running_requests": DEFAULT_MAX_RUNNING_REQUESTS,
            "chunked_prefill_size": DEFAULT_CHUNKED_PREFILL,
        }
        for name, value in defaults.items():
            if getattr(server_args, name) in (None, "auto"):
                setattr(server_args, name, value)
        model_check.check_arguments(server_args)
        server_args.disable_custom_all_reduce = True
        server_args.sleep_on_idle = True  # an idle scheduler would spin on a core that the emulated chip needs

    def get_default_attention_backend(self) -> str:
        return NAME

    def get_kv_pool_cls(self, *, kind: str) -> type | None:
        if kind != "mha":
            return None  # asked for every kind; `serving.model_check` refuses models that need another
        from sglang_ext.serving.kv_pool import RigiKVPool

        return RigiKVPool

    def get_graph_runner_cls(self) -> type:
        from sglang_ext.serving.decode_graphs import RigiDecodeGraphs

        return RigiDecodeGraphs

    def get_paged_allocator_cls(self) -> type:
        from sglang_ext.serving.page_allocator import RigiPageAllocator

        return RigiPageAllocator

    def get_dispatch_key_name(self) -> str:
        return NAME

    def get_compile_backend(self, mode: str | None = None) -> str:
        return "eager"

    def init_backend(self) -> None:
        """In every process that runs a model: the fused ops' forwards on the chip."""
        from sglang_ext.serving.fused_ops import register_fused_ops

        register_fused_ops()

    def post_load_model(self, model: torch.nn.Module) -> None:
        """Swaps the logits step for the chip's; lets Llama layers run as few launches; guards attention of transformers' own code."""
        from sglang_ext.serving.model import adapt_model
        from sglang_ext.serving.transformers_models import guard_attention

        guard_attention(model)
        adapt_model(model)

    # ---- processes and profiling
    def get_torch_distributed_backend_str(self) -> str:
        return "gloo"

    def get_group_coordinator_device(self, local_rank: int) -> torch.device:
        return torch.device(NAME, local_rank)

    def get_torch_profiler_activity_str(self) -> str:
        return "CPU"

    def get_torch_profiler_activity(self) -> torch.profiler.ProfilerActivity:
        return torch.profiler.ProfilerActivity.CPU


def activate() -> str | None:
    """Entry point of SGLang's platform discovery: the class's dotted name, or None where the chip's runtime is not built.

    Sets the process-wide switches that SGLang reads from the environment (spawned processes inherit them):
    no Inductor (it knows no `rigi` device), rotary tables in fp32, and no copying of a batch into static buffers for
    steps that no graph serves.
    """
    for name, value in (("TORCH_COMPILE_DISABLE", "1"), ("SGLANG_ROPE_CACHE_FP32", "1"), ("SGLANG_EAGER_INPUT_NO_COPY", "1")):
        os.environ.setdefault(name, value)
    from sglang_ext.serving import hooks

    if not torch.rigi.is_available():
        return None
    hooks.prepare_arguments()
    return "sglang_ext.platform.RigiPlatform"
