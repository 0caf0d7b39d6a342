"""Builds a HuggingFace fast tokenizer from the tokenizer fields of a GGUF file (byte-level BPE of the SmolLM family)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# GGUF's `tokenizer.ggml.token_type` values (gguf.TokenType): 3 = control, 4 = user defined.
_CONTROL, _USER_DEFINED = 3, 4


def _pre_tokenizer(kind: str) -> Any:
    """The text splitter GGUF calls ``tokenizer.ggml.pre``: SmolLM takes digits one by one, then GPT-2's byte-level split."""
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    known = {
        "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]),
        "gpt-2": lambda: byte_level,
    }
    if kind not in known:
        raise ValueError(
            f"the GGUF file's tokenizer.ggml.pre is {kind!r}; this tool builds {', '.join(sorted(known))}. "
            "Take the model as a HuggingFace folder instead (--model-path accepts one)."
        )
    return known[kind]()


def build_tokenizer(fields: Mapping[str, Any]) -> Any:
    """Returns a ``tokenizers.Tokenizer`` for the GGUF metadata `fields` (field name to Python value).

    Raises ValueError when the file holds another tokenizer model than byte-level BPE (``gpt2`` in GGUF's words).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    model = fields["tokenizer.ggml.model"]
    if model != "gpt2":
        raise ValueError(f"the GGUF file's tokenizer.ggml.model is {model!r}; only byte-level BPE ('gpt2') is supported")
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(line.split(" ", 1)) for line in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer(fields.get("tokenizer.ggml.pre", "gpt-2"))
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    special = [tokens[i] for i, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def write_tokenizer(fields: Mapping[str, Any], folder: Path, context: int) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json`` (with the chat template) into `folder`."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    build_tokenizer(fields).save(str(folder / "tokenizer.json"))
    ids = {
        "bos_token": "tokenizer.ggml.bos_token_id",
        "eos_token": "tokenizer.ggml.eos_token_id",
        "unk_token": "tokenizer.ggml.unknown_token_id",
        "pad_token": "tokenizer.ggml.padding_token_id",
    }
    config: dict[str, Any] = {name: tokens[fields[field]] for name, field in ids.items() if field in fields}
    config |= {
        # The generic class: the model-specific ones rebuild their own splitter and would lose the digit rule.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
    }
    if template := fields.get("tokenizer.chat_template"):
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
