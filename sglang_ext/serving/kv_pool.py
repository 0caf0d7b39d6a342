"""The KV cache's memory: SGLang's pool with buffers that stay unmapped until a page is used."""

import torch
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool


class RigiKVPool(MHATokenToKVPool):
    """K and V of a layer: [slots, kv_heads, head_dim] bf16 each, contiguous; slot 0's page takes the writes of padding.

    Zero-filled, because decode gathers a request's last page whole, also slots that hold no token yet. Gigabytes of zeros cost the
    host nothing: the SDK takes fresh pages for them.
    """

    def _create_buffers_normal(self) -> None:
        k_shape, v_shape = self._kv_buffer_shapes()
        layers = range(self.layer_num)
        self.k_buffer = [torch.zeros(k_shape, dtype=self.store_dtype, device=self.device) for _ in layers]
        self.v_buffer = [torch.zeros(v_shape, dtype=self.store_dtype, device=self.device) for _ in layers]
