"""Every op of the registry against its own reference: random operands, odd sizes, and the ends of what its kernels take.

What an op declares is enough for operands that may hold any number. What others may hold (rows, lengths, positions) is in VALUES, and
sizes that have to fit those values in FITS. Exact values, edges and errors of single ops are in the files of their subjects.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sglang_ext import kernels
from sglang_ext.registry import Op, registry
from sglang_ext.shapes import parse

Sizes = dict[str, int]
ODD = (1, 2, 3, 5, 7, 13, 17, 31, 33, 61, 65, 100, 127, 129, 200, 257)
ROUND = (16, 32, 64, 96, 128)
ELEMENTS = 1 << 20  # of an operand, at most: a test is for bits, not for size
CALLS = 3  # of each kernel
TOLERANCE = {torch.bfloat16: 2.0**-7, torch.float32: 2.0**-16}  # of the largest element; attention's weights are bf16


def below(size: str) -> Callable[[Sizes, tuple[int, ...]], Tensor]:
    return lambda sizes, shape: torch.randint(sizes[size], shape)


def different(size: str) -> Callable[[Sizes, tuple[int, ...]], Tensor]:
    return lambda sizes, shape: torch.randperm(sizes[size])[: math.prod(shape)].reshape(shape)


def pages(sizes: Sizes, shape: tuple[int, ...]) -> Tensor:
    """Block tables: a page of the cache holds consecutive tokens of one request."""
    page, (rows, context) = sizes["page"], shape
    first = torch.randint(sizes["slots"] // page, (rows, -(-context // page))) * page
    return (first[:, :, None] + torch.arange(page)).reshape(rows, -1)[:, :context]


def shares(sizes: Sizes, shape: tuple[int, ...]) -> Tensor:
    """Lengths of the requests that t rows are made of, one after the other."""
    return torch.tensor([sizes["t"] // shape[0] + (i < sizes["t"] % shape[0]) for i in range(shape[0])])


VALUES: dict[tuple[str, str], Callable[[Sizes, tuple[int, ...]], Tensor]] = {
    ("softmax", "temperature"): lambda sizes, shape: 0.5 + torch.rand(shape),
    ("embedding", "ids"): below("v"),
    ("kv_write", "slots"): different("s"),
    ("rope", "positions"): below("p"),
    ("attention_decode", "req_to_token"): pages,
    ("attention_decode", "req_pool_indices"): below("reqs"),
    ("attention_decode", "seq_lens"): lambda sizes, shape: torch.randint(1, sizes["context"] + 1, shape),
    ("attention_extend", "req_to_token"): pages,
    ("attention_extend", "req_pool_indices"): below("reqs"),
    ("attention_extend", "prefix_lens"): lambda sizes, shape: torch.randint(sizes["context"] - max(shares(sizes, shape)) + 1, shape),
    ("attention_extend", "extend_lens"): shares,
    ("attention_extend", "start_locs"): lambda sizes, shape: shares(sizes, shape).cumsum(0) - shares(sizes, shape),
}
FITS: dict[str, Callable[[Sizes], bool]] = {
    "kv_write": lambda s: s["t"] <= s["s"],
    "attention_extend": lambda s: s["batch"] <= s["t"] <= s["batch"] * s["context"],
}
KERNELS = [(op, kernel) for op in registry.ops.values() for kernel in kernels.index().get(op.name, ())]


def elements(op: Op, sizes: Sizes) -> list[int]:
    return [math.prod(parse(dim).value(sizes) for dim in operand.shape) for operand in (*op.operands, *op.results)]


def sizes_for(op: Op, kernel: kernels.Kernel, rng: random.Random) -> Sizes:
    """Sizes that the op allows and that this kernel serves: odd ones, round ones and the ends of its limits."""
    names = {name for operand in op.operands for dim in operand.shape for name in parse(dim).names}
    names |= {scalar.name for scalar in op.scalars if scalar.selects}
    pools = {}
    for name in sorted(names):
        low, high = kernel.limits.get(name, (1, None))
        ends = [low, low + 1] + ([high] if high else [])
        pools[name] = [n for n in (*ODD, *ROUND, *ends) if n >= low and (high is None or n <= high)]
    for _ in range(100_000):
        sizes = {name: rng.choice(pool) for name, pool in pools.items()}
        if not all(check.holds(sizes) for check in op.checks) or not FITS.get(op.name, lambda _: True)(sizes):
            continue
        sizes.update({name: derive(sizes) for name, derive in op.derived.items()})
        if max(elements(op, sizes)) <= ELEMENTS and kernels.find(op.name, op.leading.dtypes[0], sizes) is kernel:
            return sizes
    pytest.fail(f"no sizes up to {ELEMENTS} elements found that {kernel.name} serves: say in FITS what they have to fulfil")


def arguments_for(op: Op, sizes: Sizes, rng: random.Random) -> list[Any]:
    made: list[Any] = []
    for operand in op.operands:
        shape = tuple(parse(dim).value(sizes) for dim in operand.shape)
        dtype = operand.dtypes[0]
        if (values := VALUES.get((op.name, operand.name))) is not None:
            made.append(values(sizes, shape).to(dtype).contiguous())
        elif dtype.is_floating_point:
            made.append(torch.randn(shape).to(dtype))
        else:
            pytest.fail(f"rigi.{op.name}: say in VALUES what the integers of '{operand.name}' may be")
    return made + [sizes[scalar.name] if scalar.selects else rng.uniform(0.05, 0.5) for scalar in op.scalars]


@pytest.mark.parametrize("op, kernel", KERNELS, ids=[kernel.name for _, kernel in KERNELS])
def test_a_kernel_gives_what_the_reference_of_its_op_gives(op: Op, kernel: kernels.Kernel) -> None:
    rng = random.Random(kernel.name)
    torch.manual_seed(0)
    for _ in range(CALLS):
        sizes = sizes_for(op, kernel, rng)
        arguments = arguments_for(op, sizes, rng)
        count = len(op.operands)
        on_chip = [argument.to("rigi") for argument in arguments[:count]] + arguments[count:]
        expected, got = op.reference(*arguments), getattr(torch.ops.rigi, op.name)(*on_chip)
        pairs = list(zip(arguments[:count], on_chip[:count], strict=True))  # written ones changed, the others did not
        pairs += [] if expected is None else zip(*([x] if isinstance(x, Tensor) else x for x in (expected, got)), strict=True)
        for right, result in pairs:
            assert (result.shape, result.dtype) == (right.shape, right.dtype)
            if not right.dtype.is_floating_point:
                assert torch.equal(result.cpu(), right), sizes
                continue
            error = (result.cpu().double() - right.double()).abs().max().item()
            assert error <= TOLERANCE[right.dtype] * right.double().abs().max().item(), (sizes, error)


def test_every_op_has_a_kernel_to_be_tested() -> None:
    assert {op.name for op, _ in KERNELS} == set(registry.ops)
