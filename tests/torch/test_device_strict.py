"""The torch device in strict mode: what the host writes in place of the chip counts as written, and nothing else does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

import sdk_sim

INT = torch.int64  # whose sums the chip computes


@pytest.fixture(autouse=True)
def strict_mode() -> Iterator[None]:
    before = sdk_sim.get_mode()
    torch.rigi.synchronize()
    sdk_sim.set_mode("strict")
    yield
    sdk_sim.reset()
    sdk_sim.take_findings()
    sdk_sim.set_mode(before)


def read(x: torch.Tensor) -> torch.Tensor:
    """Through a kernel of the chip; a finding raises."""
    before = torch.rigi.fallbacks().get("aten::add.out", 0)
    y = (x + x).cpu()
    assert torch.rigi.fallbacks().get("aten::add.out", 0) == before
    return y


def test_memory_that_nobody_wrote_is_found() -> None:
    with pytest.raises(torch.AcceleratorError, match="uninitialized"):
        read(torch.empty(64, 64, device="rigi", dtype=INT))
    assert {f["kind"] for f in sdk_sim.take_findings()} == {"uninitialized"}


def test_a_fallback_writes_what_its_schema_says() -> None:
    x = torch.empty(8, 16, device="rigi", dtype=INT)
    x[:4].random_(1, 10)  # on the host
    assert (read(x[:4]) > 0).all()
    y = torch.empty(8, 16, device="rigi", dtype=INT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch dislikes that it resizes
        torch.cumprod(x[:4, :8], 1, out=y)
    assert read(y).shape == (4, 8)
    z = torch.tril(torch.ones(4, 4, device="rigi", dtype=INT))  # a new tensor
    assert read(z).sum() == 20
    with pytest.raises(torch.AcceleratorError, match="uninitialized"):
        read(x)


def test_what_a_fallback_only_reads_stays_unwritten() -> None:
    x = torch.empty(16, 16, device="rigi", dtype=INT)
    torch.cumprod(x, 1)
    with pytest.raises(torch.AcceleratorError, match="uninitialized"):
        read(x)


def test_copies_and_fills() -> None:
    x = torch.empty(32, 32, device="rigi", dtype=INT)
    x.t().copy_(torch.ones(32, 32))
    assert read(x).sum() == 2 * 32 * 32
    y = torch.zeros(32, 32, device="rigi", dtype=INT)
    y[1:, ::2].copy_(x[1:, ::2])
    assert read(y).max() == 2
    assert read(torch.arange(5, device="rigi", dtype=INT)).tolist() == [0, 2, 4, 6, 8]
