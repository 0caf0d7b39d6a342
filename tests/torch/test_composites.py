"""Operators that torch composes, refuses or leaves to the device by the device's name, are on the chip what they are on the CPU."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions


def test_an_operator_with_a_kernel_on_the_cpu_is_not_composed_of_others() -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    composed = []
    for name in torch._C._dispatch_get_all_op_names():
        if not name.startswith("aten::") or not has(name, "CPU") or has(name, "PrivateUse1"):
            continue
        if has(name, "CompositeExplicitAutograd") or (has(name, "CompositeImplicitAutograd") and has(name, "Autograd")):
            composed.append(name)
    assert composed == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32])
def test_histogram(dtype: torch.dtype) -> None:
    """Integers too: what models count by on devices that are not the CPU."""
    values = torch.tensor([0, 1, 1, 7, 3, 3, 3, 6, 100], dtype=dtype)
    for low, high, bins in ((0, 7, 8), (0, 7, 3), (1, 6, 5), (0, 0, 4)):
        got = torch.histc(values.to("rigi"), bins=bins, min=low, max=high)
        limits = (low, high) if low < high else (0, 100)
        want, _ = np.histogram(values.numpy().astype("float64"), bins=bins, range=limits)
        assert got.dtype == dtype and got.device.type == "rigi" and got.tolist() == want.tolist()


def test_histogram_into_a_result() -> None:
    values = torch.tensor([0, 1, 1, 3], dtype=torch.int32, device="rigi")
    result = torch.empty(0, dtype=torch.int32, device="rigi")
    assert torch.histc(values, bins=4, min=0, max=3, out=result) is result and result.tolist() == [1, 2, 0, 1]
    with pytest.raises(RuntimeError, match="same dtype"):
        torch.histc(values, bins=4, out=torch.empty(4, device="rigi"))
    with pytest.raises(RuntimeError, match="bins"):
        torch.histc(values, bins=0)


def test_mode_into_results() -> None:
    x = torch.randint(0, 3, (4, 9))
    values, indices = torch.empty(0, dtype=torch.int64, device="rigi"), torch.empty(0, dtype=torch.int64, device="rigi")
    torch.mode(x.to("rigi"), 1, out=(values, indices))
    want = torch.mode(x, 1)
    assert torch.equal(values.cpu(), want.values) and torch.equal(indices.cpu(), want.indices)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_in_chunks_accumulates_as_on_the_cpu(dtype: torch.dtype) -> None:
    x, weight, target = torch.randn(40, 8).to(dtype), torch.randn(12, 8).to(dtype), torch.randint(0, 12, (40,))

    def run(device: str) -> list[torch.Tensor]:
        leaves = [leaf.to(device).requires_grad_() for leaf in (x, weight)]
        loss = F.linear_cross_entropy(*leaves, target.to(device), options=LinearCrossEntropyOptions())
        loss.backward()
        return [leaf.cpu() for leaf in (loss.detach(), *(leaf.grad for leaf in leaves))]  # type: ignore[union-attr]

    torch.testing.assert_close(run("rigi"), run("cpu"))
