"""The sequencer's rule: any TIR, element by element, against NumPy. One module holds most functions: compiling takes longest."""

import math

import ml_dtypes
import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx, topi
from tvm.script import tirx as T

from tvm_target import runtime, testing
from tvm_target.codegen import CodegenError
from tvm_target.isa import ELEMENT_LOOPS
from tvm_target.rules import compact, function
from tvm_target.rules.sequencer import LoweringError

DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)
SAMPLES = 64


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def any_bits(dtype: str, seed: int = 0) -> np.ndarray:
    """Values from all of a type's bit patterns, limits and NaN among them."""
    kind, rng = numpy_dtype(dtype), np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, SAMPLES).astype(bool)
    x = rng.integers(0, 256, SAMPLES * kind.itemsize, dtype=np.uint8).view(kind)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        x[:8] = [limits.min, limits.max, 0, 1, limits.max // 2, limits.max - 1, limits.max // 3, limits.min // 2]
        if kind.itemsize == 4:
            x.view(np.uint32)[8:16] = [0x7F800001, 0x7FC00000, 0xFF800000, 0xFF800001, 0xFFFFFFFF, 0x01000001, 0xFEFFFFFF, 0x80000000]
    return x


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal bits, but one NaN is as good as another."""
    nan = np.isnan(x.astype("float32")) if x.dtype.kind not in "iub" else np.zeros(x.shape, bool)
    return (
        x.dtype == y.dtype
        and np.array_equal(nan, np.isnan(y.astype("float32")) if nan.any() else nan)
        and x[~nan].tobytes() == y[~nan].tobytes()
    )


# name: (function of TIR expressions, function of arrays, dtype, sample)
def _plain(seed: int, low: float = -4, high: float = 4):
    return lambda: np.random.default_rng(seed).uniform(low, high, SAMPLES)


MATH = {
    "erf": (T.erf, np.vectorize(math.erf), (-4, 4)),
    "log1p": (T.log1p, np.log1p, (-0.9, 9)),
    "atan2": (lambda x: T.atan2(x, T.Cast(str(x.ty), T.float32(0.5))), lambda x: np.arctan2(x, x.dtype.type(0.5)), (-4, 4)),
    "pow": (lambda x: T.pow(x, x), lambda x: x**x, (0.1, 4)),
    "fmod": (lambda x: tirx.fmod(x, T.Cast(str(x.ty), T.float32(0.75))), lambda x: np.fmod(x, x.dtype.type(0.75)), (-4, 4)),
    "floormod": (lambda x: topi.floor_mod(x, T.Cast(str(x.ty), T.float32(0.75))), lambda x: np.mod(x, x.dtype.type(0.75)), (-4, 4)),
    "sigmoid": (T.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (-6, 6)),
    "rsqrt": (T.rsqrt, lambda x: 1 / np.sqrt(x), (0.1, 9)),
    "tan": (T.tan, np.tan, (-1, 1)),
    "asinh": (tirx.asinh, np.arcsinh, (-4, 4)),
    "atanh": (tirx.atanh, np.arctanh, (-0.9, 0.9)),
    "hypot": (lambda x: tirx.hypot(x, x), lambda x: np.hypot(x, x), (-4, 4)),
    "round": (T.round, np.round, (-4, 4)),
    "ldexp": (lambda x: tirx.ldexp(x, T.int32(3)), lambda x: np.ldexp(x, 3), (-4, 4)),
    "exp10": (tirx.exp10, lambda x: 10**x, (-4, 4)),
}


def one_to_one(name: str, dtype: str, out: str, formula) -> tirx.PrimFunc:
    x = te.placeholder((SAMPLES,), dtype, "x")
    return te.create_prim_func([x, te.compute((SAMPLES,), lambda i: formula(x(i)).astype(out), "y")]).with_attr("global_symbol", name)


def let_formula(x):
    v = tirx.Var("v", str(x.ty))
    return tirx.Let(v, x * x, v * v - x)


BITS = {
    "shl": ("uint32", lambda x: x << T.uint32(7), lambda x: x << np.uint32(7)),
    "shr": ("int64", lambda x: x >> T.int64(9), lambda x: x >> 9),
    "xor_not": ("int32", lambda x: (~x) ^ T.int32(0x55AA), lambda x: ~x ^ 0x55AA),
    "and_or": ("uint64", lambda x: (x & T.uint64(0xFF00FF)) | T.uint64(3), lambda x: x & np.uint64(0xFF00FF) | np.uint64(3)),
    "popcount": ("uint32", tirx.popcount, lambda x: np.bitwise_count(x).astype("uint32")),
    "clz": ("int32", tirx.clz, lambda x: np.array([32 - int(v).bit_length() for v in x.view(np.uint32)], "int32")),
    "not8": ("uint8", lambda x: ~x, lambda x: ~x),
    "not_bool": ("bool", lambda x: tirx.bitwise_not(x), lambda x: ~x),
    "wrap8": ("int8", lambda x: (x + x).astype("int32").astype("int8"), lambda x: x + x),
    "wrap16": ("uint16", lambda x: x * x, lambda x: x * x),
    "divide": ("uint64", lambda x: x // T.uint64(7) + x % T.uint64(7), lambda x: x // np.uint64(7) + x % np.uint64(7)),
    "by_anything": ("int64", lambda x: tirx.truncdiv(T.int64(7), x), lambda x: np.array([int(7 / v) if v else 0 for v in x.tolist()])),
    "let": ("int16", let_formula, lambda x: x * x * x * x - x),
    "bits_of_float": ("uint32", lambda x: tirx.reinterpret("uint32", tirx.reinterpret("float32", x) * T.float32(1)), None),
    "select": ("int32", lambda x: T.Select(x > 0, x, T.int32(-5)), lambda x: np.where(x > 0, x, np.int32(-5))),
}


@pytest.fixture(scope="module", autouse=True)
def sequencer_only():
    """No other rule takes a stage here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, "RULES", [])
        yield


