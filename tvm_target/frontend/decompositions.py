"""Operators of torch that TVM's importer does not know, in terms of those that it does.

`DECOMPOSITIONS` (operator -> function of torch tensors) is for operators without a decomposition of torch's own, or whose own leads
nowhere. Sizes may be symbolic. Each function is plain torch, so it can be held against the operator on a CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten


def _segments(ends: Tensor, count: int, *, of: Tensor) -> Tensor:
    """int64 [count]: how many of the sorted `ends` lie at or before each place: the number of its segment."""
    places = torch.arange(count, device=of.device)
    return (ends[None, :] <= places[:, None]).sum(dim=1)


def _embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums and means of bags are a product with a table of who is in which bag. `mode`: 0 sum, 1 mean, 2 maximum."""
    bags = offsets.shape[0] - 1 if include_last_offset else offsets.shape[0]
    bag = _segments(offsets, indices.shape[0], of=indices) - 1
    inside = bag[None, :] == torch.arange(bags, device=indices.device)[:, None]
    if padding_idx >= 0:
        inside = inside & (indices != padding_idx)[None, :]
    rows = weight[indices]
    sizes = inside.sum(dim=1)
    if mode == 2:
        highest = torch.where(inside[:, :, None], rows[None], float("-inf")).amax(dim=1)
        found = torch.where((sizes > 0)[:, None], highest, 0.0)
    else:
        share = inside.to(weight.dtype)
        found = torch.matmul(share if per_sample_weights is None else share * per_sample_weights[None, :], rows)
        found = found / sizes.clamp(min=1)[:, None].to(weight.dtype) if mode == 1 else found
    return found, bag, sizes, sizes


def _searchsorted(
    ordered: Tensor, x: Tensor, *, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Tensor | None = None
) -> Tensor:
    """Places in ordered rows, by counting what lies before."""
    if sorter is not None:
        ordered = torch.gather(ordered, -1, sorter)
    row, value = ordered[..., None, :], x[..., None]
    before = row <= value if right or side == "right" else row < value
    return before.sum(dim=-1).to(torch.int32 if out_int32 else torch.int64)


