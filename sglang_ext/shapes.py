"""What an op's operands, results and numbers look like, and the checks that follow from it.

A shape is written in named sizes: ("t", "heads*head_dim"). A name is bound by the first operand that has it (or by a scalar of
that name); from then on it must agree. A dimension may be a product with one size still unknown: "2*n" binds n to half of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch


@dataclass(frozen=True)
class Operand:
    """A tensor argument: its allowed dtypes and its shape in named sizes."""

    name: str
    dtypes: tuple[torch.dtype, ...]
    shape: tuple[str, ...]
    mutable: bool = False


@dataclass(frozen=True)
class Result:
    """A tensor the op makes."""

    name: str
    dtype: torch.dtype
    shape: tuple[str, ...]


@dataclass(frozen=True)
class Workspace:
    """fp32 scratch for the kernel; `floats` gives its length from the sizes and the kernel's tile configuration."""

    name: str
    floats: Callable[[dict[str, int], dict[str, Any]], int]


@dataclass(frozen=True)
class Scalar:
    """A number argument. One that `selects` is a size like those of shapes, and kernels may limit it."""

    name: str
    kind: type
    selects: bool = False


@dataclass(frozen=True)
class Check:
    """A condition on the sizes, with what to say when it doesn't hold ({names} are filled in)."""

    holds: Callable[[dict[str, int]], bool]
    message: str


@dataclass(frozen=True)
class Index:
    """An operand that holds indices: the size that they must stay below, not negative, and what they index, for messages."""

    operand: str
    size: str
    indexed: str


@dataclass(frozen=True)
class Dim:
    """One dimension: a factor times named sizes."""

    text: str
    factor: int
    names: tuple[str, ...]

    def value(self, sizes: dict[str, int]) -> int:
        result = self.factor
        for name in self.names:
            result = result * sizes[name]
        return result

    def bind(self, size: int, sizes: dict[str, int]) -> bool:
        """Binds the one unknown name, or compares. False if `size` doesn't fit."""
        unknown = [name for name in self.names if name not in sizes]
        if not unknown:
            return self.value(sizes) == size
        (name,) = unknown
        known = self.factor
        for other in self.names:
            if other != name:
                known = known * sizes[other]
        if known == 0 or size % known:
            return False
        sizes[name] = size // known
        return True


@cache
def parse(text: str) -> Dim:
    factor, names = 1, []
    for term in text.split("*"):
        if term.isdigit():
            factor *= int(term)
        else:
            names.append(term)
    return Dim(text, factor, tuple(names))


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def bind_sizes(op: str, operands: Sequence[Operand], scalars: Sequence[Scalar], arguments: Sequence[Any]) -> dict[str, int]:
    """Checks a call's types, dtypes and shapes; returns its named sizes.

    Raises TypeError for a wrong type or dtype and ValueError for a wrong shape, each naming op, argument, what came and what is allowed.
    """
    sizes: dict[str, int] = {}
    for scalar, value in zip(scalars, arguments[len(operands) :]):
        if scalar.selects:
            if value <= 0:
                raise ValueError(f"rigi.{op}: argument '{scalar.name}' is {value}; it must be positive")
            sizes[scalar.name] = value
    for operand, tensor in zip(operands, arguments):
        where = f"rigi.{op}: argument '{operand.name}'"
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{where} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype not in operand.dtypes:
            allowed = " or ".join(map(dtype_name, operand.dtypes))
            remedy = f"{operand.name}.to(torch.{dtype_name(operand.dtypes[0])})"
            raise TypeError(f"{where} has dtype {dtype_name(tensor.dtype)}; allowed: {allowed}. Convert it: {remedy}")
        expected = f"[{', '.join(operand.shape)}]"
        if tensor.dim() != len(operand.shape):
            raise ValueError(f"{where} has shape {list(tensor.shape)}; expected {len(operand.shape)} dimensions {expected}. Reshape it")
        for text, size in zip(operand.shape, tensor.shape):
            if not parse(text).bind(size, sizes):
                known = ", ".join(f"{name} = {sizes[name]}" for dim in operand.shape for name in parse(dim).names if name in sizes)
                given = f" with {known} from the arguments before it" if known else ""
                raise ValueError(f"{where} has shape {list(tensor.shape)}; expected {expected}{given}")
    return sizes
