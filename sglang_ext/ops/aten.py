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


class Served:
    """The aten kernels, over the registry's ops."""

    def __init__(self, registry: Registry):
        self.registry = registry

    def fits(self, op: str, dtype: torch.dtype, **sizes: int) -> bool:
        """Whether a packaged kernel takes these sizes; without packaged kernels, none does."""
        try:
            return self.registry.serves(op, dtype, **sizes)
        except kernels.KernelsMissing:
            return False

    def linear_weight(self, x: Tensor, mat2: Tensor) -> Tensor | None:
        """The [n, k] weight behind mat2 [k, n] = weight.t(), if this product is one of ours."""
        if x.dtype != torch.bfloat16 or mat2.dtype != torch.bfloat16 or not x.is_contiguous() or x.device != mat2.device:
            return None
        if x.dim() != 2 or mat2.dim() != 2 or x.shape[1] != mat2.shape[0] or not x.shape[1]:
            return None
        weight = mat2.t()
        return weight if weight.is_contiguous() else None

    def mm(self, x: Tensor, mat2: Tensor) -> Tensor:
        weight = self.linear_weight(x, mat2)
        if weight is not None and self.fits("linear", x.dtype, m=x.shape[0], k=x.shape[1], n=weight.shape[0]):
            return self.registry.function("linear")(x, weight)
        return aten.mm.out(x, mat2, out=x.new_empty((x.shape[0], mat2.shape[1])))

    def addmm(self, bias: Tensor, x: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        weight = self.linear_weight(x, mat2) if beta == 1 and alpha == 1 else None
        if weight is not None and bias.dtype == x.dtype and bias.is_contiguous() and bias.device == x.device:
            sizes = {"m": x.shape[0], "k": x.shape[1], "n": weight.shape[0]}
            shape = tuple(bias.shape)
            op = {(sizes["n"],): "linear_bias", (sizes["m"], sizes["n"]): "linear_residual"}.get(shape)
            if op and self.fits(op, x.dtype, **sizes):
                return self.registry.function(op)(x, weight, bias)
        return aten.addmm.out(bias, x, mat2, beta=beta, alpha=alpha, out=x.new_empty((x.shape[0], mat2.shape[1])))

    def embedding(
        self, weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
    ) -> Tensor:
        rows = indices.reshape(-1)
        if (
            weight.dim() == 2
            and indices.dtype == torch.int64
            and indices.is_contiguous()
            and weight.is_contiguous()
            and weight.device == indices.device
        ):
            if self.fits("embedding", weight.dtype, t=rows.shape[0], v=weight.shape[0], h=weight.shape[1]):
                return self.registry.function("embedding")(rows, weight).view(*indices.shape, weight.shape[1])
        return aten.index_select(weight, 0, rows).view(*indices.shape, weight.shape[1])

    def argmax(self, values: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if values.dim() == 2 and dim in (-1, 1) and values.is_contiguous():
            if self.fits("argmax", values.dtype, b=values.shape[0], v=values.shape[1]):
                ids = self.registry.function("argmax")(values)
                return ids.unsqueeze(1) if keepdim else ids
        return aten.argmax.out(values, dim, keepdim, out=values.new_empty(0, dtype=torch.int64))

    def softmax(self, values: Tensor, dim: int, half_to_float: bool) -> Tensor:
        if values.dim() == 2 and dim in (-1, 1) and values.dtype == torch.float32 and values.is_contiguous() and not half_to_float:
            b, v = values.shape
            if self.fits("softmax", values.dtype, b=b, v=v):
                return self.registry.function("softmax")(values, ones(b, values.device))
        return aten._softmax.out(
            values, dim, half_to_float, out=torch.empty_like(values, dtype=torch.float32 if half_to_float else values.dtype)
        )


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


SERVED = {
    "linear": ("mm", "linear", "matmul"),
    "linear_bias": ("addmm",),
    "linear_residual": ("addmm",),
    "embedding": ("embedding",),
    "argmax": ("argmax",),
    "softmax": ("_softmax",),
}
"""Which aten ops an op of the registry serves."""
