"""The collective backend `rigiccl` of torch.distributed: gloo on CPU views of the chips' memory."""

from datetime import timedelta
from typing import Any


def _create(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
    import torch.distributed as dist

    from sglang_ext import _C

    _C.init_distributed()
    return _C.HostBackend(dist.ProcessGroupGloo(store, rank, size, timeout))


def register() -> None:
    import torch.distributed as dist

    if dist.is_available():
        dist.Backend.register_backend("rigiccl", _create, devices=["cpu", "rigi"])
