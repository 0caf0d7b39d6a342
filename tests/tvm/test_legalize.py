"""Sorts, scans, scatters and searches of Relax on the chip, against NumPy: one compilation for all sizes, no element loops."""

import itertools
import json
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import relax

import sdk_sim

BF16 = np.dtype(ml_dtypes.bfloat16)
op = relax.op


def type_of(name: str) -> np.dtype:
    return BF16 if name == "bfloat16" else np.dtype(name)


def compiled(build: Callable, shapes: list[tuple], dtypes: list[str]) -> Callable:
    """A function of arrays. Sizes are numbers, or names of symbols."""
    symbols = {n: tvm.tirx.Var(n, "int64") for shape in shapes for n in shape if isinstance(n, str)}
    builder = relax.BlockBuilder()
    params = [
        relax.Var(f"x{k}", relax.TensorType([symbols.get(n, n) for n in shape], dtype))
        for k, (shape, dtype) in enumerate(zip(shapes, dtypes))
    ]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(build(*params))
        builder.emit_func_output(result)
    executable = tvm.compile(builder.finalize(), target="rigi1")
    device = tvm.device("ext_dev", 0)
    machine = relax.VirtualMachine(executable, device)

    def run(*arrays: np.ndarray):
        result = machine["main"](*[tvm.runtime.tensor(np.array(a, order="C"), device) for a in arrays])
        return result.numpy() if hasattr(result, "numpy") else [r.numpy() for r in result]

    run.loops = [k["name"] for k in _kernels(executable.mod) if k.get("element_loops")]  # type: ignore[attr-defined]
    return run


def _kernels(module) -> list[dict]:
    here = json.loads(module.inspect_source("json"))["kernels"] if module.kind == "rigi" else []
    return here + [k for m in module.imports for k in _kernels(m)]


def sample(shape, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(type_of(dtype)).kind in "iu":
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        x[..., ::3] = x[..., ::3] % 5  # equals
        return x
    return np.round(rng.standard_normal(shape) * 8, 1).astype(type_of(dtype))


# ---- slices


@pytest.mark.parametrize("bounds", [(5, 2, 1), (5, -1, 1), (-2, 4, 1), (-1, -4, 1), (2, 5, -1), (2, -2, -1), (7, 2, -3), (-9, 20, 2)])
def test_slices_may_take_nothing(bounds: tuple[int, int, int]) -> None:
    """Whether their bounds or the size of the axis say so; what is computed from them has their size."""
    begin, end, step = bounds
    run = compiled(lambda x, y: op.concat([op.strided_slice(x, [0], [begin], [end], [step]), y]), [("n", 3), (2, 3)], ["float32"] * 2)
    y = sample((2, 3), "float32")
    for n in (0, 1, 3, 10):
        x = sample((n, 3), "float32", n)
        np.testing.assert_array_equal(run(x, y), np.concatenate([x[begin:end:step], y]))
    x = sample((10, 3), "float32")
    fixed = compiled(lambda x: op.strided_slice(x, [0], [begin], [end], [step]), [(10, 3)], ["float32"])
    np.testing.assert_array_equal(fixed(x), x[begin:end:step])


# ---- sort


ROWS = [(3, 0), (1, 1), (5, 7), (2, 1000), (40, 33), (1, 5000)]


def stable(x: np.ndarray, descending: bool) -> np.ndarray:
    """argsort, equals in order of their index."""
    x = x.astype("float64") if x.dtype in (BF16, np.dtype("float16")) else x.astype("int16") if x.dtype == bool else x
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    n = x.shape[-1]
    return n - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


@pytest.mark.parametrize(
    ("dtype", "descending"),
    [(d, False) for d in ("float32", "bfloat16", "float16", "int32", "int64", "int8", "bool")]
    + [(d, True) for d in ("float32", "int64", "uint8")],
)
def test_sort_and_argsort(dtype, descending):
    def build(x):
        return relax.Tuple([op.sort(x, descending=descending), op.argsort(x, descending=descending, dtype="int64")])

    run = compiled(build, [("m", "n")], [dtype])
    assert not run.loops
    for shape in ROWS:
        x = sample(shape, dtype)
        values, places = run(x)
        expected = stable(x, descending)
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, -1))


