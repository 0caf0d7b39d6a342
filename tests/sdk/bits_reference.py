"""The arithmetic of chip.md section 6 in NumPy and ml_dtypes, written from the manual and rigi_isa.h alone."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from bits_machine import FLOATS, INTS, NUMPY, Array

from benchmarks.timing.program_data import D

NAN = {D.F32: 0x7FC00000, D.F16: 0x7E00, D.BF16: 0x7FC0, D.E4M3: 0x7F, D.E5M2: 0x7E}


def bits(x: Array) -> Array:
    return x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize])


def from_bits(raw: Array | list[int], dtype: D) -> Array:
    width = NUMPY[dtype].itemsize
    return np.asarray(raw, {1: np.uint8, 2: np.uint16, 4: np.uint32}[width]).view(NUMPY[dtype])


def same(got: Array, want: Array) -> None:
    """Equal bit for bit, every NaN being the canonical one."""
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, want.dtype, got.shape, want.shape)
    a, b = bits(np.ascontiguousarray(got)), bits(np.ascontiguousarray(want))
    if not np.array_equal(a, b):
        at = tuple(int(k) for k in np.argwhere(a != b)[0])
        raise AssertionError(
            f"{int((a != b).sum())} of {a.size} differ, first at {at}: got {got[at]} ({a[at]:#x}), want {want[at]} ({b[at]:#x})"
        )


def canonical(x: Array, dtype: D) -> Array:
    if dtype not in FLOATS:
        return x
    return np.where(np.isnan(x.astype(np.float32)), from_bits([NAN[dtype]], dtype), x).astype(NUMPY[dtype])


def widen(x: Array) -> Array:
    """Any dtype as fp32 (int32 rounds to nearest even)."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.float32)


def narrow(x: Array, dtype: D) -> Array:
    """fp32 rounded to dtype: nearest even; e4m3 and integers saturate, NaN becomes the canonical one or integer 0."""
    assert x.dtype == np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype in INTS:
            limits = np.iinfo(NUMPY[dtype])
            wide = np.clip(np.rint(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)), limits.min, limits.max)
            return wide.astype(np.int64).astype(NUMPY[dtype])
        if dtype == D.E4M3:
            x = np.clip(x, -448.0, 448.0)
        return canonical(x.astype(NUMPY[dtype]), dtype)


def wrap(x: Array, dtype: D = D.I32) -> Array:
    """Exact integers (int64) reduced to an integer dtype by keeping the low bits."""
    return x.astype(np.int64).astype(NUMPY[dtype])


def fma32(a: Array, b: Array, c: Array) -> Array:
    """fp32 fused multiply-add. The product is exact in fp64; the sum is rounded to odd there, so that rounding it to fp32 is right."""
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        addend = c.astype(np.float64)
        total = product + addend
        # Knuth's two-sum: the exact error of the fp64 addition
        back = total - product
        error = (product - (total - back)) + (addend - back)
        raw = np.ascontiguousarray(total).view(np.int64)
        inexact = np.isfinite(total) & (error != 0) & (raw & 1 == 0)
        towards_zero = (error < 0) != (total < 0)
        raw = np.where(inexact, raw + np.where(towards_zero, -1, 1), raw)
        return raw.view(np.float64).astype(np.float32)


def chain(a: Array, b: Array, c: Array) -> Array:
    """C + A[M,K] B[K,N] in fp32, one fused chain an element, k ascending."""
    acc = c.astype(np.float32)
    for k in range(a.shape[1]):
        acc = fma32(a[:, k, None], b[None, k, :], acc)
    return canonical(acc, D.F32)


def row_sums(x: Array) -> Array:
    """16 interleaved partial sums starting at +0, then halves folded onto each other; fp32 or int32, [rows, 1]."""
    rows, cols = x.shape
    partial = np.zeros((rows, 16), x.dtype)
    with np.errstate(all="ignore"):
        for start in range(0, cols, 16):
            piece = x[:, start : start + 16]
            partial[:, : piece.shape[1]] += piece
        for width in (8, 4, 2, 1):
            partial = partial[:, :width] + partial[:, width : 2 * width]
    return partial


def edge_values(dtype: D) -> Array:
    """Zeros, denormals, one, the largest, infinities and NaNs, both signs; for integers the ends of the range."""
    if dtype in INTS:
        limits = np.iinfo(NUMPY[dtype])
        return np.array([0, 1, 2, 3, limits.max - 1, limits.max, limits.min, limits.min // 2, 100], np.int64).astype(NUMPY[dtype])
    info = ml_dtypes.finfo(NUMPY[dtype])
    positive = [0.0, float(info.smallest_subnormal), 3 * float(info.smallest_subnormal), float(info.smallest_normal), 0.5, 1.0, 1.5, 2.0,
                float(info.max), np.inf, np.nan]  # fmt: skip
    return np.array(positive + [-x for x in positive], np.float32).astype(NUMPY[dtype])


def samples(rng: np.random.Generator, dtype: D, shape: tuple[int, int], edges: float = 0.1) -> Array:
    """Random values of a dtype: ordinary ones, raw bit patterns and edge values mixed."""
    count = shape[0] * shape[1]
    if dtype in INTS:
        limits = np.iinfo(NUMPY[dtype])
        plain = rng.integers(limits.min, limits.max, count, endpoint=True).astype(NUMPY[dtype])
        small = rng.integers(-9 if limits.min else 0, 9, count).astype(NUMPY[dtype])
        plain = np.where(rng.random(count) < 0.5, small, plain)
    else:
        width = NUMPY[dtype].itemsize
        plain = (rng.standard_normal(count) * 3).astype(np.float32).astype(NUMPY[dtype])
        patterns = from_bits(
            rng.integers(0, 256**width, count, dtype=np.uint64).astype({1: np.uint8, 2: np.uint16, 4: np.uint32}[width]), dtype
        )
        plain = np.where(rng.random(count) < edges, patterns, plain).astype(NUMPY[dtype])
    special = rng.choice(bits(edge_values(dtype)), count).view(NUMPY[dtype])
    return np.where(rng.random(count) < edges, special, plain).astype(NUMPY[dtype]).reshape(shape)
