"""Binary and compare instructions in NumPy, from the manual, for the tests of bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bits_machine import INTS, NUMPY, Array
from bits_reference import narrow, widen, wrap

from benchmarks.timing.program_data import D

ADD, SUB, MUL, DIV, MAX, MIN = range(6)
BINARY_NAMES = ("add", "sub", "mul", "div", "max", "min")
COMPARE_NAMES = ("lt", "le", "gt", "ge", "eq", "ne")


def maximum(a: Array, b: Array) -> Array:
    """IEEE 754-2019: NaN wins, -0 < +0."""
    larger = np.where((a > b) | ((a == b) & np.signbit(b)), a, b)
    return np.where(np.isnan(a) | np.isnan(b), np.float32(np.nan), larger).astype(np.float32)


FLOAT_BINARY: dict[int, Callable[[Array, Array], Array]] = {
    ADD: np.add,
    SUB: np.subtract,
    MUL: np.multiply,
    DIV: np.divide,
    MAX: maximum,
    MIN: lambda a, b: -maximum(-a, -b),
}


def int_divide(a: Array, b: Array) -> Array:
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where(b == 0, 0, np.where((a < 0) != (b < 0), -quotient, quotient))


INT_BINARY: dict[int, Callable[[Array, Array], Array]] = {
    ADD: np.add,
    SUB: np.subtract,
    MUL: np.multiply,
    DIV: int_divide,
    MAX: np.maximum,
    MIN: np.minimum,
}
COMPARE: list[Callable[[Array, Array], Array]] = [np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal]


def binary_reference(fn: int, a: Array, b: Array, dst: D, ints: bool) -> Array:
    """`ints`: every operand and the destination are integers."""
    with np.errstate(all="ignore"):
        if ints:
            return wrap(INT_BINARY[fn](a.astype(np.int64), b.astype(np.int64)).astype(np.int64) & 0xFFFFFFFF, dst)
        return narrow(FLOAT_BINARY[fn](widen(a), widen(b)).astype(np.float32), dst)


def compare_reference(fn: int, a: Array, b: Array, dst: D, ints: bool) -> Array:
    with np.errstate(invalid="ignore"):
        truth = COMPARE[fn](a.astype(np.int64), b.astype(np.int64)) if ints else COMPARE[fn](widen(a), widen(b))
    return truth.astype(np.float32).astype(NUMPY[dst])


def all_integers(*kinds: D) -> bool:
    return all(kind in INTS for kind in kinds)
