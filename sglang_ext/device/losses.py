"""`F.linear_cross_entropy` in chunks: how it accumulates on the chip.

torch 2.13 keeps a table of device types for which 16-bit operands accumulate in fp32. A device that it does not know accumulates in
16 bits, and differs from the CPU by more than rounding.
"""

from typing import Any

import torch
from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions


def patch() -> None:
    original = LinearCrossEntropyOptions._adjust

    def _adjust(
        self: LinearCrossEntropyOptions, *sizes: Any, device: torch.device | None = None, **named: Any
    ) -> LinearCrossEntropyOptions:
        as_cpu = device is not None and device.type == "rigi"
        return original(self, *sizes, device=torch.device("cpu") if as_cpu else device, **named)

    LinearCrossEntropyOptions._adjust = _adjust  # type: ignore[method-assign]
