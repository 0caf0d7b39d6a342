"""What SGLang 0.5.23 reads of our classes exists: found by walking the installed source, not by remembering."""

import ast
import inspect
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import sglang.srt
import torch
from sglang.srt.mem_cache.allocator.paged import PagedTokenToKVPoolAllocator
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
from sglang.srt.platforms.interface import SRTPlatform
from sglang.srt.plugins import load_plugins

from sglang_ext.platform import RigiPlatform
from sglang_ext.serving.attention import RigiAttentionBackend
from sglang_ext.serving.decode_graphs import RigiDecodeGraphs
from sglang_ext.serving.kv_pool import RigiKVPool
from sglang_ext.serving.page_allocator import RigiPageAllocator

load_plugins()
SRT = Path(sglang.srt.__path__[0])
# What never runs on this platform, by the beginning of its path, and why.
ELSEWHERE = {
    "hardware_backend/": "other devices",
    "speculative/": "speculative decoding is refused",
    "disaggregation/": "disaggregation is refused",
    "batch_overlap/": "two-batch overlap is refused",
    "layers/attention/": "other attention backends and their helpers",
    "layers/cp/": "one chip serves a model",
    "dllm/": "diffusion models are refused",
    "arg_groups/": "choices of other devices",
    "kv_canary/": "the canary is refused",
    "multiplex/": "multiplexing is refused",
    "model_executor/runner": "CUDA's graphs; the platform has its own runner",
    "model_executor/cpu_graph_runner.py": "the CPU's graphs",
    "models/deepseek": "latent attention is refused at load",
    "models/sarvam_moe.py": "latent attention is refused at load",
    "models/inkling_common/": "layers with a state are refused at load",
    "models/lfm2": "layers with a state are refused at load",
    "models/zaya.py": "layers with a state are refused at load",
    "models/falcon_h1.py": "layers with a state are refused at load",
    "models/granitemoehybrid.py": "layers with a state are refused at load",
    "models/jet_nemotron.py": "layers with a state are refused at load",
    "models/nemotron_h.py": "layers with a state are refused at load",
    "models/internvl.py": "graphs of a vision tower",
    "models/kimi_k3_vl.py": "graphs of a vision tower",
    "models/qwen2_5_vl.py": "graphs of a vision tower",
}
# Attributes read behind a test that is false here.
GUARDED = {
    "extend_attention_block_m": "asked for after hasattr",
    "tail_forward_metadata": "late layers of DeepSeek-V4",
    "fused_qk_rope_store_kv_fp8": "a KV cache of fp8",
    "get_cpu_graph_seq_len_fill_value": "the CPU's graphs",
}


def reads(names: set[str]) -> dict[str, set[str]]:
    """Attribute -> files that read it of an expression that ends in one of `names` (a variable, an attribute or a call)."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SRT.rglob("*.py"):
        place = path.relative_to(SRT).as_posix()
        text = path.read_text()
        if place.startswith(tuple(ELSEWHERE)) or not any(name in text for name in names):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _last_name(node.value) in names:
                found[node.attr].add(place)
    return found


def _last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def missing(thing: object, names: set[str]) -> dict[str, list[str]]:
    """What is read of `names` and `thing` lacks, with the files that read it."""
    found = {name: sorted(places) for name, places in reads(names).items() if not hasattr(thing, name)}
    return {name: places for name, places in found.items() if name not in GUARDED}


def attention_backend() -> RigiAttentionBackend:
    from sglang.srt.configs.model_config import AttentionArch

    config = SimpleNamespace(
        hf_config=SimpleNamespace(architectures=["X"]), hf_text_config=SimpleNamespace(), dtype=torch.bfloat16,
        attention_arch=AttentionArch.MHA, is_encoder_decoder=False, is_hybrid_swa=False, head_dim=64, v_head_dim=64,
    )  # fmt: skip
    table = SimpleNamespace(req_to_token=torch.zeros(1))
    return RigiAttentionBackend(SimpleNamespace(model_config=config, page_size=16, req_to_token_pool=table, token_to_kv_pool=None))


def test_attention_backend_has_what_is_read_of_it():
    assert not missing(attention_backend(), {"get_attn_backend", "attn_backend", "attention_backend"})


def test_graph_runner_has_what_is_read_of_it():
    assert not missing(RigiDecodeGraphs(None), {"graph_runner", "decode_cuda_graph_runner", "cuda_graph_runner"})


def test_platform_has_what_is_read_of_it_and_answers():
    assert not missing(RigiPlatform(), {"current_platform"})
    unanswered = [
        name
        for name, member in inspect.getmembers(SRTPlatform, inspect.isfunction)
        if "raise NotImplementedError" in inspect.getsource(member) and getattr(RigiPlatform, name) is member
    ]
    assert unanswered == ["get_default_speculative_draft_attention_backend"]  # speculative decoding is refused


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (RigiKVPool, MHATokenToKVPool, (32, 16, torch.bfloat16, 2, 32, 1)),
        (RigiPageAllocator, PagedTokenToKVPoolAllocator, (32, 16, torch.bfloat16)),
    ],
)
def test_subclasses_keep_the_attributes_and_signatures_of_their_bases(ours: type, theirs: type, arguments: tuple):
    rest = (False,) if ours is RigiKVPool else (None, False)
    base, made = theirs(*arguments, "cpu", *rest), ours(*arguments, "rigi", *rest)
    assert vars(made).keys() >= vars(base).keys()
    for name, member in vars(ours).items():
        inherited = getattr(theirs, name, None)
        if inspect.isfunction(member) and inspect.isfunction(inherited) and not name.startswith("__"):
            assert inspect.signature(member).parameters.keys() == inspect.signature(inherited).parameters.keys(), name


def test_the_installed_version_is_the_one_that_was_walked():
    assert metadata.version("sglang") == "0.5.23"
