"""Modules of the database: made on the CPU, copied to the chip, forward and backward in training and in evaluation."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .cases import DTYPES, Case
from .device import CHIP, Mirror
from .trial import Trial


def run(case: Case, info: Any) -> Trial:
    """Results, gradients of parameters and of inputs, and buffers."""
    trial = Trial()
    for training in (False, True):
        inputs = info.module_inputs_func(info, device="cpu", dtype=DTYPES[case.dtype], requires_grad=True, training=training)
        for sample in itertools.islice(inputs, case.operands):
            if sample.forward_input is not None:
                trial.both("training" if training else "evaluation", *_calls(info, sample, training), plain=True)
    if info.module_error_inputs_func is not None and case.dtype == "float32":
        for training in (False, True):
            for bad in info.module_error_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=training):
                _errors(trial, info, bad)
    return trial


def _make(info: Any, sample: Any, training: bool) -> torch.nn.Module:
    torch.manual_seed(1)
    return info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).train(training)


def _calls(info: Any, sample: Any, training: bool) -> tuple[Any, Any]:
    mirror = Mirror()
    args, kwargs = mirror(tuple(sample.forward_input.args)), mirror(sample.forward_input.kwargs)

    def cpu() -> Any:
        return _forward_backward(_make(info, sample, training), tuple(sample.forward_input.args), sample.forward_input.kwargs)

    def chip() -> Any:
        return _forward_backward(_make(info, sample, training).to(CHIP), args, kwargs)

    return cpu, chip


def _forward_backward(module: torch.nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    torch.manual_seed(0)
    result = module(*args, **kwargs)
    parameters = dict(module.named_parameters())
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.requires_grad]
    wanted = [*leaves, *parameters.values()]
    gradients: Any = ()
    if outputs and wanted:
        generator = torch.Generator().manual_seed(0)
        given = [torch.randn(output.shape, dtype=output.dtype, generator=generator).to(output.device) for output in outputs]
        gradients = torch.autograd.grad(outputs, wanted, given, allow_unused=True)
    return {"result": result, "gradients": gradients, "buffers": dict(module.named_buffers())}


def _errors(trial: Trial, info: Any, bad: Any) -> None:
    from torch.testing._internal.common_modules import ModuleErrorEnum

    if bad.error_on != ModuleErrorEnum.FORWARD_ERROR:
        return  # of the constructor, which knows no device
    sample = bad.module_error_input
    mirror = Mirror()
    args, kwargs = mirror(tuple(sample.forward_input.args)), mirror(sample.forward_input.kwargs)

    def cpu() -> Any:
        return _make(info, sample, True)(*sample.forward_input.args, **sample.forward_input.kwargs)

    def chip() -> Any:
        return _make(info, sample, True).to(CHIP)(*args, **kwargs)

    trial.refuses("errors", cpu, chip, bad.error_type, bad.error_regex)
