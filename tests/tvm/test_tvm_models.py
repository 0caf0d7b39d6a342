"""Whole models through torch.export and ONNX, Relax and the chip: random small ones quickly, the real ones marked slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import tvm
from click.testing import CliRunner
from tvm import relax

from benchmarks.models import measure, minilm, smollm2
from benchmarks.models.chip import Compiled, Cost
from benchmarks.models.command import MODELS, _print, command
from benchmarks.models.sentences import sentences
from sglang_ext.serving.model_folder import make_smollm2


def sentence_ids(*lengths: int, most: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids and the mask of a batch, padded on the right."""
    longest = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return torch.randint(1, most, mask.shape) * mask, mask


def least_cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.cosine_similarity(a.double(), b.double(), dim=-1).min())


@pytest.fixture(scope="module")
def small_bert() -> tuple[minilm.Embedder, Compiled]:
    model = minilm.small()
    return model, Compiled(minilm.export(model))


def test_a_small_bert_gives_torchs_embeddings_for_every_batch_and_length(small_bert: Any) -> None:
    model, compiled = small_bert
    Cost().take()
    for lengths in ((1,), (2,), (17,), (130,), (3, 9), (40, 1, 64)):
        inputs = sentence_ids(*lengths)
        with torch.inference_mode():
            assert least_cosine(compiled(*inputs), model(*inputs)) > 0.999999
    cost = Cost()
    cost.take()
    report = cost.report(compiled.executable)
    assert report["cycles"] > 0 and report["launches"] > 0 and len(report["kernels"]) <= 20
    assert report["without_element_loops"] >= 0.99, report["kernels"]


def test_a_bert_exactly_as_transformers_has_it_compiles() -> None:
    """Masks made by transformers' own operators (integers, comparisons, indexing), and its table of positions."""
    encoder = minilm.small(1).encoder

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    compiled = Compiled(minilm.export(Hidden()))
    inputs = sentence_ids(19, 7)
    with torch.inference_mode():
        got, want = compiled(*inputs), Hidden()(*inputs)
    seen = inputs[1].bool()
    assert (got[seen] - want[seen]).abs().max() < 1e-5


def test_a_small_llama_gives_torchs_logits() -> None:
    model = smollm2.small()
    compiled = Compiled(smollm2.export(model))
    for length in (1, 2, 33, 140):
        ids = torch.randint(0, 320, (1, length))
        with torch.inference_mode():
            got, want = compiled(ids), model(ids)
        assert got.dtype == want.dtype == torch.float32 and got.shape == want.shape
        assert least_cosine(got, want) > 0.9998


def test_an_onnx_model_gives_torchs_embeddings(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from tvm.relax.frontend.onnx import from_onnx

    model, device = minilm.small(), tvm.device("ext_dev")
    minilm.export_onnx(model, tmp_path / "bert.onnx")
    vm = relax.VirtualMachine(tvm.compile(from_onnx(onnx.load(tmp_path / "bert.onnx")), target="rigi1"), [device, tvm.cpu()])
    for lengths in ((5,), (31, 66)):
        inputs = sentence_ids(*lengths)
        out = vm["main"](*(tvm.runtime.tensor(x.numpy(), device) for x in inputs))
        with torch.inference_mode():
            assert least_cosine(torch.from_numpy(out.numpy()), model(*inputs)) > 0.999999


def test_the_sentences_are_fifty_of_mixed_length() -> None:
    texts = sentences()
    words = [len(text.split()) for text in texts]
    assert len(texts) == len(set(texts)) == 50 and min(words) == 1 and max(words) > 128


def test_the_command_names_its_models() -> None:
    done = CliRunner().invoke(command, ["--help"])
    assert done.exit_code == 0 and all(model in done.output for model in MODELS)
    assert CliRunner().invoke(command, ["--only", "bert"]).exit_code == 2
    assert measure.MODELS == MODELS


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_real_models_keep_their_bounds(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--sentences", "12", "--prompts", "3", "--tokens", "16"]
    line = [sys.executable, "-m", "benchmarks.models.command", "--only", model, *few, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, env=dict(os.environ), timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result.pop("origin")["chip"] == "rigi1"
    found = result[model]
    assert found["simulated"]["without_element_loops"] >= 0.99
    assert 0 <= found["simulated"]["offloaded"] <= 1
    if model == "minilm":
        assert found["cosine"]["least"] >= 0.9999 and found["tokens"]["longest"] > 128
    else:
        assert found["kl_ratio"] <= measure.BOUND
    _print(result)
    assert model in capsys.readouterr().out


@pytest.mark.slow
def test_the_real_minilm_runs_from_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from tvm.relax.frontend.onnx import from_onnx

    model, tokenizer = minilm.load()
    minilm.export_onnx(model, tmp_path / "minilm.onnx")
    device = tvm.device("ext_dev")
    vm = relax.VirtualMachine(tvm.compile(from_onnx(onnx.load(tmp_path / "minilm.onnx")), target="rigi1"), [device, tvm.cpu()])
    inputs = tokenizer(sentences()[20:24], return_tensors="pt", padding=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    out = vm["main"](*(tvm.runtime.tensor(x.numpy(), device) for x in (ids, mask)))
    with torch.inference_mode():
        assert least_cosine(torch.from_numpy(out.numpy()), model(ids, mask)) >= 0.9999


@pytest.mark.slow
def test_a_layer_compiles_once() -> None:
    make_smollm2()
    seconds = measure.layer_seconds("minilm", lambda *_: lambda: None)
    assert seconds["cached"] < 2 and seconds["cold"] > seconds["cached"]
