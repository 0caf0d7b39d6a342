"""Parts of Relax functions that go to library kernels: what is recognised, what is left alone, and that the numbers are right."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from tvm_target import testing
from tvm_target.offload import library_kernels, offload

BF16, F32 = "bfloat16", "float32"
DEVICE = tvm.device("ext_dev", 0)
RNG = np.random.default_rng(3)
N = tvm.tirx.Var("n", "int64")
ONE_ULP = 2.0**-7  # of bf16, relative to the largest value


def module(build: Callable[..., Any], *types: tuple[tuple[Any, ...], str], bounds: dict[str, int] | None = None) -> tvm.IRModule:
    """A function `main` whose values `build(emit, *parameters)` emits."""
    params = [relax.Var(f"p{k}", relax.TensorType(shape, dtype)) for k, (shape, dtype) in enumerate(types)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            result = build(builder.emit, *params)
            output = builder.emit_output(relax.Tuple(result) if isinstance(result, tuple) else result)
        builder.emit_func_output(output)
    made = builder.finalize()
    if bounds:
        made["main"] = made["main"].with_attr("tir_var_upper_bound", bounds)
    return made


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(ml_dtypes.bfloat16)


def run(made: tvm.IRModule, *arrays: np.ndarray) -> tuple[list[np.ndarray], dict[str, str]]:
    """Results, and the library kernels that ran: name -> op."""
    executable = tvm.compile(made, target="rigi1")
    library = library_kernels(executable)
    testing.statistics()
    out = relax.VirtualMachine(executable, DEVICE)["main"](*[tvm.runtime.tensor(a, DEVICE) for a in arrays])
    results = [t.numpy() for t in (out if isinstance(out, tvm.ir.Array | tuple | list) else [out])]
    ran = testing.statistics()["kernels"]
    return results, {name: library[name] for name in ran if name in library} | {name: "" for name in ran if name not in library}


def check(actual: np.ndarray, expected: np.ndarray, bound: float = ONE_ULP) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(np.float32) - expected).max() <= bound * max(np.abs(expected).max(), 1e-3)


def wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float32) for a in arrays]


@pytest.mark.parametrize("rows", [1, 5, 40, 600])
def test_a_linear_layer_takes_the_kernel_of_its_rows(rows: int) -> None:
    made = module(lambda emit, x, w: emit(op.linear(x, w)), ((N, 3, 48), BF16), ((80, 48), BF16))
    x, w = numbers(rows, 3, 48), numbers(80, 48)
    (y,), ran = run(made, x, w)
    assert list(ran) == [{1: "linear_m16", 5: "linear_m16", 40: "linear_m128", 600: "linear_t256"}[rows]]
    check(y, np.matmul(*wide(x, w.T)))


def test_a_size_known_before_takes_one_kernel() -> None:
    made = module(lambda emit, x, w: emit(op.linear(x, w)), ((20, 48), BF16), ((80, 48), BF16))
    assert {gv.name_hint for gv in offload()(made).functions} == {"main", "call_linear", "linear_m128"}


def test_no_rows_are_no_launch() -> None:
    made = module(lambda emit, x, w: emit(op.linear(x, w)), ((N, 48), BF16), ((80, 48), BF16))
    (y,), ran = run(made, numbers(0, 48), numbers(80, 48))
    assert y.shape == (0, 80) and not ran


def test_bias_and_residual_go_into_the_product() -> None:
    def build(emit, x, w, bias, residual):
        y = emit(op.add(emit(op.matmul(x, emit(op.permute_dims(w)))), bias))
        return y, emit(op.add(residual, emit(op.matmul(y, emit(op.permute_dims(w))))))

    x, w, bias, residual = numbers(2, 9, 64), numbers(64, 64), numbers(64), numbers(2, 9, 64)
    made = module(build, ((2, N, 64), BF16), ((64, 64), BF16), ((64,), BF16), ((2, N, 64), BF16))
    (y, z), ran = run(made, x, w, bias, residual)
    assert set(ran.values()) == {"linear_bias", "linear_residual"}
    check(y, np.matmul(*wide(x, w.T)) + bias.astype(np.float32))
    check(z, np.matmul(*wide(y, w.T)) + residual.astype(np.float32))


def test_a_product_that_others_need_too_is_kept() -> None:
    def build(emit, x, w, residual):
        y = emit(op.linear(x, w))
        return y, emit(op.add(y, residual))

    made = module(build, ((N, 64), BF16), ((64, 64), BF16), ((N, 64), BF16))
    assert {"call_linear"} == {gv.name_hint for gv in offload()(made).functions if gv.name_hint.startswith("call")}


@pytest.mark.parametrize("rows", [3, 70, 200])
def test_swiglu_is_one_kernel(rows: int) -> None:
    def build(emit, x, gate, up):
        return emit(op.multiply(emit(op.nn.silu(emit(op.linear(x, gate)))), emit(op.linear(x, up))))

    x, gate, up = numbers(rows, 64), numbers(200, 64) / 8, numbers(200, 64) / 8
    gate, up = gate.astype(x.dtype), up.astype(x.dtype)
    (y,), ran = run(module(build, ((N, 64), BF16), ((200, 64), BF16), ((200, 64), BF16)), x, gate, up)
    assert list(ran.values()) == ["linear_swiglu"]
    g, u = np.matmul(*wide(x, gate.T)), np.matmul(*wide(x, up.T))
    check(y, g / (1 + np.exp(-g)) * u)


def test_constant_weights_may_lie_either_way_and_logits_stay_in_fp32() -> None:
    w = numbers(64, 96)
    made = module(lambda emit, x: emit(op.matmul(x, relax.const(w, BF16), out_dtype=F32)), ((N, 64), BF16))
    x = numbers(7, 64)
    (y,), ran = run(made, x)
    assert ran == {"linear_f32_m16": "linear_f32"} and y.dtype == np.float32
    check(y, np.matmul(*wide(x, w)), 1e-6)


@pytest.mark.parametrize("product,wanted,kernel,tolerance", [(F32, BF16, "linear", 0.01), (BF16, F32, "linear_f32", 1e-5)])
def test_products_that_are_cast_at_once_are_rounded_once_or_not_at_all(product, wanted, kernel, tolerance) -> None:
    def build(emit, x, w):
        return emit(op.astype(emit(op.matmul(x, emit(op.permute_dims(w)), out_dtype=product)), wanted))

    x, w = numbers(7, 64), numbers(96, 64)
    (y,), ran = run(module(build, ((N, 64), BF16), ((96, 64), BF16)), x, w)
    assert set(ran.values()) == {kernel}
    exact = np.matmul(*wide(x, w.T))
    assert np.abs(y.astype("float32") - exact).max() <= tolerance * np.abs(exact).max()


def normed(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    x, w = wide(x, w)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def norm_in_steps(emit, x, w, eps):
    h = emit(op.astype(x, F32))
    mean = emit(op.mean(emit(op.power(h, relax.const(2.0, F32))), axis=-1, keepdims=True))
    y = emit(op.multiply(h, emit(op.rsqrt(emit(op.add(mean, relax.const(eps, F32)))))))
    return emit(op.multiply(w, emit(op.astype(y, BF16))))


NORMS = {"one operator": lambda emit, x, w, eps: emit(op.nn.rms_norm(x, w, axes=-1, epsilon=eps)), "steps": norm_in_steps}


@pytest.mark.parametrize("form", NORMS)
def test_rms_norm(form: str) -> None:
    x, w, eps = numbers(2, 5, 96), numbers(96), 1e-3
    made = module(lambda emit, x, w: NORMS[form](emit, x, w, eps), ((2, N, 96), BF16), ((96,), BF16))
    (y,), ran = run(made, x, w)
    assert ran == {"rms_norm": "rms_norm"}
    check(y, normed(x, w, eps))


def test_a_product_before_a_norm_is_offloaded_too() -> None:
    def build(emit, x, w, scale):
        return emit(op.nn.rms_norm(emit(op.linear(x, w)), scale, axes=-1))

    made = offload()(module(build, ((N, 64), BF16), ((96, 64), BF16), ((96,), BF16)))
    assert {"call_linear", "call_rms_norm"} < {gv.name_hint for gv in made.functions}


def test_the_norm_of_a_sum_gives_both() -> None:
    def build(emit, a, b, w):
        total = emit(op.add(a, b))
        return total, norm_in_steps(emit, total, w, 1e-5)

    a, b, w = numbers(11, 96), numbers(11, 96), numbers(96)
    (total, y), ran = run(module(build, ((N, 96), BF16), ((N, 96), BF16), ((96,), BF16)), a, b, w)
    assert ran == {"add_rms_norm": "add_rms_norm"}
    check(total, np.add(*wide(a, b)))
    check(y, normed(total, w, 1e-5))


def test_rows_of_a_table() -> None:
    def build(emit, ids, table):
        return emit(op.take(table, emit(op.astype(ids, "int32")), axis=0))

    ids, table = RNG.integers(0, 50, (3, 4)), numbers(50, 64)
    (y,), ran = run(module(build, ((3, N), "int64"), ((50, 64), BF16)), ids, table)
    assert ran == {"embedding": "embedding"} and (y == table[ids]).all()


def test_softmax_of_logits_but_not_of_scores() -> None:
    x = RNG.standard_normal((4, 5000)).astype(np.float32)
    (y,), ran = run(module(lambda emit, x: emit(op.nn.softmax(x, axis=-1)), ((4, 5000), F32)), x)
    e = np.exp(x - x.max(-1, keepdims=True))
    assert ran == {"softmax": "softmax"}
    check(y, e / e.sum(-1, keepdims=True), 1e-5)
    for type_ in (((4, 64), F32), ((N, 5000), F32)):
        made = module(lambda emit, x: emit(op.nn.softmax(x, axis=-1)), type_)
        assert offload()(made).same_as(made)


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    q, k, v = (a.transpose(0, 2, 1, 3) for a in wide(q, k, v))
    s = np.where(np.tri(q.shape[2], dtype=bool), q @ k.transpose(0, 1, 3, 2) * scale, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    return (p / p.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("batch", [1, 3])
def test_causal_attention_with_shared_heads(batch: int) -> None:
    b = tvm.tirx.Var("b", "int64")

    def build(emit, q, k, v):
        k, v = (emit(op.repeat(x, 2, axis=2)) for x in (k, v))
        return emit(op.nn.attention(q, k, v, causal_mask="TopLeft", scale=tvm.tirx.FloatImm(F32, 0.125)))

    made = module(build, ((b, N, 4, 64), BF16), ((b, N, 2, 64), BF16), ((b, N, 2, 64), BF16), bounds={"b": 8})
    q, k, v = numbers(batch, 150, 4, 64), numbers(batch, 150, 2, 64), numbers(batch, 150, 2, 64)
    (y,), ran = run(made, q, k, v)
    assert ran == {"attention_tables": "attention_tables", "attention_extend": "attention_extend"}
    check(y, attended(q, k.repeat(2, 2), v.repeat(2, 2), 0.125), 2 * ONE_ULP)


def test_a_bound_that_was_not_true_is_an_error() -> None:
    h = tvm.tirx.Var("h", "int64")
    made = module(lambda emit, x, w: emit(op.nn.rms_norm(x, w, axes=-1)), ((N, h), BF16), ((h,), BF16), bounds={"h": 32768})
    with pytest.raises(ValueError, match="the library's kernel for rms_norm takes h up to 32768: state tir_var_upper_bound"):
        run(made, numbers(2, 32769), numbers(32769))


def test_attention_over_an_unbounded_batch_or_without_a_causal_mask_is_left() -> None:
    b = tvm.tirx.Var("b", "int64")
    for mask, batch in (("TopLeft", b), (None, 2)):
        made = module(lambda emit, x: emit(op.nn.attention(x, x, x, causal_mask=mask)), ((batch, N, 4, 64), BF16))
        assert offload()(made).same_as(made)


@pytest.mark.parametrize("batch", [1, 2])
def test_queries_and_keys_are_rotated_in_place_by_one_kernel(batch: int) -> None:
    def rotate(emit, x, cos, sin):
        low, high = (emit(op.strided_slice(x, [3], [a], [a + 16], [1])) for a in (0, 16))
        turned = emit(op.concat([emit(op.negative(high)), low], axis=-1))
        return emit(op.add(emit(op.multiply(x, cos)), emit(op.multiply(turned, sin))))

    def build(emit, x, wq, wk, angles):
        both = emit(op.concat([angles, angles], axis=-1))
        cos, sin = (emit(op.expand_dims(emit(op.astype(emit(f(both)), BF16)), axis=[1])) for f in (op.cos, op.sin))
        q, k = (emit(op.reshape(emit(op.linear(x, w)), (batch, N, heads, 32))) for w, heads in ((wq, 4), (wk, 2)))
        return tuple(rotate(emit, emit(op.permute_dims(y, [0, 2, 1, 3])), cos, sin) for y in (q, k))

    types = (((batch, N, 64), BF16), ((128, 64), BF16), ((64, 64), BF16), ((batch, N, 16), F32))
    x, wq, wk = numbers(batch, 9, 64), numbers(128, 64), numbers(64, 64)
    angles = RNG.uniform(0, 6, (batch, 9, 16)).astype(np.float32)
    results, ran = run(module(build, *types), x, wq, wk, angles)
    assert {"linear_m16": "linear", "rope_neox": "rope"}.items() <= ran.items() or {"linear_m128", "rope_neox"} <= ran.keys()
    cos, sin = (np.tile(f(angles), 2).astype(ml_dtypes.bfloat16).astype(np.float32)[:, None] for f in (np.cos, np.sin))
    for y, w, heads in zip(results, (wq, wk), (4, 2)):
        h = np.matmul(*wide(x, w.T)).astype(ml_dtypes.bfloat16).astype(np.float32).reshape(batch, 9, heads, 32).transpose(0, 2, 1, 3)
        check(y, h * cos + np.concatenate([-h[..., 16:], h[..., :16]], -1) * sin, 2 * ONE_ULP)


def test_what_the_library_has_no_kernel_for_is_left_alone() -> None:
    for dtype in (F32, "float16"):
        made = module(lambda emit, x, w: emit(op.linear(x, w)), ((N, 48), dtype), ((80, 48), dtype))
        assert offload()(made).same_as(made)
    made = module(lambda emit, x, y: emit(op.matmul(x, y)), ((N, 48), BF16), ((48, 80), BF16))
    assert offload()(made).same_as(made)


def test_names_that_are_taken_are_not_taken_again() -> None:
    made = module(lambda emit, x, w: emit(op.linear(x, w)), ((4, 48), BF16), ((80, 48), BF16))
    twice = offload()(offload()(made))
    assert len(twice.functions) == 3
    other = module(lambda emit, x: emit(op.nn.relu(x)), ((4, 48), F32))
    made["linear_m16"] = other["main"].with_attr("global_symbol", "linear_m16")
    assert library_kernels(tvm.compile(made, target="rigi1")) == {"linear_m16_1": "linear"}
