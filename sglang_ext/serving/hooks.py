"""SGLang's general plug-in entry point: registers what must be known before the server's arguments are parsed.

Every adaptation goes through a seam of SGLang 0.5.23 (``SEAMS``), but for two hooks (``HOOKS``) that say why there is no seam.
SGLang only logs a hook that could not be applied, so tests/sglang checks that each of them took.
"""

from typing import Any

SEAMS = {
    "attention": "attention_registry.register_attention_backend('rigi') and choices.add_attention_backend_choices",
    "sampler": "sampler.register_sampler_backend('pytorch'): SGLang's own sampler looks its backend up by name, so the name stays",
    "fused ops": "fused_op.BaseFusedOp.register_oot_forward for RMSNorm, SiluAndMul and the neox rotary embeddings",
    "kv pool": "SRTPlatform.get_kv_pool_cls",
    "decode graphs": "SRTPlatform.get_graph_runner_cls",
    "logits": "SRTPlatform.post_load_model: the class of logits_processor (fp32 logits, last rows gathered on the chip)",
    "llama layers": "SRTPlatform.post_load_model: decoder layers call the chip's ops directly",
}

HOOKS = {
    "sglang.srt.constrained.xgrammar_backend.XGrammarGrammar.apply_vocab_mask": "raises for a device type it does not know by name",
    "sglang.srt.managers.tokenizer_manager.TokenizerManager._validate_one_request": "lets token ids outside of the vocabulary pass",
}


def add_choices() -> None:
    """Makes the backend's name a value of ``--attention-backend``, in each process that knows the platform. Idempotent."""
    from sglang.srt.arg_groups.choices import ATTENTION_BACKEND_CHOICES, add_attention_backend_choices

    from sglang_ext.platform import NAME

    if NAME not in ATTENTION_BACKEND_CHOICES:
        add_attention_backend_choices([NAME])


def register() -> None:
    """Idempotent; SGLang's launchers call it in every process, and the platform where a tool of SGLang does not."""
    from sglang.srt.layers.attention.attention_registry import ATTENTION_BACKENDS, register_attention_backend
    from sglang.srt.layers.sampler import register_sampler_backend
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    from sglang_ext.platform import NAME
    from sglang_ext.serving import grammar, token_ids

    if NAME in ATTENTION_BACKENDS:
        return
    register_attention_backend(NAME)(_attention_backend)
    register_sampler_backend("pytorch", _sampler)
    HookRegistry.register(grammar.TARGET, grammar.apply_vocab_mask, HookType.AROUND)
    HookRegistry.register(token_ids.TARGET, token_ids.check, HookType.BEFORE)


def _attention_backend(runner: Any) -> Any:
    from sglang_ext.serving.attention import RigiAttentionBackend

    return RigiAttentionBackend(runner)


def _sampler() -> Any:
    from sglang_ext.serving.sampler import RigiSampler

    return RigiSampler()
