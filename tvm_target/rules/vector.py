"""Expressions on a frame: TIR to instructions of the vector and activation engines.

Floats are computed in fp32, except that an expression of a 16-bit type is rounded where TIR rounds it. Integers are computed in 32 bits,
bool as uint8. The value of an int64 is its low word; where that is not enough, `wide` computes both. Errors are Unsupported with the
expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad, Var, prim

from .. import dialect as R
from ..codegen.walk import children
from ..isa import ACT
from . import functions, patterns, ranges, wide
from .frame import Frame, Value, joined
from .rewrite import as_int64, dtype_of, find, substitute, uses
from .stage import Unsupported
from .wide import Pair

# TIR's type -> type of a value in SRAM
STORED = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int32": "int32",
    "int64": "int32",
    "int8": "int8",
    "uint8": "uint8",
    "bool": "uint8",
}
_BINARY = {prim.Add: R.add, prim.Sub: R.sub, prim.Mul: R.mul, prim.Max: R.maximum, prim.Min: R.minimum, prim.And: R.mul, prim.Or: R.maximum}
_BOOLEAN = {prim.BitwiseAnd: R.mul, prim.BitwiseOr: R.maximum, prim.BitwiseXor: R.ne}
_COMPARE = {prim.LT: R.lt, prim.LE: R.le, prim.GT: R.gt, prim.GE: R.ge, prim.EQ: R.eq, prim.NE: R.ne}
_EXACT = 1 << 24  # whole numbers up to here are exact as immediates


def stored(dtype: str) -> str:
    if dtype not in STORED:
        raise Unsupported(f"the engines have no {dtype}")
    return STORED[dtype]


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def _repeated(e: Any, axes: list[Any]) -> set[int]:
    """Hashes of the parts of an expression, in indices too, that stand in it more than once and are not one number for the whole frame."""
    moving = {axis.__chandle__() for axis in axes}
    seen: dict[int, bool] = {}  # hash -> whether the part moves
    again: set[int] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, (Var, prim.IntImm, prim.FloatImm)):
            return node.__chandle__() in moving
        key = tvm_ffi.structural_hash(node)
        if key in seen:
            again.update([key] if seen[key] and not isinstance(node, TensorLoad) else [])
        else:
            parts = [visit(child) for child in children(node)]
            seen[key] = isinstance(node, TensorLoad) or any(parts)
        return seen[key]

    visit(e)
    return again


@dataclass(frozen=True)
class Guard:
    """A branch of a selection: its condition, whether it is the branch where that holds, and the condition's value on the frame."""

    test: Any
    holds: bool
    value: Value

    def same(self, other: Guard) -> bool:
        return self.holds == other.holds and tvm_ffi.structural_equal(self.test, other.test)


Kept = tuple[Any, Any, tuple[Guard, ...]]  # an expression, what it is, and the conditions under which that holds


