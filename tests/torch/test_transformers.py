"""A whole model of someone else's, unchanged: a HuggingFace Llama of random weights, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import torch
import sglang_ext.device
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=500)
model = LlamaForCausalLM(LlamaConfig(**sizes, pad_token_id=0)).eval()
ids = torch.randint(1, 500, (2, 17))
arguments = dict(attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
with torch.inference_mode():
    logits, tokens = model(ids).logits, model.generate(ids, **arguments)
    model.to("rigi")
    arguments["attention_mask"] = arguments["attention_mask"].to("rigi")
    assert torch.equal(model(ids.to("rigi")).logits.cpu(), logits)  # fp32: every op by the fallback, the same bits
    assert torch.equal(model.generate(ids.to("rigi"), **arguments).cpu(), tokens)
    model.bfloat16()
    torch.rigi.reset_fallbacks()
    torch.rigi.statistics()
    assert (model(ids.to("rigi")).logits.float().cpu() - logits).abs().max() < 0.02
    launched = torch.rigi.statistics()["kernels"]
    assert launched["linear_m128"]["launches"] == 3 * 7 + 1 and launched["embedding"]["launches"] == 1
    assert not {"aten::mm.out", "aten::index_select"} & set(torch.rigi.fallbacks())
print("fine")
"""


@pytest.mark.slow
def test_a_llama_gives_the_bits_of_the_cpu() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("fine"), done.stderr
