"""Forwards on the chip of SGLang's fused layers (RMSNorm, SiluAndMul, rotary embeddings), by `register_oot_forward`.

A variant that no kernel serves runs SGLang's own torch code, whose aten ops the device's counted fallback then lists.
"""

from typing import Any

import torch

from sglang_ext.platform import NAME
from sglang_ext.registry import registry

_rms_norm, _add_rms_norm = registry.function("rms_norm"), registry.function("add_rms_norm")
_silu_mul, _rope = registry.function("silu_mul"), registry.function("rope")


def rms_norm(self: Any, x: torch.Tensor, residual: torch.Tensor | None = None, post_residual_addition: Any = None, **_: Any) -> Any:
    """x, residual: [T, H] bf16. Returns y [T, H], or (y, residual + x) when a residual is given."""
    if post_residual_addition is not None or self.variance_size_override is not None or x.dtype != torch.bfloat16 or not x.numel():
        return self.forward_native(x, residual, post_residual_addition)
    shape = x.shape
    if x.dim() != 2:
        x = x.reshape(-1, shape[-1])
    if residual is None:
        y = _rms_norm(x, self.weight, self.variance_epsilon)
        return y if len(shape) == 2 else y.view(shape)
    return _add_rms_norm(x, residual, self.weight, self.variance_epsilon)


def silu_and_mul(self: Any, x: torch.Tensor) -> torch.Tensor:
    """x: [T, 2 I] bf16, gate first. Returns silu(gate) * up, [T, I]."""
    if x.dtype != torch.bfloat16 or x.dim() != 2 or not x.numel():
        return self.forward_native(x)
    return _silu_mul(x)


def rotary(
    self: Any,
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    offsets: torch.Tensor | None = None,
    fused_set_kv_buffer_arg: Any = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """query [T, Hq * D], key [T, Hk * D] bf16: rotated in place where contiguous. positions: [T] int64."""
    if not self.is_neox_style or offsets is not None or query.dtype != torch.bfloat16 or fused_set_kv_buffer_arg is not None:
        return self.forward_native(positions, query, key, offsets, fused_set_kv_buffer_arg)
    query, key = query.contiguous(), key.contiguous()
    _rope(query, key, positions, self.cos_sin_cache, self.head_size)
    return query, key


def register_fused_ops() -> None:
    """Registers the forwards for SGLang's exact classes; idempotent. Called in each process that runs a model."""
    from sglang.kernels.fused_op import BaseFusedOp
    from sglang.srt.layers.activation import SiluAndMul
    from sglang.srt.layers.layernorm import RMSNorm

    for layer, forward in ((RMSNorm, rms_norm), (SiluAndMul, silu_and_mul), *((cls, rotary) for cls in rotary_classes())):
        BaseFusedOp.register_oot_forward(layer, forward, NAME)


def rotary_classes() -> tuple[type, ...]:
    """Rotary embeddings that differ from the plain one only in the table they fill (positions x cos|sin)."""
    from sglang.srt.layers.rotary_embedding.base import LinearScalingRotaryEmbedding, RotaryEmbedding
    from sglang.srt.layers.rotary_embedding.rope_variant import DynamicNTKScalingRotaryEmbedding, Llama3RotaryEmbedding
    from sglang.srt.layers.rotary_embedding.yarn import YaRNScalingRotaryEmbedding

    return (
        RotaryEmbedding,
        LinearScalingRotaryEmbedding,
        DynamicNTKScalingRotaryEmbedding,
        YaRNScalingRotaryEmbedding,
        Llama3RotaryEmbedding,
    )
