"""NumPy's side of Relax's operators, and what its results are worth: how far a right result may be from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .program import Value
from .values import FLOATS, is_float

Operator = Callable[..., Any]
# The relative error of one operation, with room for a few.
UNIT = {"float64": 2.0**-50, "float32": 2.0**-20, "float16": 2.0**-9, "bfloat16": 2.0**-6, "float8_e4m3fn": 0.13, "float8_e5m2": 0.26}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Relax operators and NumPy's. Exact ones give fixed bits, smooth ones turn a small error into a small one.
EXACT: dict[str, Operator] = {
    "negative": np.negative,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": np.trunc,
    "abs": np.abs,
    "square": np.square,
    "nn.relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
}
SMOOTH: dict[str, Operator] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sin": np.sin,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf),
    "sigmoid": sigmoid,
    "nn.silu": lambda x: x * sigmoid(x),
}
ARITHMETIC: dict[str, Operator] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
COMPARE: dict[str, Operator] = {
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
}
BITS: dict[str, Operator] = {name: getattr(np, name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")}
LOGIC: dict[str, Operator] = {name: getattr(np, name) for name in ("logical_and", "logical_or", "logical_xor")}


# ---- what NumPy's results are worth


def typed(value: np.ndarray, x: Value, boolean: bool = False) -> np.ndarray:
    return np.asarray(value).astype(bool if boolean else x.array.dtype)


def largest(x: np.ndarray) -> float:
    wide = np.abs(x.astype("float64"))
    return float(wide[np.isfinite(wide)].max(initial=0))


def grown(error: float, given: list[np.ndarray], value: np.ndarray, dtype: str, product: bool) -> float:
    """The error of a result of values with errors, relative to the result's largest element."""
    if not error:
        return 0.0
    size = max(map(largest, given))
    reach = size * size if product else size
    return error * max(1.0, reach / max(largest(value), 1e-9)) + UNIT.get(dtype, 0.0)


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1]))


def exactly(source: str, to: str) -> bool:
    return source == "bool" or to == "float64"


def castable(x: Value, to: str) -> bool:
    """Whether the cast means something, and the same everywhere: nothing beyond the integers, or beyond e4m3, where the chip saturates."""
    wide = x.array.astype("float64")
    if to == "float8_e4m3fn":
        return bool((np.abs(wide) <= 448).all()) and not x.error
    if not is_float(x.dtype) or is_float(to):
        return not x.error or to in FLOATS
    if x.error:
        return False
    if to == "bool":
        return True
    limits = np.iinfo(to)
    return bool(np.isfinite(wide).all() and (wide > float(limits.min) - 1).all() and (wide < float(limits.max)).all())