@pytest.fixture(scope="module")
def module(sequencer_only):
    functions = [one_to_one(f"copy_{d}", d, d, lambda v: v) for d in DTYPES]
    functions += [one_to_one(f"{n}_{d}", d, d, f) for n, (f, _, _) in MATH.items() for d in ("float32", "float64")]
    functions += [one_to_one(n, d, d, f) for n, (d, f, _) in BITS.items()]
    functions += [one_to_one(f"cast_{a}_{b}", a, b, lambda v: v) for a, b in CASTS]
    functions += [one_to_one("classes", "float32", "int32", lambda x: T.Select(T.isnan(x), 1, T.Select(T.isinf(x), 2, 3)))]
    return tvm.compile(tvm.IRModule({f.attrs["global_symbol"]: f for f in functions}), target="rigi1")


CASTS = [
    *(("float32", d) for d in DTYPES if d not in ("bool", "float32")),
    *(("int64", d) for d in ("int8", "uint8", "int16", "int32", "float64", "float16", "bool")),
    *((d, "float32") for d in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "uint64", "bool")),
    ("float64", "int64"),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_of_every_type_is_read_and_written_exactly(module, dtype):
    x = any_bits(dtype)
    assert same(testing.run(module, f"copy_{dtype}", x, np.zeros_like(x), out=[1]), x)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=SAMPLES, max_size=SAMPLES),
    st.sampled_from(("int64", "float64", "int32", "uint16", "float16")),
)
def test_copies_of_random_bits(module, words, dtype):
    x = np.array(words, np.uint64).view(dtype)[:SAMPLES].copy()
    assert same(testing.run(module, f"copy_{dtype}", x, np.zeros_like(x), out=[1]), x)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("name", MATH)
def test_functions(module, name, dtype):
    _, reference, (low, high) = MATH[name]
    x = np.random.default_rng(1).uniform(low, high, SAMPLES).astype(dtype)
    y = testing.run(module, f"{name}_{dtype}", x, np.zeros_like(x), out=[1])
    np.testing.assert_allclose(y, reference(x), rtol=5e-6 if dtype == "float32" else 1e-14, atol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("name", BITS)
def test_integers(module, name):
    dtype, _, reference = BITS[name]
    x = any_bits(dtype, 3)
    if reference is None:
        x = np.random.default_rng(0).standard_normal(SAMPLES).astype("float32").view(dtype)
    y = testing.run(module, name, x, np.zeros_like(x), out=[1])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, x if reference is None else reference(x).astype(dtype))


