"""Activation engine: within 2 ulp of the correctly rounded result everywhere, fused argument, row bias, row sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from bits_machine import Array, Bench
from bits_reference import canonical, edge_values, fma32, from_bits, narrow, row_sums, same, samples

from benchmarks.timing.program_data import COL, FULL, ROW, ROW_BIAS, ROW_SUMS, D, Instr, Op

NAMES = ["identity", "exp", "exp2", "log", "tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "rsqrt", "sqrt", "reciprocal", "sin", "cos"]
ERFC = np.frompyfunc(math.erfc, 1, 1)


def gelu(x: Array) -> Array:
    return x * 0.5 * ERFC(-x / np.sqrt(2.0)).astype(np.float64)


def logistic(x: Array, z: Array) -> Array:
    return np.where(np.isneginf(x), -0.0, x / (1.0 + np.exp(-z)))


def gelu_tanh(x: Array) -> Array:
    return logistic(x, 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


# In fp64 on fp32 arguments: the error is far below an fp32 ulp.
FP64: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: logistic(np.ones_like(x), x),
    "silu": lambda x: logistic(x, x),
    "gelu": lambda x: np.where(np.isneginf(x), -0.0, gelu(np.maximum(x, -1e30))),
    "gelu_tanh": gelu_tanh,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "sqrt": np.sqrt,
    "reciprocal": lambda x: 1.0 / x,
    "sin": np.sin,
    "cos": np.cos,
}
FP64_ERROR = 2.0**-43  # relative; see correctly_rounded
EXACT = ("identity", "sqrt", "reciprocal")  # correctly rounded themselves
MPMATH: dict[str, Callable[[mpmath.mpf], mpmath.mpf]] = {
    "exp": mpmath.exp,
    "exp2": lambda x: mpmath.power(2, x),
    "log": mpmath.log,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3))) / 2,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "identity": lambda x: x,
    "sqrt": mpmath.sqrt,
    "reciprocal": lambda x: 1 / x,
}


def act(name: str, x: Array, dst: D = D.F32) -> Array:
    """f(x) itself: only a bias of -0 leaves every argument, -0 included, as it is."""
    bench = Bench()
    return bench.one(Op.ACT, *x.shape, dst, bench.put(x, D.F32), fn=NAMES.index(name), bias=-0.0)


def ordered(x: Array) -> Array:
    """fp32 as integers whose difference counts ulps; +0 and -0 are one number."""
    raw = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(raw < 0, -(raw & 0x7FFFFFFF), raw)


def check(name: str, x: Array, got: Array, exact: Array, ulps: int = 2) -> None:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        want = exact.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(want)), f"{name}: NaN at {x[np.isnan(got) != np.isnan(want)][:3]}"
    off = np.where(np.isnan(want), 0, np.abs(ordered(got) - ordered(want)))
    at = int(np.argmax(off))
    assert off[at] <= ulps, f"{name}({x[at]!r}) = {got[at]!r}, {off[at]} ulp from {want[at]!r}"


def arguments(name: str) -> Array:
    """About 200 000 arguments: all exponents, the interesting range densely, the ends."""
    rng = np.random.default_rng(NAMES.index(name))
    patterns = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    dense = rng.uniform(-20, 20, 60_000).astype(np.float32)
    wide = rng.uniform(-160, 160, 40_000).astype(np.float32)
    x = np.concatenate(
        [patterns, dense, wide, np.linspace(-110, 100, 9001, dtype=np.float32), np.arange(-200, 201, dtype=np.float32), edge_values(D.F32)]
    )
    if name in ("sin", "cos"):
        turns = np.arange(-63661, 63662, 11) * (np.pi / 2)  # where a result is nearly zero
        x = np.concatenate([x[np.abs(x) <= 1e5], rng.uniform(-1e5, 1e5, 60_000), turns]).astype(np.float32)
    return x


@pytest.mark.parametrize("name", NAMES)
def test_two_ulps_everywhere(name: str) -> None:
    x = arguments(name)
    got = act(name, x.reshape(1, -1))[0]
    with np.errstate(all="ignore"):
        exact = FP64[name](x.astype(np.float64))
    check(name, x, got, exact, 0 if name in EXACT else 2)
    assert set(got[np.isnan(got)].view(np.uint32).tolist()) <= {0x7FC00000}


def correctly_rounded(name: str, x: Array) -> Array:
    """f(x) rounded to fp32 for 1-D fp32 arguments, with proof.

    The fp64 formulas above are off by at most FP64_ERROR, relatively: their functions by a few of fp64's 2^-53, and each rounding of an
    argument by 2^-53 times a condition number: x^2 < 14.5^2 for gelu's two (its result ends there), at most 104 for gelu_tanh's four (an
    exponent down to fp32's smallest); 512 x 2^-53 covers both twice. Where that leaves open which of two fp32 is nearest, mpmath decides:
    a few points in a million.
    """
    with np.errstate(all="ignore"):
        exact = FP64[name](x.astype(np.float64))
        low, high = ((exact * (1 + sign * FP64_ERROR)).astype(np.float32) for sign in (-1, 1))
        want = exact.astype(np.float32)
    for i in np.flatnonzero(~((low == high) | np.isnan(exact))):
        want[i] = np.float32(nearest(name, x[i]))
    return want


def nearest(name: str, x: np.float32) -> float:
    """f(x) by mpmath, rounded once, to fp32, denormals too; and the bound on the fp64 formula held there."""
    with mpmath.workdps(60), np.errstate(all="ignore"):
        value = MPMATH[name](mpmath.mpf(float(x)))
        if 2.0**-151 < abs(value) < 2.0**129:  # beyond, it is 0 or infinity however large the error
            assert abs(mpmath.mpf(float(FP64[name](np.array([x], np.float64))[0])) - value) <= FP64_ERROR * abs(value)
        if value == 0:
            return 0.0
        unit = mpmath.mpf(2) ** max(int(mpmath.floor(mpmath.log(abs(value), 2))) - 23, -149)
        return float(mpmath.nint(value / unit) * unit)


def check_ulps(name: str, x: Array, got: Array) -> Array:
    """Holds `got` against the correctly rounded results and returns how many ulp each is off."""
    want = correctly_rounded(name, x)
    assert np.array_equal(np.isnan(got), np.isnan(want)), f"{name}: NaN at {x[np.isnan(got) != np.isnan(want)][:3]}"
    off = np.where(np.isnan(want), 0, np.abs(ordered(got) - ordered(want)))
    at = int(np.argmax(off))
    assert off[at] <= (0 if name in EXACT else 2), f"{name}({x[at]!r}) = {got[at]!r}, {off[at]} ulp from {want[at]!r}"
    return off


@pytest.mark.parametrize("name", NAMES)
def test_every_bf16(name: str) -> None:
    """All 65536 of them as arguments; and the same results rounded to bf16."""
    every = from_bits(np.arange(65536), D.BF16)
    bench = Bench()
    block, out = bench.put(every.reshape(1, -1), D.BF16), bench.space(1, 65536, D.F32)
    bench.run(Instr(Op.ACT, 1, 65536, dst=out, a=block, fn=NAMES.index(name), bias=-0.0))
    got, x = bench.view(out, 1, 65536), every.astype(np.float32)
    inside = (np.abs(x) <= 1e5) | (name not in ("sin", "cos"))
    check_ulps(name, x[inside], got[0][inside])
    same(bench.one(Op.ACT, 1, 65536, D.BF16, block, fn=NAMES.index(name), bias=-0.0), narrow(got, D.BF16))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_million_random_fp32(name: str) -> None:
    """Half are random bit patterns, half lie where the function bends; the worst and some others once more by mpmath."""
    rng = np.random.default_rng(100 + NAMES.index(name))
    periodic, positive = name in ("sin", "cos"), name in ("log", "rsqrt", "sqrt")
    checked = 0
    while checked < 1_000_000:
        wide = rng.integers(0, 2**32, 80_000, dtype=np.uint32).view(np.float32)
        dense = rng.uniform(-1, 1, 80_000) * (1e5 if periodic else rng.choice((1.5, 20.0, 120.0)))
        x = np.concatenate([wide, (np.abs(dense) if positive else dense).astype(np.float32)])
        if periodic:
            x = x[np.abs(x) <= 1e5]
        checked += x.size
        got = act(name, x.reshape(1, -1))[0]
        off = check_ulps(name, x, got)
        for i in [*np.argsort(-off, kind="stable")[:15], *rng.integers(0, x.size, 25)]:
            if np.isfinite(x[i]) and np.isfinite(got[i]) and abs(x[i]) > 1e-30 and (x[i] > 0 or not positive):
                distance = abs(ordered(got[i : i + 1]) - ordered(np.array([nearest(name, x[i])], np.float32)))[0]
                assert distance == off[i] <= 2, (name, x[i])


@pytest.mark.parametrize("name", sorted(MPMATH))
def test_against_arbitrary_precision(name: str) -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.uniform(-14, 14, 500), rng.uniform(-100, 90, 250), 10.0 ** rng.uniform(-40, 4.9, 250)]).astype(np.float32)
    if name in ("log", "rsqrt", "sqrt"):
        x = np.abs(x)
    with mpmath.workdps(60):
        exact = [MPMATH[name](mpmath.mpf(float(v))) for v in x]
        exact64 = np.array([float(e) for e in exact])
    check(name, x, act(name, x.reshape(1, -1))[0], exact64)


INF, NAN = np.inf, np.nan
SPECIAL = {  # argument: result
    "identity": {-0.0: -0.0, INF: INF},
    "exp": {-INF: 0.0, INF: INF, 0.0: 1.0},
    "exp2": {-149.0: 1e-45, -150.0: 0.0, 128.0: INF, 10.0: 1024.0, -INF: 0.0},
    "log": {0.0: -INF, 1.0: 0.0, -1.0: NAN, INF: INF, -INF: NAN},
    "tanh": {-0.0: -0.0, 1e-45: 1e-45, INF: 1.0, -INF: -1.0},
    "sigmoid": {-INF: 0.0, INF: 1.0, 0.0: 0.5},
    "silu": {-INF: -0.0, INF: INF, -0.0: -0.0},
    "gelu": {-INF: -0.0, INF: INF, -0.0: -0.0},
    "gelu_tanh": {-INF: -0.0, INF: INF, -0.0: -0.0},
    "rsqrt": {0.0: INF, INF: 0.0, -1.0: NAN, 4.0: 0.5},
    "sqrt": {-0.0: -0.0, -1.0: NAN, INF: INF},
    "reciprocal": {-0.0: -INF, -INF: -0.0},
    "sin": {-0.0: -0.0, INF: NAN},
    "cos": {0.0: 1.0, -INF: NAN},
}


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    """Limits at the infinities, signs of zero, and NaN only for NaN and outside the domain."""
    for argument, result in (SPECIAL[name] | {NAN: NAN}).items():
        same(act(name, np.full((1, 1), argument, np.float32)), canonical(np.full((1, 1), result, np.float32), D.F32))


def test_poles_keep_the_sign_of_zero() -> None:
    for name in ("rsqrt", "reciprocal", "log"):
        assert act(name, np.full((1, 1), -0.0, np.float32))[0, 0] == -INF


def test_exp_is_monotonic() -> None:
    x = np.sort(np.random.default_rng(6).uniform(-104, 89, 200_000).astype(np.float32))
    assert (np.diff(ordered(act("exp", x.reshape(1, -1))[0])) >= -1).all()


@pytest.mark.parametrize("kind", [D.F32, D.BF16, D.F16, D.E4M3, D.I8], ids=lambda d: d.name.lower())
def test_the_argument_is_one_fused_multiply_add(kind: D) -> None:
    rng = np.random.default_rng(7)
    for shape in (FULL, ROW, COL):
        a = samples(rng, kind, (3, 53))
        bench = Bench()
        got = bench.one(Op.ACT, 3, 53, D.F32, bench.put(a, kind, shape), fn=0, scale=1.1, bias=-0.3)
        values = np.broadcast_to({FULL: a, ROW: a[:1], COL: a[:, :1]}[shape], (3, 53)).astype(np.float32)
        same(got, canonical(fma32(values, np.float32(1.1), np.float32(-0.3)), D.F32))


@pytest.mark.parametrize("cols", [1, 15, 16, 17, 255, 256, 257, 1000])
@pytest.mark.parametrize("dst", [D.F32, D.BF16, D.F16, D.E4M3], ids=lambda d: d.name.lower())
def test_row_bias_and_row_sums_before_the_cast(cols: int, dst: D) -> None:
    rng = np.random.default_rng(8)
    a, bias = rng.standard_normal((5, cols)).astype(np.float32), rng.standard_normal((5, 1)).astype(np.float32)
    bench = Bench()
    block, row_bias = bench.put(a, D.F32, pad=64), bench.put(bias, D.F32, COL)
    exp, out, sums = bench.space(5, cols, D.F32), bench.space(5, cols, dst), bench.space(5, 1, D.F32, pad=60)
    common = {"a": block, "b": row_bias, "c": sums, "fn": 1, "scale": 0.7}
    bench.run(
        Instr(Op.ACT, 5, cols, dst=exp, flags=ROW_BIAS, **common),
        Instr(Op.ACT, 5, cols, dst=out, flags=ROW_BIAS | ROW_SUMS, **common),
        wrote=[(exp, 5, cols), (out, 5, cols), (sums, 5, 1)],
    )
    full = bench.view(exp, 5, cols)
    with np.errstate(all="ignore"):
        check("exp", a.ravel(), full.ravel(), np.exp(fma32(a, np.float32(0.7), bias).astype(np.float64)).ravel())
    same(bench.view(out, 5, cols), narrow(full, dst))
    same(bench.view(sums, 5, 1), row_sums(full))


def test_in_place() -> None:
    a = np.random.default_rng(9).standard_normal((4, 300)).astype(np.float32)
    bench = Bench()
    block = bench.put(a, D.F32)
    bench.run(Instr(Op.ACT, 4, 300, dst=block, a=block, fn=NAMES.index("sqrt"), scale=-1.0))
    with np.errstate(invalid="ignore"):
        same(bench.view(block, 4, 300), canonical(np.sqrt(-a), D.F32))
