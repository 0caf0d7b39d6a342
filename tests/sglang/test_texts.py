"""Texts that cannot fit the context are refused before they are tokenized, whatever route they come by."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from sglang_ext.serving.texts import LEAST_LIMIT, limit_texts


def test_a_tokenizer_takes_texts_up_to_its_limit_and_changes_none_of_them(tiny_model: Path):
    plain, limited = (AutoTokenizer.from_pretrained(tiny_model) for _ in range(2))
    longest = max(map(len, plain.get_vocab()))
    context = LEAST_LIMIT // longest + 1
    limit_texts(None, SimpleNamespace(tokenizer=limited, model_config=SimpleNamespace(context_len=context)))
    fits, beyond = "a" * (context * longest), "a" * (context * longest + 1)
    assert limited.encode("Hello there") == plain.encode("Hello there")
    assert limited(["Hello", "there"]).input_ids == plain(["Hello", "there"]).input_ids
    assert limited(fits).input_ids == plain(fits).input_ids
    message = rf"{len(beyond)} characters, more than the {len(fits)} .* context is {context} tokens, of at most {longest} characters each"
    for call in (lambda: limited(beyond), lambda: limited.encode(beyond), lambda: limited(["a", beyond])):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=f"more than the {len(fits)} that are tokenized"):
        limited.apply_chat_template([{"role": "user", "content": beyond}], tokenize=True)


def test_a_server_without_a_tokenizer_has_no_limit():
    limit_texts(None, SimpleNamespace(tokenizer=None))
