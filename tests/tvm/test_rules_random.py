"""Random chains of operators, shapes and types through the tile rules, in strict mode, beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi

from tvm_target import testing
from tvm_target.isa import ELEMENT_LOOPS
from tvm_target.rules import lower_function

FUNCTIONS = 40  # a seed; compiled as one module
MAX_ELEMENTS, MAX_RANK = 200_000, 6
Pair = tuple[Any, np.ndarray]


class Chain:
    """Makes (TE tensor, NumPy array) pairs of equal meaning."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.steps = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def pick(self, n: int) -> int:
        return int(self.rng.integers(n))

    def start(self) -> Pair:
        dtype = str(self.rng.choice(["float32", "float32", "int32", "int64"]))
        shape = tuple(int(n) for n in self.rng.choice([1, 2, 3, 5, 7, 16, 17, 33, 64, 70], size=1 + self.pick(4)))
        x = self.rng.standard_normal(shape).astype(dtype) if dtype == "float32" else self.rng.integers(-50, 50, shape).astype(dtype)
        return te.placeholder(shape, dtype, name="x"), x

    def extend(self, pair: Pair) -> Pair:
        tensor, array = self.steps[self.pick(len(self.steps))](*pair)
        return (tensor, np.ascontiguousarray(array)) if array.ndim <= MAX_RANK and 0 < array.size <= MAX_ELEMENTS else pair

    def do_transpose(self, t: Any, x: np.ndarray) -> Pair:
        order = [int(i) for i in self.rng.permutation(x.ndim)]
        return topi.transpose(t, order), x.transpose(order)

    def do_pad(self, t: Any, x: np.ndarray) -> Pair:
        axis, before, after = self.pick(x.ndim), [0] * x.ndim, [0] * x.ndim
        before[axis], after[axis] = self.pick(3), self.pick(3)
        return topi.nn.pad(t, before, after, pad_value=te.const(1, t.dtype)), np.pad(x, list(zip(before, after)), constant_values=1)

    def do_concatenate(self, t: Any, x: np.ndarray) -> Pair:
        axis = self.pick(x.ndim)
        return topi.concatenate([t, t], axis), np.concatenate([x, x], axis)

    def do_sum(self, t: Any, x: np.ndarray) -> Pair:
        axis = self.pick(x.ndim)
        return topi.sum(t, axis, keepdims=True), x.sum(axis, keepdims=True, dtype=x.dtype)

    def do_max(self, t: Any, x: np.ndarray) -> Pair:
        axis, keep = self.pick(x.ndim), x.ndim == 1 or bool(self.pick(2))
        return topi.max(t, axis, keepdims=keep), x.max(axis, keepdims=keep)

    def do_reshape(self, t: Any, x: np.ndarray) -> Pair:
        shape = (x.shape[0] * x.shape[1], *x.shape[2:]) if x.ndim > 1 else (1, x.shape[0])
        return topi.reshape(t, shape), x.reshape(shape)

    def do_slice(self, t: Any, x: np.ndarray) -> Pair:
        axis, begin, step = self.pick(x.ndim), [0] * x.ndim, [1] * x.ndim
        begin[axis], step[axis] = self.pick(x.shape[axis]), 1 + self.pick(2)
        return topi.strided_slice(t, begin, list(x.shape), step), x[tuple(slice(b, None, s) for b, s in zip(begin, step))]

    def do_flip(self, t: Any, x: np.ndarray) -> Pair:
        axis = self.pick(x.ndim)
        return topi.flip(t, axis), np.flip(x, axis)

    def do_broadcast(self, t: Any, x: np.ndarray) -> Pair:
        return topi.broadcast_to(topi.expand_dims(t, 0), (3, *x.shape)), np.broadcast_to(x[None], (3, *x.shape))

    def do_where(self, t: Any, x: np.ndarray) -> Pair:
        zero, two = te.const(0, t.dtype), te.const(2, t.dtype)
        return topi.where(topi.greater(t, zero), t, topi.multiply(t, two)), np.where(x > 0, x, x * x.dtype.type(2))

    def do_take(self, t: Any, x: np.ndarray) -> Pair:
        first, last = self.pick(x.shape[0]), self.pick(x.shape[0])
        rows = te.compute((4,), lambda i: tirx.Select(i < 2, tirx.const(first, "int64"), tirx.const(last, "int64")))
        return topi.take(t, rows, axis=0, mode="clip"), x[[first, first, last, last]]

    def do_exp(self, t: Any, x: np.ndarray) -> Pair:
        return (topi.exp(t * te.const(0.1, "float32")), np.exp(x * np.float32(0.1))) if x.dtype == np.float32 else (topi.add(t, t), x + x)


@pytest.mark.parametrize("seed", range(2))
def test_random_chains_give_what_numpy_gives(seed: int, strict: None) -> None:
    chain, cases, functions = Chain(seed), {}, {}
    for number in range(FUNCTIONS):
        first = chain.start()
        last = first
        for _ in range(1 + chain.pick(4)):
            last = chain.extend(last)
        if last[0] is first[0]:
            continue
        name = f"chain{number}"
        cases[name] = te.create_prim_func([first[0], last[0]]).with_attr("global_symbol", name), first[1], last[1]
        functions[name] = lower_function(cases[name][0])
        assert ELEMENT_LOOPS not in functions[name].attrs, cases[name][0].script()
    module = tvm.compile(tvm.IRModule(functions), target="rigi1")
    for name, (func, x, want) in cases.items():
        got = testing.run(module, name, x, np.zeros_like(want), out=[1])
        bound = 1e-4 * max(1.0, float(np.abs(want.astype("float64")).max()))
        np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), rtol=0, atol=bound, err_msg=func.script())
