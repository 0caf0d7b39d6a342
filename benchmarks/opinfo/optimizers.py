"""Optimizers of the database: three steps in every configuration, the same gradients on both devices."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .cases import Case
from .device import Mirror
from .trial import Trial

SHAPES = ((), (7,), (4, 5), (0, 3))
STEPS = 3


def run(case: Case, info: Any) -> Trial:
    """Parameters and state after the steps."""
    from torch.testing._internal.common_optimizers import _get_optim_inputs_including_global_cliquey_kwargs as configurations

    trial = Trial()
    for config in configurations("cpu", torch.float32, info, skip=("differentiable",)):
        cpu = functools.partial(_train, info, config.kwargs, "cpu")
        chip = functools.partial(_train, info, Mirror()(config.kwargs), "rigi")
        trial.both(config.desc or "default", cpu, chip, plain=True)
    return trial


def _train(info: Any, kwargs: dict[str, Any], device: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def numbers(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    shapes = [(4, 5)] if info.optim_cls.__name__ == "Muon" else SHAPES  # it takes matrices only
    parameters = [torch.nn.Parameter(numbers(shape).to(device)) for shape in shapes]
    optimizer = info.optim_cls(parameters, **kwargs)

    def closure() -> torch.Tensor:
        for parameter in parameters:
            gradient = numbers(tuple(parameter.shape))
            parameter.grad = (gradient.to_sparse() if info.only_supports_sparse_grads else gradient).to(device)
        return torch.ones((), device=device)

    for _ in range(STEPS):
        if not info.step_requires_closure:
            closure()
        optimizer.step(closure if info.step_requires_closure else None)
    # Step counts stay on the host on every device: what counts is their value.
    state = [{key: value.to(device) for key, value in optimizer.state[p].items() if isinstance(value, torch.Tensor)} for p in parameters]
    return {"parameters": [parameter.detach() for parameter in parameters], "state": state}
