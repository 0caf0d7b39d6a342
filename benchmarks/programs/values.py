"""Random arrays of all types, with the values at which widths, signs and roundings show."""

from __future__ import annotations

import ml_dtypes
import numpy as np

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float16", "bfloat16", "float64")
SMALL = ("float8_e4m3fn", "float8_e5m2")
DTYPES = ("bool", *INTEGERS, *FLOATS, *SMALL)
# How often each is drawn: what models are made of, then the rest.
WEIGHTS = {"float32": 6, "int64": 5, "int32": 3, "float16": 2, "bfloat16": 2, "bool": 2}

_POWERS = (7, 8, 15, 16, 24, 31, 32, 40, 53, 63)
_WHOLE = (0, 1, -1, 2, 2**32 + 5, -(2**40) - 3, *(sign * 2**n + by for n in _POWERS for sign in (1, -1) for by in (-1, 0, 1)))
_REAL = (0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -2.5, 3.5, 1e-3, 255.5, -1.0, 448.0)
_BEYOND = (np.nan, np.inf, -np.inf)


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def pick_dtype(rng: np.random.Generator, among: tuple[str, ...] = DTYPES) -> str:
    weights = np.array([WEIGHTS.get(d, 1) for d in among], float)
    return str(rng.choice(among, p=weights / weights.sum()))


def array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Plain values, or some of them at the edges of the type; floats sometimes with infinities and NaN."""
    kind, edges = numpy_dtype(dtype), rng.random() < 0.5
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if is_float(dtype):
        x = (rng.standard_normal(shape) * rng.choice([1.0, 4.0, 100.0])).astype(kind)
        special = [*_REAL, *(_BEYOND if rng.random() < 0.3 else ())]
    else:
        limits = np.iinfo(kind)
        x = rng.integers(max(limits.min, -50), min(limits.max, 50), shape).astype(kind)
        special = [v for v in (*_WHOLE, limits.min, limits.max) if limits.min <= v <= limits.max]
    if edges and x.size:
        places = rng.random(shape) < 0.3
        with np.errstate(all="ignore"):
            chosen = [special[k] for k in rng.integers(0, len(special), int(places.sum()))]
            x[places] = np.array(chosen, object if not is_float(dtype) else float).astype(kind)
    return x
