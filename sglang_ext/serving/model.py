"""What `post_load_model` changes on a loaded SGLang model so that its whole forward runs on the chip in few launches.

1. Logits: the last rows are gathered on the chip and the LM head gives fp32 logits (SGLang's own path rounds them to bf16).
2. Plain Llama decoders (no quantization, bias or captured layers) run as nine launches a layer, eleven for more than one
   row (q, k and v apart); residual adds and SiLU * up ride in the epilogue of the matrix kernels. Every other model keeps
   SGLang's forward on the fused-op seam.
"""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from sglang.srt.layers.logits_processor import LogitsProcessor
from sglang.srt.model_executor.forward_context import get_attn_backend

from sglang_ext.registry import registry
from sglang_ext.serving import ranges

_embedding, _linear, _linear_f32 = (registry.function(name) for name in ("embedding", "linear", "linear_f32"))
_linear_residual, _linear_silu_mul, _rms_norm, _rope = (
    registry.function(name) for name in ("linear_residual", "linear_silu_mul", "rms_norm", "rope")
)


class RigiLogitsProcessor(LogitsProcessor):
    """SGLang's logits step with its two device computations on the chip."""

    def _get_pruned_states(self, hidden_states: Any, hidden_states_before_norm: Any, aux_hidden_states: Any, logits_metadata: Any) -> Any:
        """The last new row of each request, gathered by the embedding kernel with row numbers known on the host."""
        lengths = logits_metadata.extend_seq_lens_cpu
        plain = hidden_states_before_norm is None and aux_hidden_states is None and lengths is not None
        if not (plain and logits_metadata.forward_mode.is_extend() and not logits_metadata.extend_return_logprob):
            return super()._get_pruned_states(hidden_states, hidden_states_before_norm, aux_hidden_states, logits_metadata)
        if len(lengths) == hidden_states.shape[0]:
            return hidden_states, None, None, None, None, []
        if len(lengths) == 1:
            return hidden_states[-1:], None, None, None, None, []
        last, row = [], -1
        for length in lengths:
            row += length
            last.append(row)
        rows = torch.tensor(last, dtype=torch.int64).to(hidden_states.device)
        return _embedding(rows, hidden_states), None, None, None, None, []

    def _compute_lm_head(self, hidden_states: Any, lm_head: Any, embedding_bias: Any = None, *, out: Any = None) -> torch.Tensor:
        """hidden_states [T, H] bf16 -> logits [T, V] fp32."""
        if embedding_bias is not None or hasattr(lm_head, "apply_lora") or hidden_states.dtype != torch.bfloat16:
            return super()._compute_lm_head(hidden_states, lm_head, embedding_bias, out=out)
        logits = _linear_f32(hidden_states.contiguous(), lm_head.weight)
        bias = getattr(lm_head, "bias", None)  # Phi and GPT-J have one; SGLang's own step leaves it out
        return logits if bias is None else logits + bias


@dataclass(slots=True)
class _Layer:
    attention: Any
    input_norm: torch.Tensor
    post_norm: torch.Tensor
    qkv: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    sizes: tuple[int, int, int]
    o: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    cos_sin: torch.Tensor
    head_dim: int


def _plan(model: Any) -> list[_Layer] | None:
    """The weights of each decoder layer, or None if a layer is not the plain Llama kind."""
    from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod
    from sglang.srt.models.llama import LlamaDecoderLayer

    from sglang_ext.serving.fused_ops import rotary_classes

    plan = []
    for layer in model.layers:
        if type(layer) is not LlamaDecoderLayer:
            return None
        attn, mlp = layer.self_attn, layer.mlp
        projections = (attn.qkv_proj, attn.o_proj, mlp.gate_up_proj, mlp.down_proj)
        if any(type(p.quant_method) is not UnquantizedLinearMethod or p.bias is not None for p in projections):
            return None
        rope = attn.rotary_emb
        if type(rope) not in rotary_classes() or not rope.is_neox_style or attn.qkv_proj.weight.dtype != torch.bfloat16:
            return None
        if rope.cos_sin_cache.dtype != torch.float32:
            return None
        sizes = (attn.q_size, attn.kv_size, attn.kv_size)
        qkv = attn.qkv_proj.weight.data
        q, k, v = qkv.split(sizes, dim=0)
        plan.append(
            _Layer(
                attention=attn.attn,
                input_norm=layer.input_layernorm.weight.data,
                post_norm=layer.post_attention_layernorm.weight.data,
                qkv=qkv,
                q=q,
                k=k,
                v=v,
                sizes=sizes,
                o=attn.o_proj.weight.data,
                gate_up=mlp.gate_up_proj.weight.data,
                down=mlp.down_proj.weight.data,
                cos_sin=rope.cos_sin_cache,
                head_dim=attn.head_dim,
            )  # fmt: skip
        )
    return plan


def _llama_forward(
    self: Any, input_ids: torch.Tensor, positions: torch.Tensor, forward_batch: Any, input_embeds: Any = None, pp_proxy_tensors: Any = None
) -> torch.Tensor:
    """LlamaModel.forward on the chip's ops: input_ids, positions [T] -> normed hidden states [T, H] bf16."""
    if self.layers_to_capture:
        return type(self).forward(self, input_ids, positions, forward_batch, input_embeds, pp_proxy_tensors)
    attend = get_attn_backend().attend
    eps = self.norm.variance_epsilon
    x = input_embeds if input_embeds is not None else _embedding(input_ids, self.embed_tokens.weight)
    packed = x.shape[0] == 1  # the parts of a one-row result are contiguous
    for layer in self.rigi_plan:
        y = _rms_norm(x, layer.input_norm, eps)
        if packed:
            q, k, v = _linear(y, layer.qkv).split(layer.sizes, dim=1)
        else:
            q, k, v = _linear(y, layer.q), _linear(y, layer.k), _linear(y, layer.v)
        _rope(q, k, positions, layer.cos_sin, layer.head_dim)
        x = _linear_residual(attend(q, k, v, layer.attention, forward_batch), layer.o, x)
        y = _rms_norm(x, layer.post_norm, eps)
        x = _linear_residual(_linear_silu_mul(y, layer.gate_up), layer.down, x)
    return _rms_norm(x, self.norm.weight, eps)


def adapt_model(model: Any) -> None:
    """Changes `model` in place as the module says. Called once, after its weights are on the chip."""
    if type(getattr(model, "logits_processor", None)) is LogitsProcessor:
        model.logits_processor.__class__ = RigiLogitsProcessor
    from sglang.srt.models.llama import LlamaModel

    decoder: Any = getattr(model, "model", None)
    if type(decoder) is LlamaModel and (plan := _plan(decoder)):
        decoder.rigi_plan = plan
        decoder.forward = MethodType(_llama_forward, decoder)
    if ranges.wanted():
        ranges.mark_layers(model)
