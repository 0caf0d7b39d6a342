"""Seeds: a request with a seed draws the same tokens every time, alone and in any batch.

SGLang 0.5.23 reads a request's `seed` under --enable-deterministic-inference only, and otherwise ignores it. Here the rows of a batch
carry their seeds as soon as one request of it names one; the others get a random one, which draws as any other does. The noise of a
draw depends on nothing but the seed, the position of the token and the size of the vocabulary. Sample i of n draws as a request with
seed + i does.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import torch

from sglang_ext.serving.hook import Hook


def race(seeds: list[int], positions: list[int], vocab: int) -> torch.Tensor:
    """1 / e with e ~ Exp(1), [B, V] fp32 on the host: argmax of p times a row is a draw from p. Philox keyed by seed and position."""
    rows = np.empty((len(seeds), vocab), np.float32)
    for row, seed, position in zip(rows, seeds, positions):
        key = np.array([seed % 2**64, position], np.uint64)
        np.random.Generator(np.random.Philox(key=key)).standard_exponential(dtype=np.float32, out=row)
    return torch.from_numpy(np.reciprocal(np.maximum(rows, np.finfo(np.float32).tiny)))


def _column(seeds: list[int | None], device: Any) -> torch.Tensor:
    """[B] int64 on the chip; a random one where there is none."""
    filled = [secrets.randbits(63) if seed is None else seed for seed in seeds]
    return torch.tensor(filled, dtype=torch.int64).pin_memory().to(device, non_blocking=True)


def carry(info: Any, cls: type, batch: Any, *_: Any) -> None:
    """After SGLang has collected a batch's sampling parameters: with its seeds, if any request has one."""
    seeds = [request.sampling_params.sampling_seed for request in batch.reqs]
    if info.sampling_seed is None and any(seed is not None for seed in seeds):
        info.sampling_seed = _column(seeds, batch.device)


def join(info: Any, other: Any) -> None:
    """Before two batches become one: if one of them carries seeds, so does the other."""
    for one, another in ((info, other), (other, info)):
        if one.sampling_seed is None and another.sampling_seed is not None:
            one.sampling_seed = _column([None] * len(one), one.device)


async def step(original: Callable[..., Awaitable[Any]], manager: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    """Around sending a request to the scheduler: the n samples of a prompt share their parameters, so the next one gets the next seed."""
    sent = await original(manager, request, *args, **kwargs)
    params = request.sampling_params
    if params is not None and params.n > 1 and params.sampling_seed is not None:
        params.sampling_seed = (params.sampling_seed + 1 + 2**63) % 2**64 - 2**63
    return sent


_INFO = "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo"
HOOKS = (
    Hook(f"{_INFO}.from_schedule_batch", "after", carry, "ignores seeds but in deterministic inference"),
    Hook(f"{_INFO}.merge_batch", "before", join, "keeps the seeds of one batch for the rows of both"),
    Hook("sglang.srt.managers.tokenizer_manager.TokenizerManager._send_one_request", "around", step, "gives n samples one seed"),
    Hook(
        "sglang.srt.batch_invariant_ops.enable_batch_invariant_mode", "replace", lambda *_, **__: None,
        "puts Triton kernels in place of aten ops; the chip's kernels are batch invariant without",
    ),
)  # fmt: skip
