"""Accesses under conditions: an element that a condition excludes is never read, whatever its index says.

Indices out of range are chosen far outside, so that strict mode sees any read of them. `n` is known only at run time. All functions are
compiled as one module, as compiling takes longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm
from tvm import te, tirx, topi

import sdk_sim
from tvm_target import testing

RNG = np.random.default_rng(11)
FAR = 1 << 28  # elements


@dataclass
class Case:
    """`make(n, *placeholders)` gives the expression of a point, `want(*arrays)` what the function should give. Shapes: "n" is symbolic."""

    inputs: Callable[[int], list[np.ndarray]]
    shapes: list[tuple[Any, ...]]
    make: Callable[..., Any]
    want: Callable[..., np.ndarray]
    sizes: tuple[int, ...] = (5,)


def floats(*shape: int, dtype: Any = "float32") -> np.ndarray:
    return (RNG.standard_normal(shape) * 10).astype(dtype)


def indices(length: int, size: int, dtype: str = "int64") -> np.ndarray:
    """Places in [0, size), among them some far outside on either side; of nothing, all are outside."""
    found = RNG.integers(0, max(size, 1), length)
    found[::3] = [-1 - RNG.integers(0, FAR) for _ in found[::3]]
    found[1::5] = [size + RNG.integers(0, FAR) for _ in found[1::5]]
    return (found if size else np.full(length, -1)).astype(dtype)


def inside(i: Any, n: Any) -> Any:
    return tirx.all(i >= 0, i < n)


def zero(x: te.Tensor) -> Any:
    return tirx.const(0, x.dtype)


def picked(x: np.ndarray, i: np.ndarray, other: float = 0) -> np.ndarray:
    good = (i >= 0) & (i < len(x))
    out = np.full((len(i), *x.shape[1:]), other, x.dtype)
    out[good] = x[i[good]]
    return out


def picks(dtype: Any, index: str = "int64", choice: Any = tirx.if_then_else, sizes: tuple[int, ...] = (0, 1, 7, 300)) -> Case:
    name = np.dtype(dtype).name
    return Case(
        lambda n: [floats(n, dtype=dtype), indices(50, n, index)], [("n",), (50,)],
        lambda n, x, i: te.compute((50,), lambda j: choice(inside(i[j], n), x[i[j]], zero(x)), name=f"picks_{name}"), picked, sizes,
    )  # fmt: skip


def joined(*axes: Any, n: Any) -> te.Tensor:
    return topi.concatenate(list(axes), 0)


def transposed_convolution(n: Any, x: te.Tensor, w: te.Tensor) -> te.Tensor:
    return topi.nn.conv2d_transpose_nchw(x, w, (3, 3), (0, 0), "float32", (0, 0))


def torch_transposed(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return torch.nn.functional.conv_transpose2d(torch.tensor(x), torch.tensor(w), stride=3).numpy()


def nested(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    where = tirx.Select
    return te.compute((50,), lambda j: where(i[j] < 0, tirx.const(-1.0), where(i[j] >= n, tirx.const(-2.0), x[i[j]])), name="nested")


def twice(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    """The same element under a condition and without it."""
    return te.compute((50,), lambda j: tirx.if_then_else(i[j] > 2, x[i[j]], zero(x)) + 2.0 * x[i[j]], name="twice")


def by_condition(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    """A condition that reads what only its first half allows."""
    good = lambda k: tirx.And(inside(k, n), x[k] > 0)  # noqa: E731
    return te.compute((50,), lambda j: tirx.if_then_else(good(i[j]), tirx.const(1.0), tirx.const(0.0)), name="by_condition")


def through_two(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    """An index that is itself read by a guarded index."""
    k = lambda j: i[i[j]]  # noqa: E731
    return te.compute(
        (50,), lambda j: tirx.if_then_else(inside(i[j], 50), tirx.if_then_else(inside(k(j), n), x[k(j)], zero(x)), zero(x)), name="through"
    )


def summed(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, 40), "k")
    return te.compute((30,), lambda j: te.sum(tirx.if_then_else(inside(i[j, k], n), x[i[j, k]], zero(x)), axis=k), name="summed")


def multiplied(n: Any, x: te.Tensor, i: te.Tensor, w: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, 33), "k")
    value = lambda r, k: tirx.if_then_else(inside(i[r], n), x[i[r], k], zero(x))  # noqa: E731
    return te.compute((50, 20), lambda r, c: te.sum(value(r, k) * w[k, c], axis=k), name="multiplied")


def shifted(low: int, high: int) -> Case:
    """A window that leaves the tensor on both sides, with a turn: no part of it is a plain block."""
    return Case(
        lambda n: [floats(n, 9)], [("n", 9)],
        lambda n, x: te.compute((n + low + high, 9), lambda r, c: tirx.Select(inside(r - low, n), x[n - 1 - (r - low), 8 - c], zero(x))),
        lambda x: np.pad(x[::-1, ::-1], ((low, high), (0, 0))), (0, 1, 5, 40),
    )  # fmt: skip


def of_words(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    """int64 beyond 32 bits, under a condition and without it."""
    high = lambda j: tirx.if_then_else(i[j] > 2, x[i[j]] * 3, tirx.const(-1, "int64"))  # noqa: E731
    return te.compute((50,), lambda j: tirx.max(high(j), x[i[j]] + 1), name="of_words")


def counted_back(n: Any, x: te.Tensor, i: te.Tensor) -> te.Tensor:
    return te.compute((50,), lambda j: x[i[j] + n], name="back")


CASES: dict[str, Case] = {
    "float32": picks("float32"), "bfloat16": picks(ml_dtypes.bfloat16), "float16": picks("float16", "int32"), "int8": picks("int8"),
    "int32": picks("int32"), "int64": picks("int64", "int32"), "bool": picks("bool"), "float64": picks("float64"),
    "uint16_of_the_sequencer": picks("uint16", sizes=(0, 7)), "select": picks("float32", choice=tirx.Select),
    "select_int64": picks("int64", choice=tirx.Select), "select_bool": picks("bool", "int32", tirx.Select),
    "rows": Case(lambda n: [floats(n, 65), indices(50, n)], [("n", 65), (50,)],
                 lambda n, x, i: te.compute((50, 65), lambda r, c: tirx.Select(inside(i[r], n), x[i[r], c], zero(x)), name="rows"),
                 picked, (0, 1, 7, 300)),
    "row_parts": Case(lambda n: [floats(n, 65), indices(50, n)], [("n", 65), (50,)],
                      lambda n, x, i: te.compute((50, 20), lambda r, c: tirx.Select(inside(i[r], n), x[i[r], c + 40], zero(x))),
                      lambda x, i: picked(x, i)[:, 40:60], (0, 1, 7)),
    "columns": Case(lambda n: [floats(7, n), indices(50, n)], [(7, "n"), (50,)],
                    lambda n, x, i: te.compute((7, 50), lambda r, c: tirx.Select(inside(i[c], n), x[r, i[c]], zero(x)), name="columns"),
                    lambda x, i: picked(x.T, i).T, (0, 1, 300)),
    "nested": Case(lambda n: [floats(n), indices(50, n)], [("n",), (50,)], nested,
                   lambda x, i: np.where(i < 0, np.float32(-1), picked(x, i, -2)), (0, 1, 7, 300)),
    "twice": Case(lambda n: [floats(n), RNG.integers(0, n, 50)], [("n",), (50,)], twice,
                  lambda x, i: np.where(i > 2, x[i], 0) + 2 * x[i], (1, 7, 300)),
    "by_condition": Case(lambda n: [floats(n), indices(50, n)], [("n",), (50,)], by_condition,
                         lambda x, i: (picked(x, i) > 0).astype("f4"), (0, 7, 300)),
    "through_two": Case(lambda n: [floats(n), indices(50, 50)], [("n",), (50,)], through_two,
                        lambda x, i: picked(x, picked(i, i, -1)), (7, 60)),
    "summed": Case(lambda n: [floats(n), np.stack([indices(40, n) for _ in range(30)])], [("n",), (30, 40)], summed,
                   lambda x, i: picked(x, i.ravel()).reshape(i.shape).sum(1), (0, 7, 300)),
    "multiplied": Case(lambda n: [floats(n, 33), indices(50, n), floats(33, 20)], [("n", 33), (50,), (33, 20)], multiplied,
                       lambda x, i, w: picked(x, i) @ w, (0, 7, 300)),
    "shifted": shifted(3, 2), "shifted_far": shifted(70, 65),
    "concat": Case(lambda n: [floats(n, 8), floats(3, 8), floats(n, 8), floats(2 * n, 8)], [("n", 8), (3, 8), ("n", 8), ("2n", 8)],
                   lambda n, *x: joined(*x, n=n), lambda *x: np.concatenate(x), (0, 1, 50)),
    "concat_flipped": Case(lambda n: [floats(n, 8), floats(n, 8), floats(4, 8)], [("n", 8), ("n", 8), (4, 8)],
                           lambda n, *x: joined(*(topi.flip(p, 0) for p in x), n=n), lambda *x: np.concatenate([p[::-1] for p in x]),
                           (0, 1, 50)),
    "transposed_convolution": Case(lambda n: [floats(1, 2, n, 5), floats(2, 3, 3, 3)], [(1, 2, "n", 5), (2, 3, 3, 3)],
                                   transposed_convolution, torch_transposed, (1, 4)),
    "of_words": Case(
        lambda n: [RNG.integers(-(1 << 60), 1 << 60, n), RNG.integers(0, n, 50)],
        [("n",), (50,)],
        of_words,
        lambda x, i: np.maximum(np.where(i > 2, x[i] * 3, -1), x[i] + 1),
        (1, 7, 300),
    ),
    "counted_back": Case(lambda n: [floats(n), -1 - RNG.integers(0, n, 50)], [("n",), (50,)], counted_back, lambda x, i: x[i], (1, 7, 300)),
}  # fmt: skip

MOVES = set(CASES) - {"summed", "multiplied", "twice", "transposed_convolution"}  # nothing is computed, or what is exact


def prim_func(name: str) -> tirx.PrimFunc:
    case, n = CASES[name], te.var("n", "int64")
    sizes = {"n": n, "2n": n * 2}
    places = [te.placeholder([sizes.get(d, d) for d in s], a.dtype.name, name=f"x{k}")
              for k, (s, a) in enumerate(zip(case.shapes, case.inputs(1)))]  # fmt: skip
    return te.create_prim_func([*places, case.make(n, *places)]).with_attr("global_symbol", name)


@pytest.fixture(scope="module")
def module() -> Any:
    return tvm.compile(tvm.IRModule({name: prim_func(name) for name in CASES}), target="rigi1")


@pytest.fixture(params=["strict", "timed"])
def mode(request: Any) -> Iterator[None]:
    sdk_sim.set_mode(request.param)
    yield
    sdk_sim.reset()
    sdk_sim.set_mode("timed")


@pytest.mark.parametrize("name", CASES)
def test_what_a_condition_excludes_is_not_read(name: str, module: Any, mode: None) -> None:
    case = CASES[name]
    for n in case.sizes:
        arrays = case.inputs(n)
        want = np.asarray(case.want(*arrays))
        got = testing.run(module, name, *arrays, np.zeros_like(want), out=[len(arrays)])
        tolerance = 0 if name in MOVES else 1e-5 * max(np.abs(want.astype("float64")).max(initial=0), 1)
        np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), rtol=0, atol=tolerance, err_msg=f"n = {n}")