def test_sort_puts_nan_where_the_largest_stands():
    x = np.array([[3, np.nan, -np.inf, 1, np.inf, np.nan, -0.0, 0.0]], "float32")
    run = compiled(lambda t: relax.Tuple([op.sort(t), op.sort(t, descending=True)]), [(1, 8)], ["float32"])
    up, down = run(x)
    np.testing.assert_array_equal(up, np.sort(x))  # zeros are equal
    np.testing.assert_array_equal(down[:, 2:], np.sort(x)[:, :6][:, ::-1])
    assert np.isnan(down[:, :2]).all()


@pytest.mark.parametrize("largest", (False, True))
@pytest.mark.parametrize("dtype", ("float32", "bfloat16", "int64"))
def test_topk_along_any_axis(dtype, largest):
    run = compiled(lambda x: op.topk(x, k=3, axis=1, largest=largest, dtype="int64"), [("a", "n", 4)], [dtype])
    assert not run.loops
    for a, n in ((1, 3), (2, 17), (1, 4000)):
        x = sample((a, n, 4), dtype, n)
        values, places = run(x)
        expected = np.swapaxes(stable(np.swapaxes(x, 1, 2), largest), 1, 2)[:, :3]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))


def test_topk_of_a_vocabulary():
    x = np.random.default_rng(0).permutation(151936).astype("float32")[None] * 0.25
    values, places = compiled(lambda t: op.topk(t, k=50), [("m", "n")], ["float32"])(x)
    np.testing.assert_array_equal(places, np.argsort(-x, kind="stable")[:, :50])
    np.testing.assert_array_equal(values, np.sort(x)[:, ::-1][:, :50])


def test_rows_that_do_not_fit_are_refused_by_name():
    run = compiled(lambda t: op.sort(t), [("m", "n")], ["float32"])
    with pytest.raises(Exception, match="rows of up to 65536 elements can be put in order"):
        run(np.zeros((1, 65537), "float32"))


