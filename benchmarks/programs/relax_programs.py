"""Random Relax programs: chains and small graphs of operators over all types, with what NumPy makes of them.

An operator is a method `do_*` that gives the Relax expression, NumPy's value and its error, or None where it cannot be meant: a division by
zero, a float beyond the integers that it is cast to, a rounding of what is itself rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .program import Program, Step, Value
from .reference import ARITHMETIC, BITS, COMPARE, EXACT, LOGIC, SMOOTH, UNIT, broadcasts, castable, exactly, grown, largest, typed
from .values import DTYPES, FLOATS, INTEGERS, SMALL, array, is_float, numpy_dtype, pick_dtype

SIZES = (1, 2, 3, 5, 7, 16, 17, 33, 40)
MAX_ELEMENTS = 3000
Made = tuple[str, np.ndarray, float] | None


class Maker:
    """Makes the program of a seed."""

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.symbolic = self.rng.random() < 0.2
        self.values: list[Value] = []
        self.inputs: list[Value] = []
        self.steps: list[Step] = []
        self.shape = tuple(int(n) for n in self.rng.choice(SIZES, size=1 + self.pick(3)))
        self.operators = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]
        self.used: list[Value] = []

    def pick(self, n: int) -> int:
        return int(self.rng.integers(n))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def program(self) -> Program:
        for _ in range(1 + self.pick(2)):
            self.input(self.shape, pick_dtype(self.rng))
        wanted = 1 + self.pick(8)
        for _ in range(60):
            if len(self.steps) >= wanted:
                break
            self.step()
        if not self.steps:
            self.keep("R.add", (f"R.add({self.values[0].name}, {self.values[0].name})", self.values[0].array, 1.0))
        results, form = self._results()
        return Program(self.seed, self.inputs, self.steps, results, form, "n" if self.symbolic else "")

    def input(self, shape: tuple[int, ...], dtype: str) -> Value:
        value = Value(f"x{len(self.inputs)}", array(self.rng, shape, dtype))
        self.inputs.append(value)
        self.values.append(value)
        return value

    def step(self) -> None:
        operator = self.operators[self.pick(len(self.operators))]
        self.used = []
        with np.errstate(all="ignore"):
            made = operator()
        if made is not None:
            self.keep(operator.__name__, made)

    def keep(self, _name: str, made: tuple[str, np.ndarray, float], lines: tuple[str, ...] = ()) -> None:
        text, result, error = made
        result = np.asarray(result, order="C")
        if result.ndim > 5 or not 0 < result.size <= MAX_ELEMENTS or not np.isfinite(error):
            return
        value = Value(f"v{len(self.steps)}", result, error)
        self.steps.append(Step(lines or (f"{value.name} = {text}",), value, tuple(dict.fromkeys(v.name for v in self.used))))
        self.values.append(value)

    def _results(self) -> tuple[list[Value], str]:
        """What no other step uses, as a tuple if it is several, which may be nested."""
        used = {name for step in self.steps for name in step.uses}
        results = [s.value for s in self.steps if s.value.name not in used]
        if len(results) == 1:
            return results, results[0].name
        *others, last = results
        inner = ", ".join(v.name for v in others)
        return results, f"(({inner},), {last.name})" if self.chance(0.4) else f"({inner}, {last.name})"

    # ---- choosing operands
    def take(self, fits: Callable[[Value], bool] = lambda v: True) -> Value | None:
        """A value made so far, rather a late one."""
        found = [v for v in self.values if fits(v)]
        if not found:
            return None
        value = found[-1] if self.chance(0.6) else found[self.pick(len(found))]
        self.used.append(value)
        return value

    def number(self, dtype: str) -> tuple[str, np.ndarray]:
        """A constant."""
        if dtype == "bool":
            value: Any = self.chance(0.5)
        elif is_float(dtype):
            value = float(self.rng.choice([0.0, 0.5, 1.0, -2.0, 3.0, 0.25]))
        else:
            limits = np.iinfo(dtype)
            among = [v for v in (0, 1, 2, 3, -1, 100, -7, 2**31, 2**33 + 1, 2**40) if limits.min <= v <= limits.max]
            value = int(among[self.pick(len(among))])
        return f'R.const({value!r}, "{dtype}")', np.array(value, numpy_dtype(dtype))

    def other(self, x: Value) -> tuple[str, np.ndarray, float] | None:
        """Something to combine with x: a value of its type, of its shape or broadcast to it, or a constant."""
        if self.chance(0.25):
            return *self.number(x.dtype), 0.0
        y = self.take(lambda v: v.dtype == x.dtype and broadcasts(v.array.shape, x.array.shape))
        if y is not None and (y.name != x.name or self.chance(0.3)):
            return y.name, y.array, y.error
        if self.symbolic and x.array.shape[:1] != self.shape[:1]:
            return None
        shape = x.array.shape if self.symbolic or self.chance(0.6) else tuple(1 if self.chance(0.5) else n for n in x.array.shape)
        y = self.input(shape, x.dtype)
        self.used.append(y)
        return y.name, y.array, y.error

    # ---- elementwise
    def do_exact(self) -> Made:
        name = str(self.rng.choice(list(EXACT)))
        x = self.take(
            lambda v: v.error == 0 and (is_float(v.dtype) or v.dtype.startswith("int") and name in ("negative", "abs", "nn.relu"))
        )
        if x is None or x.dtype in SMALL and name not in ("negative", "nn.relu", "abs"):
            return None
        return f"R.{name}({x.name})", typed(EXACT[name](x.array), x, name.startswith("is")), 0.0

    def do_smooth(self) -> Made:
        name = str(self.rng.choice(list(SMOOTH)))
        x = self.take(lambda v: v.dtype in FLOATS and v.error < 0.01)
        if (
            x is None
            or np.abs(x.array.astype("float64")[np.isfinite(x.array.astype("float64"))]).max(initial=0) > 60
            or np.isnan(x.array.astype("float64")).any()
        ):
            return None
        value = SMOOTH[name](x.array.astype("float64"))
        if name in ("log", "rsqrt", "sqrt") and (x.error or (x.array.astype("float64") < 1e-3).any()):
            return None
        spread = np.abs(value[np.isfinite(value)]).max(initial=1)
        return f"R.{name}({x.name})", value.astype(x.array.dtype), 60 * x.error * (spread if name == "exp" else 1) + UNIT[x.dtype]

    def do_arithmetic(self) -> Made:
        name = str(self.rng.choice(list(ARITHMETIC)))
        x = self.take(lambda v: v.dtype != "bool")
        y = self.other(x) if x is not None else None
        if x is None or y is None:
            return None
        if x.dtype in SMALL and name not in ("maximum", "minimum"):
            return None
        value = typed(ARITHMETIC[name](x.array, y[1]), x)
        return f"R.{name}({x.name}, {y[0]})", value, grown(x.error + y[2], [x.array, y[1]], value, x.dtype, name == "multiply")

    def do_divide(self) -> Made:
        x = self.take(lambda v: v.dtype in FLOATS and v.error == 0)
        if x is None:
            return None
        by = float(self.rng.choice([2.0, 0.5, 3.0, -4.0]))
        return f'R.divide({x.name}, R.const({by}, "{x.dtype}"))', typed(x.array / x.array.dtype.type(by), x), UNIT[x.dtype]

    def do_quotient(self) -> Made:
        """Of integers, by a positive constant; rounded down, or the rest of that."""
        x = self.take(lambda v: v.dtype in INTEGERS)
        if x is None:
            return None
        by = int(self.rng.choice([1, 2, 3, 7, 16, 100]))
        name = str(self.rng.choice(["floor_divide", "floor_mod"]))
        value = (np.floor_divide if name == "floor_divide" else np.mod)(x.array, x.array.dtype.type(by))
        return f'R.{name}({x.name}, R.const({by}, "{x.dtype}"))', value, 0.0

    def do_compare(self) -> Made:
        name = str(self.rng.choice(list(COMPARE)))
        x = self.take(lambda v: v.error == 0)
        y = self.other(x) if x is not None else None
        if x is None or y is None or y[2] or x.dtype == "bool" and name not in ("equal", "not_equal"):
            return None
        return f"R.{name}({x.name}, {y[0]})", COMPARE[name](x.array, y[1]), 0.0

    def do_bits(self) -> Made:
        x = self.take(lambda v: v.dtype in INTEGERS or v.dtype == "bool")
        y = self.other(x) if x is not None else None
        if x is None or y is None:
            return None
        table = LOGIC if x.dtype == "bool" and self.chance(0.5) else BITS
        name = str(self.rng.choice(list(table)))
        return f"R.{name}({x.name}, {y[0]})", table[name](x.array, y[1]), 0.0

    def do_shift(self) -> Made:
        x = self.take(lambda v: v.dtype in INTEGERS)
        if x is None:
            return None
        by = self.pick(x.array.dtype.itemsize * 8 - 1)
        name = str(self.rng.choice(["left_shift", "right_shift"]))
        value = (np.left_shift if name == "left_shift" else np.right_shift)(x.array, x.array.dtype.type(by))
        return f'R.{name}({x.name}, R.const({by}, "{x.dtype}"))', value, 0.0

    def do_not(self) -> Made:
        x = self.take(lambda v: v.dtype == "bool" or v.dtype in INTEGERS)
        if x is None:
            return None
        name = "logical_not" if x.dtype == "bool" else "bitwise_not"
        return f"R.{name}({x.name})", np.logical_not(x.array) if x.dtype == "bool" else np.invert(x.array), 0.0

    def do_clip(self) -> Made:
        x = self.take(lambda v: v.dtype in (*FLOATS, "int8", "int32", "int64"))
        if x is None:
            return None
        low, high = (-3, 5) if self.chance(0.7) else (-100, 100)
        value = np.clip(x.array, x.array.dtype.type(low), x.array.dtype.type(high))
        return f"R.clip({x.name}, {low}, {high})", typed(value, x), x.error * max(1.0, largest(x.array) / 3)

    def do_where(self) -> Made:
        x = self.take()
        test = self.take(lambda v: v.dtype == "bool" and x is not None and broadcasts(v.array.shape, x.array.shape))
        y = self.other(x) if x is not None and test is not None else None
        if x is None or test is None or y is None:
            return None
        value = np.where(test.array, x.array, y[1])
        return f"R.where({test.name}, {x.name}, {y[0]})", value, grown(x.error + y[2], [x.array, y[1]], value, "", False)

    def do_cast(self) -> Made:
        x = self.take()
        if x is None:
            return None
        to = pick_dtype(self.rng, DTYPES)
        if to == x.dtype or not castable(x, to):
            return None
        error = x.error + UNIT[to] if x.error or is_float(to) and not exactly(x.dtype, to) else 0.0
        return (
            f'R.astype({x.name}, "{to}")',
            x.array.astype(numpy_dtype(to)),
            error if is_float(to) and (x.error or x.dtype in ("int64", "uint64")) else 0.0,
        )

    # ---- reductions and scans
    def do_reduce(self) -> Made:
        name = str(self.rng.choice(["sum", "max", "min", "prod"]))
        x = self.take(lambda v: v.dtype != "bool" and v.array.ndim > 0 and (v.dtype not in SMALL or name in ("max", "min")))
        if x is None or name == "prod" and is_float(x.dtype):
            return None
        axes = None if self.chance(0.2) else tuple(sorted({self.pick(x.array.ndim) for _ in range(1 + self.pick(2))}))
        keep = self.chance(0.5)
        wide = x.array.astype("float64") if is_float(x.dtype) and name == "sum" else x.array
        value = getattr(np, name)(wide, axis=axes, keepdims=keep, **({"dtype": wide.dtype} if name in ("sum", "prod") else {}))
        value = np.asarray(value).astype(x.array.dtype)
        text = f"R.{name}({x.name}, axis={None if axes is None else list(axes)}, keepdims={keep})"
        if not is_float(x.dtype) or name != "sum":
            return text, value, x.error
        if not np.isfinite(wide).all():
            return None
        return text, value, (x.error + UNIT[x.dtype]) * max(1.0, float(np.abs(wide).sum(axes).max()) / max(largest(value), 1e-9))

    def do_place(self) -> Made:
        name = str(self.rng.choice(["argmax", "argmin"]))
        x = self.take(lambda v: v.error == 0 and v.array.ndim > 0 and v.dtype not in SMALL)
        if x is None:
            return None
        axis = self.pick(x.array.ndim)
        seen = x.array.astype("float32") if x.dtype in ("float16", "bfloat16") else x.array
        return f"R.{name}({x.name}, axis={axis})", getattr(np, name)(seen, axis=axis), 0.0

    def do_scan(self) -> Made:
        function = str(self.rng.choice(["cumsum", "cumprod"]))
        x = self.take(lambda v: v.array.ndim > 0 and v.dtype not in SMALL and (function == "cumsum" or not is_float(v.dtype)))
        if x is None:
            return None
        to = pick_dtype(self.rng, (*INTEGERS, *FLOATS)) if self.chance(0.5) or x.dtype == "bool" else x.dtype
        if (
            function == "cumprod"
            and is_float(to)
            or not castable(x, to)
            or is_float(to)
            and not np.isfinite(x.array.astype("float64")).all()
        ):
            return None
        axis, exclusive = self.pick(x.array.ndim), self.chance(0.3)
        given = x.array.astype(numpy_dtype(to))
        wide = given.astype("float64") if is_float(to) else given
        value = getattr(np, function)(wide, axis=axis, dtype=wide.dtype)
        if exclusive:
            first = np.full_like(np.take(value, [0], axis), function == "cumprod")
            value = np.concatenate([first, np.take(value, range(value.shape[axis] - 1), axis)], axis)
        value = value.astype(numpy_dtype(to))
        if is_float(to) and not np.isfinite(value.astype("float64")).all():
            return None
        error = (x.error + UNIT[to]) * max(1.0, float(np.abs(wide).sum(axis).max()) / max(largest(value), 1e-9)) if is_float(to) else 0.0
        return f'R.{function}({x.name}, axis={axis}, dtype="{to}", exclusive={exclusive})', value, error

    def do_sort(self) -> Made:
        x = self.take(
            lambda v: (
                v.error == 0 and v.array.ndim > 0 and v.dtype not in (*SMALL, "bool") and not np.isnan(v.array.astype("float64")).any()
            )
        )
        if x is None:
            return None
        return f"R.sort({x.name}, axis=-1, descending=False)", np.sort(x.array, axis=-1), 0.0

    def do_product(self) -> Made:
        x = self.take(lambda v: v.dtype in ("float32", "float16", "bfloat16", "int32") and v.array.ndim == 2 and v.error < 0.01)
        if x is None or self.symbolic or is_float(x.dtype) and not np.isfinite(x.array.astype("float64")).all():
            return None
        y = self.input((x.array.shape[1], int(self.rng.choice(SIZES))), x.dtype)
        self.used.append(y)
        if is_float(x.dtype) and not np.isfinite(y.array.astype("float64")).all():
            return None
        wide = "float64" if is_float(x.dtype) else x.dtype
        value = np.matmul(x.array.astype(wide), y.array.astype(wide))
        spread = np.matmul(np.abs(x.array.astype("float64")), np.abs(y.array.astype("float64"))).max()
        error = (x.error + UNIT[x.dtype]) * max(1.0, spread / max(largest(value), 1e-9)) if is_float(x.dtype) else 0.0
        return f"R.matmul({x.name}, {y.name})", value.astype(x.array.dtype), error

    # ---- movements
    def do_transpose(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 1)
        if x is None or self.symbolic:
            return None
        order = [int(k) for k in self.rng.permutation(x.array.ndim)]
        return f"R.permute_dims({x.name}, {order})", x.array.transpose(order), x.error

    def do_reshape(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 1)
        if x is None or self.symbolic:
            return None
        shape = (x.array.shape[0] * x.array.shape[1], *x.array.shape[2:])
        return f"R.reshape({x.name}, {shape})", x.array.reshape(shape), x.error

    def do_slice(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 0)
        if x is None or self.symbolic:
            return None
        axis = self.pick(x.array.ndim)
        size = x.array.shape[axis]
        begin, step = self.pick(size), 1 + self.pick(3)
        end = begin + 1 + self.pick(size - begin)
        part = tuple(slice(begin, end, step) if k == axis else slice(None) for k in range(x.array.ndim))
        return f"R.strided_slice({x.name}, axes=[{axis}], begin=[{begin}], end=[{end}], strides=[{step}])", x.array[part], x.error

    def do_concat(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 0)
        if x is None or self.symbolic:
            return None
        y = self.take(lambda v: v.dtype == x.dtype and v.array.shape == x.array.shape)
        axis = self.pick(x.array.ndim)
        assert y is not None
        value = np.concatenate([x.array, y.array], axis)
        return f"R.concat(({x.name}, {y.name}), axis={axis})", value, grown(x.error + y.error, [x.array, y.array], value, "", False)

    def do_pad(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 0 and v.dtype in (*FLOATS, "int32", "int64", "int8"))
        if x is None or self.symbolic:
            return None
        widths = [(self.pick(3), self.pick(3)) for _ in x.array.shape]
        flat = [n for pair in widths for n in pair]
        return f"R.nn.pad({x.name}, {flat}, pad_value=1)", np.pad(x.array, widths, constant_values=x.array.dtype.type(1)), x.error

    def do_broadcast(self) -> Made:
        x = self.take()
        if x is None or self.symbolic:
            return None
        shape = (1 + self.pick(3), *x.array.shape)
        return f"R.broadcast_to({x.name}, {shape})", np.broadcast_to(x.array, shape), x.error

    def do_flip(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 0)
        if x is None:
            return None
        axis = self.pick(x.array.ndim)
        return f"R.flip({x.name}, axis={axis})", np.flip(x.array, axis), x.error

    def do_take(self) -> Made:
        x = self.take(lambda v: v.array.ndim > 0)
        if x is None or self.symbolic:
            return None
        axis, mode = self.pick(x.array.ndim), str(self.rng.choice(["fast", "clip", "wrap"]))
        size, dtype = x.array.shape[axis], str(self.rng.choice(["int64", "int32"]))
        index = self.rng.integers(0, size, 1 + self.pick(6)).astype(dtype)
        if mode != "fast":
            extremes = [-1, size, size + 3, -size - 2, *([2**32 + 1, -(2**40)] if dtype == "int64" and mode == "clip" else [])]
            index[self.pick(len(index))] = extremes[self.pick(len(extremes))]
        at = Value(f"x{len(self.inputs)}", index)
        self.inputs.append(at)
        self.values.append(at)
        self.used.append(at)
        value = np.take(x.array, index, axis, mode={"clip": "clip", "wrap": "wrap"}.get(mode, "raise"))  # type: ignore[call-overload]
        return f'R.take({x.name}, {at.name}, axis={axis}, mode="{mode}")', value, x.error

    def do_split(self) -> Made:
        """An item of a tuple."""
        x = self.take(lambda v: v.array.ndim > 0 and v.array.shape[-1] % 2 == 0)
        if x is None or self.symbolic:
            return None
        item = self.pick(2)
        return f"R.split({x.name}, 2, axis={x.array.ndim - 1})[{item}]", np.split(x.array, 2, -1)[item], x.error

    def do_nested(self) -> None:
        """An item of a tuple in a tuple."""
        x, y = self.take(), self.take()
        if x is None or y is None:
            return
        name = f"v{len(self.steps)}"
        lines = (f"{name}_t = (({x.name}, {y.name}), {x.name})", f"{name}_i = {name}_t[0]", f"{name} = {name}_i[1]")
        self.keep("nested", ("", y.array, y.error), lines)

    def do_branch(self) -> None:
        """One of two, by a bool that is known at run time."""
        x = self.take(lambda v: v.dtype in (*FLOATS, "int32", "int64"))
        if x is None:
            return
        test = self.input((), "bool")
        self.used.append(test)
        name = f"v{len(self.steps)}"
        lines = (f"if {test.name}:", f"    {name} = R.add({x.name}, {x.name})", "else:", f"    {name} = R.negative({x.name})")
        with np.errstate(all="ignore"):
            value = typed(x.array + x.array if test.array else -x.array, x)
        self.keep("branch", ("", value, x.error), lines)


def program(seed: int) -> Program:
    """The Relax program of a seed."""
    return Maker(seed).program()
