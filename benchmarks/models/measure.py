"""What `rigi bench models` measures: each model on the chip beside torch, its kernels' cycles, and how long compiling takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import minilm, smollm2
from benchmarks.models.chip import Compiled, Cost
from benchmarks.models.sentences import sentences

Bar = Callable[[str, int], Callable[[], object]]
MODELS = ("minilm", "smollm2")
BOUND = 1.25  # of transformers in bf16 on the CPU: mean KL divergence and top-1 disagreement, as for the served model


def folder(model: str) -> Path:
    """Where the model lies; SmolLM2's folder is made if missing."""
    from sglang_ext.serving.model_folder import make_smollm2

    return minilm.folder() if model == "minilm" else make_smollm2()


def exported(model: str, path: Path, layers: int | None = None) -> torch.export.ExportedProgram:
    """A real model as torch.export gives it; `layers` keeps that many of its layers, with embeddings and head."""
    if model == "minilm":
        embedder, _ = minilm.load(path)
        embedder.encoder.encoder.layer = embedder.encoder.encoder.layer[:layers]
        return minilm.export(embedder)
    decoder = smollm2.load(path)
    decoder.model.model.layers = decoder.model.model.layers[:layers]
    return smollm2.export(decoder)


def embeddings(count: int, bar: Bar) -> dict[str, Any]:
    """all-MiniLM-L6-v2: the cosine of each sentence's embedding to torch's, one compilation for all lengths."""
    model, tokenizer = minilm.load()
    texts = sentences()[-count:]
    done = bar("MiniLM: compiling", 1)
    compiled = Compiled(minilm.export(model))
    done()
    done, cost, cosines, lengths = bar("MiniLM: sentences", len(texts)), Cost(), [], []
    seconds = 0.0
    Cost().take()
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        begin = time.perf_counter()
        got = compiled(ids, mask)
        seconds += time.perf_counter() - begin
        with torch.inference_mode():
            cosines.append(float(torch.cosine_similarity(got.double(), model(ids, mask).double())))
        lengths.append(ids.shape[1])
        done()
    cost.take()
    return {
        "sentences": len(texts),
        "tokens": {"shortest": min(lengths), "longest": max(lengths), "all": sum(lengths)},
        "cosine": {"least": min(cosines), "mean": sum(cosines) / len(cosines)},
        "simulated": cost.report(compiled.executable),
        "host_seconds": {"import": compiled.import_seconds, "compile": compiled.compile_seconds, "run": seconds},
    }


def logits(prompts: int, tokens: int, bar: Bar) -> dict[str, Any]:
    """SmolLM2-135M: next-token distributions against transformers in fp32, beside transformers in bf16 (as `rigi parity`)."""
    from benchmarks import parity, reference
    from sglang_ext.serving.demo import chat_texts
    from sglang_ext.serving.prompts import VARIED

    path = folder("smollm2")
    ids = parity._token_ids(path, chat_texts(path, list(VARIED)[:prompts]))
    model = reference.load(path, torch.float32)
    step = bar("SmolLM2: transformers fp32, continuations", tokens)
    tails = reference.greedy(model, ids, tokens, lambda _: step())
    pairs = list(zip(ids, tails))
    step = bar("SmolLM2: transformers fp32 and bf16", 2 * len(pairs))
    expected = [_stepped(reference.log_probs(model, *pair), step) for pair in pairs]
    model = reference.load(path, torch.bfloat16)
    bf16 = [parity.compare(want, _stepped(reference.log_probs(model, *pair), step)) for want, pair in zip(expected, pairs)]
    del model
    done = bar("SmolLM2: compiling", 1)
    compiled = Compiled(smollm2.export(smollm2.load(path)))
    done()
    step, cost, chip, seconds = bar("SmolLM2: prompts", len(pairs)), Cost(), [], 0.0
    Cost().take()
    for want, (prompt, tail) in zip(expected, pairs):
        begin = time.perf_counter()
        got = compiled(torch.tensor([prompt + tail[:-1]]))[0, len(prompt) - 1 :]
        seconds += time.perf_counter() - begin
        chip.append(parity.compare(want, torch.log_softmax(got.float(), dim=-1)))
        step()
    cost.take()
    result = parity.summarize(bf16, chip, tokens)
    within = [result[name] is not None and result[name] <= BOUND for name in ("kl_ratio", "disagreement_ratio")]
    return {
        **result,
        "within_bound": all(within),
        "simulated": cost.report(compiled.executable),
        "host_seconds": {"import": compiled.import_seconds, "compile": compiled.compile_seconds, "run": seconds},
    }


def _stepped(value: Any, step: Callable[[], object]) -> Any:
    step()
    return value


def layer_seconds(model: str, bar: Bar) -> dict[str, float]:
    """Seconds of `tvm.compile` for one layer with embeddings and head: with an empty cache, and again in a new process."""
    code = "import sys; from benchmarks.models import measure; print(measure.compile_layer(*sys.argv[1:]))"
    step, seconds = bar(f"{model}: compiling one layer, twice", 2), {}
    with tempfile.TemporaryDirectory(prefix="rigi-cache-") as cache:
        for name in ("cold", "cached"):
            line = [sys.executable, "-c", code, model, str(folder(model))]
            done = subprocess.run(line, env={**os.environ, "RIGI_CACHE": cache}, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"compiling one layer of {model} failed:\n{done.stderr[-2000:]}")
            seconds[name] = float(done.stdout.splitlines()[-1])
            step()
    return seconds


def compile_layer(model: str, path: str) -> float:
    """Seconds of compiling one layer in this process."""
    return Compiled(exported(model, Path(path), 1)).compile_seconds