@pytest.mark.parametrize(("axis", "keepdims"), (([1], False), ([0], True), (None, False)))
def test_median(axis, keepdims):
    x = sample((5, 8), "float32")
    result = compiled(lambda t: op.median(t, axis=axis, keepdims=keepdims), [(5, 8)], ["float32"])(x)
    y = x if axis is not None else x.reshape(-1)
    along = axis[0] if axis is not None else 0
    order = np.argsort(y, axis=along, kind="stable")
    place = np.take(order, [(y.shape[along] - 1) // 2], along)
    values = np.take_along_axis(y, place, along)
    if axis is None:
        np.testing.assert_array_equal(result, values.reshape(()))
    else:
        np.testing.assert_array_equal(result[0], values if keepdims else values.squeeze(along))
        np.testing.assert_array_equal(result[1], place if keepdims else place.squeeze(along))


# ---- scan


@pytest.mark.parametrize("exclusive", (False, True))
@pytest.mark.parametrize("dtype", ("float32", "bfloat16", "int32", "int64"))
@pytest.mark.parametrize("axis", (0, 1))
def test_cumsum(dtype, axis, exclusive):
    run = compiled(lambda x: op.cumsum(x, axis=axis, exclusive=exclusive), [("m", "n")], [dtype])
    assert not run.loops
    for shape in ((0, 3), (3, 0), (1, 1), (3, 1), (7, 5), (300, 40), (2, 1025), (1, 40_000)):
        x = sample(shape, "float32", 3).astype(type_of(dtype))
        expected = np.cumsum(x.astype("float64"), axis)
        if exclusive:
            expected = expected - x.astype("float64")
        np.testing.assert_allclose(run(x).astype("float64"), expected, rtol=2**-8 if dtype == "bfloat16" else 1e-5, atol=1e-2)


def test_cumprod_and_flat_scans():
    run = compiled(lambda x: relax.Tuple([op.cumprod(x, axis=1), op.cumsum(x, dtype="float32")]), [("m", "n")], ["float32"])
    for shape in ((2, 9), (3, 1200)):
        x = 1 + np.random.default_rng(1).standard_normal(shape).astype("float32") * 0.01
        products, sums = run(x)
        np.testing.assert_allclose(products, np.cumprod(x, 1), rtol=1e-4)
        np.testing.assert_allclose(sums, np.cumsum(x), rtol=1e-5)


@pytest.mark.parametrize("exclusive", (False, True))
def test_sums_of_int64_beyond_32_bits(exclusive):
    run = compiled(lambda x: relax.Tuple([op.cumsum(x, axis=k, exclusive=exclusive) for k in (0, 1)]), [("m", "n")], ["int64"])
    rng = np.random.default_rng(0)
    x = rng.integers(-(2**62), 2**62, (5, 70)) >> rng.integers(0, 62, (5, 70))
    x[1], x[:, 3] = 2**32 - 1, -(2**63)  # sums wrap at 64 bits
    for axis, got in enumerate(run(x)):
        np.testing.assert_array_equal(got, np.cumsum(x, axis) - (x if exclusive else 0))


@pytest.mark.parametrize(
    ("source", "target"), [("float32", "int32"), ("float32", "int64"), ("int32", "int8"), ("float32", "float16"), ("bool", "int64")]
)
def test_elements_are_cast_before_they_are_added(source, target):
    run = compiled(lambda x: op.cumsum(x, axis=1, dtype=target), [(2, 5)], [source])
    x = np.array([[0.6, 0.6, 1.6, 0.7, -0.9], [100, 100, 100, 2.5, -7]], "float32").astype(source)
    np.testing.assert_array_equal(run(x), np.cumsum(x.astype(target), 1, dtype=target))


@pytest.mark.parametrize("dtype", ("bool", "int8", "uint8", "uint16", "uint32", "int64", "float16", "bfloat16", "float32", "float64"))
def test_argmax_and_argmin(dtype):
    """Of zeros, of the lowest numbers, of equals, of NaN: the first place."""
    run = compiled(lambda x: relax.Tuple([op.argmax(x, axis=1), op.argmin(x, axis=0, keepdims=True), op.argmax(x)]), [(4, 50)], [dtype])
    zeros, x = np.zeros((4, 50), type_of(dtype)), sample((4, 50), dtype)
    if np.dtype(type_of(dtype)).kind in "iu":
        x[1] = np.iinfo(dtype).min
    elif dtype != "bool":
        x[0], x[1, 7], x[2, ::2] = -np.inf, np.nan, np.inf
    for given in (zeros, x):
        seen = given.astype("float32") if dtype == "bfloat16" else given
        for got, want in zip(run(given), (seen.argmax(1), seen.argmin(0)[None], seen.argmax())):
            np.testing.assert_array_equal(got, want)


def test_the_largest_number_may_come_after_others_of_a_long_row():
    run = compiled(lambda x: op.argmax(x, axis=1), [(2, 5000)], ["float32"])
    x = np.random.default_rng(0).standard_normal((2, 5000)).astype("float32")
    x[0, 4321] = np.nan
    np.testing.assert_array_equal(run(x), x.argmax(1))


def test_halves_are_rounded_to_even():
    x = np.array([[-3.5, -2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 0.49999997, 8388607.5, np.inf, np.nan]], "float32")
    for dtype in ("float32", "float64", "float16"):
        run = compiled(op.round, [x.shape], [dtype])
        np.testing.assert_array_equal(run(x.astype(dtype)), np.round(x.astype(dtype)))


def test_the_largest_of_infinities():
    x = np.full((3, 5), -np.inf, "float32")
    run = compiled(lambda v: relax.Tuple([op.max(v, axis=1), op.max(v, axis=0, keepdims=True), op.max(v)]), [x.shape], ["float32"])
    for got in run(x):
        assert (got == -np.inf).all()


@pytest.mark.parametrize("dtype", ("float8_e4m3fn", "float8_e5m2", "float64"))
def test_infinities_and_nan_of_all_floats(dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = np.array([1, np.nan, 3, -2, -0.0], "float32").astype(kind)
    largest, bounded, filled = compiled(
        lambda v: relax.Tuple([op.max(v), op.maximum(v, relax.const(0, dtype)), op.full((3,), relax.const(-np.inf, "float32"), dtype)]),
        [x.shape],
        [dtype],
    )(x)
    assert np.isnan(largest.astype("float32"))
    np.testing.assert_array_equal(bounded.astype("float32"), [1, np.nan, 3, 0, 0])
    # e4m3 has no infinity: the chip saturates
    np.testing.assert_array_equal(filled.astype("float32"), [-448.0 if dtype == "float8_e4m3fn" else -np.inf] * 3)


# ---- scatter


@pytest.mark.parametrize("dtype", ("float32", "bfloat16", "int64", "bool"))
def test_scatter_elements(dtype):
    for axis in (0, 1):
        run = compiled(
            lambda x, i, u, a=axis: op.scatter_elements(x, i, u, axis=a), [("m", "n"), ("k", 5), ("k", 5)], [dtype, "int64", dtype]
        )
        assert not run.loops
        for m, n, k in ((6, 5, 1), (9, 31, 4), (700, 5, 6)):
            rng = np.random.default_rng(k)
            x, u = sample((m, n), dtype, 1), sample((k, 5), dtype, 2)
            i = rng.permuted(np.tile(np.arange((m, n)[axis]), (20, 1)), axis=1)[: max(k, 5), : max(k, 5)]
            i = (i[:k, :5] if axis else i[:5, :k].T).astype("int64")
            i[0] -= (m, n)[axis]
            expected = x.copy()
            for r, c in np.ndindex(i.shape):
                expected[(i[r, c], c) if axis == 0 else (r, i[r, c])] = u[r, c]
            np.testing.assert_array_equal(run(x, i, u), expected)


def test_scatter_nd_and_index_put():
    nd = compiled(lambda x, i, u: op.scatter_nd(x, i, u), [("m", "n", 6), ("k", 2), ("k", 6)], ["float32", "int64", "float32"])
    put = compiled(
        lambda x, i, j, u: op.index_put(x, (i, j), u), [("m", "n"), ("k",), ("k",), ("k",)], ["float32", "int64", "int32", "float32"]
    )
    assert not nd.loops + put.loops
    for m, n, k in ((1, 1, 1), (4, 3, 7), (50, 90, 33)):
        rng = np.random.default_rng(n)
        x, u = sample((m, n, 6), "float32", 1), sample((k, 6), "float32", 2)
        i, j = rng.integers(-m, m, k), rng.integers(-n, n, k)
        expected = x.copy()
        for a, b, row in zip(i, j, u):  # the later of equals wins
            expected[a, b] = row
        np.testing.assert_array_equal(nd(x, np.stack([i, j], 1), u), expected)
        np.testing.assert_array_equal(put(x[..., 0], i, j.astype("int32"), u[:, 0]), expected[..., 0])


def test_slice_scatter_and_what_accumulates():
    x, u = sample((9, 4), "float32", 1), sample((3, 4), "float32", 2)
    run = compiled(lambda t, v: op.slice_scatter(t, v, 1, 7, 2, axis=0), [("m", 4), (3, 4)], ["float32"] * 2)
    expected = x.copy()
    expected[1:7:2] = u
    assert not run.loops
    np.testing.assert_array_equal(run(x, u), expected)
    index = np.array([[0, 1, 0, 2], [0, 1, 2, 2], [8, 8, 8, 8]])
    added = compiled(
        lambda t, i, v: op.scatter_elements(t, i, v, axis=0, reduction="add"), [(9, 4), (3, 4), (3, 4)], ["float32", "int64", "float32"]
    )
    expected = x.copy()
    np.add.at(expected, (index, np.arange(4)[None]), u)
    np.testing.assert_allclose(added(x, index, u), expected, rtol=1e-6)


# ---- search


@pytest.mark.parametrize("right", (False, True))
def test_bucketize(right):
    run = compiled(lambda x, e: op.bucketize(x, e, right=right), [("m", "n"), ("k",)], ["float32", "float32"])
    assert not run.loops
    for shape, k in (((1, 1), 1), ((3, 70), 9), ((2, 300), 1000)):
        x, edges = sample(shape, "float32"), np.sort(sample((k,), "float32", 2))
        np.testing.assert_array_equal(run(x, edges), np.searchsorted(edges, x, "right" if right else "left"))


def test_multinomial():
    share = np.random.default_rng(0).dirichlet(np.ones(50), 4).astype("float32")
    draw, rows = np.array([[0.0], [0.3], [0.999], [0.5], [0.7]], "float32"), np.array([[0], [3], [2], [1], [1]])
    run = compiled(lambda p, u, r: op.multinomial_from_uniform(p, u, r), [("m", "v"), ("k", 1), ("k", 1)], ["float32", "float32", "int64"])
    expected = [[np.searchsorted(np.cumsum(share[r[0]]), u[0], "right")] for u, r in zip(draw, rows)]
    np.testing.assert_array_equal(run(share, draw, rows), expected)
    assert not run.loops


# ---- what is left to plain TIR or to the host


def test_types_that_the_vector_engine_does_not_order():
    x = sample((3, 20), "float64")
    values, places = compiled(lambda t: op.topk(t, k=4, dtype="int64"), [("m", "n")], ["float64"])(x)
    expected = stable(x, True)[:, :4]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, -1))


def test_non_maximum_suppression():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 4, (1, 12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 3, (1, 12, 2))], -1).astype("float32")
    scores = rng.uniform(0, 1, (1, 2, 12)).astype("float32")
    limits = np.array(5, "int64"), np.array(0.3, "float32"), np.array(0.2, "float32")

    def build(b, s, *rest):
        return op.vision.all_class_non_max_suppression(b, s, *rest, output_format="onnx")

    shapes = [(1, 12, 4), (1, 2, 12), (), (), ()]
    selected = compiled(build, shapes, ["float32", "float32", "int64", "float32", "float32"])(boxes, scores, *limits)[0]
    for c in range(2):
        kept: list[int] = []
        for k in np.argsort(-scores[0, c], kind="stable"):
            if scores[0, c, k] > 0.2 and all(_overlap(boxes[0, k], boxes[0, other]) <= 0.3 for other in kept):
                kept.append(int(k))
        assert [int(b) for _, label, b in selected if label == c] == kept


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_dynamic_strided_slice_takes_what_numpy_takes():
    run = compiled(lambda *args: op.dynamic_strided_slice(*args), [("n",), (1,), (1,), (1,)], ["float32", "int64", "int64", "int64"])
    x = np.arange(8, dtype=np.float32)
    ends = (-20, -9, -8, -3, 0, 2, 5, 7, 8, 12)
    for begin, end, step in itertools.product(ends, ends, (-9, -3, -1, 1, 2, 9)):
        got = run(x, *(np.array([k]) for k in (begin, end, step)))
        np.testing.assert_array_equal(got, x[begin:end:step], err_msg=f"{begin}:{end}:{step}")
    assert run(x[:0], *(np.array([k]) for k in (0, 5, 1))).shape == (0,)
    run = compiled(lambda *args: op.dynamic_strided_slice(*args), [("m", 5, "n"), (3,), (3,), (3,)], ["int64", "int64", "int64", "int64"])
    y = sample((4, 5, 6), "int64")
    for begin, end, step in ([(9, -2, 1), (-9, 1, 5), (-1, 1, 2)], [(0, 0, 0), (4, 9, 6), (1, 2, 3)], [(0, 4, 0), (4, 2, 6), (1, 1, 1)]):
        want = y[tuple(slice(*k) for k in zip(begin, end, step))]
        np.testing.assert_array_equal(run(y, np.array(begin), np.array(end), np.array(step)), want)


