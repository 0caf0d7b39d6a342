"""The reference implementation: transformers on the host's CPU, teacher-forced and greedy."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a HuggingFace folder on the CPU in `dtype`, all host threads."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(os.cpu_count() or 1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@torch.inference_mode()
def greedy(model: Any, prompts: list[list[int]], tokens: int, progress: Callable[[int], None] = lambda _: None) -> list[list[int]]:
    """Per prompt, the `tokens` most likely continuation tokens, one after another; an end-of-text token does not stop it.

    The prompts run as one batch, padded on the left.
    """
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache, out = None, []
    for step in range(tokens):
        progress(step)
        result = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = result.past_key_values
        ids = result.logits[:, -1].argmax(-1, keepdim=True)
        out.append(ids)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
    return torch.cat(out, dim=1).tolist()


@torch.inference_mode()
def log_probs(model: Any, prompt: list[int], continuation: list[int]) -> torch.Tensor:
    """Teacher-forced: fp32 log-softmax [len(continuation), vocab] of the distributions from which each token is chosen."""
    logits = model(input_ids=torch.tensor([prompt + continuation[:-1]])).logits[0, len(prompt) - 1 :]
    return torch.log_softmax(logits.float(), dim=-1)


@torch.inference_mode()
def decode_speed(model: Any, prompt: list[int], tokens: int) -> float:
    """Tokens a second of greedy `generate` at batch 1 with a KV cache, the prompt's own step not counted."""

    def seconds(count: int) -> float:
        begin = time.perf_counter()
        model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            use_cache=True,
        )
        return time.perf_counter() - begin

    seconds(4)
    return tokens / (seconds(tokens + 1) - seconds(1))
