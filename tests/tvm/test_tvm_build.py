"""`rigi build`: what it writes, what it leaves alone, and what it says when it cannot."""

import json
import os

import pytest
from click.testing import CliRunner

from tvm_target import build, package
from tvm_target.cli import build as command
from tvm_target.compiler import CompilerError, compile_source, find_compiler, keep
from tvm_target.packing import sdk_version


def run(*args: str) -> dict:
    result = CliRunner().invoke(command, [*args, "--json"])
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 1, result.output
    return {**json.loads(lines[0]), "exit_code": result.exit_code}


def test_the_kernel_list() -> None:
    found = package.discover()
    ops = {f.spec.op for f in found}
    wanted = "linear linear_bias linear_residual linear_silu_mul linear_f32 rms_norm add_rms_norm silu_mul rope embedding kv_write"
    assert {*wanted.split(), "attention_decode", "attention_extend", "argmax", "softmax"} <= ops
    for f in found:
        json.dumps([f.spec.config, f.spec.limits])
        assert all(len(limit) == 2 for limit in f.spec.limits.values()), f.spec.name


def test_building_twice(tmp_path, monkeypatch) -> None:
    first = run("--only", "silu_mul", "--out", str(tmp_path))
    assert first["ok"] and first["built"] == ["silu_mul"] and first["current"] == []
    (entry,) = build.read_index(tmp_path)
    assert {"op", "name", "dtype", "config", "limits", "file", "function", "chip", "revision", "sdk", "source_hash"} <= entry.keys()
    assert (entry["op"], entry["function"], entry["chip"], entry["sdk"]) == ("silu_mul", "silu_mul", "rigi1", sdk_version())
    assert (tmp_path / entry["file"]).exists()
    second = run("--only", "silu_mul", "--out", str(tmp_path))
    assert second["built"] == [] and second["current"] == ["silu_mul"]
    (tmp_path / entry["file"]).unlink()
    assert run("--only", "silu_mul", "--out", str(tmp_path))["built"] == ["silu_mul"]
    assert run("--only", "silu_mul", "--out", str(tmp_path), "--force")["built"] == ["silu_mul"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.json", "silu_mul.so"]
    monkeypatch.setattr(package, "toolchain_hash", lambda: "another")
    assert build.build(("silu_mul",), tmp_path).built == ["silu_mul"]


def test_a_kernel_that_fails_does_not_stop_the_others(tmp_path) -> None:
    def broken():
        raise ValueError("no such tile")

    good = next(f.spec for f in package.discover() if f.spec.name == "silu_mul")
    result = build.build_specs([package.KernelSpec("x", "broken", "bfloat16", broken), good], tmp_path)
    assert result.built == ["silu_mul"] and "no such tile" in result.failed["broken"] and not result.ok
    assert [entry["name"] for entry in build.read_index(tmp_path)] == ["silu_mul"]


def test_kernels_that_are_gone_are_removed(tmp_path) -> None:
    (tmp_path / "old.so").write_bytes(b"")
    (tmp_path / "index.json").write_text(json.dumps({"kernels": [{"name": "old", "file": "old.so"}]}))
    assert build.build_specs([], tmp_path).removed == ["old"]
    assert not (tmp_path / "old.so").exists() and build.read_index(tmp_path) == []


def test_unknown_ops_are_listed() -> None:
    result = CliRunner().invoke(command, ["--only", "conv2d"])
    assert result.exit_code == 1 and "no op and no kernel is named 'conv2d'; ops: " in result.stderr and "silu_mul" in result.stderr


def test_one_name_one_kernel(monkeypatch, tmp_path) -> None:
    with pytest.raises(package.KernelListError, match="2 kernels are named 'silu_mul'"):
        twice = [f.spec for f in package.discover() if f.spec.name == "silu_mul"] * 2
        monkeypatch.setattr("tvm_target.kernels.silu_mul.KERNELS", twice)
        package.discover()


def test_a_change_of_a_kernel_file_changes_its_hash(tmp_path) -> None:
    (tmp_path / "helper.py").write_text("A = 1\n")
    kernel = tmp_path / "kernel.py"
    kernel.write_text("from .helper import A\n")
    before = package.file_hash(kernel)
    package.file_hash.cache_clear()
    (tmp_path / "helper.py").write_text("A = 2\n")
    assert package.file_hash(kernel) != before
    package.file_hash.cache_clear()


def test_no_compiler_says_what_to_install(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    find_compiler.cache_clear()
    try:
        with pytest.raises(CompilerError, match=r"no C\+\+ compiler found \(looked for g\+\+.*apt install g\+\+.*set CXX"):
            find_compiler()
    finally:
        find_compiler.cache_clear()


def test_a_wrong_cxx_is_named(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(CompilerError, match="CXX='no-such-compiler -O1' names no program"):
        find_compiler(os.environ["CXX"])
    result = CliRunner().invoke(command, ["--only", "silu_mul", "--out", str(os.devnull) + "x"])
    assert result.exit_code == 1


def test_objects_are_cached(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("RIGI_CACHE", str(tmp_path))
    code = compile_source("extern int x;\n")
    (cached,) = tmp_path.rglob("*.so")
    keep(cached, b"from the cache")
    assert compile_source("extern int x;\n") == b"from the cache" != code


def test_a_refusal_of_the_compiler_is_shown(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("RIGI_CACHE", str(tmp_path))
    with pytest.raises(CompilerError, match="(?s)failed with 1:.*nonsense"):
        compile_source("nonsense;\n")
