"""What TVM's importer does not know, or says otherwise than torch means it: held against torch, mostly on LLVM, which compiles quickest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import tvm
from torch import Tensor, nn
from torch.nn import functional as F
from tvm import relax

from benchmarks.models.chip import element_loops
from tvm_target.frontend import from_torch
from tvm_target.frontend.decompositions import _embedding_bag, _grouped_product, _histc, _searchsorted, _unfold


class Of(nn.Module):
    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        found = self.function(*inputs)
        return found if isinstance(found, tuple) else (found,)


def same(function: Any, *inputs: Tensor, target: str = "llvm", others: Any = (), **sizes: Any) -> None:
    """Exports a function with sizes as given, compiles it and compares all results, with torch's types."""
    module = Of(function)
    dims = ({int(k): d for k, d in sizes.items()},) * len(inputs) if sizes else None
    exported = torch.export.export(module, inputs, dynamic_shapes=(dims,) if dims else None)
    compiled, parameters = from_torch(exported)
    assert not parameters
    device = tvm.device("ext_dev") if target == "rigi1" else tvm.cpu()
    vm = relax.VirtualMachine(tvm.compile(compiled, target=target), [device, tvm.cpu()] if target == "rigi1" else device)
    for given in (inputs, *others):
        got = vm["main"](*(tvm.runtime.tensor(tvm.runtime.from_dlpack(x), device) for x in given))
        for y, want in zip(got, module(*given), strict=True):
            found = torch.from_dlpack(y.copyto(tvm.cpu()))
            torch.testing.assert_close(found, want, rtol=2e-5, atol=2e-5, equal_nan=True)


INTEGERS, FLOATS = torch.tensor([1, 2, 3, 5, -7, 11]), torch.tensor([0.3, -1.2, 2.5, -0.7, 1.9, 0.1])


def test_types_are_promoted_as_torch_does() -> None:
    """Integers times 0.5 are not integers times 0."""

    def mixed(i: Tensor, f: Tensor) -> tuple[Tensor, ...]:
        b = i > 2.5
        floats = i * 0.5, i / 2, 1 / i, i + f, b * f, torch.where(b, i, f), torch.where(b, 1.5, 0.0), torch.exp(i), torch.cat([i, f])
        return *floats, b, f > i, i + b, torch.rsub(i, 1.5), i.clamp(min=1.5), torch.stack([i.to(torch.int32), i]), torch.sigmoid(i)

    same(mixed, INTEGERS, FLOATS)


