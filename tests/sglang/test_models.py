"""Models beside plain Llama: biases, norms of q and k, scaled rotary tables, experts. `benchmarks.architectures` has them all."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import architectures
from sglang_ext.serving.model import RigiLogitsProcessor

pytestmark = pytest.mark.slow

COMPUTE = ("mm", "softmax", "silu", "rsqrt", "pow", "mean", "embedding")


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "qwen2_moe", "glm4_moe"])
def test_model_equals_transformers(kind: str, tiny_model: Path):
    result = architectures.measure(kind, tiny_model)
    assert architectures.right(result), result
    computed = [op for op in result["fallbacks"] if any(part in op for part in COMPUTE)]
    assert not computed or "moe" in kind, f"computed on the host: {computed}"


def test_the_bias_of_an_lm_head_is_in_the_logits():
    random = torch.Generator().manual_seed(3)
    hidden, weight, bias = (torch.randn(*shape, generator=random).bfloat16() for shape in ((3, 128), (70, 128), (70,)))
    head = SimpleNamespace(weight=weight.to("rigi"), bias=bias.to("rigi"))
    logits = RigiLogitsProcessor._compute_lm_head(None, hidden.to("rigi"), head)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.cpu(), hidden.float() @ weight.float().T + bias.float(), rtol=1e-5, atol=1e-4)
