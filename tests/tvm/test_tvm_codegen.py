"""What the codegen refuses, and the C++ it writes."""

import subprocess

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from tvm_target import compiler, package, runtime, testing
from tvm_target import dialect as R
from tvm_target.build import compile_kernel as compile_spec
from tvm_target.codegen import CodegenError
from tvm_target.target import ChipError, sdk_root


def test_the_target() -> None:
    target = tvm.target.Target("rigi1")
    assert (target.kind.name, target.attrs["model"], list(target.keys)) == ("ext_dev", "rigi1", ["rigi"])
    assert target.host.kind.name == "llvm"


def test_unknown_models_are_refused(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            R.load(S[0, 0], X[0, 0], 4, 16)

    for target in (
        {"kind": "ext_dev", "model": "rigi9", "keys": ["rigi"], "host": "llvm"},
        {"kind": "ext_dev", "keys": ["rigi"], "host": "llvm"},
    ):
        with pytest.raises(ChipError, match="this target knows: rigi1"):
            tvm.compile(kernel, target=tvm.target.Target(target))


def test_scratchpad_overflow_lists_the_buffers(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            Big = T.alloc_buffer((1024, 512), "float32", scope="shared.sram")
            Small = T.alloc_buffer((3, 5), "bfloat16", scope="shared.sram")
            R.load(Big[0, 0], X[0, 0], 4, 16)
            R.fill(Small[0, 0], 0.0, 3, 5)

    text = (
        r"(?s)kernel kernel:.*2,097,216 bytes.*has 2,097,152.*Big +2,097,152 bytes  float32.*Small +30 bytes  bfloat16.*64 bytes too many"
    )
    with pytest.raises(CodegenError, match=text):
        compile_kernel(kernel)


def test_a_barrier_in_a_loop_is_refused(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            for _ in T.serial(4):
                R.load(S[0, 0], X[0, 0], 4, 16)
                R.barrier()

    with pytest.raises(CodegenError, match="inside a loop or a branch.*top level"):
        compile_kernel(kernel)


@pytest.mark.parametrize("scope, remedy", [("shared.sram", "R.fill"), ("global", "R.store")])
def test_scalar_stores_are_refused(compile_kernel, scope: str, remedy: str) -> None:
    sram = scope == "shared.sram"

    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            R.load(S[0, 0], X[0, 0], 4, 16)
            if sram:
                S[1, 2] = T.float32(1)
            else:
                X[1, 2] = T.float32(1)

    with pytest.raises(CodegenError, match=rf"(?s)scalar store into {'S' if sram else 'X'}\[1, 2\].*{remedy}"):
        compile_kernel(kernel)


def test_threads_are_refused(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            with T.launch_thread("threadIdx.x", 32):
                S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
                R.load(S[0, 0], X[0, 0], 4, 16)

    with pytest.raises(CodegenError, match="threadIdx.x.*no threads"):
        compile_kernel(kernel)


def test_misaligned_operands_are_refused(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 32), "float32", scope="shared.sram")
            for i in T.serial(4):
                R.load(S[i, 8], X[0, 0], 1, 16)

    with pytest.raises(CodegenError, match="'S' starts 32 bytes after a 64-byte line"):
        compile_kernel(kernel)


def test_values_that_a_barrier_may_change_are_refused(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 16), "int32", scope="shared.sram")
            R.fill(S[0, 0], 1, 1, 16)
            rows: T.let[T.int32] = S[0, 0]
            R.barrier()
            R.store(X[0, 0], R.tile(S[0, 0], dtype="float32"), rows, 16)

    with pytest.raises(CodegenError, match="'rows' is used in phase 1 but read from SRAM .'S'."):
        compile_kernel(kernel)


def test_phases_repeat_what_they_need(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle, y: T.handle):
        n = T.int64()
        X = T.match_buffer(x, (n, 16), "float32")
        Y = T.match_buffer(y, (n, 16), "float32")
        with T.launch_thread("blockIdx.x", 16) as core:
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            seven: T.let[T.int64] = n * 7
            share: T.let[T.int64] = (n + 15) // 16
            rows: T.let[T.int64] = T.min(share, n - core * share)
            if rows > 0 and seven > 0:
                R.load(S[0, 0], X[core * share, 0], rows, 16)
            R.barrier()
            if rows > 0:
                R.store(Y[core * share, 0], S[0, 0], rows, 16)

    source = compile_kernel(kernel).mod.imports[0].inspect_source()
    second = source.split("void phase1")[1]
    assert "share = (n + 15) / 16" in second and "seven" not in second
    assert "core.at(" in second  # the source line of the store
    assert "core.store(hbm(Y + core_id * share * 64, 64), sram(S, 64, RIGI_F32), rows, 64);" in second


def test_more_blocks_than_cores_become_a_loop(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle):
        X = T.match_buffer(x, (40, 16), "float32")
        with T.launch_thread("blockIdx.x", 40) as block:
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            R.load(S[0, 0], X[block, 0], 1, 16)

    assert "core_id = core.id(); core_id < 40; core_id += 16" in compile_kernel(kernel).mod.imports[0].inspect_source()


def test_a_module_with_host_functions_too() -> None:
    @T.prim_func
    def host(x: T.handle):
        X = T.match_buffer(x, (16,), "float32")
        for i in T.serial(16):
            X[i] = X[i] + T.float32(1)

    @T.prim_func
    def device(x: T.handle):
        X = T.match_buffer(x, (4, 16), "float32")
        with T.launch_thread("blockIdx.x", 16):
            S = T.alloc_buffer((4, 16), "float32", scope="shared.sram")
            R.load(S[0, 0], X[0, 0], 4, 16)

    llvm = tvm.target.Target("llvm")
    mod = tvm.IRModule(
        {"host": host.with_attr({"global_symbol": "host", "target": llvm}), "device": device.with_attr("global_symbol", "device")}
    )
    built = tvm.compile(mod, target="rigi1")
    assert [k["name"] for k in runtime.manifest(built.mod)["kernels"]] == ["device"]


def sources() -> list[str]:
    return [found.spec.name for found in package.discover()]


@pytest.mark.parametrize("name", [n for n in sources() if not n.startswith("linear") or n.endswith(("silu_mul_m16", "f32_t512"))])
def test_generated_code_has_no_warnings(compiled, name: str, tmp_path) -> None:
    file = tmp_path / "kernels.cpp"
    file.write_text(compiled(name).mod.imports[0].inspect_source())
    line = [
        *compiler.find_compiler(),
        "-std=c++20",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        str(sdk_root() / "include"),
        str(file),
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_source_is_deterministic(compiled) -> None:
    spec = next(found.spec for found in package.discover() if found.spec.name == "silu_mul")
    again = compile_spec(spec)
    assert again.mod.imports[0].inspect_source() == compiled("silu_mul").mod.imports[0].inspect_source()


def _generic(arguments: str, body: str) -> tvm.IRModule:
    head = "@I.ir_module\nclass Module:\n    @T.prim_func(s_tir=True)\n"
    return tvm.script.from_source(f"{head}    def main({arguments}):\n{body}")


def test_buffers_of_other_memories_lie_in_hbm() -> None:
    """What a schedule for a GPU calls "shared" is an intermediate tensor."""
    loops = """
        a = T.sblock_alloc_buffer((16, 8), "float32", scope="shared")
        for i, j in T.grid(16, 8):
            with T.sblock("a"):
                vi, vj = T.axis.remap("SS", [i, j])
                a[vi, vj] = T.exp(x[vi, vj])
        for i, j in T.grid(16, 8):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = a[vi, vj] + a[15 - vi, 7 - vj]
"""
    module = _generic('x: T.Buffer((16, 8), "float32"), y: T.Buffer((16, 8), "float32")', loops)
    x = np.linspace(-1, 1, 128, dtype="float32").reshape(16, 8)
    y = testing.run(tvm.compile(module, target="rigi1"), "main", x, np.zeros_like(x), out=[1])
    np.testing.assert_allclose(y, np.exp(x) + np.exp(x[::-1, ::-1]), rtol=1e-6)


def test_too_many_tensors_at_once_are_refused() -> None:
    names = [f"x{k}" for k in range(130)]
    arguments = ", ".join(f'{n}: T.Buffer((64, 64), "float32")' for n in [*names, "y"])
    loops = f"""        for i, j in T.grid(64, 64):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = {" + ".join(f"{n}[vi, vj] * T.exp({n}[vj, vi])" for n in names)}
"""
    with pytest.raises(CodegenError, match=r"function main: .* 131 arguments.* bytes of a core's scratchpad.*split the function"):
        tvm.compile(_generic(arguments, loops), target="rigi1")


def test_four_bit_numbers_are_refused() -> None:
    loops = """        for i in range(8):
            with T.sblock("y"):
                v = T.axis.spatial(8, i)
                y[v] = T.Cast("int4", x[v])
"""
    with pytest.raises(CodegenError, match="the tensor 'y' is int4, .* packed in uint8"):
        tvm.compile(_generic('x: T.Buffer((8,), "int8"), y: T.Buffer((8,), "int4")', loops), target="rigi1")


def test_calls_of_the_host_are_refused() -> None:
    with pytest.raises(CodegenError, match=r'call_packed\("foo".*is called from Relax, between kernels'):
        tvm.compile(_generic('x: T.Buffer((8,), "float32")', '        T.evaluate(T.call_packed("foo", x.data))\n'), target="rigi1")
