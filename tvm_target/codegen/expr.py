"""Expressions: TIR to C++."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.ir import Call, StringImm, TensorLoad, Var, prim

from ..isa import PREFIX
from .context import BufferInfo, Kernel, bits_of, op_name
from .scalars import ctype, is_small_float, known, rounded, stored, widened
from .walk import children

_BINARY = {
    prim.Add: ("+", 12), prim.Sub: ("-", 12), prim.Mul: ("*", 13),
    prim.EQ: ("==", 8), prim.NE: ("!=", 8), prim.LT: ("<", 9), prim.LE: ("<=", 9), prim.GT: (">", 9), prim.GE: (">=", 9),
    prim.LShift: ("<<", 11), prim.RShift: (">>", 11), prim.BitwiseAnd: ("&", 7), prim.BitwiseOr: ("|", 5), prim.BitwiseXor: ("^", 6),
}  # fmt: skip
_BITWISE = ("<<", ">>", "&", "|", "^")
_SHORT_CIRCUIT = {prim.And: ("&&", 4), prim.Or: ("||", 3)}
_CALL_BINARY = {
    "shift_left": "<<",
    "shift_right": ">>",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
}
_MATH = (
    *("exp", "exp2", "log", "log2", "log10", "sqrt", "tanh", "sin", "cos", "tan", "ceil", "floor", "trunc", "round", "erf", "sinh"),
    *("cosh", "atan", "asin", "acos", "fabs", "pow", "fmod", "atan2", "copysign", "nearbyint", "log1p", "asinh", "acosh", "atanh"),
    *("hypot", "nextafter", "fma", "isnan", "isinf", "isfinite"),
)
_ATOM, _UNARY, _MUL, _TERNARY = 20, 15, 13, 2


def dtype_of(expr: Any) -> str:
    return str(expr.ty)


def _reads(expr: Any) -> bool:
    """Whether a buffer's element takes part."""
    return isinstance(expr, TensorLoad) or any(_reads(child) for child in children(expr))


