"""Functions that the engines do not have, out of those that they have. Each takes values and gives one, in fp32 unless said.

Accuracy is that of fp32 with a few roundings, a few 1e-7 relative where the result is not near a zero of the function; `erf` 2.4e-7
absolute. Large arguments go through exp and log as they would on paper, so that infinities come out where they should.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import dialect as R
from .frame import Value

F32, I32, BOOL = "float32", "int32", "uint8"


def shared(value: Value) -> Value:
    """A value that several instructions read: none of them may write it or give it back."""
    return Value(value.shape, value.at, value.dtype)


def done(v: Any, result: Value, *used: Value) -> Value:
    for value in used:
        if value.own and value.shape != "imm" and not (result.shape != "imm" and value.at.same_as(result.at)):
            v.frame.drop(value)
    return result


def truncated(v: Any, x: Value) -> Value:
    """To int32, toward zero; saturates, NaN gives 0."""
    x = v.settled(x)
    s = shared(x)
    size = v.emit(R.maximum, F32, s, v.emit(R.mul, F32, s, v.imm(-1.0)))
    near = v.emit(R.cast, I32, shared(size))
    over = v.emit(R.gt, I32, shared(near), size)
    whole = v.emit(R.sub, I32, near, over)
    sign = v.emit(R.lt, BOOL, s, v.imm(0))
    whole = v.emit(R.select, I32, sign, v.emit(R.mul, I32, shared(whole), v.imm(-1, I32)), whole)
    lowest = v.emit(R.le, BOOL, s, v.imm(-2147483648.0))  # which has no opposite
    return done(v, v.emit(R.select, I32, lowest, v.imm(-2147483648, I32), whole), x)


def _whole(v: Any, x: Value, adjust: Callable[[Value, Value], Value]) -> Value:
    """Rounds to nearest, then `adjust(nearest, x)`; numbers of 2^23 and more are whole as they are."""
    x = v.settled(x)
    s = shared(x)
    near = v.emit(R.cast, F32, v.emit(R.cast, I32, s))
    result = adjust(near, s)
    large = v.emit(R.ge, BOOL, v.emit(R.maximum, F32, s, v.emit(R.mul, F32, s, v.imm(-1.0))), v.imm(8388608.0))
    whole = v.emit(R.select, F32, large, s, result)
    unordered = v.emit(R.ne, BOOL, s, s)
    return done(v, v.emit(R.select, F32, unordered, s, whole), x)


def floor(v: Any, x: Value) -> Value:
    return _whole(v, x, lambda n, s: v.emit(R.sub, F32, n, v.emit(R.gt, F32, shared(n), s)))


def ceil(v: Any, x: Value) -> Value:
    return _whole(v, x, lambda n, s: v.emit(R.add, F32, n, v.emit(R.lt, F32, shared(n), s)))


def nearest_even(v: Any, x: Value) -> Value:
    return _whole(v, x, lambda n, s: n)


def trunc(v: Any, x: Value) -> Value:
    def adjust(n: Value, s: Value) -> Value:
        whole = v.emit(R.cast, F32, truncated(v, s))
        return done(v, whole, n)

    return _whole(v, x, adjust)


def absolute(v: Any, x: Value) -> Value:
    dtype = x.dtype if x.shape != "imm" else F32
    x = v.settled(x)
    minus = v.emit(R.mul, dtype, shared(x), v.imm(-1, dtype if dtype.startswith("int") else F32))
    return v.emit(R.maximum, dtype, x, minus)


def divided(v: Any, a: Value, b: Value, floor: bool, quotient: bool) -> Value:
    """Integer division, truncating as the engine does or to minus infinity, or its remainder."""
    a, b = v.settled(a, I32), v.settled(b, I32) if floor else b
    sa, sb = shared(a), shared(b)
    q = v.emit(R.div, I32, sa, sb)
    rest = None
    if floor or not quotient:
        rest = v.emit(R.sub, I32, sa, v.emit(R.mul, I32, shared(q), sb))
    if floor and rest is not None:
        other = v.emit(R.lt, I32, v.emit(R.mul, F32, shared(rest), sb), v.imm(0))  # the signs differ, and there is a rest
        if quotient:
            q = v.emit(R.sub, I32, q, other)
        else:
            rest = v.emit(R.add, I32, rest, v.emit(R.mul, I32, other, sb))
    if quotient:
        return done(v, done(v, q, a, b), *([rest] if rest is not None else []))
    assert rest is not None
    return done(v, rest, a, b, q)


def modulo(v: Any, a: Value, b: Value, floor: bool) -> Value:
    """a - b * trunc(a / b), or with floor the sign of b."""
    a, b = v.settled(a), v.settled(b)
    q = v.emit(R.div, F32, shared(a), shared(b))
    whole = globals()["floor"](v, q) if floor else trunc(v, q)
    return done(v, v.emit(R.sub, F32, shared(a), v.emit(R.mul, F32, whole, shared(b))), a, b)


def fmod(v: Any, a: Value, b: Value) -> Value:
    return modulo(v, a, b, floor=False)


def power(v: Any, x: Value, y: Value) -> Value:
    """x^y: by products for small whole y, else exp(y log |x|) with the sign of an odd y."""
    number = float(y.at.value) if y.shape == "imm" and hasattr(y.at, "value") else None
    x = v.settled(x)
    s = shared(x)
    if number is not None and number == int(number) and 1 <= abs(number) <= 8:
        result = s
        for _ in range(int(abs(number)) - 1):
            result = v.emit(R.mul, F32, result, s)
        if number < 0:
            result = v.act("reciprocal", result)
        return done(v, v.emit(R.mul, F32, s, v.imm(1.0)) if result is s else result, x)
    if number == 0.5:
        return done(v, v.act("sqrt", s), x)
    if number == -0.5:
        return done(v, v.act("rsqrt", s), x)
    y = v.settled(y)
    t = shared(y)
    size = v.emit(R.maximum, F32, s, v.emit(R.mul, F32, s, v.imm(-1.0)))
    result = v.act("exp", v.emit(R.mul, F32, v.act("log", size), t))
    half = v.emit(R.mul, F32, t, v.imm(0.5))
    odd = v.emit(R.ne, BOOL, nearest_even(v, shared(half)), half)  # for whole y
    negative = v.emit(R.lt, BOOL, s, v.imm(0))
    flips = v.emit(R.mul, BOOL, odd, shared(negative))
    result = v.emit(R.select, F32, flips, v.emit(R.mul, F32, shared(result), v.imm(-1.0)), result)
    broken = v.emit(R.mul, BOOL, negative, v.emit(R.ne, BOOL, nearest_even(v, t), t))  # a negative x and a y that is not whole
    result = v.emit(R.select, F32, broken, v.imm(math.nan), result)
    zero = v.emit(R.eq, BOOL, t, v.imm(0))
    return done(v, v.emit(R.select, F32, zero, v.imm(1.0), result), x, y)


def erf(v: Any, x: Value) -> Value:
    """From gelu(z) = z / 2 (1 + erf(z / sqrt 2)): erf(x) = 2 gelu(z) / z - 1 with z = sqrt(2) x."""
    x = v.settled(x)
    s = shared(x)
    z = v.emit(R.minimum, F32, v.emit(R.maximum, F32, v.emit(R.mul, F32, s, v.imm(math.sqrt(2.0))), v.imm(-12.0)), v.imm(12.0))
    ratio = v.emit(R.div, F32, v.act("gelu", shared(z)), shared(z))
    value = v.emit(R.sub, F32, v.emit(R.mul, F32, ratio, v.imm(2.0)), v.imm(1.0))
    # Near zero the difference cancels: 2 / sqrt(pi) x (1 - x^2 / 3 + x^4 / 10) is better.
    square = v.emit(R.mul, F32, s, s)
    series = v.emit(R.sub, F32, v.emit(R.mul, F32, shared(square), v.imm(0.1)), v.imm(1.0 / 3.0))
    series = v.emit(R.add, F32, v.emit(R.mul, F32, series, shared(square)), v.imm(1.0))
    series = v.emit(R.mul, F32, v.emit(R.mul, F32, series, s), v.imm(2.0 / math.sqrt(math.pi)))
    small = v.emit(R.lt, BOOL, square, v.imm(0.01))
    return done(v, v.emit(R.select, F32, small, series, value), x, z)


def _exp_pair(v: Any, x: Value, sign: float) -> Value:
    """(e^x + sign e^-x) / 2."""
    x = v.settled(x)
    s = shared(x)
    both = v.emit(R.add if sign > 0 else R.sub, F32, v.act("exp", s), v.act("exp", s, scale=-1.0))
    return done(v, v.emit(R.mul, F32, both, v.imm(0.5)), x)


def sinh(v: Any, x: Value) -> Value:
    x = v.settled(x)
    s = shared(x)
    square = v.emit(R.mul, F32, s, s)
    series = v.emit(R.add, F32, v.emit(R.mul, F32, shared(square), v.imm(1.0 / 120.0)), v.imm(1.0 / 6.0))
    series = v.emit(R.add, F32, v.emit(R.mul, F32, series, shared(square)), v.imm(1.0))
    series = v.emit(R.mul, F32, series, s)
    small = v.emit(R.lt, BOOL, square, v.imm(0.04))
    return done(v, v.emit(R.select, F32, small, series, _exp_pair(v, s, -1.0)), x)


def cosh(v: Any, x: Value) -> Value:
    return _exp_pair(v, x, 1.0)


def tan(v: Any, x: Value) -> Value:
    x = v.settled(x)
    return done(v, v.emit(R.div, F32, v.act("sin", shared(x)), v.act("cos", shared(x))), x)


def _polynomial(v: Any, x: Value, coefficients: list[float]) -> Value:
    """Horner, highest power first."""
    result = v.emit(R.mul, F32, x, v.imm(coefficients[0]))
    for c in coefficients[1:-1]:
        result = v.emit(R.mul, F32, v.emit(R.add, F32, result, v.imm(c)), x)
    return v.emit(R.add, F32, result, v.imm(coefficients[-1]))


def atan(v: Any, x: Value) -> Value:
    """Argument reduced to [0, tan(pi/8)] by atan x = pi/2 - atan 1/x and atan x = pi/4 + atan((x-1)/(x+1)), then the odd series."""
    x = v.settled(x)
    s = shared(x)
    size = absolute(v, s)
    far = v.emit(R.gt, BOOL, shared(size), v.imm(math.tan(3 * math.pi / 8)))
    mid = v.emit(R.gt, BOOL, shared(size), v.imm(math.tan(math.pi / 8)))
    shifted = v.emit(R.div, F32, v.emit(R.sub, F32, shared(size), v.imm(1.0)), v.emit(R.add, F32, shared(size), v.imm(1.0)))
    inverse = v.emit(R.mul, F32, v.act("reciprocal", shared(size)), v.imm(-1.0))
    t = v.emit(R.select, F32, shared(far), inverse, v.emit(R.select, F32, shared(mid), shifted, size))
    square = v.emit(R.mul, F32, shared(t), shared(t))
    terms = [(-1.0) ** k / (2 * k + 1) for k in range(8, -1, -1)]
    value = v.emit(R.mul, F32, _polynomial(v, shared(square), terms), t)
    v.frame.drop(square)
    base = v.emit(R.select, F32, far, v.imm(math.pi / 2), v.emit(R.mul, F32, mid, v.imm(math.pi / 4)))
    value = v.emit(R.add, F32, value, base)
    sign = v.emit(R.lt, BOOL, s, v.imm(0))
    return done(v, v.emit(R.select, F32, sign, v.emit(R.mul, F32, shared(value), v.imm(-1.0)), value), x)


def atan2(v: Any, y: Value, x: Value) -> Value:
    """The angle of (x, y): atan(y / x), half a turn further where x is negative; 0 at the origin, whatever the signs of its zeros."""
    y, x = v.settled(y), v.settled(x)
    sy, sx = shared(y), shared(x)
    value = atan(v, v.emit(R.div, F32, sy, sx))
    half = v.emit(R.select, F32, v.emit(R.lt, BOOL, sy, v.imm(0)), v.imm(-math.pi), v.imm(math.pi))
    value = v.emit(R.add, F32, value, v.emit(R.mul, F32, half, v.emit(R.lt, F32, sx, v.imm(0))))
    origin = v.emit(R.eq, BOOL, absolute(v, sy), v.emit(R.mul, F32, absolute(v, sx), v.imm(0)))
    origin = v.emit(R.mul, BOOL, origin, v.emit(R.eq, BOOL, sx, v.imm(0)))
    return done(v, v.emit(R.select, F32, origin, v.imm(0.0), value), y, x)


def asin(v: Any, x: Value) -> Value:
    """atan(x / sqrt(1 - x^2)), the root as sqrt((1 - x)(1 + x))."""
    x = v.settled(x)
    s = shared(x)
    left = v.emit(R.add, F32, v.emit(R.mul, F32, s, v.imm(-1.0)), v.imm(1.0))
    root = v.act("sqrt", v.emit(R.mul, F32, left, v.emit(R.add, F32, s, v.imm(1.0))))
    return done(v, atan(v, v.emit(R.div, F32, s, root)), x)


def acos(v: Any, x: Value) -> Value:
    """2 atan(sqrt((1 - x) / (1 + x))): no cancellation near 1."""
    x = v.settled(x)
    s = shared(x)
    left = v.emit(R.add, F32, v.emit(R.mul, F32, s, v.imm(-1.0)), v.imm(1.0))
    ratio = v.emit(R.div, F32, left, v.emit(R.add, F32, s, v.imm(1.0)))
    return done(v, v.emit(R.mul, F32, atan(v, v.act("sqrt", ratio)), v.imm(2.0)), x)


def log1p(v: Any, x: Value) -> Value:
    """log(u) x / (u - 1) with u = 1 + x, which takes back the rounding of u (Kahan); x where u is 1."""
    x = v.settled(x)
    s = shared(x)
    u = v.emit(R.add, F32, s, v.imm(1.0))
    minus = v.emit(R.sub, F32, shared(u), v.imm(1.0))
    same = v.emit(R.eq, BOOL, shared(minus), v.imm(0))
    huge = v.emit(R.gt, BOOL, s, v.imm(1e15))
    logs = v.act("log", u)
    value = v.emit(R.div, F32, v.emit(R.mul, F32, shared(logs), s), minus)
    value = v.emit(R.select, F32, huge, logs, value)
    return done(v, v.emit(R.select, F32, same, s, value), x)


def asinh(v: Any, x: Value) -> Value:
    """sign(x) log1p(|x| + x^2 / (1 + sqrt(x^2 + 1)))."""
    x = v.settled(x)
    s = shared(x)
    square = v.emit(R.mul, F32, s, s)
    root = v.act("sqrt", shared(square), bias=1.0)
    extra = v.emit(R.div, F32, square, v.emit(R.add, F32, root, v.imm(1.0)))
    value = log1p(v, v.emit(R.add, F32, extra, absolute(v, s)))
    sign = v.emit(R.lt, BOOL, s, v.imm(0))
    return done(v, v.emit(R.select, F32, sign, v.emit(R.mul, F32, shared(value), v.imm(-1.0)), value), x)


def acosh(v: Any, x: Value) -> Value:
    """log1p(t + sqrt(2 t + t^2)) with t = x - 1."""
    x = v.settled(x)
    t = v.emit(R.sub, F32, shared(x), v.imm(1.0))
    inside = v.emit(R.mul, F32, v.emit(R.add, F32, shared(t), v.imm(2.0)), shared(t))
    return done(v, log1p(v, v.emit(R.add, F32, v.act("sqrt", inside), t)), x)


def atanh(v: Any, x: Value) -> Value:
    """log1p(2 x / (1 - x)) / 2."""
    x = v.settled(x)
    s = shared(x)
    left = v.emit(R.add, F32, v.emit(R.mul, F32, s, v.imm(-1.0)), v.imm(1.0))
    ratio = v.emit(R.div, F32, v.emit(R.mul, F32, s, v.imm(2.0)), left)
    return done(v, v.emit(R.mul, F32, log1p(v, ratio), v.imm(0.5)), x)


def _scaled_log(base: float) -> Callable[[Any, Value], Value]:
    return lambda v, x: v.emit(R.mul, F32, v.act("log", x), v.imm(1.0 / math.log(base)))


def isnan(v: Any, x: Value) -> Value:
    x = v.settled(x)
    return v.emit(R.ne, BOOL, x, x) if not x.own else done(v, v.emit(R.ne, BOOL, shared(x), shared(x)), x)


def isinf(v: Any, x: Value) -> Value:
    return v.emit(R.eq, BOOL, absolute(v, x), v.imm(math.inf))


def isfinite(v: Any, x: Value) -> Value:
    return v.emit(R.lt, BOOL, absolute(v, x), v.imm(math.inf))


# Of bools. On integers bits are the sequencer's.
LOGICAL = {"bitwise_and": R.mul, "bitwise_or": R.maximum, "bitwise_xor": R.ne, "bitwise_not": R.eq}

FUNCTIONS: dict[str, Callable[..., Value]] = {
    "fabs": absolute, "abs": absolute, "floor": floor, "ceil": ceil, "trunc": trunc, "round": nearest_even, "nearbyint": nearest_even,
    "pow": power, "erf": erf, "sinh": sinh, "cosh": cosh, "tan": tan, "atan": atan, "atan2": atan2, "asin": asin, "acos": acos,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "log1p": log1p, "log2": _scaled_log(2.0), "log10": _scaled_log(10.0), "fmod": fmod,
    "isnan": isnan, "isinf": isinf, "isfinite": isfinite, "truncdiv": lambda v, a, b: divided(v, a, b, False, True),
    "truncmod": lambda v, a, b: divided(v, a, b, False, False),
}  # fmt: skip
