"""Formulas that the activation engine computes in one pass, as models write them."""

from __future__ import annotations

import math
from typing import Any

import tvm_ffi
from tvm.ir import prim

from .rewrite import is_call


def _number(e: Any) -> float | None:
    return float(e.value) if isinstance(e, (prim.FloatImm, prim.IntImm)) else None


def _with_number(e: Any, kind: Any) -> tuple[float, Any] | None:
    """(number, the rest) of a sum or product with a number."""
    if not isinstance(e, kind):
        return None
    for a, b in ((e.a, e.b), (e.b, e.a)):
        number = _number(a)
        if number is not None:
            return number, b
    return None


def _half_of_one_plus_erf(e: Any) -> tuple[float, Any] | None:
    """(factor f, x) if e is f (1 + erf(x / sqrt 2))."""
    outer = _with_number(e, prim.Mul)
    if outer is not None:
        inner = _half_of_one_plus_erf(outer[1])
        return None if inner is None else (outer[0] * inner[0], inner[1])
    total = _with_number(e, prim.Add)
    if total is None:
        return None
    factor, erf = 1.0, total[1]
    scaled = _with_number(erf, prim.Mul)
    if scaled is not None:
        factor, erf = scaled
    if not is_call(erf, "erf") or not math.isclose(factor, total[0], rel_tol=1e-6):
        return None
    inside = _with_number(erf.args[0], prim.Mul)
    if inside is not None and math.isclose(inside[0], math.sqrt(0.5), rel_tol=1e-5):
        return factor, inside[1]
    quotient = erf.args[0]
    if isinstance(quotient, prim.Div) and math.isclose(_number(quotient.b) or 0, math.sqrt(2), rel_tol=1e-5):
        return factor, quotient.a
    return None


def activation(e: Any) -> tuple[str, Any] | None:
    """(function, argument) if a product is silu or gelu of something."""
    if not isinstance(e, prim.Mul):
        return None
    for x, other in ((e.a, e.b), (e.b, e.a)):
        if is_call(other, "sigmoid") and tvm_ffi.structural_equal(other.args[0], x):
            return "silu", x
        factor = 1.0
        scaled = _with_number(x, prim.Mul)
        found = _half_of_one_plus_erf(other)
        if found is None:
            continue
        if tvm_ffi.structural_equal(found[1], x):
            factor = found[0]
        elif scaled is not None and tvm_ffi.structural_equal(found[1], scaled[1]):
            factor = found[0] * scaled[0]
        else:
            continue
        if math.isclose(factor, 0.5, rel_tol=1e-6):
            return "gelu", found[1]
    return None
