"""SGLang's general plug-in entry point: registers what must be known before the server's arguments are parsed.

Every adaptation goes through a seam of SGLang 0.5.23 (``SEAMS``) where there is one; the others are hooks, each with its reason.
SGLang only logs a hook that could not be applied, so tests/sglang checks that each of them took.
"""

from typing import Any

from sglang_ext.serving.hook import Hook

SEAMS = {
    "attention": "attention_registry.register_attention_backend('rigi') and choices.add_attention_backend_choices",
    "arguments": "resolution_hooks.register_resolution_hook: the table of arguments.py is read before SGLang's first step",
    "sampler": "sampler.register_sampler_backend('pytorch'): SGLang's own sampler looks its backend up by name, so the name stays",
    "fused ops": "fused_op.BaseFusedOp.register_oot_forward for RMSNorm, SiluAndMul and the neox rotary embeddings",
    "kv pool": "SRTPlatform.get_kv_pool_cls",
    "decode graphs": "SRTPlatform.get_graph_runner_cls",
    "logits": "SRTPlatform.post_load_model: the class of logits_processor (fp32 logits, last rows gathered on the chip)",
    "llama layers": "SRTPlatform.post_load_model: decoder layers call the chip's ops directly",
}


def hooks() -> tuple[Hook, ...]:
    """All of them, each with its reason."""
    from sglang_ext.serving import control, grammar, load_errors, model_check, requests, seeds, shared_expert, texts

    modules = (grammar, requests, texts, control, seeds, model_check, load_errors, shared_expert)
    return tuple(hook for module in modules for hook in module.HOOKS)


def prepare_arguments() -> None:
    """Before arguments are parsed: the backend's name is a choice, and unserved arguments are refused first of all. Idempotent."""
    from sglang.srt.arg_groups import choices
    from sglang.srt.arg_groups.resolution_hooks import register_resolution_hook

    from sglang_ext.platform import NAME
    from sglang_ext.serving import arguments

    if NAME in choices.ATTENTION_BACKEND_CHOICES:
        return
    choices.add_attention_backend_choices([NAME])
    choices.add_deterministic_attention_backend_choices([NAME])
    register_resolution_hook(arguments.FIRST_STEP)(arguments.check_first)


def register() -> None:
    """Idempotent; SGLang's launchers call it in every process, and the platform where a tool of SGLang does not."""
    from sglang.srt.layers.attention.attention_registry import ATTENTION_BACKENDS, register_attention_backend
    from sglang.srt.layers.sampler import register_sampler_backend
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    from sglang_ext.platform import NAME

    if NAME in ATTENTION_BACKENDS:
        return
    register_attention_backend(NAME)(_attention_backend)
    register_sampler_backend("pytorch", _sampler)
    for hook in hooks():
        HookRegistry.register(hook.target, hook.function, HookType(hook.kind))


def _attention_backend(runner: Any) -> Any:
    from sglang_ext.serving.attention import RigiAttentionBackend

    return RigiAttentionBackend(runner)


def _sampler() -> Any:
    from sglang_ext.serving.sampler import RigiSampler

    return RigiSampler()
