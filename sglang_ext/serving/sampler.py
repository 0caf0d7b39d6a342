"""The chip's sampler behind SGLang's "pytorch" sampling backend: greedy argmax and softmax on the chip.

A random draw is the exponential race (the index with the largest p / e, e ~ Exp(1), has distribution p): probabilities and choice are
the chip's softmax and argmax; the noise is made on the host, because the chip has no random-number engine. Logprobs, top-k, top-p and
min-p take SGLang's torch path, which gets its softmax and argmax from the chip as well. A batch with seeds (see `seeds.py`) is filtered
here, in vocabulary order: then a request's draw does not depend on the filters of its batch.
"""

from typing import Any

import torch
from sglang.srt.layers.sampler import Sampler, _SamplingMaskCapture

from sglang_ext.registry import registry
from sglang_ext.serving import ranges, seeds, step_log

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

    def _sample_from_probs(
        self, probs: torch.Tensor, sampling_info: Any, positions: torch.Tensor, simple_sampling_case: bool
    ) -> tuple[torch.Tensor, Any]:
        """probs [B, V] fp32 -> ids [B], and what `return_sampling_mask` asks for (None if nobody did)."""
        if sampling_info.sampling_seed is None:
            return super()._sample_from_probs(probs, sampling_info, positions, simple_sampling_case)
        kept = probs if simple_sampling_case else keep_likely(probs, sampling_info)
        noise = seeds.race(sampling_info.sampling_seed.tolist(), positions.tolist(), probs.shape[1])
        ids = _argmax(kept * noise.to(kept.device))
        rows = sampling_info.sampling_mask_batch_indices
        if rows is None:
            return ids, None
        weights = kept.index_select(0, rows)
        chosen = weights.gather(1, ids.index_select(0, rows).view(-1, 1)).squeeze(1)
        return ids, _SamplingMaskCapture(weights=weights, token_ids=None, selected_weight=chosen, batch_rows=rows)


def keep_likely(probs: torch.Tensor, info: Any) -> torch.Tensor:
    """probs [B, V] -> a new tensor, with 0 for what top-k, top-p and min-p leave out."""
    ordered, ids = probs.sort(dim=-1, descending=True, stable=True)  # stable: equal ones by token id, as argmax takes them
    before = ordered.cumsum(-1) - ordered
    ranks = torch.arange(probs.shape[1], device=probs.device)
    out = (ranks >= info.top_ks.view(-1, 1)) | (before > info.top_ps.view(-1, 1)) | (ordered < ordered[:, :1] * info.min_ps.view(-1, 1))
    return torch.zeros_like(probs).scatter_(1, ids, ordered.masked_fill(out, 0.0))


def draw(probs: torch.Tensor) -> torch.Tensor:
    """probs [B, V] fp32 on the chip -> one index a row with these probabilities, [B] int64. Overwrites probs."""
    race = torch.empty(probs.shape).exponential_().clamp_min_(torch.finfo(torch.float32).tiny).reciprocal_()
    return _argmax(probs.mul_(race.to(probs.device)))
