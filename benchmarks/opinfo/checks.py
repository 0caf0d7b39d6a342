"""An operator of the database in all its ways: plain, non-contiguous, in place, out=, backward, forward-mode, and bad operands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves, tree_map

from .cases import DTYPES, Case
from .device import Mirror
from .trial import Trial, line

UNINITIALIZED = {
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "resize_as_",
}  # fmt: skip
"""Operators whose results hold what the memory held: types, dtypes and shapes are compared."""


ON_HOST = {"tensor_split"}
"""Operators whose arguments after the first torch takes on the host, on every device."""


FACTORIES = {"linspace", "logspace"}
"""Operators whose result is where `device` says, and on the host without it, wherever their operands are, on every device."""


def run(case: Case, info: Any) -> Trial:
    """All checks that the database's entry allows."""
    trial = Trial()
    dtype = DTYPES[case.dtype]
    values = info.name not in UNINITIALIZED
    for check, function in CHECKS.items():
        for sample in itertools.islice(samples(check, info, dtype), case.operands):
            function(trial, check, info, sample, values)
    if dtype == next(other for other in DTYPES.values() if other in info.supported_dtypes("cpu")) and info.error_inputs_func is not None:
        for bad in itertools.islice(info.error_inputs("cpu"), case.operands):
            errors(trial, info, bad)
    return trial


def samples(check: str, info: Any, dtype: torch.dtype) -> Iterator[Any]:
    """The database's operands for a check; none where the entry has no such way."""
    backward = info.supports_autograd and dtype in info.supported_backward_dtypes("cpu")
    has = {
        "plain": True,
        "noncontiguous": True,
        "in place": info.get_inplace() is not None,
        "out": info.supports_out,
        "backward": backward,
        "forward": backward and info.supports_forward_ad and dtype == torch.float32,
    }
    if has[check]:
        yield from info.sample_inputs("cpu", dtype, requires_grad=check == "backward")


Calls = tuple[Callable[[], Any], Callable[[], Any]]


def calls(trial: Trial, check: str, info: Any, sample: Any, function: Callable[..., Any]) -> Calls | None:
    """`function` of the sample's operands on the CPU, and of the same on the chip, copied before either runs. None where the chip
    cannot hold them, which is noted, or has no part in it."""
    mirror = Mirror()
    try:
        there, kwargs = mirror(sample.input), mirror(sample.kwargs)
        args = sample.args if info.name in ON_HOST else mirror(sample.args)
    except NotImplementedError as error:
        trial.calls += 1
        trial.note(check, "raised", line(error))
        return None
    if not mirror.used or (info.name in FACTORIES and "device" not in sample.kwargs):
        return None
    return lambda: function(sample.input, *sample.args, **sample.kwargs), lambda: function(there, *args, **kwargs)


def both(trial: Trial, check: str, info: Any, sample: Any, function: Callable[..., Any], **options: bool) -> None:
    if pair := calls(trial, check, info, sample, function):
        cpu, chip = pair
        trial.both(check, cpu, chip, **options)


def plain(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    both(trial, check, info, sample, info.get_op(), values=values, plain=True)


def noncontiguous(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    if all(leaf.layout == torch.strided for leaf in tree_leaves((sample.input, sample.args, sample.kwargs)) if isinstance(leaf, Tensor)):
        both(trial, check, info, sample.noncontiguous(), info.get_op(), values=values)


def in_place(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    """The result is the operand itself, changed."""

    def call(first: Any, *args: Any, **kwargs: Any) -> tuple[bool, Any]:
        changed = tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, first)
        result = info.get_inplace()(changed, *args, **kwargs)
        return result is changed or not isinstance(result, Tensor), changed

    if isinstance(sample.input, (Tensor, list, tuple)):
        both(trial, check, info, sample, call, values=values)


def out(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    """Results of the right shape in other strides, of no size, and of a dtype that may not fit."""

    def call(make: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def into(*args: Any, **kwargs: Any) -> tuple[bool, Any]:
            expected = info.get_op()(*args, **kwargs)
            single = isinstance(expected, Tensor)
            given = make(expected) if single else tuple(map(make, expected))
            torch.manual_seed(0)
            result = info.get_op()(*args, **kwargs, out=given)
            same = result is given if single else all(one is other for one, other in zip(result, given))
            return same, given

        return into

    for name, make in OUTS.items():
        both(trial, f"{check}, {name}", info, sample, call(make), values=values)


OUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": lambda want: torch.zeros_like(want.transpose(0, -1) if want.dim() > 1 else want).transpose(0, -1 if want.dim() > 1 else 0),
    "resized": lambda want: want.new_empty(0),
    "other dtype": lambda want: torch.zeros_like(want, dtype=torch.int64 if want.dtype.is_floating_point else torch.float32),
}


def backward(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    """Results and gradients of all operands that have one, for the same random gradients of the results."""

    def call(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
        result = sample.output_process_fn_grad(info.gradcheck_wrapper(info.get_op(), *args, **kwargs))
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.requires_grad]
        torch.manual_seed(0)
        gradients = [torch.randn(output.shape, dtype=output.dtype).to(output.device) for output in outputs]
        return result, torch.autograd.grad(outputs, leaves, gradients, allow_unused=True)

    both(trial, check, info, sample, call, values=values)


def forward(trial: Trial, check: str, info: Any, sample: Any, values: bool) -> None:
    """Results and their derivatives along random directions of the floating operands."""

    def call(*args: Any, **kwargs: Any) -> list[Any]:
        generator = torch.Generator().manual_seed(0)

        def dual(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or not (leaf.is_floating_point() or leaf.is_complex()):
                return leaf
            direction = torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator).to(leaf.device)
            return forward_ad.make_dual(leaf.detach(), direction)

        with forward_ad.dual_level():
            args, kwargs = tree_map(dual, (args, kwargs))
            leaves = tree_leaves(info.get_op()(*args, **kwargs))
            return [tuple(forward_ad.unpack_dual(leaf)) if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    both(trial, check, info, sample, call, values=values)


def errors(trial: Trial, info: Any, bad: Any) -> None:
    """Bad operands, with the type and the text that the database asks of the CPU."""
    if pair := calls(trial, "errors", info, bad.sample_input, info.get_op()):
        trial.refuses("errors", *pair, bad.error_type, bad.error_regex)


CHECKS = {"plain": plain, "noncontiguous": noncontiguous, "in place": in_place, "out": out, "backward": backward, "forward": forward}