@pytest.mark.parametrize(("source", "to"), CASTS)
def test_casts(module, source, to):
    rng = np.random.default_rng(5)
    x = (rng.uniform(-100, 100, SAMPLES) if "float" in source else rng.integers(-(2**40), 2**40, SAMPLES)).astype(numpy_dtype(source))
    if to.startswith("uint") and "float" in source:
        x = abs(x)
    y = testing.run(module, f"cast_{source}_{to}", x, np.zeros(SAMPLES, numpy_dtype(to)), out=[1])
    assert same(y, x.astype(numpy_dtype(to)))


def test_small_floats_round_to_nearest_even_up_to_their_limits(module):
    x = np.array(
        [65504, 65519, 65520, 1e6, -1e6, 6e-8, 2.9e-8, 2.98e-8, 1e-5, np.nan, np.inf, -np.inf, 0, -0.0, 1.0009766, 2049], "float32"
    )
    x = np.concatenate([x, np.random.default_rng(0).standard_normal(SAMPLES - len(x)).astype("float32") * 1e-4])
    y = testing.run(module, "cast_float32_float16", x, np.zeros(SAMPLES, "float16"), out=[1])
    with np.errstate(over="ignore"):
        assert same(y, x.astype("float16"))


def test_floats_are_told_apart(module):
    x = np.zeros(SAMPLES, "float32")
    x[:3] = [np.nan, np.inf, -np.inf]
    y = testing.run(module, "classes", x, np.zeros(SAMPLES, "int32"), out=[1])
    assert list(y[:4]) == [1, 2, 2, 3]


# ---- whole functions


def run(func, *arrays, name="main", out=None):
    executable = tvm.compile(tvm.IRModule({name: func.with_attr("global_symbol", name)}), target="rigi1")
    return executable, testing.run(executable, name, *arrays, out=[len(arrays) - 1] if out is None else out)


def test_reductions_scans_and_scatters_with_sizes_known_at_run_time():
    m, n = te.var("m", "int64"), te.var("n", "int64")
    x = te.placeholder((m, n), "float32", "x")
    k = te.reduce_axis((0, n), "k")
    total = te.create_prim_func([x, te.compute((m,), lambda i: te.sum(x[i, k], axis=k), "total")]).with_attr("global_symbol", "total")
    scan = te.create_prim_func([x, topi.cumsum(x, axis=1)]).with_attr("global_symbol", "scan")
    index = te.placeholder((m,), "int64", "index")
    rows = te.create_prim_func([x, index, topi.take(x, index, axis=0)]).with_attr("global_symbol", "rows")
    executable = tvm.compile(tvm.IRModule({"total": total, "scan": scan, "rows": rows}), target="rigi1")
    for shape in ((1, 1), (3, 7), (5, 33)):
        a = np.random.default_rng(0).standard_normal(shape).astype("float32")
        np.testing.assert_allclose(testing.run(executable, "total", a, np.zeros(shape[0], "float32"), out=[1]), a.sum(1), atol=1e-5)
        np.testing.assert_allclose(testing.run(executable, "scan", a, np.zeros_like(a), out=[1]), a.cumsum(1), atol=1e-5)
        at = np.arange(shape[0], dtype="int64")[::-1].copy()
        np.testing.assert_array_equal(testing.run(executable, "rows", a, at, np.zeros_like(a), out=[2]), a[at])
    big = np.zeros((1, 600_000), "float32")
    with pytest.raises(ValueError, match="scan: out_buf may have up to 2[0-9]{5} elements"):
        testing.run(executable, "scan", big, np.zeros_like(big), out=[1])


