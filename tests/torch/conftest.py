"""Tests of the torch device and the op registry. Every test starts with no counted fallbacks and leaves the mode as it was."""

from collections.abc import Iterator

import pytest
import torch

import sglang_ext.device  # noqa: F401  where the package is not installed, torch doesn't find the device by itself


@pytest.fixture(autouse=True)
def clean_fallbacks() -> Iterator[None]:
    mode = torch.rigi.fallback_mode()
    torch.rigi.reset_fallbacks()
    yield
    torch.rigi.set_fallback_mode(mode)
    torch.rigi.synchronize()
