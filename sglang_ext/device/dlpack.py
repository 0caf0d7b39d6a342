"""`Tensor.__dlpack_device__` for a renamed PrivateUse1 device.

torch 2.13 compares the device's type with the literal "privateuse1", so that after `rename_privateuse1_backend` the method raises
for our tensors. tvm-ffi's C exchange doesn't ask it; `torch.from_dlpack` and other consumers do.
"""

import torch
from torch.utils.dlpack import DLDeviceType


def patch() -> None:
    original = torch.Tensor.__dlpack_device__

    def __dlpack_device__(self: torch.Tensor) -> tuple[DLDeviceType, int]:
        if self.device.type == "rigi":
            return DLDeviceType.kDLExtDev, self.device.index or 0
        return original(self)

    torch.Tensor.__dlpack_device__ = __dlpack_device__  # type: ignore[method-assign]
