"""Conversions between all dtypes: exact widening, rounding to nearest even, saturation, canonical NaNs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bits_machine import FLOATS, INTS, NUMPY, Array, Bench
from bits_reference import NAN, bits, canonical, edge_values, from_bits, narrow, same, samples, widen, wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.timing.program_data import D, Op, Operand

DTYPES = (*FLOATS, *INTS)


def cast(values: Array, source: D, dst: D) -> Array:
    bench = Bench()
    flat = np.ascontiguousarray(values.reshape(1, -1))
    return bench.one(Op.CAST, 1, flat.size, dst, bench.put(flat, source))


def reference(values: Array, source: D, dst: D) -> Array:
    flat = values.reshape(1, -1)
    return wrap(flat, dst) if source in INTS and dst in INTS else narrow(widen(flat), dst)


@pytest.mark.parametrize("source", [D.F16, D.BF16, D.E4M3, D.E5M2, D.I8, D.U8], ids=lambda d: d.name.lower())
@pytest.mark.parametrize("dst", DTYPES, ids=lambda d: d.name.lower())
def test_every_value_of_a_narrow_dtype(source: D, dst: D) -> None:
    width = NUMPY[source].itemsize
    every = from_bits(np.arange(256**width, dtype=np.uint32).astype({1: np.uint8, 2: np.uint16}[width]), source)
    same(cast(every, source, dst), reference(every, source, dst))


def around(dtype: D) -> Array:
    """Every finite value of a small float dtype, the points halfway to the next, and their fp32 neighbours, both signs."""
    width = NUMPY[dtype].itemsize
    values = from_bits(np.arange(256**width // 2, dtype=np.uint32).astype({1: np.uint8, 2: np.uint16}[width]), dtype)
    with np.errstate(invalid="ignore"):
        values = widen(values).astype(np.float64)
    values = np.unique(values[np.isfinite(values)])
    step = values[-1] - values[-2]
    points = np.concatenate([values, (values[1:] + values[:-1]) / 2, [values[-1] + step / 2, values[-1] + step]])
    points = np.minimum(points, np.finfo(np.float32).max).astype(np.float32)
    with np.errstate(over="ignore"):
        points = np.concatenate([points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-np.inf))])
    return np.concatenate([points, -points])


@pytest.mark.parametrize("dst", [D.F16, D.BF16, D.E4M3, D.E5M2], ids=lambda d: d.name.lower())
def test_ties_go_to_even_at_every_value(dst: D) -> None:
    points = around(dst)
    for part in np.array_split(points, max(1, points.size // 100_000)):
        same(cast(part, D.F32, dst), narrow(part.reshape(1, -1), dst))


@pytest.mark.parametrize("dst", INTS, ids=lambda d: d.name.lower())
def test_floats_to_integers_round_to_even_and_saturate(dst: D) -> None:
    limits = np.iinfo(NUMPY[dst])
    halves = np.arange(-600, 600, dtype=np.float32) / 2
    ends = np.float32(
        [limits.max, limits.min, 2.0**31, -(2.0**31), 2.0**31 - 128, 2.0**32, 3e38, np.inf, -np.inf, np.nan, -np.nan, 8388607.5, 1e-45]
    )
    points = np.concatenate([halves, np.nextafter(halves, np.float32(np.inf)), ends, edge_values(D.F32)])
    same(cast(points, D.F32, dst), narrow(points.reshape(1, -1), dst))


@pytest.mark.parametrize("kinds", itertools.product((D.F32, D.I32), DTYPES), ids=lambda k: f"{k[0].name}-{k[1].name}".lower())
def test_random_patterns_of_a_wide_dtype(kinds: tuple[D, D]) -> None:
    values = samples(np.random.default_rng(1), kinds[0], (1, 50_001), edges=0.4)
    same(cast(values, *kinds), reference(values, *kinds))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=70), st.sampled_from(DTYPES))
def test_any_fp32_bit_patterns(patterns: list[int], dst: D) -> None:
    values = np.array(patterns, np.uint32).view(np.float32)
    same(cast(values, D.F32, dst), narrow(values.reshape(1, -1), dst))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.sampled_from(FLOATS))
def test_a_cast_is_the_nearest_value(values: list[float], dst: D) -> None:
    """No representable neighbour is nearer (checked in exact arithmetic of fp64)."""
    x = np.array(values, np.float32)
    y = cast(x, D.F32, dst)[0]
    largest = 448.0 if dst == D.E4M3 else float(np.max(canonical(around(dst), D.F32))) if dst in (D.E5M2,) else None
    for a, b in zip(x.astype(np.float64), y.astype(np.float64), strict=True):
        if np.isnan(a):
            assert np.isnan(b)
        elif np.isfinite(b) and (largest is None or abs(a) <= largest):
            raw = bits(np.array([b]).astype(np.float32).astype(NUMPY[dst]))
            for step in (-1, 1):
                near = float((raw + np.array(step).astype(raw.dtype)).view(NUMPY[dst])[0].astype(np.float32))
                assert not np.isfinite(near) or abs(a - b) <= abs(a - near)


def test_nans_become_the_canonical_one() -> None:
    nans = np.array([0x7F800001, 0xFFC00000, 0x7FFFFFFF, 0xFF812345], np.uint32).view(np.float32)
    for dst in FLOATS:
        assert set(bits(cast(nans, D.F32, dst)).ravel().tolist()) == {NAN[dst]}


@pytest.mark.parametrize("dst", DTYPES, ids=lambda d: d.name.lower())
def test_int4_is_signed_and_low_nibble_first(dst: D) -> None:
    packed = np.arange(256, dtype=np.uint8).reshape(2, 128)
    low, high = packed & 15, packed >> 4
    values = (np.stack([low, high], axis=-1).reshape(2, 256).astype(np.int16) ^ 8) - 8
    for cols in (256, 255, 17, 1):
        bench = Bench()
        block = bench.put(packed, D.I4)
        got = bench.one(Op.CAST, 2, cols, dst, Operand(block.addr, 128, D.I4))
        want = wrap(values, dst) if dst in INTS else narrow(values.astype(np.float32), dst)
        same(got, np.ascontiguousarray(want[:, :cols]))
