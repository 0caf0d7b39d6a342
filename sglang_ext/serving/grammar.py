"""The token mask of constrained decoding (JSON schema, regex, EBNF) on logits that live on the chip.

A hook, because SGLang 0.5.23 has no seam here: `XGrammarGrammar.apply_vocab_mask` knows the device types it serves by name and
raises for any other, which would end the scheduler process.
"""

from collections.abc import Callable
from typing import Any

import torch

from sglang_ext.serving.hook import Hook


def apply_vocab_mask(original: Callable[..., None], grammar: Any, logits: torch.Tensor, vocab_mask: torch.Tensor) -> None:
    """Sets the logits [B, V] of forbidden tokens to -inf, in place. vocab_mask: [B, ceil(V / 32)] int32, a set bit allows a token.

    The bits are unpacked on the host; the write itself is an aten op that the counted fallback lists.
    """
    if logits.device.type != "rigi":
        original(grammar, logits, vocab_mask)
        return
    bits = vocab_mask.cpu().unsqueeze(-1) >> torch.arange(32, dtype=torch.int32)
    forbidden = (bits & 1).view(bits.shape[0], -1)[:, : logits.shape[1]] == 0
    logits.masked_fill_(forbidden.to(logits.device), float("-inf"))


HOOKS = (
    Hook(
        "sglang.srt.constrained.xgrammar_backend.XGrammarGrammar.apply_vocab_mask", "around", apply_vocab_mask,
        "raises for a device type it does not know by name",
    ),
)  # fmt: skip
