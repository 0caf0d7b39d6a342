"""Printing a tensor: it is copied to the host first, as torch itself does for devices that compile (xla, mtia).

torch would slice, compare and select on the chip to find out how to show the numbers: dozens of calls of the fallback, which
RIGI_FALLBACK=error refuses.
"""

import torch
from torch import _tensor_str


def patch() -> None:
    original = _tensor_str._tensor_str

    def of_a_copy(self: torch.Tensor, indent: int) -> str:
        return original(self.detach().cpu() if self.device.type == "rigi" else self, indent)

    _tensor_str._tensor_str = of_a_copy
