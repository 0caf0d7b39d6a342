"""Models beside plain Llama: biases, norms of q and k, scaled rotary tables, experts. `benchmarks.architectures` has them all."""

from pathlib import Path

import pytest

from benchmarks import architectures

pytestmark = pytest.mark.slow

COMPUTE = ("mm", "softmax", "silu", "rsqrt", "pow", "mean", "embedding")


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "qwen2_moe", "glm4_moe"])
def test_model_equals_transformers(kind: str, tiny_model: Path):
    result = architectures.measure(kind, tiny_model)
    assert architectures.right(result), result
    computed = [op for op in result["fallbacks"] if any(part in op for part in COMPUTE)]
    assert not computed or "moe" in kind, f"computed on the host: {computed}"