def _histc(x: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts in bins of one width; what lies outside of [min, max] is not counted, `max` is in the last."""
    flat = x.reshape(-1)
    low, high = (flat.amin(), flat.amax()) if min == max == 0 else (float(min), float(max))
    place = ((flat.float() - low) * (bins / (high - low))).floor()
    place = torch.where(flat == high, bins - 1.0, place)
    return (place[None, :] == torch.arange(bins, device=x.device)[:, None]).sum(dim=1).to(x.dtype)


def _grouped_product(x: Tensor, weight: Tensor, ends: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None) -> Tensor:
    """Rows of x [S, K], sorted by group, times their group's matrix of weight [G, K, N]: every row with all, of which one is kept."""
    if ends is None or x.dim() != 2 or weight.dim() != 3:
        raise ValueError(
            f"a grouped product of {list(x.shape)} and {list(weight.shape)}; rows [S, K] with offsets and [G, K, N] are supported"
        )
    group = _segments(ends, x.shape[0], of=x)
    every = torch.matmul(x[None], weight)
    own = torch.arange(weight.shape[0], device=x.device)[:, None, None] == group[None, :, None]
    found = torch.where(own, every, 0.0).sum(dim=0)
    return (found if bias is None else found + bias).to(out_dtype or x.dtype)


def _distances(x: Tensor, y: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    """Of each row of x to each of y."""
    apart = (x[..., :, None, :] - y[..., None, :, :]).abs()
    if p == 2:
        return (apart * apart).sum(-1).sqrt()
    return apart.amax(-1) if p == float("inf") else (apart != 0).sum(-1).to(x.dtype) if p == 0 else (apart**p).sum(-1) ** (1 / p)


def _power(x: Tensor, exponent: Any) -> Tensor:
    """Of integers, by multiplying: powers of TVM are of floating-point numbers."""
    if x.is_floating_point() or not isinstance(exponent, int) or not 0 < exponent <= 8:
        return NotImplemented
    found = x
    for _ in range(exponent - 1):
        found = found * x
    return found


def _scaled(combine: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """x + alpha y; the importer adds y."""

    def run(x: Tensor, y: Any, *, alpha: Any = 1) -> Tensor:
        return NotImplemented if alpha == 1 else combine(x, y * alpha)

    return run


def _elu(x: Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Tensor:
    """With the factors of SELU and CELU, which the importer leaves out."""
    if scale == 1 and input_scale == 1:
        return NotImplemented
    return torch.where(x > 0, x * scale, torch.expm1(x * input_scale) * (alpha * scale))


def _minimum(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return x.amin(dim, keepdim), x.argmin(dim, keepdim)


def _any(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return (x != 0).to(torch.uint8).amax(dims, keepdim) != 0


def _where(condition: Tensor, x: Any, y: Any) -> Tensor:
    dtype = torch.result_type(x, y)
    x, y = (v if isinstance(v, Tensor) else torch.full((), v, dtype=dtype, device=condition.device) for v in (x, y))
    return _aten.where.self(condition, x, y)


def _cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """Without the empty tensors of one dimension that torch takes beside those of any rank: what a cache of nothing is."""
    kept = [x for x in tensors if not (x.dim() == 1 and isinstance(x.shape[0], int) and x.shape[0] == 0)]
    if not kept or len(kept) == len(tensors):
        return NotImplemented
    dtype = functools.reduce(torch.promote_types, (x.dtype for x in tensors))
    kept = [x.to(dtype) for x in kept]
    return torch.cat(kept, dim) if len(kept) > 1 else kept[0].clone()


def _masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The next element of `source` wherever the mask is set."""
    mask = mask.expand(x.shape)
    places = (mask.reshape(-1).to(torch.int64).cumsum(0) - 1).clamp(min=0)
    return torch.where(mask, source.reshape(-1)[places].reshape(x.shape), x)


def _unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows of a dimension; what lies inside of one comes last."""
    dim %= x.dim()
    count = (x.shape[dim] - size) // step + 1
    places = torch.arange(count, device=x.device)[:, None] * step + torch.arange(size, device=x.device)[None, :]
    windows = x.index_select(dim, places.reshape(-1)).reshape([*x.shape[:dim], count, size, *x.shape[dim + 1 :]])
    return windows.movedim(dim + 1, -1)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _aten._embedding_bag.default: _embedding_bag,
    _aten._embedding_bag_forward_only.default: _embedding_bag,
    _aten.searchsorted.Tensor: _searchsorted,
    _aten.histc.default: _histc,
    _aten._grouped_mm.default: _grouped_product,
    _aten.min.dim: _minimum,
    _aten.elu.default: _elu,
    _aten.add.Tensor: _scaled(torch.add),
    _aten.sub.Tensor: _scaled(torch.sub),
    _aten.pow.Tensor_Scalar: _power,
    _aten._cdist_forward.default: _distances,
    _aten.any.default: lambda x: _any(x, list(range(x.dim())), False),
    _aten.any.dim: lambda x, dim, keepdim=False: _any(x, [dim], keepdim),
    _aten.any.dims: lambda x, dim=None, keepdim=False: _any(x, list(range(x.dim())) if dim is None else dim, keepdim),
    _aten.unfold.default: _unfold,
    _aten.cat.default: _cat,
    _aten.masked_scatter.default: _masked_scatter,
    _aten.exp2.default: lambda x: torch.exp(x * math.log(2.0)),
    _aten.hypot.default: lambda x, y: (x * x + y * y).sqrt(),
    **dict.fromkeys((_aten.signbit.default, torch.ops.prims.signbit.default), lambda x: x < 0),
    _aten.fmin.default: lambda x, y: torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.minimum(x, y))),
    _aten.fmax.default: lambda x, y: torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.maximum(x, y))),
    torch.ops.prims.where.default: _where,
    **{getattr(_aten.where, kind): _where for kind in ("ScalarSelf", "ScalarOther", "Scalar")},
    _aten.var_mean.correction: lambda x, dim=None, **how: (torch.var(x, dim, **how), torch.mean(x, dim, how.get("keepdim", False))),
}


def custom(op: Any) -> Callable[..., Any] | None:
    """The decomposition of an operator that a package registers when it is imported: transformers' products of experts."""
    return _grouped_product if str(op) == "transformers.grouped_mm_fallback.default" else None
