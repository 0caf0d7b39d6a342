"""Operands on the chip that are what they are on the CPU, and the comparison of what came of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHIP = torch.device("rigi")


class Mirror:
    """Copies of CPU values on the chip: the same strides, offsets, shared storages, lazy bits and `requires_grad`.

    Devices among the values become the chip. Containers are copied; what is neither, and tensors of other devices, are handed on.
    """

    def __init__(self) -> None:
        self.used = False  # whether anything is on the chip
        self.storages: dict[int, tuple[Tensor, torch.UntypedStorage]] = {}
        self.tensors: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.tensor(value) if value.device.type == "cpu" else value
        if isinstance(value, torch.Generator):
            self.used = True
            return torch.Generator(CHIP).set_state(value.get_state())
        if isinstance(value, torch.device) or (isinstance(value, str) and value == "cpu"):
            self.used = True
            return CHIP
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self, value))
        if isinstance(value, (list, tuple)):
            return type(value)(map(self, value))
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.replace(value, **{field.name: self(getattr(value, field.name)) for field in dataclasses.fields(value)})
        return value

    def tensor(self, tensor: Tensor) -> Tensor:
        self.used = True
        if id(tensor) not in self.tensors:
            self.tensors[id(tensor)] = tensor, self._copy(tensor)
        return self.tensors[id(tensor)][1]

    def _copy(self, tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
            return tensor.to(CHIP)
        with torch.no_grad():
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.storages:
                raw = torch.empty(0, dtype=torch.uint8).set_(storage)  # the whole of it, in bytes
                self.storages[storage.data_ptr()] = tensor, raw.to(CHIP).untyped_storage()
            there = self.storages[storage.data_ptr()][1]
            made = torch.empty(0, dtype=tensor.dtype, device=CHIP)
            made.set_(there, tensor.storage_offset(), tensor.size(), tensor.stride())
            if tensor.is_conj():
                made = torch._conj(made)
            if tensor.is_neg():
                made = torch._neg_view(made)
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(made, tensor.requires_grad)
        return made.requires_grad_(tensor.requires_grad)


class Wrong(Exception):
    """A result that is not the CPU's."""


def compare(got: Any, want: Any, *, values: bool = True, where: str = "result") -> None:
    """Raises `Wrong` unless `got` is on the chip what `want` is on the CPU. Exact for integers, PyTorch's own tolerances for floats.

    Args:
        values: whether contents count, or only types, dtypes, shapes and places.
    """
    if isinstance(want, Tensor):
        if not isinstance(got, Tensor):
            raise Wrong(f"{where}: {type(got).__name__}, not a tensor")
        if got.device.type != ("rigi" if want.device.type == "cpu" else want.device.type):
            raise Wrong(f"{where}: on {got.device}")
        _same("dtype", got.dtype, want.dtype, where)
        _same("shape", tuple(got.shape), tuple(want.shape), where)
        _same("requires_grad", got.requires_grad, want.requires_grad, where)
        if values:
            _close(got.detach().cpu(), want.detach(), where)
    elif isinstance(want, (list, tuple)):
        _same("length", len(got) if isinstance(got, (list, tuple)) else None, len(want), where)
        for i, (one, other) in enumerate(zip(got, want)):
            compare(one, other, values=values, where=f"{where}[{i}]")
    elif isinstance(want, dict):
        _same("keys", sorted(map(str, got)), sorted(map(str, want)), where)
        for key in want:
            compare(got[key], want[key], values=values, where=f"{where}[{key}]")
    elif isinstance(want, (bool, int, float, complex)) and values:
        _close(torch.as_tensor(got), torch.as_tensor(want), where)
    elif want is None and got is not None:
        raise Wrong(f"{where}: {type(got).__name__}, not None")


def _same(what: str, got: object, want: object, where: str) -> None:
    if got != want:
        raise Wrong(f"{where}: {what} {got}, not {want}")


def _close(got: Tensor, want: Tensor, where: str) -> None:
    if want.layout != torch.strided or want.is_quantized:
        raise Wrong(f"{where}: a result of layout {want.layout} came back from the chip")
    try:
        torch.testing.assert_close(got.resolve_conj().resolve_neg(), want.resolve_conj().resolve_neg(), equal_nan=True, check_stride=False)
    except AssertionError as error:
        raise Wrong(f"{where}: " + " ".join(str(error).split())[:200]) from None


def on_chip(call: Callable[[], Any]) -> Any:
    """What a call gives once the chip has done its work, so that a fault of its kernels is raised here."""
    try:
        result = call()
        torch.rigi.synchronize()
        return result
    finally:
        if torch.rigi.device_error() is not None:
            torch.rigi.reset_device()
