"""Branches of Relax functions: each has the memory of its own intermediate tensors, whichever is taken."""

import itertools

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

DEVICE = tvm.device("ext_dev", 0)
X = np.random.default_rng(3).standard_normal((4, 7)).astype(np.float32)


@I.ir_module
class OneIf:
    @R.function
    def main(p: R.Tensor((), "bool"), x: R.Tensor((4, 7), "float32")) -> R.Tensor((4, 7), "float32"):
        if p:
            y = R.exp(x)
            z = R.negative(y)
        else:
            y = R.abs(x)
            z = R.add(y, y)
        return z


@I.ir_module
class Nested:
    @R.function
    def main(p: R.Tensor((), "bool"), q: R.Tensor((), "bool"), x: R.Tensor((4, "n"), "float32")) -> R.Tensor((4, "n"), "float32"):
        n = T.int64()
        a = R.abs(x)
        if p:
            y = R.negative(a)
            if q:
                w = R.add(y, x)
                v = R.multiply(w, a)
                z = R.negative(v)
            else:
                w = R.subtract(y, x)
                v = R.multiply(w, w)
                u = R.subtract(v, y)
                z = R.add(u, v)
        else:
            y = R.multiply(a, a)
            if q:
                w = R.subtract(y, a)
                z = R.negative(w)
            else:
                w = R.add(y, x)
                v = R.multiply(w, w)
                z = R.add(v, a)
        b = R.multiply(z, z)
        c = R.add(b, a)
        d = R.negative(c)
        return R.add(d, z)


def nested(p: bool, q: bool, x: np.ndarray) -> np.ndarray:
    a = np.abs(x)
    if p:
        v = (-a - x) ** 2
        z = -((x - a) * a) if q else v + a + v
    else:
        z = a - a * a if q else (a * a + x) ** 2 + a
    return z - (z * z + a)


def run(module: tvm.IRModule, *arrays: np.ndarray) -> np.ndarray:
    vm = relax.VirtualMachine(tvm.compile(module, target="rigi1"), DEVICE)
    return vm["main"](*(tvm.runtime.tensor(a, DEVICE) for a in arrays)).numpy()


@pytest.mark.parametrize("p", [True, False])
def test_both_branches_have_intermediate_tensors(p: bool) -> None:
    np.testing.assert_allclose(run(OneIf, np.array(p), X), -np.exp(X) if p else 2 * np.abs(X), rtol=1e-6)


def test_branches_in_branches_and_what_follows_them() -> None:
    vm = relax.VirtualMachine(tvm.compile(Nested, target="rigi1"), DEVICE)
    for p, q, x in itertools.product([True, False], [True, False], [X, X[:, :1]]):
        got = vm["main"](*(tvm.runtime.tensor(a, DEVICE) for a in (np.array(p), np.array(q), x))).numpy()
        np.testing.assert_allclose(got, nested(p, q, x), rtol=1e-5, atol=1e-5)
