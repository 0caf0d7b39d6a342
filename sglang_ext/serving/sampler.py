"""The chip's sampler behind SGLang's "pytorch" sampling backend: greedy argmax and softmax on the chip.

Random draws use the Gumbel trick with noise made on the host (the chip has no random-number engine), so that the choice itself
stays an argmax on the chip. Penalties, logprobs, top-k, top-p and min-p take SGLang's torch path.
"""

from typing import Any

import torch
from sglang.srt.layers.sampler import Sampler

from sglang_ext.registry import registry
from sglang_ext.serving import step_log

_argmax = registry.function("argmax")


class RigiSampler(Sampler):
    """logits [B, V] fp32 -> token ids [B] int64."""

    def forward(
        self,
        logits_output: Any,
        sampling_info: Any,
        return_logprob: bool,
        top_logprobs_nums: list[int],
        token_ids_logprobs: list[list[int]],
        positions: torch.Tensor,
        *,
        logprob_logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        logits = logits_output.next_token_logits
        simple = not (
            return_logprob
            or logprob_logits is not None
            or sampling_info.has_custom_logit_processor
            or sampling_info.sampling_mask_batch_indices is not None
            or logits.dtype != torch.float32
            or not logits.is_contiguous()
        )
        if simple and sampling_info.is_all_greedy:
            ids = _argmax(logits)
        else:
            ids = super().forward(
                logits_output,
                sampling_info,
                return_logprob,
                top_logprobs_nums,
                token_ids_logprobs,
                positions,
                logprob_logits=logprob_logits,
            )
        step_log.end_current()
        return ids
