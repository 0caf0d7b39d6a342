"""What a model must be to run on the chip. Every reason against it is found at load, never by the first request.

Three looks, each with what is known at its time: at the configuration (`check_config`, before SGLang's rules for single
architectures), at the attention layers of the model that SGLang has built (`check_layers`, before weights are loaded), and at a trial of
two tokens (`try_forward`), for whatever SGLang's own code of a model cannot do without CUDA. They go by structure, never by name.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sglang_ext import kernels
from sglang_ext.registry import registry
from sglang_ext.serving import transformers_models
from sglang_ext.serving.architectures import SERVED
from sglang_ext.serving.hook import Hook

DTYPE = torch.bfloat16


class ModelRefused(NotImplementedError):
    """The model cannot be served on the chip; the text names every reason and what can be."""

    def __init__(self, name: str, reasons: list[str]):
        super().__init__(
            f"{name} is not served on Rigi: {'; '.join(dict.fromkeys(reasons))}. Served are decoders with causal multi-head or "
            "grouped-query attention over the whole context, unquantized in bf16, and what SGLang builds of them (classification and "
            f"embedding heads, vision towers). Tested architectures: {', '.join(SERVED)}"
        )


def check_arguments(server_args: Any) -> None:
    """`check_config` of the model that SGLang's arguments name, with the defaults filled in."""
    from sglang.srt.configs.model_config import ModelConfig

    check_config(ModelConfig.from_server_args(server_args), server_args.page_size)


def check_config(config: Any, page: int) -> None:
    """Raises ModelRefused for what SGLang's ModelConfig tells. page: tokens a page of the KV cache."""
    if reasons := list(_config_reasons(config, page)):
        raise ModelRefused(_architecture(config.hf_config) or "This model", reasons)


def check_layers(model: torch.nn.Module, page: int) -> None:
    """Raises ModelRefused for layers of a model of SGLang that no packaged kernel computes, or that are not its configuration's."""
    instances = getattr(model, "attention_instances", {}).values()  # SGLang's backend for transformers keeps them out of its modules
    reasons = [reason for layer in (*model.modules(), *instances) for reason in _layer_reasons(layer, page)]
    reasons += _routing_reasons(model)
    if instances:
        reasons += transformers_models.head_reasons(model)
    if reasons:
        raise ModelRefused(_name(model), reasons)


def _name(model: torch.nn.Module) -> str:
    """The architecture in a model's configuration: one class of SGLang may stand for many."""
    return _architecture(getattr(model, "config", None)) or type(model).__name__


def _architecture(hf_config: Any) -> str | None:
    return (getattr(hf_config, "architectures", None) or [None])[0]


def explain_adjustments(original: Callable[[Any], None], server_args: Any) -> None:
    """Around SGLang's rules for single architectures: some assert one of the attention backends of other devices."""
    from sglang.srt.configs.model_config import ModelConfig

    try:
        original(server_args)
    except AssertionError as error:
        name = _architecture(ModelConfig.from_server_args(server_args).hf_config) or "This model"
        raise ModelRefused(name, [f"SGLang serves it with attention of other devices only ({error})"]) from error


def check_built(model: torch.nn.Module, *_: Any, **__: Any) -> None:
    """After SGLang has built a model, before its weights: `check_layers`."""
    from sglang_ext.platform import PAGE_SIZE

    check_layers(model, PAGE_SIZE)


def explain_unloaded(original: Callable[..., torch.nn.Module], loader: Any, *, model_config: Any, **options: Any) -> torch.nn.Module:
    """Around the loading of a model: what SGLang cannot build, or cannot give the checkpoint's weights, is refused with its reason."""
    try:
        return original(loader, model_config=model_config, **options)
    except (ModelRefused, torch.OutOfMemoryError, kernels.KernelsMissing):
        raise
    except Exception as error:
        reason = f"SGLang cannot load it here ({type(error).__name__}: {error})"
        raise ModelRefused(_architecture(model_config.hf_config) or "This model", [reason]) from error


def try_forward(_: None, runner: Any) -> None:
    """After SGLang's warm-up of an EagerRunner: two new tokens, then a decode step, which write to the KV cache's padding page.

    Raises ModelRefused if the model's own code cannot run: kernels of CUDA, unknown arguments of attention, missing packages.
    """
    from sglang.srt.model_executor.forward_batch_info import ForwardMode

    model, backend = runner.model_runner.model, runner.model_runner.attn_backend
    modes = {ForwardMode.EXTEND: 2} | ({ForwardMode.DECODE: None} if runner.model_runner.is_generation else {})
    steps, backend.steps = backend.steps, None  # the log is of what users asked for; a profile shows the trial as what it is
    try:
        buffers = runner._alloc_dummy_decode_buffers(1, num_tokens_per_req=2)
        for mode, tokens in modes.items():
            runner._dummy_run(1, forward_mode_override=mode, buffers=buffers, extend_num_tokens_per_req=tokens)
        torch.rigi.synchronize()
    except (ModelRefused, torch.OutOfMemoryError, kernels.KernelsMissing):
        raise
    except Exception as error:
        raise ModelRefused(_name(model), [f"its forward does not run on the chip ({type(error).__name__}: {error})"]) from error
    finally:
        backend.steps = steps
        if backend.ranges is not None:
            backend.ranges.end()