class ExprPrinter:
    """Prints expressions of one kernel. While `hoisting`, each scalar access that is surely made becomes a variable of its own, in order,
    because C++ leaves the order of a call's arguments open and the chip's clock does not."""

    def __init__(self, kernel: Kernel, emit: Callable[[str], None]):
        self.kernel = kernel
        self._emit = emit
        self._hoist = False
        self._analyzer = kernel.analyzer

    @contextmanager
    def hoisting(self, active: bool = True) -> Iterator[None]:
        before, self._hoist = self._hoist, active
        try:
            yield
        finally:
            self._hoist = before

    def __call__(self, expr: Any, level: int = 0) -> str:
        text, own = self._visit(expr)
        return text if own >= level else f"({text})"

    def simplified(self, expr: Any) -> str:
        """An address or a size, tidied first."""
        return self(self._analyzer.simplify(expr))

    def modular(self, expr: Any) -> tuple[int, int] | None:
        """(c, b) if the value is known to be c * n + b for a whole n."""
        if isinstance(expr, int):
            return 0, expr
        known = self._analyzer.modular_set(expr)
        return int(known.coeff), int(known.base)

    def sum(self, base: str, offset: Any) -> str:
        """base + offset."""
        offset = self._analyzer.simplify(offset)
        if isinstance(offset, prim.IntImm) and int(offset.value) == 0:
            return base
        return f"{base} + {self(offset, 12)}"

    # ---- nodes
    def _visit(self, e: Any) -> tuple[str, int]:
        if isinstance(e, (bool, int)):
            return str(int(e)), _ATOM
        if isinstance(e, prim.IntImm):
            return self._int(int(e.value), dtype_of(e))
        if isinstance(e, prim.FloatImm):
            return self._float(float(e.value), dtype_of(e))
        if isinstance(e, Var):
            return self.kernel.var(e), _ATOM
        if isinstance(e, TensorLoad):
            return self.scalar(e), _ATOM
        if isinstance(e, prim.Cast):
            return self._cast(e)
        if isinstance(e, (prim.FloorDiv, prim.FloorMod)):
            return self._division(e.a, e.b, dtype_of(e), True, isinstance(e, prim.FloorDiv))
        if isinstance(e, (prim.Div, prim.Mod)):
            return self._division(e.a, e.b, dtype_of(e), False, isinstance(e, prim.Div))
        if isinstance(e, (prim.Min, prim.Max)):
            return self._extreme("min" if isinstance(e, prim.Min) else "max", e)
        if isinstance(e, prim.Not):
            return f"!{self(e.a, _UNARY)}", _UNARY
        if isinstance(e, prim.BitwiseNot):
            return self._inverted(e.a)
        if isinstance(e, prim.Select):
            return self._choice(e.condition, e.true_value, e.false_value)
        if isinstance(e, prim.Let):
            return self._let(e)
        for table in (_BINARY, _SHORT_CIRCUIT):
            if type(e) in table:
                return self._infix(e, *table[type(e)], lazy=table is _SHORT_CIRCUIT)
        if isinstance(e, Call):
            return self._call(e)
        self.kernel.fail(f"no C++ for the expression {type(e).__name__}: {e}")

    def _int(self, value: int, dtype: str) -> tuple[str, int]:
        if dtype == "bool":
            return ("true" if value else "false"), _ATOM
        if dtype.startswith("uint"):
            return f"{value % (1 << bits_of(dtype))}U" + ("LL" if bits_of(dtype) == 64 else ""), _ATOM
        if value == -(1 << 63):
            return "INT64_MIN", _ATOM
        return str(value), _ATOM if value >= 0 else _UNARY

    def _float(self, value: float, dtype: str) -> tuple[str, int]:
        if math.isnan(value) or math.isinf(value):
            text = "NAN" if math.isnan(value) else "INFINITY"
            return (f"-{text}", _UNARY) if value < 0 else (text, _ATOM)
        text = repr(value) if dtype == "float64" else f"{value:.9g}"
        text += "" if any(c in text for c in ".en") else ".0"
        return text + ("" if dtype == "float64" else "F"), _ATOM if value >= 0 else _UNARY

    def _infix(self, e: Any, sign: str, level: int, lazy: bool) -> tuple[str, int]:
        inner = _UNARY if sign in _BITWISE else level  # C++ compilers warn where these meet other operators without parentheses
        left = self(e.a, inner)
        with self.hoisting(self._hoist and not lazy):
            right = self(e.b, inner if sign in _BITWISE else level + 1)
        return self._narrowed(f"{left} {sign} {right}", level, dtype_of(e), self._overflows(e))

    def _extreme(self, name: str, e: Any) -> tuple[str, int]:
        dtype = dtype_of(e)
        if dtype.startswith("int"):
            return f"{name}({self(e.a)}, {self(e.b)})", _ATOM
        return f"{name}_of<{ctype(dtype)}>({self(e.a)}, {self(e.b)})", _ATOM

    def _division(self, a: Any, b: Any, dtype: str, floor: bool, quotient: bool) -> tuple[str, int]:
        sign = "/" if quotient else "%"
        if not dtype.startswith(("int", "uint")):
            return self._float_division(a, b, floor, quotient)
        low = self._analyzer.const_int_bound
        positive = low(b).min_value > 0
        if positive and (not floor or low(a).min_value >= 0):
            return self._narrowed(f"{self(a, _MUL)} {sign} {self(b, _MUL + 1)}", _MUL, dtype)
        if dtype.startswith("uint"):
            return self._narrowed(f"{'u' if quotient else 'umod'}{'div' if quotient else ''}({self(a)}, {self(b)})", _ATOM, dtype)
        return f"{'floor' if floor else 'trunc'}{'div' if quotient else 'mod'}({self(a)}, {self(b)})", _ATOM

    def _float_division(self, a: Any, b: Any, floor: bool, quotient: bool) -> tuple[str, int]:
        if quotient:
            text = f"{self(a, _MUL)} / {self(b, _MUL + 1)}"
            return (f"std::floor({text})", _ATOM) if floor else (text, _MUL)
        if not floor:
            return f"std::fmod({self(a)}, {self(b)})", _ATOM
        with self.hoisting(False):
            x, y = self(a, _MUL), self(b, _MUL)
        return f"{x} - std::floor({x} / ({y})) * ({y})", 12

    def _narrowed(self, text: str, level: int, dtype: str, overflows: bool = False) -> tuple[str, int]:
        # C++ computes small integers in int, and the sequencer int32 in 64 bits; values wrap.
        small = dtype in ("uint8", "uint16", "int8", "int16") or dtype == "int32" and overflows
        return (f"static_cast<{dtype}_t>({text})", _ATOM) if small else (text, level)

    def _overflows(self, e: Any) -> bool:
        """Whether an int32 sum, difference, product or shift may leave its range, for all that is known: those of indices do not."""
        if dtype_of(e) != "int32" or type(e) not in (prim.Add, prim.Sub, prim.Mul, prim.LShift) or not _reads(e):
            return False
        known = self._analyzer.const_int_bound(e)
        return known.min_value < -(1 << 31) or known.max_value >= 1 << 31

    def _let(self, e: prim.Let) -> tuple[str, int]:
        self.kernel.push()
        with self.hoisting(False):
            value = self(e.value)
            name = self.kernel.declare(e.var)
            text = f"[&] {{ const {ctype(dtype_of(e.value))} {name} = {value}; return {self(e.body)}; }}()"
        self.kernel.pop()
        return text, _ATOM

    def _choice(self, condition: Any, yes: Any, no: Any) -> tuple[str, int]:
        test = self(condition, _TERNARY + 1)
        with self.hoisting(False):
            return f"{test} ? {self(yes, _TERNARY + 1)} : {self(no, _TERNARY)}", _TERNARY

    def _cast(self, e: prim.Cast) -> tuple[str, int]:
        to, source = dtype_of(e), dtype_of(e.value)
        if to == source or to == "int64" and source.startswith("int"):
            return self._visit(e.value)
        if to == "bool":
            return f"{self(e.value, 9)} != 0", 8
        if is_small_float(to):
            text = self(e.value)
            return (text, _ATOM) if is_small_float(source) and source == to else (rounded(to, text), _ATOM)
        self._known(to, str(e))
        kind = f"{to}_t" if to.startswith(("int", "uint")) else ctype(to)
        if kind.startswith(("int", "uint")) and "float" in source:
            return f"to_int<{kind}>({self(e.value)})", _ATOM
        return f"static_cast<{kind}>({self(e.value)})", _ATOM

    def _known(self, dtype: str, what: str) -> None:
        if not known(dtype):
            self.kernel.fail(f"{what}: the sequencer has no {dtype} numbers; R.cast the block to float32 in SRAM and read that")

    def _call(self, e: Call) -> tuple[str, int]:
        name = op_name(e)
        if name == "if_then_else":
            return self._choice(e.args[0], e.args[1], e.args[2])
        if name in ("likely", "builtin_assume"):
            return self._visit(e.args[0])
        if name in ("truncdiv", "truncmod"):
            return self._division(e.args[0], e.args[1], dtype_of(e), False, name == "truncdiv")
        if name in _CALL_BINARY:
            return self._narrowed(f"({self(e.args[0], 14)} {_CALL_BINARY[name]} {self(e.args[1], 14)})", _ATOM, dtype_of(e))
        if name == "bitwise_not":
            return self._inverted(e.args[0])
        if name == "round":  # halves to even, as everywhere on the chip
            name = "nearbyint"
        if name in _MATH:
            return f"std::{name}({', '.join(self(a) for a in e.args)})", _ATOM
        if name in ("exp10", "rsqrt", "sigmoid"):
            return self._composed(name, e.args[0])
        if name == "ldexp":
            return f"std::ldexp({self(e.args[0])}, static_cast<int>({self(e.args[1])}))", _ATOM
        if name == "abs":
            return f"std::abs({self(e.args[0])})", _ATOM
        if name in ("clz", "popcount", "ctpop"):
            return f"{'clz' if name == 'clz' else 'popcount'}<uint{bits_of(dtype_of(e.args[0]))}_t>({self(e.args[0])})", _ATOM
        if name == "reinterpret":
            return self._reinterpret(e), _ATOM
        if name == "large_uint_imm":
            return f"{int(e.args[1].value) << 32 | int(e.args[0].value)}ULL", _ATOM
        if name == "call_extern":
            function = e.args[0].value if isinstance(e.args[0], StringImm) else str(e.args[0])
            hint = "an instruction is a statement and has no value" if function.startswith(PREFIX) else "the chip calls no other code"
            self.kernel.fail(f"call_extern({function!r}) inside an expression: {hint}")
        have = ", ".join(sorted([*_MATH, "rsqrt", "sigmoid", "abs", "exp10", "ldexp", "clz", "popcount"]))
        self.kernel.fail(f"the sequencer has no function {name!r} (in {e}); known: {have}")

    def _inverted(self, x: Any) -> tuple[str, int]:
        """All bits; a bool has one, while ~true is -2 in C++ and true again."""
        if dtype_of(x) == "bool":
            return f"!{self(x, _UNARY)}", _UNARY
        return self._narrowed(f"~{self(x, _UNARY)}", _UNARY, dtype_of(x))

    def _composed(self, name: str, x: Any) -> tuple[str, int]:
        suffix = "" if dtype_of(x) == "float64" else "F"
        if name == "exp10":
            return f"std::pow(10.0{suffix}, {self(x)})", _ATOM
        one = f"1.0{suffix}"
        if name == "rsqrt":
            return f"{one} / std::sqrt({self(x)})", _MUL
        return f"{one} / ({one} + std::exp(-{self(x, _UNARY)}))", _MUL

    def _reinterpret(self, e: Call) -> str:
        to, source = dtype_of(e), dtype_of(e.args[0])
        if is_small_float(to) or is_small_float(source):
            if to not in ("bfloat16", source) or source not in ("uint16", "int16", to):
                self.kernel.fail(f"{e}: the sequencer does not see the bits of {source} as {to}")
            return widened(to, f"static_cast<uint16_t>({self(e.args[0])})")
        return f"__builtin_bit_cast({stored(to)}, static_cast<{stored(source)}>({self(e.args[0])}))"

    # ---- scalar accesses
    def scalar(self, load: TensorLoad) -> str:
        """A buffer element used as a number."""
        info = self.kernel.buffer(load.source)
        if info.place == "local":
            self.kernel.read.add(load.source.__chandle__())
            return self.local(info, list(load.indices))
        with self.hoisting(self._hoist):
            offset = info.offset(list(load.indices)) * (bits_of(info.dtype) // 8 or 1)
            address = self.sum(info.base, offset)
        self._known(info.dtype, f"{info.name}[...] as a number")
        access = "scalar_read" if info.place == "sram" else "scalar_load"
        text = widened(info.dtype, f"core.{access}<{stored(info.dtype)}>({address})")
        if not self._hoist:
            return text
        name = self.kernel.fresh(f"{info.name}_value")
        self._emit(f"const {ctype(info.dtype)} {name} = {text};")
        return name

    def local(self, info: BufferInfo, indices: list[Any]) -> str:
        """A sequencer variable, or an element of a sequencer array."""
        if all(isinstance(n, prim.IntImm) and int(n.value) == 1 for n in info.shape):
            return info.base
        return f"{info.base}[{self.simplified(info.offset(indices))}]"
