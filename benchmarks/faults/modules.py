"""Module files that are damaged or meant for something else, and wrong uses of their kernels."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_uint64

import sdk_sim

from .case import Bench, Case
from .native import Outcome

OUT = c_uint64()
HEADER = 88  # bytes
SDK = slice(16, 32)


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def signed(image: bytes) -> bytes:
    """The image with the hash that its contents have."""
    return image[: HEADER - 8] + fnv1a(image[: HEADER - 8] + image[HEADER:]).to_bytes(8, "little") + image[HEADER:]


def small(code: bytes = b"no code", chip: str = "rigi1", revision: str = "A0") -> bytes:
    return sdk_sim.pack_module(code, {}, chip, revision)


def load(bench: Bench, image: bytes, device: int = 0) -> Outcome:
    return bench.api("rigiModuleLoadData", device, image, len(image), byref(OUT))


def flipped(bench: Bench) -> Outcome:
    image = bytearray(bench.image())
    image[len(image) // 2] ^= 1
    return load(bench, bytes(image))


def other_sdk(bench: Bench) -> Outcome:
    image = small()
    return load(bench, signed(image[:16] + b"0.9.1".ljust(16, b"\0") + image[32:]))


def other_format(bench: Bench) -> Outcome:
    image = small()
    return load(bench, signed(image[:8] + (7).to_bytes(4, "little") + image[12:]))


def after_unload(bench: Bench) -> Outcome:
    module = bench.module()
    kernel = bench.api.new("rigiModuleGetKernel", module, b"scale")
    bench.api.must("rigiModuleUnload", module)
    return bench.api("rigiLaunchKernel", kernel, None, (c_uint64 * 1)(bench.x), 1)


def unload_twice(bench: Bench) -> Outcome:
    module = bench.module()
    bench.api.must("rigiModuleUnload", module)
    return bench.api("rigiModuleUnload", module)


def launch(bench: Bench, arguments: object, count: int, stream: int | None = None) -> Outcome:
    return bench.api("rigiLaunchKernel", bench.kernel("scale"), stream, arguments, count)


def pack_long_name(bench: Bench) -> Outcome:
    size = ctypes.c_size_t()
    return bench.api("rigiModulePack", b"a chip with a very long name", b"A0", b"{}", b"code", 4, byref(OUT), byref(size))


def module(name: str, status: str, inject: object, *words: str) -> Case:
    return Case("module", name, status, words, inject)  # type: ignore[arg-type]


CASES = [
    module("module-empty", "MODULE_FORMAT", lambda b: load(b, b""), "0 bytes", "the header's 88", "rigi build"),
    module("module-is-text", "MODULE_FORMAT", lambda b: load(b, b"x" * 1000), "module signature", "rigi build"),
    module("module-cut-short", "MODULE_FORMAT", lambda b: load(b, b.image()[:-1]), "cut short or extended", "rigi build"),
    module("module-bit-flipped", "MODULE_FORMAT", flipped, "hash does not match", "damaged"),
    module("module-format-unknown", "MODULE_FORMAT", other_format, "its format is 7", "this SDK reads 1"),
    module("module-code-is-none", "MODULE_FORMAT", lambda b: load(b, small()), "its code cannot be loaded", "rigi build"),
    module(
        "module-for-another-chip",
        "MODULE_MISMATCH",
        lambda b: load(b, small(chip="rigi2")),
        "built for rigi2 revision A0",
        "this device is rigi1 revision A0",
    ),
    module(
        "module-for-another-revision",
        "MODULE_MISMATCH",
        lambda b: load(b, small(revision="B1")),
        "revision B1",
        "this device is rigi1 revision A0",
    ),
    module("module-for-another-sdk", "MODULE_MISMATCH", other_sdk, "SDK 0.9.1", "SDK 1.0.0", "rigi build"),
    module(
        "module-file-missing", "IO", lambda b: b.api("rigiModuleLoad", 0, b"/no/such.rigi", byref(OUT)), "/no/such.rigi", "No such file"
    ),
    module("module-null", "INVALID_VALUE", lambda b: b.api("rigiModuleLoadData", 0, None, 100, byref(OUT)), "`image` is null"),
    module("module-on-no-device", "INVALID_DEVICE", lambda b: load(b, b.image(), 5), "device 5 does not exist"),
    module("module-unloaded-twice", "INVALID_HANDLE", unload_twice, "not a live module"),
    module("pack-name-too-long", "INVALID_VALUE", pack_long_name, "chip's name", "1 to 15 characters"),
    module(
        "kernel-unknown",
        "NOT_FOUND",
        lambda b: b.api("rigiModuleGetKernel", b.module(), b"sale", byref(OUT)),
        "no kernel 'sale'",
        "it has: scale, faulty",
    ),
    module("kernel-of-unloaded-module", "INVALID_HANDLE", after_unload, "not a live kernel", "destroyed"),
    module("kernel-arguments-missing", "INVALID_VALUE", lambda b: launch(b, None, 0), "kernel scale takes 1 arguments, 0 were given"),
    module("kernel-arguments-null", "INVALID_VALUE", lambda b: launch(b, None, 1), "`args` is null"),
    module(
        "kernel-on-another-device",
        "INVALID_VALUE",
        lambda b: launch(b, (c_uint64 * 1)(b.x), 1, b.stream(1)),
        "loaded for device 0",
        "stream is on device 1",
        "load the module",
    ),
]
