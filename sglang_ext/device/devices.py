"""Which chips there are, which is current, and what they are."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from sglang_ext import _C

Device: TypeAlias = torch.device | str | int | None


def index_of(device: Device) -> int:
    """The number of a device given as torch.device, "rigi", "rigi:1", 1 or None (the current one)."""
    if device is None:
        return _C.current_device()
    if isinstance(device, int):
        return device
    found = torch.device(device)
    if found.type != "rigi":
        raise ValueError(f"expected a rigi device, got {found}")
    return _C.current_device() if found.index is None else found.index


def is_available() -> bool:
    return _C.device_count() > 0


def is_initialized() -> bool:
    return True


def init() -> None:
    """Nothing to do: the SDK starts a device when it is first used."""


_lazy_init = init


def _is_in_bad_fork() -> bool:
    return _C.in_bad_fork()


def device_count() -> int:
    return _C.device_count()


def current_device() -> int:
    return _C.current_device()


def set_device(device: Device) -> None:
    _C.exchange_device(index_of(device))


def _exchange_device(device: int) -> int:
    return _C.exchange_device(device)


def _maybe_exchange_device(device: int) -> int:
    return _C.current_device() if device < 0 else _C.exchange_device(device)


class device:
    """Context manager: makes a device the current one."""

    def __init__(self, device: Device):
        self.index = index_of(device)
        self.previous = -1

    def __enter__(self) -> "device":
        self.previous = _C.exchange_device(self.index)
        return self

    def __exit__(self, *_: Any) -> None:
        _C.exchange_device(self.previous)


@dataclass(frozen=True)
class DeviceProperties:
    """Figures of a chip, from its chip file. Bytes, hertz, operations a second."""

    name: str
    revision: str
    cores: int
    sram_bytes: int
    total_memory: int
    clock_hz: float
    peak_flops_16bit: float
    peak_ops_8bit: float
    hbm_bytes_per_s: float
    override_path: str
    major: int = 1
    minor: int = 0

    @property
    def multi_processor_count(self) -> int:
        return self.cores


def get_device_properties(device: Device = None) -> DeviceProperties:
    return DeviceProperties(**_C.properties(index_of(device)))


def get_device_name(device: Device = None) -> str:
    return get_device_properties(device).name


def get_device_capability(device: Device = None) -> tuple[int, int]:
    properties = get_device_properties(device)
    return properties.major, properties.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return True
