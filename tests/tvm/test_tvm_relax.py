"""Relax modules: the pipeline that tvm.compile runs for rigi1, the VM on the device, whole models exported and loaded."""

import subprocess
import sys
import textwrap

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn.llm import kv_cache

from tvm_target import package, testing
from tvm_target.codegen import CodegenError
from tvm_target.target import ChipError

BF16 = ml_dtypes.bfloat16
DEVICE = tvm.device("ext_dev", 0)
SPECS = {found.spec.name: found.spec for found in package.discover()}


def gate() -> tvm.IRModule:
    """x[n, 64], w[128, 64] -> silu of one half of x w^T times the other, by two library kernels."""
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((n, 64), "bfloat16"))
    w = relax.Var("w", relax.TensorType((128, 64), "bfloat16"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            names = ("linear_m16", "silu_mul")
            linear, silu_mul = (builder.add_func(SPECS[name].make().with_attr("global_symbol", name), name) for name in names)
            h = builder.emit(relax.call_tir(linear, [x, w], relax.TensorType((n, 128), "bfloat16")))
            y = builder.emit_output(relax.call_tir(silu_mul, [h], relax.TensorType((n, 64), "bfloat16")))
        builder.emit_func_output(y)
    return builder.finalize()


def gate_reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    h = x.astype(np.float32) @ w.astype(np.float32).T
    return h[:, :64] / (1 + np.exp(-h[:, :64])) * h[:, 64:]


def close(actual: np.ndarray, expected: np.ndarray, bound: float = 2**-6) -> bool:
    error = np.abs(actual.astype(np.float32) - expected)
    return bool((error <= bound * np.abs(expected).max()).all())


@pytest.fixture(scope="module")
def gated():
    return tvm.compile(gate(), target="rigi1")


def test_one_compilation_serves_all_sizes(gated) -> None:
    vm, rng = relax.VirtualMachine(gated, DEVICE), np.random.default_rng(0)
    w = rng.standard_normal((128, 64)).astype(BF16)
    on_device = tvm.runtime.tensor(w, DEVICE)
    for rows in (1, 3, 16):
        x = rng.standard_normal((rows, 64)).astype(BF16)
        testing.statistics()
        y = vm["main"](tvm.runtime.tensor(x, DEVICE), on_device)
        assert y.device == DEVICE and close(y.numpy(), gate_reference(x, w))
        assert {name: k["launches"] for name, k in testing.statistics()["kernels"].items()} == {"linear_m16": 1, "silu_mul": 1}


def test_arguments_on_the_host_are_moved_by_the_vm(gated) -> None:
    vm, rng = relax.VirtualMachine(gated, DEVICE), np.random.default_rng(1)
    x, w = rng.standard_normal((5, 64)).astype(BF16), rng.standard_normal((128, 64)).astype(BF16)
    vm.set_input("main", tvm.runtime.tensor(x), tvm.runtime.tensor(w))
    vm.invoke_stateful("main")
    assert close(vm.get_outputs("main").numpy(), gate_reference(x, w))


def test_a_wrong_shape_is_refused_by_name(gated) -> None:
    vm = relax.VirtualMachine(gated, DEVICE)
    x, w = (tvm.runtime.tensor(np.zeros(shape, BF16), DEVICE) for shape in ((2, 65), (128, 64)))
    with pytest.raises(Exception, match="(?s)main.*x.*64"):
        vm["main"](x, w)


def mixed() -> tvm.IRModule:
    """softmax of a linear layer in bf16: a kernel of the library, and one that the rules make."""
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x, w = relax.Var("x", relax.TensorType((n, 64), "bfloat16")), relax.Var("w", relax.TensorType((32, 64), "bfloat16"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            h = builder.emit(relax.op.linear(x, w))
            y = builder.emit_output(relax.op.nn.softmax(builder.emit(relax.op.astype(h, "float32")), axis=-1))
        builder.emit_func_output(y)
    return builder.finalize()


def test_an_exported_model_runs_in_a_fresh_process(tmp_path) -> None:
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((7, 64)).astype(BF16), rng.standard_normal((32, 64)).astype(BF16)
    tvm.compile(mixed(), target="rigi1").export_library(str(tmp_path / "model.so"))
    np.savez(tmp_path / "arrays.npz", x=x.view(np.uint16), w=w.view(np.uint16))
    script = f"""
        import ml_dtypes
        import numpy as np
        import tvm
        from tvm import relax
        arrays = np.load({str(tmp_path / "arrays.npz")!r})
        device = tvm.device("ext_dev", 0)
        module = tvm.runtime.load_module({str(tmp_path / "model.so")!r})
        vm = relax.VirtualMachine(module, device)
        y = vm["main"](*[tvm.runtime.tensor(arrays[name].view(ml_dtypes.bfloat16), device) for name in "xw"])
        np.save({str(tmp_path / "y.npy")!r}, y.numpy())

        from tvm_target import testing
        from tvm_target.offload import library_kernels
        library = library_kernels(module)
        ran = testing.statistics()["kernels"].keys()
        assert {{name for name in ran if name in library}} == {{"linear_f32_m16"}} and len(ran) > 1, ran
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)
    h = x.astype(np.float32) @ w.astype(np.float32).T
    e = np.exp(h - h.max(-1, keepdims=True))
    assert close(np.load(tmp_path / "y.npy"), e / e.sum(-1, keepdims=True))


def refused(call, *types) -> str:
    """What compiling a function of one operator is refused with."""
    params = [relax.Var(f"p{k}", type_) for k, type_ in enumerate(types)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        builder.emit_func_output(builder.emit(call(*params)))
    with pytest.raises(CodegenError) as caught:
        tvm.compile(builder.finalize(), target="rigi1")
    return str(caught.value)


def test_operators_that_cannot_be_compiled_are_named() -> None:
    text = refused(lambda x: relax.op.add(x, x), relax.TensorType(dtype="float32", ndim=2))
    assert text.startswith("function main: the operator relax.add(") and "no shape; name its sizes" in text
    q, starts, most = (relax.TensorType(s, d) for s, d in (((1, 8, 4, 64), "bfloat16"), ((3,), "int32"), ((), "int32")))
    text = refused(lambda q, s, m: relax.op.nn.attention_var_len(q, q, q, s, s, m, m), q, starts, most)
    assert text.startswith("function main: the operator relax.nn.attention_var_len(") and "not supported" in text


def test_a_concatenation_of_many_results_is_one_kernel_of_copies() -> None:
    parts = 70  # more than a launch's usual arguments
    builder = relax.BlockBuilder()
    given = [relax.Var(f"x{k}", relax.TensorType((1, 64), "float32")) for k in range(parts)]
    with builder.function("main", given):
        with builder.dataflow():
            joined = builder.emit_output(relax.op.concat([builder.emit(relax.op.tanh(x)) for x in given], axis=0))
        builder.emit_func_output(joined)
    executable = tvm.compile(builder.finalize(), target="rigi1")
    assert ".gather(" not in executable.mod.imports[0].imports[0].inspect_source()
    arrays = [np.random.default_rng(k).standard_normal((1, 64)).astype(np.float32) for k in range(parts)]
    testing.statistics()
    got = relax.VirtualMachine(executable, DEVICE)["main"](*(tvm.runtime.tensor(a, DEVICE) for a in arrays)).numpy()
    np.testing.assert_allclose(got, np.tanh(np.concatenate(arrays)), rtol=1e-6, atol=1e-6)
    assert [found["launches"] for found in testing.statistics()["kernels"].values()] == [1]


def test_the_pipeline_is_known_by_tvm_and_leaves_other_targets_alone() -> None:
    target = tvm.target.Target("rigi1")
    for choice in (relax.get_default_pipeline(target), relax.get_pipeline("rigi")):
        assert tvm.compile(gate(), target=target, relax_pipeline=choice).mod
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.add(x, x)))
    vm = relax.VirtualMachine(tvm.compile(builder.finalize(), target="llvm"), tvm.cpu())
    assert vm["main"](tvm.runtime.tensor(np.ones(4, np.float32))).numpy().tolist() == [2, 2, 2, 2]


NESTED = """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((5,), "float32")):
        with R.dataflow():
            pairs = ((x, R.exp(x)), R.negative(x))
            pair = pairs[0]
            y = pair[1]
            R.output(y)
        return y
"""


def test_an_item_of_a_tuple_in_a_tuple() -> None:
    x = np.linspace(-1, 1, 5, dtype="float32")
    vm = relax.VirtualMachine(tvm.compile(tvm.script.from_source(NESTED), target="rigi1"), DEVICE)
    np.testing.assert_allclose(vm["main"](tvm.runtime.tensor(x, DEVICE)).numpy(), np.exp(x), rtol=1e-6)


def test_a_target_is_the_chip_or_refused() -> None:
    """Never functions of the host."""
    module = tvm.script.from_source(NESTED)
    executable = tvm.compile(module, target=tvm.target.Target({"kind": "ext_dev", "model": "rigi1"}))
    testing.statistics()
    relax.VirtualMachine(executable, DEVICE)["main"](tvm.runtime.tensor(np.zeros(5, "float32"), DEVICE))
    assert testing.statistics()["launches"] == 1
    for target in ("ext_dev", {"kind": "ext_dev", "model": "rigi2"}):
        with pytest.raises(ChipError, match="this target knows: rigi1; use target='rigi1'"):
            tvm.compile(module, target=tvm.target.Target(target))


@pytest.mark.parametrize("target", ["rigi1", "llvm"])
def test_tvms_paged_cache_is_refused(target: str) -> None:
    """Where it is made for the chip; and one with kernels of a CPU when it is compiled for it."""
    kind = tvm.target.Target(target)

    class Model(nn.Module):
        def create(self, sequences: tvm.tirx.Var, tokens: tvm.tirx.Var) -> kv_cache.PagedKVCache:
            sizes = {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "qk_head_dim": 16, "v_head_dim": 16}
            absent = {"mla_original_qk_head_dim": 0, "mla_original_v_head_dim": 0, "enable_disaggregation": False, "rope_scaling": {}}
            one = tvm.tirx.const(1, "int64")
            limits = {"max_batch_size": sequences, "max_total_seq_len": tokens, "prefill_chunk_size": tokens, "page_size": 16 * one}
            rope = {"rope_mode": kv_cache.RopeMode.NORMAL, "rope_scale": 1, "rope_theta": 10000, "rotary_dim": 16}
            options = {"attn_kind": "mha", "dtype": "float32", "target": kind, "support_sliding_window": 0 * one}
            parts = {"layer_partition": relax.ShapeExpr([0, 1]), "rope_ext_factors": relax.prim_value(0)}
            return kv_cache.TIRPagedKVCache(**sizes, **absent, **limits, **rope, **options, **parts)

    with pytest.raises(CodegenError, match=r"(?s)threads of a GPU.*as tensors that the model takes and returns"):
        spec = {"create": {"sequences": int, "tokens": int, "$": {"param_mode": "none", "effect_mode": "none"}}}
        tvm.compile(Model().export_tvm(spec)[0], target="rigi1")