class Vectors:
    """Evaluates expressions on a frame. `load(vectors, node, part)` brings a TensorLoad in, `part` 1 the high word of an
    int64; its results are kept.

    Both branches of a selection are computed for every point, but an element that the condition excludes may have no address: `load` masks
    the index (`masked`), unless the access is inside its buffer for all points. What was loaded by a masked index is kept for uses under
    the same conditions only."""

    def __init__(self, frame: Frame, load: Any):
        self.frame = frame
        self._load = load
        self._guards: list[Guard] = []
        self._masks = 0  # how many values so far hold for a part of the points only
        self.places = False  # whether what is computed are places in a buffer, of which there are less than 2^31
        self._loaded: list[Kept] = []  # values
        self._pairs: list[Kept] = []  # pairs
        self._iotas: dict[str, Value] = {}
        self._repeated: set[int] | None = None

    # ---- instructions
    def emit(self, op: Any, dtype: str, *sources: Value, name: str = "t", shape: str | None = None) -> Value:
        """op(dst, *sources, rows, cols) into a new value; sources that nobody else uses are given back."""
        if not is_float(dtype):
            sources = tuple(self.exact(s) for s in sources)
        if all(s.shape == "imm" for s in sources):
            sources = (self.settled(sources[0]), *sources[1:])
        shape = shape or joined([s.shape for s in sources])
        reuse = next((s for s in sources if s.own and s.shape == shape and s.dtype == dtype), None)
        target = Value(shape, reuse.at, dtype, own=True) if reuse else self.frame.new(name, dtype, shape)
        self.frame.emitter.add(op(self.frame.block(target), *[self.frame.operand(s, shape) for s in sources], *self.frame.extent(shape)))
        for s in {id(s.at): s for s in sources if s is not reuse}.values():
            if reuse is None or s.shape == "imm" or not s.at.same_as(reuse.at):
                self.frame.drop(s)
        return target

    def act(self, function: str, x: Value, scale: float = 1.0, bias: float = 0.0) -> Value:
        return self.emit(lambda d, a, r, c: R.act(function, d, a, r, c, scale=scale, bias=bias), "float32", self.settled(x))

    def settled(self, value: Value, dtype: str | None = None) -> Value:
        """A value that lies in SRAM."""
        if value.shape != "imm":
            return value
        target = self.frame.new("k", dtype or stored(value.dtype), "one")
        self.frame.emitter.add(R.fill(self.frame.block(target), self.frame.operand(value, "one"), 1, 1))
        return target

    def cast(self, value: Value, dtype: str) -> Value:
        return value if value.dtype == dtype else self.emit(R.cast, dtype, self.settled(value))

    def imm(self, number: float, dtype: str = "float32") -> Value:
        return Value("imm", tirx.const(number, dtype), dtype)

    def exact(self, value: Value) -> Value:
        """A whole number that fp32, the type of immediates, may not hold: as a high part plus a low part. Beyond int32 it wraps."""
        if value.shape != "imm" or is_float(value.dtype) or value.dtype == "bool":
            return value
        if isinstance(value.at, prim.IntImm):
            number = (int(value.at.value) + (1 << 31)) % (1 << 32) - (1 << 31)
            if float(np.float32(number)) == number:
                return self.imm(number, "int32") if number != int(value.at.value) else value
            high, low = self.imm(number - number % 4096, "int32"), self.imm(number % 4096, "int32")
        else:
            bound = ranges.bounds(value.at, self.frame.emitter.analyzer)
            if ranges.within(bound, (-_EXACT, _EXACT)):
                return value
            whole = as_int64(value.at)
            if not ranges.within(bound, ranges.INT32):
                whole = tirx.floormod(whole + (1 << 31), tirx.const(1 << 32, "int64")) - (1 << 31)
            rest = tirx.floormod(whole, tirx.const(4096, "int64"))
            # "float32": both are exact in it, which a tidied expression need not show.
            high, low = (Value("imm", self.frame.emitter.simplified(e), "float32") for e in (whole - rest, rest))
        return self.emit(R.add, "int32", self.settled(high, "int32"), low)

    def release(self, keep: Value | None = None) -> None:
        """Gives back what was kept for this frame, but for one value."""
        words = [word for _, both, _ in self._pairs for word in (both.low, both.high)]
        for value in {v.at.__chandle__(): v for v in [*(v for _, v, _ in self._loaded), *words, *self._iotas.values()]}.values():
            if value.shape != "imm" and (keep is None or not value.at.same_as(keep.at)):
                self.frame.sram.give(value.at)
        self._loaded, self._pairs, self._iotas = [], [], {}

    # ---- expressions
    def __call__(self, e: Any, into: str | None = None) -> Value:
        """The value of an expression; `into` is the type in which it is wanted."""
        with self._within(e):
            value = self._visit(e)
        return value if into is None or value.shape == "imm" else self.cast(value, into)

    def pair(self, e: Any) -> Pair:
        """Both words of an int64."""
        with self._within(e):
            return wide.pair(self, e)

    @contextmanager
    def _within(self, e: Any) -> Iterator[None]:
        """Parts that stand in the outermost expression several times are computed once."""
        outermost = self._repeated is None
        if outermost:
            self._repeated = _repeated(e, self._axes())
        yield
        if outermost:
            self._repeated = None

    def is_number(self, e: Any) -> bool:
        """Whether an expression is one number for the whole frame, which the sequencer computes."""
        if isinstance(e, (prim.IntImm, prim.FloatImm)):
            return True
        return not find(e, TensorLoad) and not uses(e, self._axes()) and not (is_float(dtype_of(e)) and find(e, Call))

    def number(self, e: Any) -> Any:
        """That number."""
        if isinstance(e, (prim.IntImm, prim.FloatImm)):
            return e
        stored(dtype_of(e))
        e = substitute(e, self.frame.outer)
        return self.frame.emitter.simplified(e) if dtype_of(e) == "int64" else e

    def _visit(self, e: Any) -> Value:
        dtype = dtype_of(e)
        if self.is_number(e):
            return Value("imm", self.number(e), dtype)
        if self._repeated and tvm_ffi.structural_hash(e) in self._repeated:
            return self._once(e)
        return self._computed(e, dtype)

    def _once(self, e: Any) -> Value:
        """A part of an expression that stands in it several times: computed at the first, kept for the others."""
        known = self._known(self._loaded, e)
        if known is not None:
            return known
        before = self._masks
        value = self._computed(e, dtype_of(e))
        if value.shape == "imm" or not value.own:
            return value
        return self._keep(self._loaded, e, functions.shared(value), before)

    def _known(self, kept: list[Kept], e: Any) -> Any:
        for known, value, under in kept:
            if all(any(g.same(now) for now in self._guards) for g in under) and tvm_ffi.structural_equal(known, e):
                self._masks += bool(under)
                return value
        return None

    def _keep(self, kept: list[Kept], e: Any, value: Any, masks_before: int) -> Any:
        kept.append((e, value, tuple(self._guards) if self._masks > masks_before else ()))
        return value

    def kept(self, e: Any, compute: Callable[[], Pair]) -> Pair:
        """Both words of an expression; if it stands in the whole one several times, those that the first has left."""
        if not self._repeated or tvm_ffi.structural_hash(e) not in self._repeated:
            return compute()
        known = self._known(self._pairs, e)
        if known is not None:
            return known
        before = self._masks
        return self._keep(self._pairs, e, compute().shared, before)

    def _computed(self, e: Any, dtype: str) -> Value:
        if isinstance(e, Var):
            return self._iota(e)
        if isinstance(e, TensorLoad):
            return self._element(e)
        word = wide.low_word(self, e)
        if word is not None:
            return word
        if isinstance(e, prim.Cast):
            return self._cast(e)
        formula = patterns.activation(e)
        if formula is not None:
            return self.cast(self.act(formula[0], self(formula[1])), stored(dtype))
        if isinstance(e, (prim.And, prim.Or)):
            a = self(e.a)
            with self.under(e.a, isinstance(e, prim.And), a):
                b = self(e.b)
            return self.emit(_BINARY[type(e)], stored(dtype), a, b)
        if type(e) in _BINARY:
            return self.emit(_BINARY[type(e)], stored(dtype), self(e.a), self(e.b))
        if type(e) in _COMPARE:
            return self.emit(_COMPARE[type(e)], "uint8", self(e.a), self(e.b))
        if type(e) in _BOOLEAN and dtype == "bool":
            return self.emit(_BOOLEAN[type(e)], "uint8", self(e.a), self(e.b))
        if isinstance(e, (prim.BitwiseAnd, prim.LShift, prim.RShift)) and isinstance(e.b, prim.IntImm):
            return self._bits(e, dtype)
        if isinstance(e, prim.BitwiseNot) and dtype in ("int8", "int32", "int64"):  # -1 - x
            return self.emit(R.add, stored(dtype), self.emit(R.mul, stored(dtype), self(e.a), self.imm(-1, "int32")), self.imm(-1, "int32"))
        if isinstance(e, prim.Not) or isinstance(e, prim.BitwiseNot) and dtype == "bool":
            return self.emit(R.eq, "uint8", self(e.a), self.imm(0))
        if isinstance(e, (prim.Div, prim.FloorDiv, prim.Mod, prim.FloorMod)):
            return self._division(e, dtype)
        if isinstance(e, prim.Select):
            return self._select(e.condition, e.true_value, e.false_value, dtype)
        if isinstance(e, Call):
            return self._call(e, dtype)
        raise Unsupported(f"no instructions for {type(e).__name__} of {dtype}: {e}")

    def _axes(self) -> list[Any]:
        return [a.var for a in (self.frame.row, self.frame.col) if a is not None]

    def _iota(self, var: Any) -> Value:
        frame = self.frame
        shape = "row" if frame.col is not None and var.same_as(frame.col.var) else "col"
        if shape not in self._iotas:
            start = frame.col_start if shape == "row" else frame.row_start
            target = frame.new(f"{var.name}_is", "int32", shape)
            near = frame.emitter.analyzer.const_int_bound(start).max_value <= _EXACT
            frame.emitter.add(R.iota(frame.block(target), *frame.extent(shape), start=start if near else 0))
            if not near:
                base = self.exact(Value("imm", start, "int64"))
                frame.emitter.add(R.add(frame.block(target), frame.block(target), frame.operand(base, shape), *frame.extent(shape)))
                frame.drop(base)
            self._iotas[shape] = Value(shape, target.at, "int32")
        return self._iotas[shape]

    def _element(self, e: TensorLoad) -> Value:
        known = self._known(self._loaded, e)
        if known is not None:
            return known
        before = self._masks
        return self._keep(self._loaded, e, functions.shared(self._load(self, e, 0)), before)

    def words(self, e: TensorLoad) -> Pair:
        """Both words of an element of int64."""
        known = self._known(self._pairs, e)
        if known is not None:
            return known
        before = self._masks
        return self._keep(self._pairs, e, Pair(self._element(e), self._load(self, e, 1)).shared, before)

    def give(self, e: TensorLoad, value: Value, high: Value | None = None) -> None:
        """Lets an element be a value that is here already, an int64 with a high word or one that fits in an int32; they belong to this
        evaluation from now on."""
        self._keep(self._loaded, e, functions.shared(value), self._masks)
        if dtype_of(e) == "int64":
            high = wide.sign_word(self, functions.shared(value)) if high is None else high
            self._keep(self._pairs, e, Pair(value, high).shared, self._masks)

    def index(self, e: Any) -> Value:
        """Places of elements, as int32."""
        before, self.places = self.places, True
        value = self(e, "int32")
        self.places = before
        return value

    def _cast(self, e: prim.Cast) -> Value:
        to, source = dtype_of(e), dtype_of(e.value)
        value = self(e.value)
        if value.shape == "imm":
            return Value("imm", prim.Cast(to, value.at), to)
        if to == "bool":
            return self.emit(R.ne, "uint8", value, self.imm(0))
        if is_float(source) and not is_float(to):
            value = functions.truncated(self, value)
        if to == "float32":
            return value if value.dtype != "int32" or source != "float32" else self.cast(value, "float32")
        return self.cast(value, stored(to))

    def _division(self, e: Any, dtype: str) -> Value:
        if is_float(dtype):
            a, b = self(e.a), self(e.b)
            if isinstance(e, prim.Div):
                return self.emit(R.div, stored(dtype), a, b)
            return functions.modulo(self, a, b, floor=isinstance(e, prim.FloorMod))
        analyzer = self.frame.emitter.analyzer
        positive = not find(e, TensorLoad) and analyzer.can_prove(e.a >= 0) and analyzer.can_prove(e.b > 0)
        floor = isinstance(e, (prim.FloorDiv, prim.FloorMod)) and not positive
        return functions.divided(self, self(e.a), self(e.b), floor, quotient=isinstance(e, (prim.Div, prim.FloorDiv)))

    def _bits(self, e: Any, dtype: str) -> Value:
        """x & (2^k - 1), x << k and x >> k are arithmetic by a power of two."""
        number = int(e.b.value)
        power = number + 1 if isinstance(e, prim.BitwiseAnd) else 1 << number
        if not 0 < power <= 1 << 30 or power & (power - 1):
            raise Unsupported(f"bits of integers are the sequencer's: {e}")
        by = self.imm(power, "int32")
        if isinstance(e, prim.LShift):
            return self.emit(R.mul, stored(dtype), self(e.a), by)
        return self.cast(functions.divided(self, self(e.a), by, True, quotient=isinstance(e, prim.RShift)), stored(dtype))

    def _select(self, condition: Any, yes: Any, no: Any, dtype: str) -> Value:
        test = self(condition)
        with self.under(condition, True, test):
            a = self(yes)
        with self.under(condition, False, test):
            b = self(no)
        return self.emit(R.select, stored(dtype), test, a, b)

    # ---- guards
    @contextmanager
    def under(self, condition: Any, holds: bool, test: Value) -> Iterator[None]:
        """What is evaluated inside counts only where a condition, of which `test` is the value, holds, or does not."""
        self._guards.append(Guard(condition, holds, functions.shared(test)))
        yield
        self._guards.pop()

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The conditions under which the current part of the expression counts, outermost first."""
        return tuple(self._guards)

    def masked(self, index: Value) -> Value:
        """An index that is 0 where a condition around it excludes the point."""
        self._masks += 1
        for guard in self._guards:
            choice = (index, self.imm(0, "int32")) if guard.holds else (self.imm(0, "int32"), index)
            index = self.emit(R.select, "int32", guard.value, *choice)
        return index

    def _call(self, e: Call, dtype: str) -> Value:
        name = e.op.name.rsplit(".", 1)[-1]
        if name == "if_then_else":
            return self._select(e.args[0], e.args[1], e.args[2], dtype)
        if name == "likely":
            return self(e.args[0])
        if name in functions.LOGICAL and dtype == "bool":
            return self.emit(functions.LOGICAL[name], "uint8", *[self(a) for a in e.args], *[self.imm(0)] * (name == "bitwise_not"))
        if name in functions.FUNCTIONS:
            return functions.FUNCTIONS[name](self, *[self(a) for a in e.args])
        if name in ACT and is_float(dtype):
            return self.act(name, self(e.args[0]))
        known = ", ".join(sorted({*functions.FUNCTIONS, *ACT}))
        raise Unsupported(f"no instructions for {name} (in {e}); known: {known}")
