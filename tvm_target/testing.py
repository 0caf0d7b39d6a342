"""Compiled functions on NumPy arrays: for tests, notebooks and trials, before or without the torch device.

    y = testing.run(executable, "rms_norm", x, w, np.empty_like(x), 1e-5, out=[2])

Arrays are copied to HBM, wrapped as DLPack tensors of the device (no copy), passed, and copied back. bf16 is `ml_dtypes.bfloat16`.
"""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import tvm_ffi

from .target import sdk_root

EXT_DEV = 12  # DLPack's device type of Rigi
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_EXTRA_CODES = {"bfloat16": 4, "float8_e4m3fn": 10, "float8_e5m2": 12}


class SdkError(RuntimeError):
    """A call of the SDK that failed, with its text."""


@dataclass(frozen=True)
class Outcome:
    """What a launch gave: the outputs asked for, and the simulated cycles from launch to end."""

    outputs: list[np.ndarray]
    cycles: int


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (("dl_tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


@cache
def _sdk() -> ctypes.CDLL:
    library = ctypes.CDLL(str(sdk_root() / "lib" / "librigi.so"))
    library.rigiGetLastErrorString.restype = ctypes.c_char_p
    return library


def _call(name: str, *args: Any) -> None:
    if getattr(_sdk(), name)(*args) != 0:
        raise SdkError(f"{name}: {_sdk().rigiGetLastErrorString().decode()}")


class DeviceArray:
    """A copy of a NumPy array in HBM, passed on through DLPack. Freed with the object."""

    def __init__(self, array: np.ndarray, device: int = 0):
        host = np.array(array, order="C", copy=True)
        self._reserve(host.shape, host.dtype, device)
        if host.nbytes:
            _call("rigiMemcpy", self._pointer, host.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(host.nbytes))

    @classmethod
    def blank(cls, shape: Sequence[int], dtype: Any, device: int = 0) -> DeviceArray:
        """HBM alone: no host memory, contents undefined. For timing-only mode."""
        made = cls.__new__(cls)
        made._reserve(tuple(shape), np.dtype(dtype), device)
        return made

    def _reserve(self, shape: tuple[int, ...], dtype: np.dtype, device: int) -> None:
        self.shape, self.dtype, self._device = shape, dtype, device
        self._pointer = ctypes.c_void_p()
        _call("rigiMalloc", device, ctypes.c_size_t(max(prod(shape) * dtype.itemsize, 1)), ctypes.byref(self._pointer))
        weakref.finalize(self, _sdk().rigiFree, self._pointer)
        self._sizes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        code = _EXTRA_CODES[dtype.name] if dtype.name in _EXTRA_CODES else _CODES[dtype.kind]
        tensor = _DLTensor(self._pointer, EXT_DEV, device, len(shape), code, dtype.itemsize * 8, 1, self._sizes, None, 0)
        self._managed = _DLManagedTensor(tensor, None, None)

    def __dlpack__(self, **_kwargs: Any) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self._managed), b"dltensor", None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return EXT_DEV, self._device

    def numpy(self) -> np.ndarray:
        """The contents, after all work submitted so far."""
        result = np.empty(self.shape, self.dtype)
        if result.nbytes:
            _call("rigiMemcpy", result.ctypes.data_as(ctypes.c_void_p), self._pointer, ctypes.c_size_t(result.nbytes))
        return result


def device_cycles(device: int = 0) -> int:
    """The simulated clock of the device's default stream; waits for it."""
    stream, cycles = ctypes.c_void_p(), ctypes.c_uint64()
    _call("rigiDefaultStream", device, ctypes.byref(stream))
    _call("rigiStreamGetCycles", stream, ctypes.byref(cycles))
    return int(cycles.value)


def reset(device: int = 0) -> None:
    """Clears a device's sticky error."""
    _call("rigiDeviceReset", device)


def statistics(device: int = 0) -> dict[str, Any]:
    """Launches and cycles by kernel since the last call."""
    text = ctypes.c_void_p()
    _call("rigiDeviceTakeStatistics", device, ctypes.byref(text))
    return json.loads(ctypes.string_at(text).decode())


def launch(module: Any, name: str, *args: Any, out: Sequence[int] = (), device: int = 0) -> Outcome:
    """Calls function `name` of a compiled or loaded module. `out`: places of the arguments to copy back. Waits; raises on a fault."""
    holders = [DeviceArray(a, device) if isinstance(a, np.ndarray) else a for a in args]
    passed = [tvm_ffi.from_dlpack(h) if isinstance(h, DeviceArray) else h for h in holders]
    function = module[name]
    before = device_cycles(device)
    function(*passed)
    after = device_cycles(device)
    return Outcome([holders[k].numpy() for k in out], after - before)


def run(module: Any, name: str, *args: Any, out: Sequence[int] = (), device: int = 0) -> Any:
    """As `launch`, but gives the outputs alone: an array for one, a list for more."""
    outputs = launch(module, name, *args, out=out, device=device).outputs
    return outputs[0] if len(outputs) == 1 else outputs