def test_a_stage_of_several_reductions_in_place_and_with_while():
    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((8,), "int32"), y: T.Buffer((8,), "int32")):
        count = T.alloc_buffer((1,), "int32", scope="local")
        for i in range(8):  # in place: y counts how often 3 n + 1 takes x to 1
            count[0] = x[i]
            while count[0] > 1:
                y[i] = y[i] + 1
                count[0] = T.if_then_else(count[0] % 2 == 0, count[0] // 2, count[0] * 3 + 1)

    def steps(v):
        return 0 if v <= 1 else 1 + steps(v // 2 if v % 2 == 0 else 3 * v + 1)

    x = np.array([1, 2, 3, 4, 5, 6, 7, 27], "int32")
    executable, y = run(main, x, np.full(8, 100, "int32"))
    np.testing.assert_array_equal(y, [100 + steps(int(v)) for v in x])
    assert runtime.manifest(executable.mod)["kernels"][0]["element_loops"] is True


def test_elements_that_a_stage_does_not_write_keep_their_values():
    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((6,), "float32"), y: T.Buffer((6,), "float32")):
        for i in range(4):
            if x[i] > T.float32(0):
                y[i] = x[i] * T.float32(2)

    @T.prim_func(s_tir=True)
    def back(x: T.Buffer((6,), "float32"), y: T.Buffer((6,), "float32")):
        for i in range(3):
            y[i] = x[i]
            y[i + 3] = y[i] + T.float32(1)

    x = np.array([1, -1, 2, -2, 3, 3], "float32")
    assert list(run(main, x, np.full(6, 9, "float32"))[1]) == [2, 9, 4, 9, 9, 9]
    assert list(run(back, x, np.full(6, 9, "float32"))[1]) == [1, -1, 2, 2, 0, 3]


def test_branches_do_not_read_what_they_do_not_choose():
    x = te.placeholder((4,), "float32", "x")
    y = te.compute((8,), lambda i: tirx.if_then_else(tirx.all(i >= 2, i < 6), x[i - 2], tirx.const(0, "float32")), "y")
    source = run(te.create_prim_func([x, y]), np.arange(4, dtype="float32"), np.zeros(8, "float32"))
    assert list(source[1]) == [0, 0, 0, 1, 2, 3, 0, 0]


def test_intermediates_and_working_buffers():
    x = te.placeholder((5, 6), "float64", "x")
    a = np.random.default_rng(0).standard_normal((5, 6))
    y = run(te.create_prim_func([x, topi.nn.softmax(x, axis=1)]), a, np.zeros_like(a))[1]
    np.testing.assert_allclose(y, np.exp(a) / np.exp(a).sum(1, keepdims=True), rtol=1e-14)

    @T.prim_func(s_tir=True)
    def reverse(x: T.Buffer((5000,), "int64"), y: T.Buffer((5000,), "int64")):
        kept = T.alloc_buffer((5000,), "int64")
        for i in range(5000):
            kept[i] = x[4999 - i]
        for i in range(5000):
            y[i] = kept[i]

    b = np.arange(5000, dtype="int64") << 33
    np.testing.assert_array_equal(run(reverse, b, np.zeros_like(b))[1], b[::-1])


def test_strict_mode_finds_nothing(strict: None):
    x = te.placeholder((3, 5), "float32", "x")
    for build in (topi.nn.softmax, lambda t, axis: topi.cumsum(t, axis=axis), lambda t, axis: topi.argmax(t, axis=axis)):
        y = build(x, axis=1)
        out = np.zeros([int(n) for n in y.shape], str(y.dtype))
        run(te.create_prim_func([x, y]), np.random.default_rng(0).standard_normal((3, 5)).astype("float32"), out)


def test_errors_name_function_buffers_and_remedy():
    x = te.placeholder((800_000,), "float32", "x")
    with pytest.raises(LoweringError, match=r"(?s)big: .*out_buf  3,200,000 bytes  float32\[800000\].*use smaller tensors"):
        tvm.compile(tvm.IRModule({"big": te.create_prim_func([x, topi.cumsum(x, axis=0)])}), target="rigi1")

    @T.prim_func(s_tir=True)
    def calls(x: T.Buffer((4,), "float32")):
        for i in range(4):
            x[i] = T.call_extern("float32", "mystery", i)

    with pytest.raises(CodegenError, match="kernel calls: call_extern\\('mystery'\\)"):
        tvm.compile(tvm.IRModule({"calls": calls}), target="rigi1")


def test_functions_are_marked_and_kernels_by_hand_stay_as_they_are():
    from tvm_target.rules import lower_functions

    x = te.placeholder((4,), "float32", "x")
    func = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + 1, "y")]).with_attr("target", tvm.target.Target("rigi1"))
    lowered = lower_functions()(tvm.IRModule({"main": func}))["main"]
    assert lowered.attrs[ELEMENT_LOOPS]
    assert tvm_ffi.structural_equal(lower_functions()(tvm.IRModule({"main": lowered}))["main"], lowered)


def test_parameters_become_compact():
    x = te.placeholder((4, 4), "float32", "x")
    func = compact.compact_parameters(te.create_prim_func([x, topi.cumsum(x, axis=0)]))
    assert all(math.isclose(int(p.elem_offset), 0) for p in func.params if p.elem_offset is not None)
    assert compact.compact_parameters(func).same_as(func)
