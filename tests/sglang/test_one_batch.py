"""SGLang's own benchmark without a server: a tool that loads no plug-ins, on a model that asks the forward context for KV pools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SAVE = """
import sys
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
config = Qwen3MoeConfig(
    vocab_size=10000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
    max_position_embeddings=512, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64,
)
Qwen3MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[1])
"""


def test_one_batch_benchmark_runs_a_mixture_of_experts(tiny_model: Path, tmp_path: Path):
    model = tmp_path / "model"
    subprocess.run([sys.executable, "-c", SAVE, str(model)], check=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, model)
    command = [sys.executable, "-m", "sglang.benchmark.one_batch", "--model-path", str(model), "--attention-backend", "rigi"]
    sizes = ["--batch-size", "2", "--input-len", "20", "--output-len", "3", "--result-filename", ""]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("Prefill. latency") == 2, done.stdout  # the warm-up and the measurement
