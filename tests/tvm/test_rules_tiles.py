"""The rules on tiles: generic functions against NumPy and torch, in strict mode, without element loops of the sequencer.

All functions are compiled as one module, as compiling takes longest. `n` is known only at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm
from tvm import te, tirx, topi

from tvm_target import testing
from tvm_target.isa import ELEMENT_LOOPS
from tvm_target.rules import lower_function

BF16 = ml_dtypes.bfloat16
RNG = np.random.default_rng(7)
SIZES = (0, 1, 5, 17, 300)


def floats(*shape: int, dtype: Any = "float32", low: float | None = None, high: float = 1.0) -> np.ndarray:
    x = RNG.standard_normal(shape) if low is None else RNG.uniform(low, high, shape)
    return x.astype(dtype)


@dataclass
class Case:
    """`inputs(n)` gives arrays, `make(*placeholders)` the expression, `want(*arrays)` what it should be."""

    inputs: Callable[[int], list[np.ndarray]]
    make: Callable[..., te.Tensor]
    want: Callable[..., np.ndarray]
    rtol: float = 1e-6
    atol: float = 1e-6
    sizes: tuple[int, ...] = (1,)
    dynamic: tuple[tuple[int, int], ...] = ()  # (input, dimension) that are n
    func: Any = field(default=None)


def unary(make: Any, want: Any, low: float = -4.0, high: float = 4.0, rtol: float = 2e-6, atol: float = 2e-6) -> Case:
    return Case(lambda n: [floats(7, 33, low=low, high=high)], make, want, rtol, atol)


def t(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x)


def conv(data: tuple[int, ...], weight: tuple[int, ...], stride: int, pad: int, groups: int = 1) -> Case:
    def make(x: te.Tensor, w: te.Tensor) -> te.Tensor:
        if groups == 1:
            return topi.nn.conv2d_nchw(x, w, stride, pad, 1)
        return topi.nn.group_conv2d_nchw(x, w, stride, pad, 1, groups)

    def want(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return torch.nn.functional.conv2d(t(x), t(w), stride=stride, padding=pad, groups=groups).numpy()

    return Case(lambda n: [floats(*data), floats(*weight)], make, want, 1e-4, 1e-4)


def matmul(
    m: int, k: int, n: int, dtype: Any = "float32", turned: bool = False, rtol: float = 1e-4, sizes: tuple[int, ...] = SIZES
) -> Case:
    shape = (n, k) if turned else (k, n)

    def want(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        wide = x.astype("float64") @ (y.T if turned else y).astype("float64")
        return wide.astype("float32").astype(x.dtype)

    return Case(
        lambda rows: [floats(m or rows, k, dtype=dtype), floats(*shape, dtype=dtype)],
        lambda x, y: topi.matmul(x, y, False, turned),
        want, rtol, rtol, sizes if not m else (1,), ((0, 0),) if not m else (),
    )  # fmt: skip


def einsum_i8(x: te.Tensor, y: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, 70))
    return te.compute((33, 50), lambda i, j: te.sum(x[i, k].astype("int32") * y[k, j].astype("int32"), k))


def integers(low: int, high: int, *shape: int, dtype: str = "int64") -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


def softmax(x: np.ndarray) -> np.ndarray:
    return torch.softmax(t(x), -1).numpy()


CASES: dict[str, Case] = {
    # elementwise and broadcast
    "add_row": Case(lambda n: [floats(n, 33), floats(33)], topi.add, np.add, sizes=SIZES, dynamic=((0, 0),)),
    "add_col": Case(lambda n: [floats(n, 33), floats(n, 1)], topi.multiply, np.multiply, sizes=SIZES, dynamic=((0, 0), (1, 0))),
    "add_bf16": Case(lambda n: [floats(9, 40, dtype=BF16), floats(40, dtype=BF16)], topi.add, np.add),
    "long": Case(lambda n: [floats(n * 1000)], lambda x: topi.tanh(x), np.tanh, 1e-6, 1e-6, SIZES, ((0, 0),)),
    "silu": unary(lambda x: topi.multiply(x, topi.sigmoid(x)), lambda x: x / (1 + np.exp(-x))),
    "erf": unary(topi.erf, np.vectorize(math.erf)),
    "exp": unary(topi.exp, np.exp),
    "log": unary(topi.log, np.log, 0.1, 9),
    "log2": unary(topi.log2, np.log2, 0.1, 9),
    "sin": unary(topi.sin, np.sin), "cos": unary(topi.cos, np.cos), "tan": unary(topi.tan, np.tan, -1.2, 1.2),
    "asin": unary(topi.asin, np.arcsin, -0.99, 0.99), "acos": unary(topi.acos, np.arccos, -0.99, 0.99), "atan": unary(topi.atan, np.arctan),
    "sinh": unary(topi.sinh, np.sinh), "cosh": unary(topi.cosh, np.cosh), "asinh": unary(topi.asinh, np.arcsinh),
    "acosh": unary(topi.acosh, np.arccosh, 1.01, 9), "atanh": unary(topi.atanh, np.arctanh, -0.95, 0.95),
    "floor": unary(topi.floor, np.floor), "ceil": unary(topi.ceil, np.ceil), "trunc": unary(topi.trunc, np.trunc),
    "round": unary(lambda x: topi.round(x * 0.5), lambda x: torch.round(t(x * np.float32(0.5))).numpy()),
    "sqrt": unary(topi.sqrt, np.sqrt, 0, 9), "rsqrt": unary(topi.rsqrt, lambda x: 1 / np.sqrt(x), 0.1, 9),
    "abs": unary(topi.abs, np.abs), "sign": unary(topi.sign, np.sign),
    "cube": unary(lambda x: topi.power(x, te.const(3.0, "float32")), lambda x: x**3, rtol=1e-5),
    "power": Case(lambda n: [floats(6, 9, low=0.1, high=4), floats(6, 9)], topi.power, np.power, 1e-5, 1e-6),
    "fmod": Case(lambda n: [floats(6, 9, low=-9, high=9), floats(6, 9, low=1, high=3)], topi.mod, np.fmod, 1e-5, 1e-5),
    "where": Case(lambda n: [floats(6, 9)], lambda x: topi.where(topi.greater(x, te.const(0.0, "float32")), x, topi.exp(x)),
                  lambda x: np.where(x > 0, x, np.exp(x))),
    "isnan": Case(lambda n: [np.where(floats(6, 9) > 0, np.float32("nan"), 1).astype("float32")], topi.isnan, np.isnan),
    "greater": Case(lambda n: [floats(6, 9), floats(6, 9)], topi.greater, np.greater),
    "logical": Case(lambda n: [floats(6, 9) > 0, floats(6, 9) > 0], topi.logical_xor, np.logical_xor),
    # integers
    "int64": Case(lambda n: [integers(-900, 900, n, 12)], lambda x: x * te.const(3, "int64") - te.const(70, "int64"), lambda x: x * 3 - 70,
                  sizes=SIZES, dynamic=((0, 0),)),
    "floordiv": Case(lambda n: [integers(-90, 90, 5, 12)], lambda x: topi.floor_divide(x, te.const(7, "int64")), lambda x: x // 7),
    "floormod": Case(lambda n: [integers(-90, 90, 5, 12)], lambda x: topi.floor_mod(x, te.const(-7, "int64")), lambda x: x % -7),
    "large": Case(lambda n: [integers(-5, 5, 40, dtype="int32")], lambda x: x + te.const(123456789, "int32"),
                    lambda x: x + np.int32(123456789)),
    "bits": Case(
        lambda n: [integers(-900, 900, 5, 12, dtype="int32")],
        lambda x: te.compute(x.shape, lambda i, j: (x[i, j] & 255) + (x[i, j] << 3) - (x[i, j] >> 2)),
        lambda x: (x & 255) + (x << 3) - (x >> 2),
    ),
    "int8": Case(lambda n: [integers(-128, 128, 5, 60, dtype="int8")], lambda x: x + x, lambda x: x + x),
    "to_int": Case(lambda n: [floats(6, 9) * 9], lambda x: topi.cast(x, "int32"), lambda x: x.astype("int32")),
    "to_bool": Case(lambda n: [integers(-1, 2, 6, 9)], lambda x: topi.cast(x, "bool"), lambda x: x != 0),
    "arange": Case(lambda n: [floats(n)], lambda x: te.compute((x.shape[0], 20), lambda i, j: (i * 20 + j).astype("float32") + x[i]),
                   lambda x: np.arange(20 * len(x)).reshape(-1, 20).astype("float32") + x[:, None], sizes=SIZES, dynamic=((0, 0),)),
    # data movement
    "transpose": Case(lambda n: [floats(n, 41)], topi.transpose, np.transpose, sizes=SIZES, dynamic=((0, 0),)),
    "permute": Case(lambda n: [floats(4, 5, 6)], lambda x: topi.transpose(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    "heads": Case(lambda n: [floats(n, 24)], lambda x: topi.transpose(topi.reshape(x, (x.shape[0], 4, 6)), [1, 0, 2]),
                  lambda x: x.reshape(-1, 4, 6).transpose(1, 0, 2), sizes=SIZES, dynamic=((0, 0),)),
    "pad": Case(lambda n: [floats(4, 5, 6)], lambda x: topi.nn.pad(x, [0, 1, 2], [0, 1, 1], pad_value=0.5),
                lambda x: np.pad(x, [(0, 0), (1, 1), (2, 1)], constant_values=0.5)),
    "concat": Case(lambda n: [floats(n, 7), floats(n, 9)], lambda x, y: topi.concatenate([x, y, x], 1),
                   lambda x, y: np.concatenate([x, y, x], 1), sizes=SIZES, dynamic=((0, 0), (1, 0))),
    "concat_rows": Case(lambda n: [floats(n, 7), floats(3, 7)], lambda x, y: topi.concatenate([x, y], 0),
                        lambda x, y: np.concatenate([x, y], 0), sizes=SIZES, dynamic=((0, 0),)),
    "slice": Case(lambda n: [floats(4, 5, 6)], lambda x: topi.strided_slice(x, [0, 0, 5], [4, 5, 0], [1, 2, -2]),
                    lambda x: x[:, ::2, 5:0:-2]),
    "flip": Case(lambda n: [floats(n, 6)], lambda x: topi.flip(x, 0), lambda x: x[::-1], sizes=SIZES, dynamic=((0, 0),)),
    "tile": Case(lambda n: [floats(4, 5)], lambda x: topi.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    "embed": Case(lambda n: [floats(50, 24), integers(0, 50, n)], lambda w, i: topi.take(w, i, axis=0, mode="clip"), lambda w, i: w[i],
                  sizes=SIZES, dynamic=((1, 0),)),
    "take_cols": Case(lambda n: [floats(9, 24), integers(0, 24, 10)], lambda w, i: topi.take(w, i, axis=1, mode="clip"),
                    lambda w, i: w[:, i]),
    "gather": Case(lambda n: [floats(9, 24), integers(0, 9, 5, 24)], lambda w, i: topi.gather(w, 0, i),
                    lambda w, i: np.take_along_axis(w, i, 0)),
    "one_hot": Case(lambda n: [integers(0, 9, 5, 4)],
                    lambda i: topi.one_hot(i, te.const(1.0, "float32"), te.const(0.0, "float32"), 9, -1, "float32"),
                    lambda i: np.eye(9, dtype="float32")[i]),
    "int64_moved": Case(lambda n: [integers(-(1 << 62), 1 << 62, 9, 24)], topi.transpose, np.transpose, 0, 0),
    "int64_joined": Case(
        lambda n: [integers(-(1 << 62), 1 << 62, n, 5), integers(-(1 << 62), 1 << 62, 3, 5)],
        lambda x, y: topi.concatenate([x, y], 0),
        lambda x, y: np.concatenate([x, y], 0), 0, 0, SIZES, ((0, 0),),
    ),
    "float64_padded": Case(lambda n: [floats(5, 7, dtype="float64")], lambda x: topi.nn.pad(x, [1, 1], [0, 2], pad_value=0.1),
                           lambda x: np.pad(x, [(1, 0), (1, 2)], constant_values=0.1), 0, 0),
    "float64_taken": Case(lambda n: [floats(9, 24, dtype="float64"), integers(0, 24, 10)],
                    lambda w, i: topi.take(w, i, axis=1, mode="clip"),
                          lambda w, i: w[:, i], 0, 0),
    # reductions
    "sum": Case(lambda n: [floats(n, 333)], lambda x: topi.sum(x, 1), lambda x: x.sum(1), 1e-4, 1e-4, SIZES, ((0, 0),)),
    "sum_rows": Case(lambda n: [floats(n, 65)], lambda x: topi.sum(x, 0), lambda x: x.sum(0), 1e-4, 1e-4, SIZES, ((0, 0),)),
    "sum_all": Case(lambda n: [floats(70, 333)], topi.sum, lambda x: np.asarray(x.sum()), 1e-3, 1e-3),
    "sum_long": Case(lambda n: [floats(3, 40000)], lambda x: topi.sum(x, 1), lambda x: x.sum(1), 1e-3, 1e-3),
    "sum_two": Case(lambda n: [floats(4, 50, 6, 7)], lambda x: topi.sum(x, [1, 3]), lambda x: x.sum((1, 3)), 1e-4, 1e-4),
    "sum_int": Case(lambda n: [integers(-100, 100, 5, 9)], lambda x: topi.sum(x, 1), lambda x: x.sum(1)),
    "mean_bf16": Case(lambda n: [floats(5, 64, dtype=BF16)], lambda x: topi.sum(x, 1),
                    lambda x: x.astype("f4").sum(1).astype(BF16), 1e-2, 1e-2),
    "max": Case(lambda n: [floats(n, 33)], lambda x: topi.max(x, 1), lambda x: x.max(1), sizes=SIZES, dynamic=((0, 0),)),
    "min_rows": Case(lambda n: [floats(70, 33)], lambda x: topi.min(x, 0), lambda x: x.min(0)),
    "max_int": Case(lambda n: [integers(-100, 100, 5, 9)], lambda x: topi.max(x, 0), lambda x: x.max(0)),
    "prod": Case(lambda n: [floats(7, 12)], lambda x: topi.prod(x, 1), lambda x: x.prod(1), 1e-4, 1e-6),
    "all": Case(lambda n: [floats(5, 9) > -1], lambda x: topi.all(x, 1), lambda x: x.all(1)),
    "any": Case(lambda n: [floats(5, 9) > 1], lambda x: topi.any(x, 0), lambda x: x.any(0)),
    "argmax": Case(lambda n: [np.round(floats(n, 40))], lambda x: topi.argmax(x, 1), lambda x: x.argmax(1), sizes=SIZES, dynamic=((0, 0),)),
    "argmin_rows": Case(lambda n: [np.round(floats(70, 40))], lambda x: topi.argmin(x, 0), lambda x: x.argmin(0)),
    "softmax": Case(lambda n: [floats(n, 57)], topi.nn.softmax, softmax, 1e-5, 1e-6, SIZES, ((0, 0),)),
    "softmax_n": Case(lambda n: [floats(6, n)], topi.nn.softmax, softmax, 1e-5, 1e-6, SIZES, ((0, 1),)),
    "layer_norm": Case(lambda n: [floats(n, 65), floats(65), floats(65)], lambda x, g, b: topi.nn.layer_norm(x, g, b, [1], 1e-5),
                       lambda x, g, b: torch.nn.functional.layer_norm(t(x), (65,), t(g), t(b), 1e-5).numpy(), 1e-4, 1e-4, SIZES, ((0, 0),)),
    "group_norm": Case(
        lambda n: [floats(2, 6, 5, 7), floats(6), floats(6)],
        lambda x, g, b: topi.nn.group_norm(x, g, b, 3, 1, [2, 3], 1e-5),
        lambda x, g, b: torch.nn.functional.group_norm(t(x), 3, t(g), t(b), 1e-5).numpy(), 1e-4, 1e-4,
    ),
    "max_pool": Case(lambda n: [floats(1, 5, 12, 13)], lambda x: topi.nn.pool2d(x, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), "max"),
                     lambda x: torch.nn.functional.max_pool2d(t(x), 2).numpy()),
    "avg_pool": Case(lambda n: [floats(1, 5, 12, 13)],
                     lambda x: topi.nn.pool2d(x, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), "avg", count_include_pad=False),
                     lambda x: torch.nn.functional.avg_pool2d(t(x), 3, 1, 1, count_include_pad=False).numpy(), 1e-5, 1e-5),
    # contractions
    "matmul_f32": matmul(70, 333, 40), "matmul_n": matmul(0, 300, 170), "matmul_turned": matmul(0, 65, 33, turned=True),
    "matmul_bf16": matmul(0, 1000, 300, dtype=BF16, rtol=2e-2), "matmul_small": matmul(3, 4, 5), "vector": matmul(1, 64, 50),
    "matmul_shared": matmul(800, 70, 1300, "float16", rtol=5e-3),
    "matmul_shared_n": matmul(0, 70, 1030, "float16", turned=True, rtol=5e-3, sizes=(0, 900, 1, 1100)),
    "batch_shared": Case(lambda n: [floats(3, 1000, 64, dtype="float16"), floats(3, 900, 64, dtype="float16")], topi.nn.batch_matmul,
                         lambda x, y: np.einsum("bik,bjk->bij", x.astype("float32"), y.astype("float32")), 5e-3, 5e-3),
    "summed_n": Case(
        lambda n: [floats(20, n), floats(n, 30)], topi.matmul, lambda x, y: x @ y, 1e-4, 1e-4, SIZES, ((0, 1), (1, 0))
    ),
    "turned_twice": Case(
        lambda n: [floats(n, 20), floats(30, n)], lambda x, y: topi.matmul(x, y, True, True), lambda x, y: x.T @ y.T, 1e-4, 1e-4, SIZES,
        ((0, 0), (1, 1)),
    ),
    "batch": Case(lambda n: [floats(3, 20, 64), floats(3, 30, 64)], topi.nn.batch_matmul,
                    lambda x, y: np.einsum("bik,bjk->bij", x, y), 1e-4, 1e-4),
    "int8_product": Case(lambda n: [integers(-100, 100, 33, 70, dtype="int8"), integers(-100, 100, 70, 50, dtype="int8")], einsum_i8,
                         lambda x, y: x.astype("int32") @ y.astype("int32")),
    "gelu_layer": Case(lambda n: [floats(n, 64), floats(64, 48), floats(48)],
                       lambda x, w, b: (lambda y: topi.multiply(y, topi.sigmoid(y)))(topi.add(topi.matmul(x, w), b)),
                       lambda x, w, b: torch.nn.functional.silu(t(x) @ t(w) + t(b)).numpy(), 1e-4, 1e-4, SIZES, ((0, 0),)),
    "conv": conv((2, 16, 20, 21), (32, 16, 3, 3), 1, 1), "conv_stride": conv((1, 5, 12, 13), (8, 5, 3, 3), 2, 1),
    "conv_group": conv((1, 16, 10, 11), (32, 4, 3, 3), 1, 1, 4), "conv_1x1": conv((1, 16, 10, 11), (24, 16, 1, 1), 1, 0),
}  # fmt: skip


def prim_func(name: str, case: Case) -> tirx.PrimFunc:
    n = te.var("n", "int64")
    arrays = case.inputs(1)
    shapes = [[n if (i, d) in case.dynamic else size for d, size in enumerate(a.shape)] for i, a in enumerate(arrays)]
    if name == "long":
        shapes = [[n]]
    places = [te.placeholder(s, a.dtype.name, name=f"x{i}") for i, (s, a) in enumerate(zip(shapes, arrays))]
    return te.create_prim_func([*places, case.make(*places)]).with_attr("global_symbol", name)


@pytest.fixture(scope="module")
def module() -> Any:
    functions = {}
    for name, case in CASES.items():
        functions[name] = lower_function(prim_func(name, case))
        assert ELEMENT_LOOPS not in functions[name].attrs, f"{name} has element loops"
    return tvm.compile(tvm.IRModule(functions), target="rigi1")


@pytest.mark.parametrize("name", CASES)
def test_a_generic_function_gives_what_the_reference_gives(name: str, module: Any, strict: None) -> None:
    case = CASES[name]
    for n in case.sizes:
        arrays = case.inputs(n)
        want = np.asarray(case.want(*arrays))
        func_out = str(prim_func(name, case).params[-1].dtype)
        out = np.zeros(want.shape, np.dtype(getattr(ml_dtypes, func_out, func_out)))
        got = testing.run(module, name, *arrays, out, out=[len(arrays)])
        if not case.rtol:
            np.testing.assert_array_equal(got, want)
            continue
        np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), rtol=case.rtol, atol=case.atol, err_msg=f"n = {n}")


def test_cores_share_what_they_multiply_where_there_is_much_of_it() -> None:
    products = ("int8_product", "matmul_shared", "matmul_shared_n", "batch_shared")
    shared = [name for name in products if "load_multicast" in str(lower_function(prim_func(name, CASES[name])))]
    assert shared == ["matmul_shared", "matmul_shared_n", "batch_shared"]
