"""Refuses texts that cannot fit the context before they are tokenized.

SGLang tokenizes in the loop that answers HTTP: fifty megabytes of text would silence the server for minutes, `/health` included, to be
refused for their length after that. All routes tokenize through one object, so it is checked there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sglang_ext.serving.hook import Hook

LEAST_LIMIT = 2**20  # characters; texts a little beyond the context may be counted through /tokenize


def limit_texts(result: None, manager: Any, *_: Any, **__: Any) -> None:
    """After the HTTP process has made its manager: its tokenizer takes texts up to the context times its longest token."""
    encode = getattr(manager.tokenizer, "_encode_plus", None)
    if encode is not None:
        longest = max(map(len, manager.tokenizer.get_vocab()))
        manager.tokenizer._encode_plus = partial(_encode, encode, manager.model_config.context_len, longest)


def _encode(original: Callable[..., Any], context: int, longest: int, text: Any, *args: Any, **kwargs: Any) -> Any:
    """transformers' `_encode_plus`; text: a string, or lists of them. Raises ValueError for one with too many characters."""
    limit = max(context * longest, LEAST_LIMIT)
    for one in _strings(text):
        if len(one) > limit:
            raise ValueError(
                f"The text has {len(one)} characters, more than the {limit} that are tokenized: the model's context is {context} tokens, "
                f"of at most {longest} characters each. Send a shorter one."
            )
    return original(text, *args, **kwargs)


def _strings(text: Any) -> Iterator[str]:
    if isinstance(text, str):
        yield text
    elif isinstance(text, list | tuple):
        for one in text:
            yield from _strings(one)


HOOKS = (
    Hook(
        "sglang.srt.managers.tokenizer_manager.TokenizerManager.__init__", "after", limit_texts,
        "it tokenizes texts of any length before it looks at the context",
    ),
)  # fmt: skip
