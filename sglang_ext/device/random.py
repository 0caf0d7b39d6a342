"""Random numbers. The chip has no generator: numbers are drawn on the host by a CPU generator of each device."""

import torch

from sglang_ext import _C
from sglang_ext.device.devices import Device, index_of


def default_generators() -> tuple[torch.Generator, ...]:
    return tuple(_C.default_generator(i) for i in range(_C.device_count()))


def manual_seed(seed: int) -> None:
    _C.default_generator(_C.current_device()).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    for generator in default_generators():
        generator.manual_seed(int(seed))


def seed() -> None:
    _C.default_generator(_C.current_device()).seed()


def seed_all() -> None:
    for generator in default_generators():
        generator.seed()


def initial_seed() -> int:
    return _C.default_generator(_C.current_device()).initial_seed()


def get_rng_state(device: Device = "rigi") -> torch.Tensor:
    return _C.default_generator(index_of(device)).get_state()


def set_rng_state(state: torch.Tensor, device: Device = "rigi") -> None:
    _C.default_generator(index_of(device)).set_state(state)


def get_rng_state_all() -> list[torch.Tensor]:
    return [generator.get_state() for generator in default_generators()]


def set_rng_state_all(states: list[torch.Tensor]) -> None:
    for generator, state in zip(default_generators(), states, strict=True):
        generator.set_state(state)


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16, torch.float16]
