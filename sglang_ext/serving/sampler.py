"""The chip's sampler behind SGLang's "pytorch" sampling backend: greedy argmax and softmax on the chip.

A random draw is the exponential race (the index with the largest p / e, e ~ Exp(1), has distribution p): probabilities and choice are
the chip's softmax and argmax; the noise is made on the host, because the chip has no random-number engine. Logprobs, seeds, top-k,
top-p and min-p take SGLang's torch path, which gets its softmax and argmax from the chip as well.
"""

from typing import Any

import torch
from sglang.srt.layers.sampler import Sampler

from sglang_ext.registry import registry
from sglang_ext.serving import ranges, step_log

_argmax, _softmax = registry.function("argmax"), registry.function("softmax")


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
        filtered = sampling_info.need_top_p_sampling or sampling_info.need_top_k_sampling or sampling_info.need_min_p_sampling
        if simple and sampling_info.is_all_greedy:
            ids = _argmax(logits)
        elif simple and not filtered and sampling_info.sampling_seed is None:
            ids = draw(_softmax(logits, sampling_info.temperatures))
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
        ranges.end_current()
        step_log.end_current()
        return ids


def draw(probs: torch.Tensor) -> torch.Tensor:
    """probs [B, V] fp32 on the chip -> one index a row with these probabilities, [B] int64. Overwrites probs."""
    race = torch.empty(probs.shape).exponential_().clamp_min_(torch.finfo(torch.float32).tiny).reciprocal_()
    return _argmax(probs.mul_(race.to(probs.device)))
