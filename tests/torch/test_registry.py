"""The registry: declarations, checks and their messages, choice of kernels, the index, meta functions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sglang_ext import kernels
from sglang_ext.cli import rows
from sglang_ext.registry import Op, Registry, registry
from sglang_ext.shapes import Operand, Result, Scalar, parse

BF16 = torch.bfloat16
NAMES = {
    "linear", "linear_bias", "linear_residual", "linear_silu_mul", "linear_f32", "rms_norm", "add_rms_norm", "silu_mul", "rope",
    "embedding", "kv_write", "attention_decode", "attention_extend", "argmax", "softmax",
}  # fmt: skip


def bf16(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=BF16, device="rigi")


ENTRY = {
    "op": "linear", "name": "k", "dtype": "bfloat16", "config": {}, "limits": {}, "file": "k.so", "function": "k",
    "chip": "rigi1", "revision": "A0", "sdk": "1.0.0", "source_hash": "",
}  # fmt: skip


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Puts an index of the given entries in place of the packaged one."""

    def write(*entries: dict[str, Any]) -> Path:
        (tmp_path / "index.json").write_text(json.dumps({"kernels": [{**ENTRY, **entry} for entry in entries]}))
        monkeypatch.setenv("RIGI_MODULES", str(tmp_path))
        registry.forget()
        return tmp_path

    yield write
    monkeypatch.undo()
    registry.forget()


def test_every_op_is_declared_once() -> None:
    assert set(registry.ops) == NAMES
    with pytest.raises(ValueError, match="declared twice"):
        registry.declare(registry.ops["linear"])
    with pytest.raises(KeyError, match="there are: add_rms_norm"):
        registry.op("conv")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_torch_knows_the_op(name: str) -> None:
    op = getattr(torch.ops.rigi, name).default
    declared = registry.op(name)
    assert str(op._schema) == f"rigi::{declared.schema}"
    for key in ("PrivateUse1", "CPU", "Meta"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"rigi::{name}", key)
    mutable = {argument.name for argument in op._schema.arguments if argument.alias_info and argument.alias_info.is_write}
    assert mutable == {operand.name for operand in declared.operands if operand.mutable}
    assert declared.summary and declared.reference.__doc__


def test_meta_functions_give_shapes_and_dtypes() -> None:
    with FakeTensorMode():
        x, w = torch.empty(5, 64, dtype=BF16, device="rigi"), torch.empty(48, 64, dtype=BF16, device="rigi")
        assert torch.ops.rigi.linear(x, w).shape == (5, 48) and torch.ops.rigi.linear(x, w).device.type == "rigi"
        assert torch.ops.rigi.linear_f32(x, w).dtype == torch.float32
        assert torch.ops.rigi.linear_silu_mul(x, w).shape == (5, 24)
        y, total = torch.ops.rigi.add_rms_norm(x, x, w[0], 1e-5)
        assert y.shape == total.shape == (5, 64)
        assert torch.ops.rigi.rope(x, x, torch.empty(5, dtype=torch.int64), torch.empty(9, 16), 16) is None
    logits = torch.empty(3, 100, device="meta")
    assert torch.ops.rigi.argmax(logits).dtype == torch.int64 and torch.ops.rigi.softmax(logits, logits[:, :1]).shape == (3, 100)
    with pytest.raises(ValueError, match="k = 64"):
        torch.ops.rigi.linear(torch.empty(5, 64, dtype=BF16, device="meta"), torch.empty(48, 32, dtype=BF16, device="meta"))


def rope(q: torch.Tensor, k: torch.Tensor, rotary: int = 16, head_dim: int = 16) -> Any:
    positions = torch.zeros(q.shape[0], dtype=torch.int64, device="rigi")
    return torch.ops.rigi.rope(q, k, positions, torch.zeros(4, rotary, device="rigi"), head_dim)


