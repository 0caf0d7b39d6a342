"""64-bit integers in two words of 32 bits: what the vector engine computes with an int64 that may not fit in one.

The low word of a sum, a difference, a product or a choice needs the low words of its operands alone, so an index costs what an int32 does.
Comparisons, extrema, divisions, and what becomes a float or is stored, need both. Division by anything but a constant of up to 2^15, and
bits but for shifts by whole words, are the sequencer's. Everything wraps at 64 bits, as TIR's values do on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Call, TensorLoad, prim

from .. import dialect as R
from . import functions
from .emitter import integer
from .frame import Value
from .functions import done, shared
from .ranges import bounds, fits, within
from .rewrite import as_int64, dtype_of, find, is_call, is_integer
from .stage import Unsupported

I32, F32, BOOL = "int32", "float32", "uint8"
LOWEST = -(1 << 31)
_SPAN = 1 << 32
_DIVISOR = 1 << 15  # largest constant that a pair is divided by: a rest and 16 more bits are an int32


@dataclass(frozen=True)
class Pair:
    """low + 2^32 high, the low word without a sign. Operations below consume their operands (give back what nobody else uses)."""

    low: Value
    high: Value

    @property
    def shared(self) -> Pair:
        return Pair(shared(self.low), shared(self.high))


_DIVISIONS = (prim.Div, prim.Mod, prim.FloorDiv, prim.FloorMod)
_COMPARISONS = (prim.LT, prim.LE, prim.GT, prim.GE, prim.EQ, prim.NE)


def is_wide(v: Any, e: Any) -> bool:
    """Whether an expression is an int64 that may need both words. Places that are counted from sizes alone do not."""
    if dtype_of(e) != "int64" or v.places and not find(e, TensorLoad):
        return False
    return not fits(e, v.frame.emitter.analyzer)


def low_word(v: Any, e: Any) -> Value | None:
    """What depends on the high words of its operands, computed from both: a comparison, or the low word of an int64. None for what does
    not, and may be computed from low words alone."""
    if isinstance(e, _COMPARISONS):
        return compared(v, type(e), pair(v, e.a), pair(v, e.b)) if is_wide(v, e.a) or is_wide(v, e.b) else None
    if isinstance(e, prim.Cast):
        return _cast(v, e)
    if isinstance(e, (prim.Max, prim.Min, prim.RShift, *_DIVISIONS)) and (is_wide(v, e.a) or is_wide(v, e.b)):
        both = _pair(v, e)
        return done(v, both.low, both.high)
    if isinstance(e, prim.BitwiseAnd) and is_wide(v, e.b):
        raise Unsupported(f"bits of integers are the sequencer's: {e}")
    if isinstance(e, Call) and not is_call(e, "if_then_else") and not is_call(e, "likely") and any(is_wide(v, a) for a in e.args):
        raise Unsupported(f"functions of 64-bit integers are the sequencer's: {e}")
    return None


def _cast(v: Any, e: prim.Cast) -> Value | None:
    to = dtype_of(e)
    if to == "int64" and dtype_of(e.value) not in ("bool", "int64") and not is_integer(dtype_of(e.value)):
        both = _pair(v, e)
        return done(v, both.low, both.high)
    if not is_wide(v, e.value) or is_integer(to):
        return None
    both = pair(v, e.value)
    if to == "bool":
        return compared(v, prim.NE, both, constant(v, integer(0)))
    return v.cast(_as_float(v, both), to)


def pair(v: Any, e: Any) -> Pair:
    """Both words of an integer expression."""
    if dtype_of(e) != "int64":
        return extended(v, v(e))
    if v.is_number(e):
        return constant(v, v.number(e))
    if not is_wide(v, e):
        return extended(v, v(e))
    return v.kept(e, lambda: _pair(v, e))


def _pair(v: Any, e: Any) -> Pair:
    if isinstance(e, TensorLoad):
        return v.words(e)
    if isinstance(e, prim.Cast):
        source = dtype_of(e.value)
        if source == "bool" or is_integer(source):
            return extended(v, v(e.value))
        return _from_float(v, v.cast(v.settled(v(e.value)), F32))
    if type(e) in _ARITHMETIC:
        return _ARITHMETIC[type(e)](v, pair(v, e.a), pair(v, e.b))
    if isinstance(e, (prim.Max, prim.Min)):
        a, b = pair(v, e.a), pair(v, e.b)
        first = compared(v, prim.GT if isinstance(e, prim.Max) else prim.LT, a.shared, b.shared)
        return chosen(v, first, a, b)
    if isinstance(e, prim.Select) or is_call(e, "if_then_else"):
        condition, yes, no = e.args if isinstance(e, Call) else (e.condition, e.true_value, e.false_value)
        test = v(condition)
        with v.under(condition, True, test):
            a = pair(v, yes)
        with v.under(condition, False, test):
            b = pair(v, no)
        return chosen(v, test, a, b)
    if is_call(e, "likely"):
        return pair(v, e.args[0])
    if isinstance(e, prim.BitwiseNot):
        return _inverted(v, pair(v, e.a))
    if type(e) in _SHIFTS and isinstance(e.b, prim.IntImm) and int(e.b.value) == 32:
        return _SHIFTS[type(e)](v, pair(v, e.a))
    if isinstance(e, _DIVISIONS) and isinstance(e.b, prim.IntImm) and 0 < abs(int(e.b.value)) <= _DIVISOR:
        return _by_constant(v, type(e), pair(v, e.a), int(e.b.value))
    raise Unsupported(f"the engines have no {type(e).__name__} of 64-bit integers: {e}")


# ---- from and to one word


def constant(v: Any, number: Any) -> Pair:
    """A number of the sequencer."""
    whole = as_int64(number)
    simplified = v.frame.emitter.simplified
    low = simplified(tirx.floormod(whole - integer(LOWEST), integer(_SPAN)) + integer(LOWEST)) if not _is_small(v, whole) else whole
    high = simplified(tirx.floordiv(whole, integer(_SPAN)))
    return Pair(*(Value("imm", word, "int64") for word in (low, high)))


def _is_small(v: Any, whole: Any) -> bool:
    return within(bounds(whole, v.frame.emitter.analyzer), (LOWEST, -LOWEST - 1))


def extended(v: Any, low: Value) -> Pair:
    """An int32, or less, with the word of its sign."""
    if low.shape == "imm":
        return constant(v, low.at)
    if low.dtype == BOOL:
        return Pair(v.cast(low, I32), v.imm(0, I32))
    low = v.cast(low, I32)
    return Pair(low, sign_word(v, low))


def sign_word(v: Any, low: Value) -> Value:
    """-1 where an int32 is negative, else 0."""
    return v.emit(R.mul, I32, v.emit(R.lt, I32, shared(low), v.imm(0, I32)), v.imm(-1, I32))


def _from_float(v: Any, x: Value) -> Pair:
    """Toward zero: how often 2^32 is in |x|, and the rest, both exact; the sign last. NaN gives 0."""
    s = shared(x)
    size = v.emit(R.maximum, F32, s, v.emit(R.mul, F32, s, v.imm(-1.0)))
    spans = functions.floor(v, v.emit(R.mul, F32, shared(size), v.imm(2.0**-32)))
    rest = v.emit(R.sub, F32, size, v.emit(R.mul, F32, shared(spans), v.imm(2.0**32)))
    over = v.emit(R.mul, F32, v.emit(R.ge, F32, shared(rest), v.imm(2.0**31)), v.imm(2.0**32))
    low = functions.truncated(v, v.emit(R.sub, F32, rest, over))
    found = Pair(low, v.cast(spans, I32))
    negative = v.emit(R.lt, BOOL, s, v.imm(0))
    turned = _negative(v, found.shared)
    result = chosen(v, negative, turned, found)
    lowest = v.emit(R.le, BOOL, s, v.imm(-(2.0**63)))
    high = v.emit(R.select, I32, lowest, v.imm(LOWEST, I32), result.high)
    return Pair(done(v, result.low, x), high)


def _as_float(v: Any, x: Pair) -> Value:
    """fp32, rounded once. x = a 2^40 + b 2^16 + c with parts that fp32 has; the error of a 2^40 + b 2^16 is exact, too (Knuth), and of c
    only matters whether it is there, unless x is so small that there is no error yet."""
    quotient, byte = _parted(v, v.settled(x.high, I32), 256)
    upper, lower = halves(v, v.settled(x.low, I32))
    middle = v.emit(R.add, I32, v.emit(R.mul, I32, byte, v.imm(65536, I32)), upper)
    small = v.emit(R.add, I32, shared(quotient), v.emit(R.lt, I32, shared(quotient), v.imm(0, I32)))
    small = v.emit(R.eq, BOOL, small, v.imm(0, I32))  # the highest part is 0 or -1
    a = v.emit(R.mul, F32, v.cast(quotient, F32), v.imm(2.0**40))
    b = v.emit(R.mul, F32, v.cast(middle, F32), v.imm(65536.0))
    total = v.emit(R.add, F32, shared(a), shared(b))
    of_b = v.emit(R.sub, F32, shared(total), shared(a))
    of_a = v.emit(R.sub, F32, shared(total), shared(of_b))
    error = v.emit(R.add, F32, v.emit(R.sub, F32, a, of_a), v.emit(R.sub, F32, b, of_b))
    there = v.emit(R.mul, F32, v.emit(R.ne, F32, shared(lower), v.imm(0, I32)), v.imm(32768.0))
    rest = v.emit(R.select, F32, small, v.cast(lower, F32), there)
    return v.emit(R.add, F32, total, v.emit(R.add, F32, error, rest))


def _parted(v: Any, x: Value, by: int) -> tuple[Value, Value]:
    """A word as by * quotient + rest, the rest not negative."""
    quotient = functions.divided(v, shared(x), v.imm(by, I32), True, quotient=True)
    return quotient, v.emit(R.sub, I32, x, v.emit(R.mul, I32, shared(quotient), v.imm(by, I32)))


def halves(v: Any, x: Value) -> tuple[Value, Value]:
    """The upper and the lower 16 bits of a word without a sign."""
    upper, lower = _parted(v, x, 65536)
    lift = v.emit(R.mul, I32, v.emit(R.lt, I32, shared(upper), v.imm(0, I32)), v.imm(65536, I32))
    return v.emit(R.add, I32, upper, lift), lower


# ---- arithmetic


def ordered(v: Any, x: Value) -> Value:
    """A word whose order with its sign is that of `x` without one."""
    return v.emit(R.add, I32, x, v.imm(LOWEST, I32))


def add(v: Any, a: Pair, b: Pair) -> Pair:
    low = v.emit(R.add, I32, shared(a.low), b.low)
    carry = v.emit(R.lt, I32, ordered(v, shared(low)), ordered(v, a.low))
    return Pair(low, v.emit(R.add, I32, v.emit(R.add, I32, a.high, b.high), carry))


def subtract(v: Any, a: Pair, b: Pair) -> Pair:
    borrow = v.emit(R.lt, I32, ordered(v, shared(a.low)), ordered(v, shared(b.low)))
    low = v.emit(R.sub, I32, a.low, b.low)
    return Pair(low, v.emit(R.sub, I32, v.emit(R.sub, I32, a.high, b.high), borrow))


def multiply(v: Any, a: Pair, b: Pair) -> Pair:
    """By halves of words: of (a1 2^16 + a0) (b1 2^16 + b0), each product fits in a word without a sign."""
    a, b = (Pair(*(v.settled(word, I32) for word in (x.low, x.high))) for x in (a, b))
    low = v.emit(R.mul, I32, shared(a.low), shared(b.low))
    cross = v.emit(R.add, I32, v.emit(R.mul, I32, shared(a.low), b.high), v.emit(R.mul, I32, a.high, shared(b.low)))
    (a1, a0), (b1, b0) = halves(v, a.low), halves(v, b.low)
    carried, zero = halves(v, v.emit(R.mul, I32, shared(a0), shared(b0)))
    v.frame.drop(zero)
    upper, lower = halves(v, v.emit(R.add, I32, v.emit(R.mul, I32, shared(a1), b0), carried))
    last, rest = halves(v, v.emit(R.add, I32, v.emit(R.mul, I32, a0, shared(b1)), lower))
    v.frame.drop(rest)
    high = v.emit(R.add, I32, v.emit(R.mul, I32, a1, b1), v.emit(R.add, I32, upper, last))
    return Pair(low, v.emit(R.add, I32, high, cross))


def _negative(v: Any, x: Pair) -> Pair:
    return subtract(v, constant(v, integer(0)), x)


def _inverted(v: Any, x: Pair) -> Pair:
    """-1 - x, which never leaves the range."""
    return subtract(v, constant(v, integer(-1)), x)


def _by_constant(v: Any, kind: type, x: Pair, by: int) -> Pair:
    """A quotient or a rest, truncated or rounded down, by a constant of either sign."""
    if kind in (prim.Div, prim.Mod):
        return _truncated(v, kind, x, by)
    if by > 0:
        quotient, rest = _floored(v, x, by)
        if kind is prim.FloorDiv:
            v.frame.drop(rest)
            return quotient
        return Pair(done(v, rest, quotient.low, quotient.high), v.imm(0, I32))
    # -x may not be a number, -1 - x is: the quotient of -x is one more where that has the largest rest, and then the rest is 0.
    quotient, rest = _floored(v, _inverted(v, x), -by)
    largest = v.imm(-by - 1, I32)
    if kind is prim.FloorDiv:
        return add(v, quotient, Pair(v.emit(R.eq, I32, rest, largest), v.imm(0, I32)))
    counts = v.emit(R.ne, I32, shared(rest), largest)
    rest = v.emit(R.mul, I32, v.emit(R.add, I32, rest, v.imm(1, I32)), counts)
    return extended(v, v.emit(R.mul, I32, done(v, rest, quotient.low, quotient.high), v.imm(-1, I32)))


def _floored(v: Any, x: Pair, by: int) -> tuple[Pair, Value]:
    """The quotient rounded down and the rest, digit after digit: the high word, which has the sign, and the halves of the low one."""
    x = Pair(v.settled(x.low, I32), v.settled(x.high, I32))
    upper, lower = halves(v, shared(x.low))
    top, rest = _parted(v, shared(x.high), by)
    middle, rest = _parted(v, v.emit(R.add, I32, v.emit(R.mul, I32, rest, v.imm(65536, I32)), upper), by)
    last, rest = _parted(v, v.emit(R.add, I32, v.emit(R.mul, I32, rest, v.imm(65536, I32)), lower), by)
    low = v.emit(R.add, I32, v.emit(R.mul, I32, middle, v.imm(65536, I32)), last)
    return Pair(low, done(v, top, x.low, x.high)), rest


def _truncated(v: Any, kind: type, x: Pair, by: int) -> Pair:
    """What is rounded down is truncated if |by| - 1 is added to negative numbers first."""
    x = Pair(v.settled(x.low, I32), v.settled(x.high, I32))
    lift = v.emit(R.mul, I32, v.emit(R.lt, I32, shared(x.high), v.imm(0, I32)), v.imm(abs(by) - 1, I32))
    quotient, rest = _floored(v, add(v, x.shared, Pair(lift, v.imm(0, I32))), abs(by))
    v.frame.drop(rest)
    if kind is prim.Mod:
        return subtract(v, x, multiply(v, quotient, constant(v, integer(abs(by)))))
    quotient = Pair(done(v, quotient.low, x.low), done(v, quotient.high, x.high))
    return _negative(v, quotient) if by < 0 else quotient


def chosen(v: Any, test: Value, a: Pair, b: Pair) -> Pair:
    test = v.settled(test, BOOL)
    low = v.emit(R.select, I32, shared(test), a.low, b.low)
    return Pair(low, v.emit(R.select, I32, test, a.high, b.high))


def compared(v: Any, kind: type, a: Pair, b: Pair) -> Value:
    """By the high words, and where these are equal by the low ones."""
    if kind in (prim.EQ, prim.NE):
        op, join = (R.eq, R.mul) if kind is prim.EQ else (R.ne, R.maximum)
        return v.emit(join, BOOL, v.emit(op, BOOL, a.low, b.low), v.emit(op, BOOL, a.high, b.high))
    low, high = {prim.LT: (R.lt, R.lt), prim.LE: (R.le, R.lt), prim.GT: (R.gt, R.gt), prim.GE: (R.ge, R.gt)}[kind]
    same = v.emit(R.eq, BOOL, shared(a.high), shared(b.high))
    by_low = v.emit(low, BOOL, ordered(v, a.low), ordered(v, b.low))
    return v.emit(R.select, BOOL, same, by_low, v.emit(high, BOOL, a.high, b.high))


def _left(v: Any, x: Pair) -> Pair:
    return Pair(v.imm(0, I32), done(v, x.low, x.high))


def _right(v: Any, x: Pair) -> Pair:
    high = done(v, x.high, x.low)
    return extended(v, high)


_ARITHMETIC: dict[type, Callable[[Any, Pair, Pair], Pair]] = {prim.Add: add, prim.Sub: subtract, prim.Mul: multiply}
_SHIFTS = {prim.LShift: _left, prim.RShift: _right}
