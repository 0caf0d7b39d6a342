"""Refuses token ids outside of the vocabulary before a request reaches the scheduler.

A hook, because SGLang 0.5.23 passes `input_ids` on unchecked and offers no seam for a check: the chip would fault on the embedding
row that does not exist, and a fault stops the device for everybody. Raised here it is an error of that one request.
"""

from typing import Any

TARGET = "sglang.srt.managers.tokenizer_manager.TokenizerManager._validate_one_request"


def check(manager: Any, obj: Any, input_ids: Any) -> None:
    """Runs before SGLang's own validation. Raises ValueError naming the first bad id, its place and the allowed range."""
    vocab = manager.model_config.vocab_size
    if input_ids and isinstance(input_ids[0], int) and (min(input_ids) < 0 or max(input_ids) >= vocab):
        place = next(i for i, token in enumerate(input_ids) if not 0 <= token < vocab)
        raise ValueError(f"input_ids[{place}] is {input_ids[place]}; this model's token ids are 0 to {vocab - 1}. Check the tokenizer.")
