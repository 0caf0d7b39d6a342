"""Refuses, in the HTTP process, requests that would fail in the scheduler: there a failure ends the server for everybody.

SGLang checks most values before it schedules a request. What it lets through is checked here; raised here, it is an error of that one
request (status 400), with a text. A request whose values have the wrong types fails in many places of SGLang; until its first token is
there, such a failure is an error of the request as well.
"""

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import numpy as np
from fastapi import HTTPException

from sglang_ext.serving.hook import Hook

INT32 = 2**31 - 1
MOST_SAMPLES = 1024
MOST_BEAMS = 64
# What a request may ask for, (least, most) each; values of other types or outside are refused. SGLang narrows some further.
INTEGERS = {
    "n": (1, MOST_SAMPLES), "max_new_tokens": (0, INT32), "min_new_tokens": (0, INT32), "top_k": (-1, INT32),
    "sampling_seed": (-(2**63), 2**63 - 1), "stream_interval": (1, INT32), "beam_width": (1, MOST_BEAMS),
}  # fmt: skip
NUMBERS = ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty")
LARGEST_BIAS = 1e9
DERIVED = ("is_normalized", "stop_strs", "stop_regex_strs", "stop_str_max_len", "stop_regex_max_len")  # SGLang fills these in
UNSERVED = ("positional_embed_overrides", "multi_item_delimiter_indices", "return_routed_experts", "return_indexer_topk")
MEDIA = ("image_data", "video_data", "audio_data")


def check_sampling(request: Any, *_: Any, **__: Any) -> None:
    """Before a request's batch is taken apart. Raises ValueError naming the parameter, its value and what is allowed."""
    given = getattr(request, "sampling_params", None)
    if given is None:
        return
    for params in given if isinstance(given, list) else [given]:
        if not isinstance(params, dict):
            raise ValueError(f"sampling_params is {params!r:.80}; it is an object of parameters, or a list of one for each prompt.")
        _check_params(params)


def _check_params(params: dict[str, Any]) -> None:
    derived = [name for name in DERIVED if name in params]
    if derived:
        raise ValueError(f"{' and '.join(derived)}: derived from stop and stop_regex, which are what to set.")
    for name, (least, most) in INTEGERS.items():
        value = params.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise ValueError(f"{name} is {value!r:.80}; it is an integer from {least} to {most}.")
    for name in NUMBERS:
        value = params.get(name)
        if value is not None and not _is_number(value):
            raise ValueError(f"{name} is {value!r:.80}; it is a finite number.")
    stops = params.get("stop_token_ids")
    if stops is not None and not isinstance(stops, list | tuple | set):
        raise ValueError(f"stop_token_ids is {stops!r:.80}; it is a list of token ids.")
    bias = params.get("logit_bias")
    if bias is None:
        return
    if not isinstance(bias, dict):
        raise ValueError(f"logit_bias is {bias!r:.80}; it maps token ids to numbers.")
    for token, value in bias.items():
        if not _is_number(value) or abs(value) > LARGEST_BIAS:
            raise ValueError(f"logit_bias[{token!r:.40}] is {value!r:.80}; it is a number from {-LARGEST_BIAS:g} to {LARGEST_BIAS:g}.")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def check_prompt(manager: Any, request: Any, input_ids: Any) -> None:
    """Runs before SGLang's own validation of a tokenized request. Raises ValueError."""
    media = [name for name in MEDIA if getattr(request, name, None)]
    if media and manager.mm_processor is None:
        architecture = (getattr(manager.model_config.hf_config, "architectures", None) or ["this model"])[0]
        raise ValueError(f"{' and '.join(media)}: {architecture} reads text only. Leave it out, or serve a model that takes it.")
    vocab = manager.model_config.vocab_size
    embeds = getattr(request, "input_embeds", None)
    if embeds is not None:
        _check_embeds(embeds, manager.model_config.hidden_size)
    elif input_ids is not None:
        _check_ids("input_ids", input_ids, vocab)
        if not len(input_ids):
            raise ValueError("The prompt has no tokens (an empty text has none). Send at least one.")
    _drop_absent_stops(getattr(request, "sampling_params", None), vocab)
    unserved = [name for name in UNSERVED if getattr(request, name, None)]
    if unserved:
        raise ValueError(f"{' and '.join(unserved)}: not computed on Rigi. Leave it out.")
    if getattr(request, "http_worker_ipc", None) and manager.server_args.tokenizer_worker_num == 1:
        raise ValueError("http_worker_ipc: set by the server itself. Leave it out.")
    top = getattr(request, "top_logprobs_num", None)
    if top is not None and (type(top) is not int or not 0 <= top <= vocab):
        raise ValueError(f"top_logprobs_num is {top!r:.80}; it is an integer from 0 to the size of the vocabulary, {vocab}.")
    start = getattr(request, "logprob_start_len", None)
    if start is not None and (type(start) is not int or not -1 <= start <= INT32):
        raise ValueError(f"logprob_start_len is {start!r:.80}; it is a position in the prompt, or -1 for none of it.")


def _check_ids(name: str, ids: Iterable[Any], vocab: int) -> None:
    """The chip would fault on the embedding row of a token that does not exist, and a fault stops the device for everybody."""
    for place, token in enumerate(ids):
        if type(token) is not int or not 0 <= token < vocab:
            raise ValueError(f"{name}[{place}] is {token!r:.80}; this model's token ids are 0 to {vocab - 1}. Check the tokenizer.")


def _drop_absent_stops(params: Any, vocab: int) -> None:
    """Takes stop tokens of other vocabularies out of a request: they never come, and SGLang's table of stops has no place for them."""
    if isinstance(params, dict) and params.get("stop_token_ids"):
        stops = params["stop_token_ids"]
        params["stop_token_ids"] = [token for token in stops if type(token) is not int or 0 <= token < vocab]


def _check_embeds(rows: list[list[float]], width: int) -> None:
    if not rows:
        raise ValueError("input_embeds has no rows. Send one for each token of the prompt, at least one.")
    for place, row in enumerate(rows):
        if len(row) != width or not np.isfinite(row).all():
            raise ValueError(f"input_embeds[{place}] is not {width} finite numbers, the width of this model's embeddings.")


async def explain(original: Callable[..., AsyncGenerator[Any]], manager: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
    """Around the whole life of a request: what goes wrong before its first answer is a ValueError, which every route answers with 400."""
    async with aclosing(original(manager, *args, **kwargs)) as answers:
        try:
            first = await anext(answers)
        except StopAsyncIteration:
            return
        except (ValueError, HTTPException):
            raise
        except Exception as error:
            raise ValueError(f"The request cannot be served: {type(error).__name__}: {error}") from error
        yield first
        async for answer in answers:
            yield answer


_MANAGER = "sglang.srt.managers.tokenizer_manager.TokenizerManager"
HOOKS = (
    Hook(
        "sglang.srt.managers.io_struct.GenerateReqInput.normalize_batch_and_arguments", "before", check_sampling,
        "values of the wrong type or size pass, and end the scheduler",
    ),
    Hook(f"{_MANAGER}._validate_one_request", "before", check_prompt, "lets prompts without tokens and unknown token ids pass"),
    Hook(f"{_MANAGER}.generate_request", "around", explain, "what goes wrong with a value's type is answered with 500 and no text"),
)  # fmt: skip
