"""What `torch.compile` says about tensors of the chip with its default backend, Inductor, which generates no code for it.

Unasked, it fails with `KeyError: 'rigi'`. Backends that leave the code to torch's own operators ("eager", "aot_eager") serve.
"""

from typing import Any

import torch


def patch() -> None:
    original = torch._TorchCompileInductorWrapper.__call__

    def __call__(self: Any, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        if any(_on_chip(node.meta.get("example_value")) for node in graph.graph.nodes):
            raise RuntimeError(
                "torch.compile's default backend, Inductor, generates no code for the device 'rigi'; use "
                'torch.compile(model, backend="aot_eager") or backend="eager", or leave torch.compile out: each operator is a launch '
                "of its own either way"
            )
        return original(self, graph, inputs)

    torch._TorchCompileInductorWrapper.__call__ = __call__


def _on_chip(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_on_chip, value))
    return isinstance(value, torch.Tensor) and value.device.type == "rigi"