def _config_reasons(config: Any, page: int) -> Iterator[str]:
    from sglang.srt.configs.hybrid_arch import mambaish_config
    from sglang.srt.configs.model_config import AttentionArch

    text = config.hf_text_config
    if config.attention_arch == AttentionArch.SSM or mambaish_config(config) is not None:
        yield "it has state-space or linear-attention layers"
    if config.attention_arch == AttentionArch.MLA:
        yield "it has multi-head latent attention"
    if config.is_encoder_decoder:
        yield "it has cross attention"
    if config.is_hybrid_swa or _slides(text):
        yield "it has sliding-window attention"
    if getattr(config, "attention_chunk_size", None):
        yield f"it attends in chunks of {config.attention_chunk_size} tokens"
    if getattr(config, "has_attention_sinks", False):
        yield "it has attention sinks"
    if getattr(text, "attn_logit_softcapping", None):
        yield "it caps attention scores"
    if config.dtype != DTYPE:
        yield f"its dtype is {str(config.dtype).removeprefix('torch.')} (bfloat16 is computed: leave --dtype out)"
    if getattr(config, "quantization", None):
        yield f"its checkpoint is quantized ({config.quantization}); use a bf16 one"
    if config.attention_arch == AttentionArch.MHA:
        heads, kv_heads = config.num_attention_heads, config.get_total_num_kv_heads()
        yield from _head_reasons(heads, kv_heads, config.head_dim, config.v_head_dim, page)


def _slides(text: Any) -> bool:
    """Whether any layer attends to a window shorter than the context (Qwen's configs name one without using it)."""
    window = getattr(text, "sliding_window", None)
    if not window or getattr(text, "use_sliding_window", True) is False:
        return False
    return window < getattr(text, "max_position_embeddings", window)


def _layer_reasons(layer: torch.nn.Module, page: int) -> Iterator[str]:
    from sglang.srt.layers.radix_attention import AttentionType, RadixAttention
    from sglang.srt.layers.radix_linear_attention import RadixLinearAttention

    if isinstance(layer, RadixLinearAttention):
        yield "it has linear-attention layers"
    if not isinstance(layer, RadixAttention):
        return
    if layer.is_cross_attention:
        yield "it has cross attention, or attention that is not causal"
    if layer.attn_type != AttentionType.DECODER:
        yield f"its attention is not causal ({layer.attn_type.value})"
    if layer.sliding_window_size > -1:
        yield "it has sliding-window attention"
    if layer.use_irope:
        yield "it attends in chunks"
    if layer.logit_cap:
        yield "it caps attention scores"
    if layer.xai_temperature_len > 0:
        yield "it scales attention by position"
    if layer.quant_method is not None:
        yield "its attention is quantized"
    yield from _head_reasons(layer.tp_q_head_num, layer.tp_k_head_num, layer.qk_head_dim, layer.v_head_dim, page)


def _routing_reasons(model: torch.nn.Module) -> Iterator[str]:
    """Whether SGLang's code of a mixture of experts follows its configuration (OLMoE's takes one value for granted)."""
    from sglang.srt.layers.moe.topk import TopK

    config = getattr(model, "config", None)
    asked = getattr(getattr(config, "text_config", config), "norm_topk_prob", None)
    if asked is not None and any(isinstance(layer, TopK) and layer.topk_config.renormalize != asked for layer in model.modules()):
        yield f"its configuration has norm_topk_prob {asked}, and SGLang's code of it computes the other"


def _head_reasons(heads: int, kv_heads: int, head_dim: int, v_head_dim: int, page: int) -> Iterator[str]:
    """Whether packaged kernels take these heads: the index knows the limits, nobody else."""
    if v_head_dim != head_dim:
        yield f"its value heads have {v_head_dim} elements, its key heads {head_dim}"
        return
    sizes = {"batch": 1, "t": 1, "slots": page, "reqs": 1, "context": page, "page": page}
    sizes |= {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    for name in ("attention_extend", "attention_decode"):
        op = registry.op(name)
        wrong = [check.message.format(**sizes) for check in op.checks if not check.holds(sizes)]
        if wrong:
            yield from wrong
        elif not registry.serves(name, DTYPE, **sizes, **{size: derive(sizes) for size, derive in op.derived.items()}):
            limits = " or ".join(kernel.limits_text for kernel in kernels.index().get(name, ()))
            yield f"no packaged kernel of {name} takes {heads} query and {kv_heads} key heads of {head_dim} elements (packaged: {limits})"


_LOADER = "sglang.srt.model_loader.loader"
HOOKS = (
    Hook(
        "sglang.srt.arg_groups.model_hook.handle_model_specific_adjustments", "around", explain_adjustments,
        "it asserts names of attention backends",
    ),
    Hook(f"{_LOADER}._initialize_model", "after", check_built, "post_load_model comes after the weights"),
    Hook(
        f"{_LOADER}.DefaultModelLoader.load_model", "around", explain_unloaded,
        "what does not fit ends in an error of the code that it happened to reach",
    ),
    Hook("sglang.srt.model_executor.runner.base_runner.BaseRunner.warmup", "after", try_forward, "tries a model at load on CUDA only"),
)  # fmt: skip