LINEAR = torch.ops.rigi.linear
WRONG: dict[str, tuple[Any, type[Exception], list[str]]] = {
    "dtype": (
        lambda: LINEAR(bf16(2, 8), bf16(4, 8).float()),
        TypeError,
        ["'weight'", "float32", "allowed: bfloat16", ".to(torch.bfloat16)"],
    ),
    "host": (lambda: LINEAR(bf16(2, 8), bf16(4, 8).cpu()), TypeError, ["'weight'", "is on cpu", ".to('rigi')"]),
    "layout": (lambda: LINEAR(bf16(2, 8), bf16(8, 4).t()), ValueError, ["'weight'", "not contiguous", "[4, 8]", ".contiguous()"]),
    "in place": (lambda: rope(bf16(2, 32)[:, :16], bf16(2, 16)), ValueError, ["'q'", "written in place"]),
    "shape": (lambda: LINEAR(bf16(2, 8), bf16(4, 16)), ValueError, ["'weight'", "[4, 16]", "[n, k]", "k = 8"]),
    "dims": (lambda: LINEAR(bf16(2, 3, 8), bf16(4, 8)), ValueError, ["'x'", "[2, 3, 8]", "2 dimensions", "Reshape"]),
    "factor": (lambda: torch.ops.rigi.silu_mul(bf16(2, 7)), ValueError, ["'x'", "[2, 7]", "2*"]),
    "heads": (lambda: rope(bf16(2, 40), bf16(2, 16)), ValueError, ["'q'", "head_dim = 16"]),
    "scalar": (lambda: rope(bf16(2, 16), bf16(2, 16), head_dim=0), ValueError, ["'head_dim' is 0", "positive"]),
    "check": (lambda: rope(bf16(2, 16), bf16(2, 16), rotary=32), ValueError, ["32 columns", "head_dim = 16"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_argument_got_allowed_and_remedy(case: str) -> None:
    call, kind, parts = WRONG[case]
    with pytest.raises(kind) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_results_without_elements_need_no_kernel(packaged: Any) -> None:
    packaged()
    assert torch.ops.rigi.linear(bf16(0, 8), bf16(4, 8)).shape == (0, 4)
    assert rope(bf16(0, 16), bf16(0, 16)) is None


def test_missing_kernels_say_how_to_build_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGI_MODULES", str(tmp_path / "nowhere"))
    registry.forget()
    try:
        with pytest.raises(kernels.KernelsMissing, match="nowhere/index.json does not exist. Run `rigi build`"):
            torch.ops.rigi.linear(bf16(2, 8), bf16(4, 8))
        assert torch.mm(bf16(2, 8), bf16(4, 8).t()).shape == (2, 4)  # aten goes by the counted fallback
        assert torch.rigi.fallbacks()["aten::mm.out"] == 1
    finally:
        monkeypatch.undo()
        registry.forget()


def test_an_index_that_cannot_be_read_is_named(packaged: Any) -> None:
    folder = packaged()
    (folder / "index.json").write_text("{")
    registry.forget()
    with pytest.raises(kernels.KernelsMissing, match="index.json cannot be read"):
        kernels.index()
    (folder / "index.json").write_text('{"kernels": [{"op": "linear"}]}')
    registry.forget()
    with pytest.raises(kernels.KernelsMissing, match="is not a kernel"):
        kernels.index()


def test_first_kernel_in_table_order_that_fits(packaged: Any) -> None:
    packaged(
        {"name": "small", "limits": {"m": [1, 16], "k_multiple": [32, 32]}},
        {"name": "middle", "limits": {"m": [1, 64]}},
        {"name": "large", "limits": {"m": [65, None], "n": [None, 4096]}},
        {"name": "other", "dtype": "float16"},
    )

    def name(m: int, n: int = 64, k: int = 64) -> str | None:
        found = kernels.find("linear", BF16, {"m": m, "n": n, "k": k})
        return found and found.name

    assert [name(1), name(16), name(17), name(64), name(65), name(10**6)] == ["small", "small", "middle", "middle", "large", "large"]
    assert name(4, k=40) == "middle" and name(100, n=5000) is None
    assert registry.serves("linear", BF16, m=1, n=1, k=32) and not registry.serves("linear", torch.float32, m=1, n=1, k=32)


def test_sizes_that_no_kernel_takes_are_refused_with_what_there_is(packaged: Any) -> None:
    packaged({"name": "few", "limits": {"m": [1, 2], "k_multiple": [32, 32]}})
    with pytest.raises(NotImplementedError) as caught:
        torch.ops.rigi.linear(bf16(3, 32), bf16(4, 32))
    for part in ("m = 3", "n = 4", "k = 32", "few (bfloat16, m <= 2, k % 32 = 0)", "rigi build"):
        assert part in str(caught.value)
    with pytest.raises(kernels.KernelsMissing, match="has no kernel for this op"):
        torch.ops.rigi.argmax(torch.zeros(1, 4, device="rigi"))


@pytest.mark.parametrize(("field", "value"), [("chip", "rigi2"), ("revision", "B7"), ("sdk", "9.9.9")])
def test_a_kernel_for_another_chip_or_sdk_is_refused(packaged: Any, field: str, value: str) -> None:
    packaged({field: value})
    with pytest.raises(kernels.KernelsMissing) as caught:
        torch.ops.rigi.linear(bf16(2, 8), bf16(4, 8))
    text = str(caught.value)
    assert value in text and "rigi1" in text and "A0" in text and "1.0.0" in text and "rigi build" in text


def test_a_missing_or_damaged_file_is_named(packaged: Any) -> None:
    folder = packaged({})
    with pytest.raises(kernels.KernelsMissing, match=r"k\.so does not exist. Run `rigi build`"):
        torch.ops.rigi.linear(bf16(2, 8), bf16(4, 8))
    (folder / "k.so").write_bytes(b"not a library")
    with pytest.raises(Exception, match=r"k\.so"):
        torch.ops.rigi.linear(bf16(2, 8), bf16(4, 8))


def test_limits_of_unknown_sizes_are_refused(packaged: Any) -> None:
    packaged({"limits": {"moons": [1, 2]}})
    with pytest.raises(kernels.KernelsMissing, match="'moons'.*is not a size of op 'linear'"):
        torch.ops.rigi.linear(bf16(2, 8), bf16(4, 8))


def test_dims_bind_products() -> None:
    sizes = {"head_dim": 16}
    assert parse("heads*head_dim").bind(64, sizes) and sizes["heads"] == 4
    assert not parse("heads*head_dim").bind(80, sizes) and not parse("2*i").bind(7, {})
    assert parse("1").bind(1, {}) and not parse("1").bind(2, {})


def test_a_new_op_needs_only_its_declaration() -> None:
    """What a newcomer writes: nothing else is registered anywhere."""
    own = Registry()

    def double(x: torch.Tensor, times: int) -> torch.Tensor:
        """x [t] -> x * 2 ** times."""
        return x * 2**times

    x, y = Operand("x", (BF16,), ("t",)), Result("y", BF16, ("t",))
    own.declare(Op("test_double", "x doubled", (x,), double, (y,), (Scalar("times", int),)))
    assert torch.equal(torch.ops.rigi.test_double(torch.ones(3, dtype=BF16), 2), torch.full((3,), 4.0, dtype=BF16))
    with pytest.raises(kernels.KernelsMissing, match="no kernel for this op"):
        torch.ops.rigi.test_double(bf16(3), 1)


def test_the_table_lists_every_op_with_its_kernels() -> None:
    table = {row["name"]: row for row in rows()}
    assert set(table) >= NAMES
    for name in NAMES:
        assert table[name]["kernels"], f"no packaged kernel for {name}"
    assert table["linear"]["aten"] == ["mm", "linear", "matmul"]


def test_no_tvm_is_imported() -> None:
    code = """
import sys
sys.modules["tvm"] = None
import torch, sglang_ext.device
x = torch.ones(2, 64, dtype=torch.bfloat16).to("rigi")
print(torch.ops.rigi.linear(x, x).cpu()[0, 0].item())
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "64.0", done.stderr