def test_empty_tensors_of_one_dimension_join_any_other() -> None:
    """As the cache of a model before its first token."""

    def grown(x: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        empty, none = torch.tensor([]), torch.tensor([], dtype=torch.int64)
        first = torch.cat([empty, x], -2)
        return first, torch.cat([first, empty, x], 1), torch.cat([none, i]), torch.cat([empty, i], 0), torch.cat([x[0, 0], empty])

    x, i = torch.arange(24.0).reshape(2, 3, 4), torch.arange(6).reshape(2, 3)
    same(grown, x, i)
    same(grown, x, i, others=[(x[:1], i[:1])], **{"0": torch.export.Dim("n", min=1)})


def test_a_mask_takes_the_elements_one_after_the_other() -> None:
    mask = torch.tensor([[False, True, True], [True, False, False], [False, False, True]])
    same(lambda x, m, y: x.masked_scatter(m, y), torch.zeros(3, 3), mask, torch.arange(1.0, 5.0), target="rigi1")


def test_integers_divide_shift_and_clamp() -> None:
    def whole(i: Tensor, f: Tensor) -> tuple[Tensor, ...]:
        rounded = torch.div(i, 4, rounding_mode="floor"), torch.div(i, 4, rounding_mode="trunc"), torch.div(f, 0.3, rounding_mode="trunc")
        return *rounded, i // 3, f // 0.43, i % 3, i**2, i << 2, i >> 1, i.to(torch.uint8) >> 4, i.clamp(min=0), i.clamp(0, 3), i.min(0)[0]

    same(whole, INTEGERS, FLOATS)


def test_factors_in_keywords_count() -> None:
    same(
        lambda i, f: (torch.add(i, f, alpha=2), torch.sub(f, f * f, alpha=-3), torch.rsub(f, 2.0), F.selu(f), F.celu(f, 0.5)),
        INTEGERS,
        FLOATS,
    )


def test_indices_beside_whole_dimensions() -> None:
    x, i, j = torch.randn(2, 9, 4, 5), torch.tensor([1, 5, 3]), torch.tensor([[0], [3]])

    def indexed(x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, ...]:
        y, z, w, v = x.clone(), x.clone(), x.clone(), x.clone()
        y[:, i] = 0.0
        z[:, i, j] = x[:, :3, :2, 0].transpose(1, 2)[..., None]
        w[:, i, :, 2] = 7.0
        v[v > 1] = -1.0
        return x[:, i, j], x[:, i, :, j], x[j % 2, i], y, z, w, v

    same(indexed, x, i, j)


def test_scatters_read_as_much_of_the_source_as_there_are_indices() -> None:
    x, source, index = torch.randn(3, 6), torch.randn(4, 6), torch.tensor([[2, 0, 1, 2], [2, 2, 0, 1]])
    same(lambda x, s, i: (x.scatter(0, i, s), x.scatter_add(0, i, s), x.scatter_reduce(0, i, s, "amax")), x, source, index)


def test_bags_of_embeddings() -> None:
    weight, indices, offsets = torch.randn(9, 4), torch.tensor([1, 2, 4, 5, 4, 3, 2, 0]), torch.tensor([0, 3, 3, 6])
    for mode, name in enumerate(("sum", "mean", "max")):
        want = F.embedding_bag(indices, weight, offsets, mode=name, padding_idx=2)
        torch.testing.assert_close(_embedding_bag(weight, indices, offsets, mode=mode, padding_idx=2)[0], want)
    same(lambda w, i, o: F.embedding_bag(i, w, o, mode="sum"), weight, indices, offsets)


def test_decompositions_are_what_torch_computes() -> None:
    torch.manual_seed(0)
    x, rows = torch.randn(4, 9), torch.sort(torch.randn(4, 5))[0]
    for right in (False, True):
        assert torch.equal(_searchsorted(rows, x, right=right), torch.searchsorted(rows, x, right=right))
    for bins, low, high in ((5, -1, 1), (7, 0, 0)):
        assert torch.equal(_histc(x, bins, low, high), torch.histc(x, bins, low, high))
    assert torch.equal(_unfold(x, 1, 4, 2), x.unfold(1, 4, 2))
    weight, ends = torch.randn(3, 9, 2), torch.tensor([1, 1, 4])
    want = torch.cat([x[:1] @ weight[0], x[1:] @ weight[2]])
    torch.testing.assert_close(_grouped_product(x, weight, ends), want)


def test_the_rest_of_the_table() -> None:
    def functions(x: Tensor) -> tuple[Tensor, ...]:
        extremes = x.amax((0, 1)), x.amin(), x.prod(1), torch.var_mean(x, 1)[0], torch.cdist(x, x), x.any(-1), x.any(), x.min(1)[1]
        return *extremes, torch.bucketize(x, torch.linspace(-1, 1, 5)), x.unfold(1, 3, 2)

    same(functions, torch.randn(4, 6))


def test_a_grid_sample() -> None:
    same(lambda x, g: F.grid_sample(x, g, align_corners=False), torch.randn(2, 3, 5, 6), torch.rand(2, 4, 7, 2) * 2 - 1)


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (2, 3, 2, 5, 8)])
def test_attention_of_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    q = torch.randn(shape)
    mask = torch.randn(5, 5)
    same(
        lambda q, m: (F.scaled_dot_product_attention(q, q, q), F.scaled_dot_product_attention(q, q, q, attn_mask=m)),
        q,
        mask,
        target="rigi1",
    )


def test_a_sampling_head_and_inverted_masks_on_the_chip() -> None:
    """Filling with an infinity, and the inverse of a bool, which is no bit pattern."""

    def head(x: Tensor) -> tuple[Tensor, ...]:
        ordered, places = torch.sort(x, -1, descending=True)
        kept = ordered.softmax(-1).cumsum(-1) < 0.9
        low = torch.full_like(x, float("-inf"))
        return low.scatter(1, places, ordered.masked_fill(~kept, float("-inf"))).softmax(-1), ~kept, ~places

    same(head, torch.randn(3, 40), target="rigi1")


def test_adaptive_means_of_unequal_parts_need_no_element_loops() -> None:
    exported = torch.export.export(Of(lambda x: F.adaptive_avg_pool2d(x, (3, 5))), (torch.randn(2, 4, 11, 13),))
    executable = tvm.compile(from_torch(exported)[0], target="rigi1")
    assert not element_loops(executable)
    same(lambda x: (F.adaptive_avg_pool2d(x, (3, 5)), F.adaptive_avg_pool2d(x, 7)), torch.randn(2, 4, 11, 13), target="rigi1")


def test_an_angle_on_the_chip() -> None:
    y, x = torch.tensor([1.0, -1, 0, 0, 2, -2, 0.5, 0, -3]), torch.tensor([1.0, 1, 1, -1, 0, 0, -2, 0, -4])
    same(torch.atan2, y, x, target="rigi1")


def test_long_chains_have_short_names() -> None:
    def chain(x: Tensor) -> Tensor:
        for k in range(40):
            x = torch.sin(x * 1.01) + x * (0.9 - k / 100)
        return x

    same(chain, torch.randn(7), target="rigi1")
