"""Matrix engine: every output is one chain of fused multiply-adds, k ascending, whatever the shape; int8 wraps in int32."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bits_machine import NUMPY, Array, Bench
from bits_reference import chain, same, samples, widen, wrap

from benchmarks.timing.program_data import ACCUMULATE, TRANS_B, D, Instr, Op

SIZES = [(1, 1, 1), (1, 16, 32), (1, 17, 33), (2, 15, 31), (3, 64, 64), (5, 33, 70), (8, 48, 95), (9, 16, 16), (12, 31, 300), (17, 65, 257),
         (33, 255, 40), (97, 40, 48), (100, 300, 24)]  # fmt: skip
KINDS = [(D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E4M3), (D.E5M2, D.E4M3), (D.E4M3, D.E5M2), (D.I8, D.I8)]


def product(a: Array, b: Array, c: Array, kinds: tuple[D, D], transposed: bool, accumulate: bool, pad: int = 0) -> Array:
    """C (+)= A B on the chip; b is [K, N] and turned here if `transposed`."""
    bench = Bench()
    rows, cols, out = a.shape[0], b.shape[1], D.I32 if kinds[0] == D.I8 else D.F32
    left = bench.put(a, kinds[0], pad=pad)
    right = bench.put(b.T if transposed else b, kinds[1], pad=pad)
    dst = bench.put(c, out, pad=4 * pad)
    flags = TRANS_B * transposed + ACCUMULATE * accumulate
    bench.run(Instr(Op.MMA, rows, cols, a.shape[1], dst=dst, a=left, b=right, flags=flags))
    return bench.view(dst, rows, cols)


@pytest.mark.parametrize("accumulate", [False, True], ids=["from zero", "accumulate"])
@pytest.mark.parametrize("transposed", [False, True], ids=["b [K,N]", "b [N,K]"])
@pytest.mark.parametrize("kinds", KINDS, ids=lambda k: f"{k[0].name}x{k[1].name}".lower())
def test_every_element_is_one_fused_chain(kinds: tuple[D, D], transposed: bool, accumulate: bool) -> None:
    rng = np.random.default_rng(1)
    for rows, cols, depth in SIZES:
        if kinds[0] == D.I8:
            a, b = samples(rng, D.I8, (rows, depth)), samples(rng, D.I8, (depth, cols))
            c = samples(rng, D.I32, (rows, cols))
            want = wrap(a.astype(np.int64) @ b.astype(np.int64) + (c.astype(np.int64) if accumulate else 0))
        else:
            a = rng.standard_normal((rows, depth)).astype(NUMPY[kinds[0]])
            b = rng.standard_normal((depth, cols)).astype(NUMPY[kinds[1]])
            c = rng.standard_normal((rows, cols)).astype(np.float32)
            want = chain(widen(a), widen(b), c if accumulate else np.zeros_like(c))
        same(product(a, b, c, kinds, transposed, accumulate, pad=16 if rows % 2 else 0), want)


@pytest.mark.parametrize("kind", [D.BF16, D.F16, D.E4M3, D.E5M2])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 20])
def test_denormals_infinities_and_nans(kind: D, transposed: bool, rows: int) -> None:
    rng = np.random.default_rng(2)
    a, b = samples(rng, kind, (rows, 9), edges=0.05), samples(rng, kind, (9, 50), edges=0.05)
    c = samples(rng, D.F32, (rows, 50), edges=0.05)
    same(product(a, b, c, (kind, kind), transposed, True), chain(widen(a), widen(b), c))


def test_zero_products_leave_a_negative_zero_accumulator() -> None:
    """A chain has exactly K steps: padding with +0 products would turn -0 into +0."""
    a, b = np.full((1, 3), -1.0, NUMPY[D.BF16]), np.zeros((3, 20), NUMPY[D.BF16])
    for transposed in (False, True):
        got = product(a, b, np.full((1, 20), -0.0, np.float32), (D.BF16, D.BF16), transposed, True)
        same(got, np.full((1, 20), -0.0, np.float32))


def test_products_enter_the_sum_without_rounding() -> None:
    """A product of two bf16 has 16 bits, so only at the ends of fp32's range does a fused step differ from two."""
    tiny, huge = np.float32(2.0**-70), np.float32(2.0**64)
    a = np.array([[tiny * 1.4921875, huge]], np.float32).astype(NUMPY[D.BF16])
    b = np.array([[tiny * 2.0**-5 * 1.4921875], [huge]], np.float32).astype(NUMPY[D.BF16])
    for rows, transposed, k in itertools.product((1, 2, 3, 12), (False, True), (0, 1)):
        start = np.full((rows, 33), np.float32(2.0**-149) if k == 0 else np.float32(-(2.0**127)))
        left, right = np.repeat(a[:, k : k + 1], rows, axis=0), np.repeat(b[k : k + 1], 33, axis=1)
        got = product(left, right, start, (D.BF16, D.BF16), transposed, True)
        same(got, chain(widen(left), widen(right), start))
        assert k == 0 or (got == np.float32(2.0**127)).all()


def test_long_chains_cross_the_blocks_of_k() -> None:
    rng = np.random.default_rng(3)
    for rows in (1, 24):
        a = rng.standard_normal((rows, 1500)).astype(NUMPY[D.BF16])
        b = rng.standard_normal((1500, 40)).astype(NUMPY[D.BF16])
        for transposed in (False, True):
            zero = np.zeros((rows, 40), np.float32)
            same(product(a, b, zero, (D.BF16, D.BF16), transposed, False), chain(widen(a), widen(b), zero))
