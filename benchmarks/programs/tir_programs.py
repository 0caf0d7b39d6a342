"""Random TIR: one function of an expression tree over elements of its arguments, called from Relax.

Trees have all of TIR's arithmetic, casts, choices, and elements at shifted places, guarded by what keeps them inside; some are summed, or
their extremum is taken, along the last axis.
"""

from __future__ import annotations

import numpy as np

from .program import Program, Step, Value
from .values import FLOATS, INTEGERS, array, is_float, numpy_dtype, pick_dtype

SIZES = (1, 2, 3, 5, 7, 16, 17, 33)
TYPES = (*INTEGERS, *FLOATS)
Part = tuple[str, np.ndarray]


class Maker:
    """Makes the program of a seed."""

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.shape = (int(self.rng.choice(SIZES)), int(self.rng.choice(SIZES)))
        self.inputs: list[Value] = []

    def pick(self, n: int) -> int:
        return int(self.rng.integers(n))

    def program(self) -> Program:
        rows, cols = self.shape
        dtype = pick_dtype(self.rng, TYPES)
        with np.errstate(all="ignore"):
            text, value = self.tree(dtype, 3)
            kind = str(self.rng.choice(["", "", "max", "min", "sum" if not is_float(dtype) else ""]))
            if kind:
                value = getattr(np, kind)(value, axis=1, **({"dtype": value.dtype} if kind == "sum" else {}))
        out = Value("v0", np.ascontiguousarray(value))
        if not self.inputs:
            self.element(dtype)
        args = ", ".join(f'{v.name}: T.Buffer({v.array.shape}, "{v.dtype}")' for v in [*self.inputs, Value("y", out.array)])
        ends = {"max": f'T.min_value("{dtype}")', "min": f'T.max_value("{dtype}")', "sum": f"T.{dtype}(0)"}
        ends |= {"max": f'T.{dtype}("-inf")', "min": f'T.{dtype}("inf")'} if is_float(dtype) else {}
        join = {"max": "T.max(y[i], {})", "min": "T.min(y[i], {})", "sum": "y[i] + {}"}
        body = (
            f'i, j = T.axis.remap("SR", [i0, j0])\n                with T.init():\n                    y[i] = {ends[kind]}\n'
            f"                y[i] = {join[kind].format(text)}"
            if kind
            else f'i, j = T.axis.remap("SS", [i0, j0])\n                y[i, j] = {text}'
        )
        kernel = (
            f"    @T.prim_func(private=True, s_tir=True)\n    def kernel({args}):\n        for i0, j0 in T.grid({rows}, {cols}):\n"
            f'            with T.sblock("y"):\n                {body}\n\n'
        )
        names = ", ".join(v.name for v in self.inputs)
        call = f'v0 = R.call_tir(Module.kernel, ({names},), out_ty=R.Tensor({out.array.shape}, "{dtype}"))'
        step = Step((call,), out, tuple(v.name for v in self.inputs))
        return Program(self.seed, self.inputs, [step], [out], "v0", kernels=kernel)

    # ---- trees
    def tree(self, dtype: str, depth: int) -> Part:
        if depth == 0 or self.rng.random() < 0.15:
            return self.constant(dtype) if self.rng.random() < 0.25 else self.element(dtype)
        kinds = [self.sum, self.extremum, self.choice, self.cast, self.shifted]
        kinds += [self.quotient, self.bits] if dtype in INTEGERS else []
        return kinds[self.pick(len(kinds))](dtype, depth - 1)

    def element(self, dtype: str) -> Part:
        known = [v for v in self.inputs if v.dtype == dtype]
        value = known[self.pick(len(known))] if known and self.rng.random() < 0.6 else self.new(dtype)
        return f"{value.name}[i, j]", value.array

    def new(self, dtype: str) -> Value:
        value = Value(f"x{len(self.inputs)}", array(self.rng, self.shape, dtype))
        self.inputs.append(value)
        return value

    def constant(self, dtype: str) -> Part:
        if is_float(dtype):
            number: float = float(self.rng.choice([0.0, 1.0, -0.5, 2.0, 8.0]))
        else:
            limits = np.iinfo(dtype)
            among = [n for n in (0, 1, 3, -1, -20, 127, 2**31 - 1, 2**34) if limits.min <= n <= limits.max]
            number = among[self.pick(len(among))]
        return f"T.{dtype}({number})", np.full(self.shape, number, numpy_dtype(dtype))

    def sum(self, dtype: str, depth: int) -> Part:
        a, b = self.tree(dtype, depth), self.tree(dtype, depth)
        sign = "+-*"[self.pick(3)]
        value = {"+": np.add, "-": np.subtract, "*": np.multiply}[sign](a[1], b[1])
        return f"({a[0]} {sign} {b[0]})", value.astype(a[1].dtype)

    def extremum(self, dtype: str, depth: int) -> Part:
        a, b = self.tree(dtype, depth), self.tree(dtype, depth)
        name = ("max", "min")[self.pick(2)]
        return f"T.{name}({a[0]}, {b[0]})", (np.maximum if name == "max" else np.minimum)(a[1], b[1])

    def test(self, depth: int) -> Part:
        a = self.tree(pick_dtype(self.rng, TYPES), depth)
        b = self.tree(str(a[1].dtype), 0)
        sign = ("<", "<=", ">", ">=", "==", "!=")[self.pick(6)]
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal}[sign]
        return f"({a[0]} {sign} {b[0]})", compare(a[1], b[1])

    def choice(self, dtype: str, depth: int) -> Part:
        test, a, b = self.test(depth), self.tree(dtype, depth), self.tree(dtype, depth)
        name = ("T.Select", "T.if_then_else")[self.pick(2)]
        return f"{name}({test[0]}, {a[0]}, {b[0]})", np.where(test[1], a[1], b[1])

    def cast(self, dtype: str, depth: int) -> Part:
        """From a type whose values all have a meaning in this one."""
        sources = TYPES if is_float(dtype) else INTEGERS
        source = pick_dtype(
            self.rng, tuple(t for t in sources if not (dtype in ("float16", "bfloat16") and t in ("int64", "uint64", "float64")))
        )
        a = self.tree(source, depth)
        return f'T.Cast("{dtype}", {a[0]})' if source != dtype else a[0], a[1].astype(numpy_dtype(dtype))

    def shifted(self, dtype: str, depth: int) -> Part:
        """An element some places on; where that is outside, another value."""
        x = self.element(dtype)[0].split("[")[0]
        value = next(v for v in self.inputs if v.name == x)
        axis, by = self.pick(2), 1 + self.pick(3)
        other = self.tree(dtype, min(depth, 1))
        index = "ij"[axis]
        place = f"[{'i - ' + str(by) if axis == 0 else 'i'}, {'j - ' + str(by) if axis == 1 else 'j'}]"
        moved = np.roll(value.array, by, axis)
        inside = np.arange(self.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)) >= by
        return f"T.if_then_else({index} >= {by}, {x}{place}, {other[0]})", np.where(inside, moved, other[1])

    def quotient(self, dtype: str, depth: int) -> Part:
        a, by = self.tree(dtype, depth), int(self.rng.choice([1, 2, 3, 10, 100]))
        name = ("floordiv", "floormod")[self.pick(2)]
        value = (np.floor_divide if name == "floordiv" else np.mod)(a[1], a[1].dtype.type(by))
        return f"T.{name}({a[0]}, T.{dtype}({by}))", value

    def bits(self, dtype: str, depth: int) -> Part:
        a, b = self.tree(dtype, depth), self.tree(dtype, depth)
        name = ("bitwise_and", "bitwise_or", "bitwise_xor")[self.pick(3)]
        return f"T.{name}({a[0]}, {b[0]})", getattr(np, name)(a[1], b[1])


def program(seed: int) -> Program:
    """The TIR program of a seed."""
    return Maker(seed).program()
