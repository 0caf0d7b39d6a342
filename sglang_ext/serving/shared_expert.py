"""The gated shared expert of Qwen's mixtures of experts (Qwen2-MoE and those built like it).

SGLang 0.5.23 calls a Triton kernel here on every device but two that it names.
"""

import torch

from sglang_ext.serving.hook import Hook


def add_gated(hidden: torch.Tensor, gate: torch.Tensor, shared: torch.Tensor, out: torch.Tensor) -> None:
    """out [T, H] += sigmoid(hidden [T, H] @ gate [H]) * shared [T, H], in place, all bf16."""
    score = torch.sigmoid(torch.nn.functional.linear(hidden, gate.unsqueeze(0)))
    out += score * shared


HOOKS = (
    Hook(
        "sglang.kernels.ops.elementwise.elementwise.fused_gate_sigmoid_mul_add", "replace", add_gated,
        "is a Triton kernel that Qwen2-MoE calls on this device too",
    ),
)  # fmt: skip