def test_results_of_the_host_are_on_the_device():
    x = sample((4, 5), "float32")
    x[::2] = 0
    device = tvm.device("ext_dev", 0)
    places = tvm.get_global_func("relax.run.nonzero")(tvm.runtime.tensor(x, device))
    assert places.device == device
    np.testing.assert_array_equal(compiled(lambda t: op.nonzero(t), [(4, 5)], ["float32"])(x), np.stack(np.nonzero(x)))
    y = np.array([5, 2, 5, 7, 2])
    np.testing.assert_array_equal(compiled(lambda t: op.unique(t), [(5,)], ["int64"])(y), [2, 5, 7])


def test_strict_mode_finds_nothing():
    sdk_sim.set_mode("strict")
    try:
        x = sample((3, 1500), "float32")
        compiled(lambda t: op.sort(t), [("m", "n")], ["float32"])(x)
        compiled(lambda t: op.argsort(t), [("m", "n")], ["int64"])(sample((3, 50), "int64"))
        for axis in (0, 1):
            compiled(lambda t, a=axis: op.cumsum(t, axis=a, exclusive=True), [("m", "n")], ["float32"])(x)
        index = np.array([[0, 2], [1, 1]])
        compiled(lambda t, i, u: op.scatter_nd(t, i, u), [("m", "n"), (2, 2), (2,)], ["float32", "int64", "float32"])(
            x, index, x[0, :2].copy()
        )
    finally:
        sdk_sim.reset()
        sdk_sim.set_mode("timed")
