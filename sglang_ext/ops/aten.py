"""aten ops that the chip's ops serve, where shapes and dtypes fit; elsewhere they take the counted fallback.

`linear`, `matmul` and batched inputs reach `mm` and `addmm` by torch's own decompositions. A miss calls the op's `out` form, which
has no kernel here and so is what the fallback counts (`aten::mm.out`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sglang_ext import kernels
from sglang_ext.registry import Registry

aten = torch.ops.aten
_ones: dict[tuple[int, int], Tensor] = {}


SERVED = {
    "linear": ("mm", "linear", "matmul"),
    "linear_bias": ("addmm",),
    "linear_residual": ("addmm",),
    "embedding": ("embedding",),
    "argmax": ("argmax",),
    "softmax": ("_softmax",),
}
"""Which aten ops an op of the registry serves."""


class Served:
    """The aten kernels, over the registry's ops."""

    def __init__(self, registry: Registry):
        self.functions = {name: registry.function(name) for name in SERVED}

    def call(self, op: str, *arguments: Tensor) -> Tensor | None:
        """The op's result, or None if no packaged kernel takes these sizes, or none are packaged."""
        try:
            return self.functions[op](*arguments)
        except (kernels.KernelsMissing, NotImplementedError):
            return None

    def mm(self, x: Tensor, mat2: Tensor) -> Tensor:
        weight = linear_weight(x, mat2)
        result = None if weight is None else self.call("linear", x, weight)
        return aten.mm.out(x, mat2, out=x.new_empty(0)) if result is None else result

    def addmm(self, bias: Tensor, x: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        weight = linear_weight(x, mat2) if beta == 1 and alpha == 1 else None
        if weight is not None and bias.dtype == x.dtype and bias.is_contiguous() and bias.device == x.device:
            n = weight.shape[0]
            op = {(n,): "linear_bias", (x.shape[0], n): "linear_residual"}.get(tuple(bias.shape))
            result = self.call(op, x, weight, bias) if op else None
            if result is not None:
                return result
        return aten.addmm.out(bias, x, mat2, beta=beta, alpha=alpha, out=x.new_empty(0))

    def embedding(
        self, weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
    ) -> Tensor:
        if weight.dim() != 2:
            raise RuntimeError("'weight' must be 2-D")
        if indices.dtype not in (torch.int64, torch.int32):
            raise RuntimeError(
                "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
                f"but got {indices.type().replace('rigi.', '')} instead (while checking arguments for embedding)"
            )
        rows, result = indices.reshape(-1), None
        if weight.dtype == torch.bfloat16 and rows.dtype == torch.int64 and on_one_chip(rows, weight):
            result = self.call("embedding", rows, weight)
        if result is None:
            result = aten.index_select(weight, 0, rows)
        return result.view(*indices.shape, *weight.shape[1:])

    def argmax(self, values: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if values.dtype == torch.float32 and values.dim() == 2 and dim in (-1, 1) and on_one_chip(values) and values.shape[1]:
            result = self.call("argmax", values)
            if result is not None:
                return result.unsqueeze(1) if keepdim else result
        return aten.argmax.out(values, dim, keepdim, out=values.new_empty(0, dtype=torch.int64))

    def softmax(self, values: Tensor, dim: int, half_to_float: bool) -> Tensor:
        if values.dtype == torch.float32 and values.dim() == 2 and dim in (-1, 1) and on_one_chip(values) and not half_to_float:
            result = self.call("softmax", values, ones(values.shape[0], values.device))
            if result is not None:
                return result
        dtype = torch.float32 if half_to_float else values.dtype
        return aten._softmax.out(values, dim, half_to_float, out=torch.empty_like(values, dtype=dtype))


def on_one_chip(first: Tensor, *others: Tensor) -> bool:
    """Whether kernels can take these tensors: contiguous, and on one device."""
    return first.is_contiguous() and all(t.is_contiguous() and t.device == first.device for t in others)


def linear_weight(x: Tensor, mat2: Tensor) -> Tensor | None:
    """The [n, k] weight behind mat2 [k, n] = weight.t(), if x mat2 is a product that the chip's `linear` takes."""
    if x.dtype != torch.bfloat16 or mat2.dtype != torch.bfloat16 or x.dim() != 2 or mat2.dim() != 2:
        return None
    k = x.shape[1]
    if k == 0 or mat2.shape[0] != k:
        return None
    weight = mat2.t()
    return weight if on_one_chip(x, weight) else None


def ones(rows: int, device: torch.device) -> Tensor:
    """[rows, 1] fp32 ones on the chip, uploaded once."""
    key = (device.index, rows)
    if key not in _ones:
        if len(_ones) > 256:
            _ones.clear()
        _ones[key] = torch.ones(rows, 1).to(device)
    return _ones[key]


_library: torch.library.Library | None = None


def register(registry: Registry) -> None:
    """Registers the kernels for the device, once a process."""
    global _library
    served = Served(registry)
    table: dict[str, Callable[..., Tensor]] = {
        "mm": served.mm,
        "addmm": served.addmm,
        "embedding": served.embedding,
        "argmax": served.argmax,
        "_softmax": served.softmax,
    }
    _library = torch.library.Library("aten", "IMPL")
    for name, function in table.items():
        _library.impl(name, function, "PrivateUse1")
