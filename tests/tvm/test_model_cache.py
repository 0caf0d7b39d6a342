"""Compiled models are kept, under a name that covers all that went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_target import compiler, model_cache, pipeline, relax_pipeline

TARGET = tvm.target.Target("rigi1")
DEVICE = tvm.device("ext_dev")


def model(value: float = 1.0, size: int = 4) -> tvm.IRModule:
    """x + a constant of `size` elements."""
    x = relax.Var("x", relax.TensorType((size,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.add(x, relax.const(np.full(size, value, np.float32)))))
    return builder.finalize()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that keeps even what compiles quickly."""
    monkeypatch.setenv("RIGI_CACHE", str(tmp_path))
    monkeypatch.setattr(model_cache, "LEAST_SECONDS", 0.0)
    return tmp_path


def run(executable: Any) -> list[float]:
    vm = relax.VirtualMachine(executable, [DEVICE, tvm.cpu()])
    return vm["main"](tvm.runtime.tensor(np.arange(4, dtype=np.float32), DEVICE)).numpy().tolist()


def test_the_second_compilation_loads_the_first(kept: Path, tmp_path: Path) -> None:
    first = tvm.compile(model(), target="rigi1")
    second = tvm.compile(model(), target="rigi1")
    assert not isinstance(first, model_cache.CachedExecutable) and isinstance(second, model_cache.CachedExecutable)
    assert run(first) == run(second) == [1, 2, 3, 4]
    assert "rigi" in {part.kind for part in second.mod.imports[0].imports}, "the kernels' source is still there"
    second.export_library(str(tmp_path / "model.so"))
    assert run(tvm.runtime.load_module(str(tmp_path / "model.so"))) == [1, 2, 3, 4]
    assert len(list((kept / "executables").rglob("*.so"))) == 1


def test_what_differs_is_compiled(kept: Path) -> None:
    names = {model_cache.key(model(), TARGET), model_cache.key(model(2.0), TARGET), model_cache.key(model(size=5), TARGET)}
    with tvm.transform.PassContext(opt_level=1):
        names.add(model_cache.key(model(), TARGET))
    assert len(names) == 4 and None not in names
    assert model_cache.key(model(), TARGET) in names


def test_a_changed_tool_chain_is_another_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = model_cache.key(model(), TARGET)
    (tmp_path / "rule.py").write_text("pass\n")
    monkeypatch.setattr(model_cache, "_HERE", tmp_path)
    other = model_cache.key(model(), TARGET)
    (tmp_path / "rule.py").write_text("...\n")
    assert len({before, other, model_cache.key(model(), TARGET)}) == 3


def test_large_constants_passes_of_others_and_instruments_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "MOST_CONSTANTS", 1000)
    assert model_cache.key(model(size=250), TARGET) and model_cache.key(model(size=251), TARGET) is None
    with tvm.transform.PassContext(instruments=[tvm.ir.instrument.PassTimingInstrument()]):
        assert model_cache.key(model(), TARGET) is None
    monkeypatch.setitem(relax_pipeline.LEGALIZE, "relax.add", lambda builder, call: call)
    assert model_cache.key(model(), TARGET) is None
    monkeypatch.delitem(relax_pipeline.LEGALIZE, "relax.add")
    assert model_cache.key(model(), TARGET) is not None
    monkeypatch.setattr(model_cache, "PRE_LOWERING", [*pipeline.PRE_LOWERING, lambda: None])
    assert model_cache.key(model(), TARGET) is None


def test_quick_compilations_and_other_targets_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGI_CACHE", str(tmp_path))
    monkeypatch.setattr(model_cache, "LEAST_SECONDS", 1e9)
    tvm.compile(model(), target="rigi1")
    tvm.compile(model(), target="llvm")
    assert not (tmp_path / "executables").exists()


def damaged(content: bytes) -> list[bytes]:
    half = len(content) // 2
    return [b"", b"no library", content[:half], content[:-1], content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]]


def test_a_damaged_model_is_compiled_again(kept: Path) -> None:
    tvm.compile(model(), target="rigi1")
    (file,) = (kept / "executables").rglob("*.so")
    for content in damaged(file.read_bytes()):
        file.unlink()  # what is loaded from it stays
        file.write_bytes(content)
        again = tvm.compile(model(), target="rigi1")
        assert not isinstance(again, model_cache.CachedExecutable) and run(again) == [1, 2, 3, 4]
        assert isinstance(tvm.compile(model(), target="rigi1"), model_cache.CachedExecutable)


def test_a_damaged_object_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGI_CACHE", str(tmp_path))
    source = 'extern "C" int answer() { return 42; }\n'
    code = compiler.compile_source(source)
    (file,) = (tmp_path / "objects").rglob("*.so")
    for content in damaged(file.read_bytes()):
        file.write_bytes(content)
        assert compiler.compile_source(source) == code
        assert compiler.kept_bytes(file) == code
    assert [p.name for p in file.parent.iterdir()] == [file.name], "nothing half written is left"
