"""Models beside plain Llama run on the chip through the fused-op seam: biases, norms of q and k, scaled rotary tables."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import run_python

pytestmark = pytest.mark.slow

SHAPE = {
    "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip
MODELS = {
    "qwen2": SHAPE,
    "qwen3": SHAPE,
    "llama": SHAPE | {"attention_bias": True, "rope_parameters": LLAMA3_ROPE},
}

COMPARE = """
import json, sys
from pathlib import Path
import torch
import sglang_ext.device
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from benchmarks import reference
from benchmarks.chip_runner import ChipRunner
folder = Path(sys.argv[1])
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(sys.argv[2], **json.loads(sys.argv[3]))).to(torch.bfloat16)
for weight in model.parameters():
    if weight.dim() == 2:
        torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
model.save_pretrained(folder)
model = reference.load(folder, torch.float32)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompts = [tokenizer(text).input_ids for text in ("Hello there how are", "12 plus")]
tails = reference.greedy(model, prompts, 8)
want = [reference.log_probs(model, prompt, tail) for prompt, tail in zip(prompts, tails)]
runner = ChipRunner(folder, max_total_tokens=4096)
torch.rigi.reset_fallbacks()
got = [torch.log_softmax(x, -1) for x in runner.teacher_forced(prompts, tails)]
print(json.dumps({"error": max(float((w - g).abs().max()) for w, g in zip(want, got)), "fallbacks": torch.rigi.fallbacks()}))
"""


@pytest.mark.parametrize("kind", MODELS)
def test_model_equals_transformers(kind: str, tiny_model: Path, tmp_path: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    result = run_python(COMPARE, str(tmp_path), kind, json.dumps(MODELS[kind]))
    assert result["error"] < 0.15, result
    computed = [
        op for op in result["fallbacks"] if any(part in op for part in ("mm", "softmax", "silu", "rsqrt", "pow", "mean", "embedding"))
    ]
    assert not computed, f"computed on the host: {computed}"
