"""Models that only transformers implements: SGLang runs transformers' own code of them around its attention.

SGLang 0.5.23 hands each call of their attention to the layer's RadixAttention and drops what else the model asks for: a mask, a cap of
the scores, sinks. Here such a call is an error, which the trial at load turns into a refusal. It also makes an LM head of its own.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

# Arguments of transformers' attention functions that SGLang drops, and what they ask for.
DROPPED = {
    "softcap": "it caps attention scores",
    "s_aux": "it has attention sinks",
    "position_bias": "it adds a bias of positions to attention scores",
    "head_mask": "it masks heads of attention",
}


def head_reasons(model: torch.nn.Module) -> Iterator[str]:
    """Why the LM head that SGLang made for such a model is not the one that transformers gives it."""
    import transformers

    kind = getattr(transformers, (model.config.architectures or [""])[0], None)
    if kind is None:
        return
    with torch.device("meta"):
        head = kind(model.config).get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        yield "its LM head has a bias, which SGLang leaves out for models that only transformers implements"


def guard_attention(model: torch.nn.Module) -> None:
    """For a model of SGLang's backend for transformers: its calls of attention are checked from now on. Others are left alone."""
    if getattr(model, "attention_instances", None) is None:
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    original = ALL_ATTENTION_FUNCTIONS["sglang"]
    if not isinstance(original, partial):
        ALL_ATTENTION_FUNCTIONS["sglang"] = partial(_attend, original)


def _attend(original: Callable[..., Any], module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    """transformers' attention function: query, key, value [1, heads, T, D]. Raises NotImplementedError for what would be dropped."""
    reasons = [reason for name, reason in DROPPED.items() if options.get(name) is not None]
    if attention_mask is not None:
        reasons.append("it masks attention in its own way")
    if options.get("is_causal", getattr(module, "is_causal", True)) is False:
        reasons.append("its attention is not causal")
    called = options["forward_batch"].__dict__.setdefault("rigi_layers", set())
    if module.layer_idx in called:
        reasons.append("it attends more than once in a layer, over one KV cache")
    called.add(module.layer_idx)
    if reasons:
        raise NotImplementedError("; ".join(reasons))
    return original(module, query, key, value, attention_mask, **options)
