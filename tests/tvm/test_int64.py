"""int64 beyond 32 bits on the engines, in strict mode, against NumPy. One module: compiling takes longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi

from tvm_target import testing
from tvm_target.isa import ELEMENT_LOOPS
from tvm_target.rules import lower_function

ROWS, COLS = 13, 21


def spread(seed: int) -> np.ndarray:
    """Numbers of all lengths, and those where words end."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**63), 2**63 - 1, ROWS * COLS, dtype=np.int64) >> rng.integers(0, 64, ROWS * COLS)
    ends = [sign * 2**n + by for n in (16, 31, 32, 40, 62) for sign in (1, -1) for by in (-1, 0, 1)]
    x[: len(ends) + 2] = [*ends, 2**63 - 1, -(2**63)]
    return rng.permutation(x).reshape(ROWS, COLS)


A, B = spread(1), spread(2)
F = (np.random.default_rng(3).standard_normal(64) * 2.0 ** np.arange(64)).astype("float32")
F[:6] = [-(2.0**31), -(2.0**63), 2.0**32, 4294967040.0, -0.5, 2.0**31]
IDS = np.array([0, 5, 2**32 + 3, -7, 19, 2**40, -(2**33)])
TABLE = np.random.default_rng(4).standard_normal((20, 33)).astype("float32")
ONES = np.full((2, 40_000), 2**32 - 1)  # sums whose low words overflow many times


def number(value: int) -> Any:
    return tirx.const(value, "int64")


def truncated(x: np.ndarray, by: int) -> np.ndarray:
    return np.array([abs(int(v)) // by * (1 if v > 0 else -1) for v in x.ravel()], np.int64).reshape(x.shape)


# name: (TE, NumPy, arguments)
CASES: dict[str, tuple[Callable, Callable, list[np.ndarray]]] = {
    "add": (topi.add, np.add, [A, B]),
    "subtract": (topi.subtract, np.subtract, [A, B]),
    "multiply": (topi.multiply, np.multiply, [A, B]),
    "maximum": (topi.maximum, np.maximum, [A, B]),
    "minimum": (topi.minimum, np.minimum, [A, B]),
    "less": (topi.less, np.less, [A, B]),
    "less_equal": (topi.less_equal, np.less_equal, [A, B]),
    "greater": (topi.greater, np.greater, [A, B]),
    "greater_equal": (topi.greater_equal, np.greater_equal, [A, B]),
    "equal": (topi.equal, np.equal, [A, np.where(B > 0, A, B)]),
    "not_equal": (topi.not_equal, np.not_equal, [A, np.where(B > 0, A, A ^ (1 << 40))]),
    "large_constants": (
        lambda x: topi.clip(topi.add(x, number(2**40)), -(2**33), 2**35),
        lambda x: np.clip(x + 2**40, -(2**33), 2**35),
        [A],
    ),
    "absolute": (topi.abs, np.abs, [A]),
    "choice": (lambda x, y: topi.where(topi.less(x, y), topi.add(x, y), y), lambda x, y: np.where(x < y, x + y, y), [A, B]),
    "columns": (topi.add, np.add, [A, B[:, :1]]),
    "rows": (topi.add, np.add, [A, B[:1]]),
    "turned": (lambda x, y: topi.add(topi.transpose(x), topi.transpose(y)), lambda x, y: x.T + y.T, [A, B]),
    "shared_parts": (lambda x, y: topi.multiply(topi.add(x, y), topi.add(x, y)), lambda x, y: (x + y) * (x + y), [A, B]),
    "upper_word": (lambda x: topi.right_shift(x, number(32)), lambda x: x >> 32, [A]),
    "lifted": (lambda x: topi.left_shift(x, number(32)), lambda x: x << 32, [A]),
    "quotient_down": (lambda x: topi.floor_divide(x, number(7)), lambda x: x // 7, [A]),
    "rest_down": (lambda x: topi.floor_mod(x, number(32768)), lambda x: x % 32768, [A]),
    "quotient": (lambda x: te.compute(x.shape, lambda i, j: tirx.truncdiv(x[i, j], number(1000))), lambda x: truncated(x, 1000), [A]),
    "rest": (lambda x: topi.mod(x, number(1000)), lambda x: np.fmod(x, 1000), [A]),
    "quotients_of_negatives": (lambda x: topi.floor_divide(x, number(-7)), lambda x: x // -7, [A]),
    "rests_of_negatives": (lambda x: topi.floor_mod(x, number(-7)), lambda x: x % -7, [A]),
    "to_float32": (lambda x: topi.cast(x, "float32"), lambda x: x.astype("float32"), [A]),
    "to_int32": (lambda x: topi.cast(x, "int32"), lambda x: x.astype("int32"), [A]),
    "to_int8": (lambda x: topi.cast(x, "int8"), lambda x: x.astype("int8"), [A]),
    "to_bool": (lambda x: topi.cast(x, "bool"), lambda x: x.astype("bool"), [A << 32]),
    "from_float32": (lambda x: topi.cast(x, "int64"), lambda x: x.astype("int64"), [F]),
    "sum_of_rows": (lambda x: topi.sum(x, 1), lambda x: x.sum(1), [A]),
    "sum_of_columns": (lambda x: topi.sum(x, 0), lambda x: x.sum(0), [A]),
    "long_sums": (lambda x: topi.sum(x, 1), lambda x: x.sum(1), [ONES]),
    "sum_of_all": (topi.sum, np.sum, [np.full(5000, 2**29)]),
    "largest": (lambda x: topi.max(x, 1), lambda x: x.max(1), [A]),
    "smallest": (lambda x: topi.min(x, 1), lambda x: x.min(1), [A]),
    "largest_of_columns": (lambda x: topi.max(x, 0), lambda x: x.max(0), [A]),
    "product": (lambda x: topi.prod(x, 1), lambda x: x.prod(1), [A | 1]),
    "epilogue": (lambda x, y: topi.subtract(topi.sum(x, 1), topi.max(y, 1)), lambda x, y: x.sum(1) - y.max(1), [A, B]),
    "clipped_indices": (lambda t, i: topi.take(t, i, axis=0, mode="clip"), lambda t, i: t[np.clip(i, 0, 19)], [TABLE, IDS]),
    "widened_sum": (lambda x: topi.sum(topi.cast(x, "int64"), 1), lambda x: x.astype("int64").sum(1), [A.astype("int32")]),
    "smallest_int32": (lambda x: topi.min(x, 1), lambda x: x.min(1), [np.full((3, 9), -(2**31), "int32")]),
}


def prim_func(name: str) -> tirx.PrimFunc:
    build, _, arrays = CASES[name]
    given = [te.placeholder(x.shape, str(x.dtype), f"x{k}") for k, x in enumerate(arrays)]
    return te.create_prim_func([*given, build(*given)]).with_attr("global_symbol", name)


@pytest.fixture(scope="module")
def module() -> Any:
    functions = {name: lower_function(prim_func(name)) for name in CASES}
    assert not [name for name, f in functions.items() if ELEMENT_LOOPS in f.attrs]
    return tvm.compile(tvm.IRModule(functions), target="rigi1")


pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize("name", CASES)
def test_values_beyond_32_bits(module: Any, name: str) -> None:
    _, reference, arrays = CASES[name]
    with np.errstate(over="ignore"):
        want = np.asarray(reference(*arrays))
    got = testing.run(module, name, *map(np.ascontiguousarray, arrays), np.zeros_like(want), out=[len(arrays)])
    np.testing.assert_array_equal(got, want)
