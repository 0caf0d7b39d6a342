"""SGLang's attention backend "rigi": paged attention on the chip for extend (prefix + causal, GQA) and decode.

Per forward, once: the batch's lengths and row starts as int64 on the chip. Per layer: one launch that writes K and V into
their slots, one launch of attention.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.layers.attention.base_attn_backend import AttentionBackend

from sglang_ext.registry import registry
from sglang_ext.serving import ranges, step_log

_kv_write = registry.function("kv_write")
_decode, _extend = registry.function("attention_decode"), registry.function("attention_extend")

if TYPE_CHECKING:
    from sglang.srt.layers.radix_attention import RadixAttention
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch
    from sglang.srt.model_executor.model_runner import ModelRunner


@dataclass(slots=True)
class ExtendMetadata:
    """Of the requests of an extend batch, int64 [B] each: cached tokens, new tokens, first row of the new tokens in q."""

    prefix_lens: torch.Tensor
    extend_lens: torch.Tensor
    start_locs: torch.Tensor


class RigiAttentionBackend(AttentionBackend):
    """q [T, Hq * D] in, [T, Hq * D] out, all bf16; K and V live in the runner's KV pool; pages of `page_size` slots."""

    needs_cpu_seq_lens = False

    def __init__(self, runner: "ModelRunner"):
        super().__init__()
        self.page_size: int = runner.page_size
        self.token_to_kv_pool = runner.token_to_kv_pool  # models ask `forward_context` for both pools, which reads them here
        self.req_to_token_pool = runner.req_to_token_pool
        self.req_to_token: torch.Tensor = runner.req_to_token_pool.req_to_token
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.forward_metadata: ExtendMetadata | None = None
        self.steps = step_log.open_from_env()
        self.ranges = ranges.open_from_env()

    def support_triton(self) -> bool:
        return False

    def get_cuda_graph_seq_len_fill_value(self) -> int:
        return 1  # what SGLang pads dummy batches with

    def init_forward_metadata(self, forward_batch: "ForwardBatch") -> None:
        """Once per forward. Lengths come from the scheduler's host lists: one small copy to the chip, no op there."""
        if self.steps is not None:
            self.steps.begin(forward_batch)
        if self.ranges is not None:
            self.ranges.begin(forward_batch)
        if forward_batch.forward_mode.is_decode_or_idle():
            self.forward_metadata = None
            return
        prefix, extend = _host_list(forward_batch, "extend_prefix_lens"), _host_list(forward_batch, "extend_seq_lens")
        starts = [0] * len(extend)
        for i in range(1, len(extend)):
            starts[i] = starts[i - 1] + extend[i - 1]
        rows = torch.tensor([prefix, extend, starts], dtype=torch.int64).to(self.req_to_token.device)
        self.forward_metadata = ExtendMetadata(*rows.unbind(0))

    def caches(self, layer_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's K and V caches, [slots, Hk * D] each."""
        found = self.layers.get(layer_id)
        if found is None:
            pool = self.token_to_kv_pool
            k, v = pool.get_key_buffer(layer_id), pool.get_value_buffer(layer_id)
            found = self.layers[layer_id] = k.view(k.shape[0], -1), v.view(v.shape[0], -1)
        return found

    def attend(
        self, q: Any, k: Any, v: Any, layer: "RadixAttention", forward_batch: "ForwardBatch", save_kv_cache: bool = True
    ) -> torch.Tensor:
        """Writes k, v [T, Hk * D] (unless told not to) and attends; q, k, v contiguous. Returns [T, Hq * D]."""
        k_cache, v_cache = self.caches(layer.layer_id)
        if save_kv_cache and k is not None:
            _kv_write(k, v, _int64(forward_batch.out_cache_loc), k_cache, v_cache)
        meta, requests = self.forward_metadata, _int64(forward_batch.req_pool_indices)
        if meta is None:
            return _decode(
                q, k_cache, v_cache, self.req_to_token, requests, _int64(forward_batch.seq_lens),
                layer.head_dim, self.page_size, layer.scaling,
            )  # fmt: skip
        return _extend(
            q, k_cache, v_cache, self.req_to_token, requests, meta.prefix_lens, meta.extend_lens,
            meta.start_locs, layer.head_dim, self.page_size, layer.scaling,
        )  # fmt: skip

    def forward_decode(
        self, q: Any, k: Any, v: Any, layer: Any, forward_batch: Any, save_kv_cache: bool = True, **kwargs: Any
    ) -> torch.Tensor:
        if extras := [name for name, value in kwargs.items() if value is not None]:
            raise NotImplementedError(f"layer {layer.layer_id}: attention on Rigi has no {', '.join(extras)}")
        rows = q.shape[0]
        q = q.reshape(rows, -1).contiguous()
        if k is not None:
            k, v = k.reshape(k.shape[0], -1).contiguous(), v.reshape(v.shape[0], -1).contiguous()
        return self.attend(q, k, v, layer, forward_batch, save_kv_cache)

    forward_extend = forward_decode


def _host_list(forward_batch: Any, name: str) -> list[int]:
    values = getattr(forward_batch, f"{name}_cpu", None)
    if values is None:
        values = getattr(forward_batch, name)
    return values if isinstance(values, list) else values.tolist()


def _int64(numbers: torch.Tensor) -> torch.Tensor:
    """The scheduler's numbers as the kernels take them; it gives them so already, other callers of the backend int32."""
    return numbers if numbers.dtype == torch.int64 else numbers.long()
