"""Expressions: TIR to C++. Signed integers are int64_t whatever their TIR width; bf16 numbers are held as float."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.ir import Call, StringImm, TensorLoad, Var, prim

from ..isa import PREFIX
from .context import BufferInfo, Kernel, bits_of, op_name

_BINARY = {
    prim.Add: ("+", 12), prim.Sub: ("-", 12), prim.Mul: ("*", 13),
    prim.EQ: ("==", 8), prim.NE: ("!=", 8), prim.LT: ("<", 9), prim.LE: ("<=", 9), prim.GT: (">", 9), prim.GE: (">=", 9),
    prim.LShift: ("<<", 11), prim.RShift: (">>", 11), prim.BitwiseAnd: ("&", 7), prim.BitwiseOr: ("|", 5), prim.BitwiseXor: ("^", 6),
}  # fmt: skip
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
    *("cosh", "atan", "asin", "acos", "fabs", "pow", "fmod", "atan2", "copysign", "nearbyint"),
)
_ATOM, _UNARY, _MUL, _TERNARY = 20, 15, 13, 2


def ctype(dtype: str) -> str:
    """The C++ type of a sequencer variable."""
    if dtype == "bool" or dtype.startswith("uint"):
        return "bool" if dtype == "bool" else f"{dtype}_t"
    if dtype.startswith("int"):
        return "int64_t"
    return "double" if dtype == "float64" else "float"


def dtype_of(expr: Any) -> str:
    return str(expr.ty)


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
            return f"~{self(e.a, _UNARY)}", _UNARY
        if isinstance(e, prim.Select):
            return self._choice(e.condition, e.true_value, e.false_value)
        if isinstance(e, prim.Let):
            self.kernel.fail("a let expression inside another expression; bind the value with a statement instead")
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
        left = self(e.a, level)
        with self.hoisting(self._hoist and not lazy):
            right = self(e.b, level + 1)
        return self._narrowed(f"{left} {sign} {right}", level, dtype_of(e))

    def _extreme(self, name: str, e: Any) -> tuple[str, int]:
        dtype = dtype_of(e)
        if dtype.startswith("int"):
            return f"{name}({self(e.a)}, {self(e.b)})", _ATOM
        return f"{name}_of<{ctype(dtype)}>({self(e.a)}, {self(e.b)})", _ATOM

    def _division(self, a: Any, b: Any, dtype: str, floor: bool, quotient: bool) -> tuple[str, int]:
        sign = "/" if quotient else "%"
        if dtype.startswith("float"):
            return f"{self(a, _MUL)} / {self(b, _MUL + 1)}", _MUL
        low = self._analyzer.const_int_bound
        positive = low(b).min_value > 0
        if positive and (not floor or low(a).min_value >= 0):
            return self._narrowed(f"{self(a, _MUL)} {sign} {self(b, _MUL + 1)}", _MUL, dtype)
        if dtype.startswith("uint"):
            self.kernel.fail(f"a division of {dtype} by {b}, which may be 0; divide signed integers")
        return f"{'floor' if floor else 'trunc'}{'div' if quotient else 'mod'}({self(a)}, {self(b)})", _ATOM

    def _narrowed(self, text: str, level: int, dtype: str) -> tuple[str, int]:
        # C++ computes uint8_t and uint16_t in int; TIR wraps.
        return (f"static_cast<{dtype}_t>({text})", _ATOM) if dtype in ("uint8", "uint16") else (text, level)

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
        if to == "bfloat16":
            return f"round_bf16({self(e.value)})", _ATOM
        self._known_float(to, str(e))
        kind = f"{to}_t" if to.startswith(("int", "uint")) else ctype(to)
        return f"static_cast<{kind}>({self(e.value)})", _ATOM

    def _known_float(self, dtype: str, what: str) -> None:
        if dtype == "float16" or dtype.startswith(("float8", "float6", "float4")) or dtype == "int4":
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
            return f"~{self(e.args[0], _UNARY)}", _UNARY
        if name in _MATH:
            return f"std::{name}({', '.join(self(a) for a in e.args)})", _ATOM
        if name == "rsqrt":
            return f"1.0F / std::sqrt({self(e.args[0])})", _MUL
        if name == "sigmoid":
            return f"1.0F / (1.0F + std::exp(-{self(e.args[0], _UNARY)}))", _MUL
        if name == "abs":
            return f"std::abs({self(e.args[0])})", _ATOM
        if name == "clz":
            return f"__builtin_clzll(static_cast<uint64_t>({self(e.args[0])}))", _ATOM
        if name == "reinterpret":
            return f"__builtin_bit_cast({ctype(dtype_of(e))}, {self(e.args[0])})", _ATOM
        if name == "call_extern":
            function = e.args[0].value if isinstance(e.args[0], StringImm) else str(e.args[0])
            hint = "an instruction is a statement and has no value" if function.startswith(PREFIX) else "the chip calls no other code"
            self.kernel.fail(f"call_extern({function!r}) inside an expression: {hint}")
        known = ", ".join(sorted([*_MATH, "rsqrt", "sigmoid", "abs"]))
        self.kernel.fail(f"the sequencer has no function {name!r} (in {e}); known: {known}")

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
        self._known_float(info.dtype, f"{info.name}[...] as a number")
        access = "scalar_read" if info.place == "sram" else "scalar_load"
        stored = {"bfloat16": "uint16_t", "float32": "float", "float64": "double", "bool": "uint8_t"}.get(info.dtype, f"{info.dtype}_t")
        text = f"core.{access}<{stored}>({address})"
        if info.dtype == "bfloat16":
            text = f"widen_bf16({text})"
        elif info.dtype == "bool":
            text = f"({text} != 0)"
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
