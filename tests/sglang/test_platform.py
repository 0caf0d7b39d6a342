"""The contract with SGLang 0.5.23: overrides that exist, registrations that took, refusals that say what to do."""

import inspect
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from sglang.srt.platforms import current_platform
from sglang.srt.platforms.interface import SRTPlatform
from sglang.srt.plugins import load_plugins

from sglang_ext.platform import NAME, PAGE_SIZE, RigiPlatform
from sglang_ext.serving import hooks, model_check


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    load_plugins()


def test_the_tested_version_is_installed():
    assert metadata.version("sglang") == "0.5.23"


def test_sglang_finds_the_platform_without_a_flag():
    assert isinstance(current_platform, RigiPlatform)
    assert current_platform.is_out_of_tree() and current_platform.device_type == NAME


def test_every_override_exists_in_the_interface_with_its_parameters():
    for name, member in vars(RigiPlatform).items():
        if name.startswith("__"):
            continue
        base = inspect.getattr_static(SRTPlatform, name, None)
        assert base is not None, f"{name} is not part of SRTPlatform"
        if inspect.isfunction(member):
            assert list(inspect.signature(member).parameters) == list(inspect.signature(base).parameters), name


def test_device_queries():
    free, total = current_platform.get_available_memory()
    assert 0 < free <= total == current_platform.get_device_total_memory()
    assert current_platform.get_device() == "rigi"
    assert current_platform.get_group_coordinator_device(0) == torch.device("rigi", 0)


def test_attention_backend_and_sampler_are_registered():
    from sglang.srt.arg_groups.choices import ATTENTION_BACKEND_CHOICES
    from sglang.srt.layers.attention.attention_registry import ATTENTION_BACKENDS
    from sglang.srt.layers.sampler import _CUSTOM_SAMPLER_FACTORIES

    assert NAME in ATTENTION_BACKEND_CHOICES and ATTENTION_BACKEND_CHOICES.count(NAME) == 1
    assert ATTENTION_BACKENDS[NAME] is hooks._attention_backend
    assert _CUSTOM_SAMPLER_FACTORIES["pytorch"] is hooks._sampler


def test_every_hook_took():
    from sglang.srt.plugins.hook_registry import HookRegistry

    assert {hook.target for hook in hooks.hooks()} == set(HookRegistry._hooks) == HookRegistry._patched
    assert all(hook.why for hook in hooks.hooks())


def test_token_ids_outside_of_the_vocabulary_are_refused():
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    manager = SimpleNamespace(model_config=SimpleNamespace(vocab_size=512), mm_processor=None)
    for ids, message in (([3, 512], r"input_ids\[1\] is 512.*0 to 511"), ([-1], r"input_ids\[0\] is -1"), ([], "no tokens")):
        with pytest.raises(ValueError, match=message):
            TokenizerManager._validate_one_request(manager, SimpleNamespace(), ids)


def test_token_masks_forbid_tokens_on_the_chip():
    from sglang.srt.constrained.xgrammar_backend import XGrammarGrammar

    logits = torch.zeros(2, 70, device="rigi")
    mask = torch.tensor([[1, 0, 0], [-1, -1, 0b111110]], dtype=torch.int32, device="rigi")
    XGrammarGrammar.apply_vocab_mask(None, logits, mask)
    allowed = torch.isfinite(logits.cpu())
    assert allowed[0].nonzero().flatten().tolist() == [0]
    assert (~allowed[1]).nonzero().flatten().tolist() == [64]  # bit 0 of the last word is the only clear one


def test_fused_ops_dispatch_to_the_chip():
    from sglang.kernels.fused_op import BaseFusedOp

    from sglang_ext.serving import fused_ops

    current_platform.init_backend()
    forwards = BaseFusedOp._oot_forward_registry[NAME]
    assert {cls.__name__ for cls in forwards} >= {"RMSNorm", "SiluAndMul", "RotaryEmbedding", "Llama3RotaryEmbedding"}
    assert current_platform.get_dispatch_key_name() == NAME
    assert {fn for cls, fn in forwards.items() if cls.__name__.endswith("RotaryEmbedding")} == {fused_ops.rotary}


def test_defaults_fill_only_what_is_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_check, "check_arguments", lambda _: None)
    names = ("attention_backend", "sampling_backend", "page_size", "dtype", "max_running_requests", "chunked_prefill_size")
    filled = SimpleNamespace(**dict.fromkeys(names), max_total_tokens=4096)
    current_platform.apply_server_args_defaults(filled)
    assert (filled.attention_backend, filled.page_size, filled.dtype, filled.max_total_tokens) == (NAME, PAGE_SIZE, "bfloat16", 4096)
    assert filled.sleep_on_idle
