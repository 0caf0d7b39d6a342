"""From torch.export to Relax: operators stay whole, types stay torch's, shapes stay known, and the chip computes what torch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from torch.nn import functional as F
from tvm import relax

from tvm_target.frontend import from_onnx, from_torch
from tvm_target.legalize import LEGALIZE_MAP

DEVICE = tvm.device("ext_dev")
ROWS = torch.export.Dim("rows", min=1, max=256)


def exported(module: nn.Module, *inputs: torch.Tensor, **sizes: Any) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval(), inputs, dynamic_shapes=sizes or None)


def ops(mod: tvm.IRModule) -> list[str]:
    found: list[str] = []

    def note(expr: Any) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(expr.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(mod["main"], note)
    return found


def dtypes(mod: tvm.IRModule) -> set[str]:
    return {str(b.var.ty.dtype) for block in mod["main"].body.blocks for b in block.bindings if isinstance(b.var.ty, relax.TensorType)}


def on_chip(program: torch.export.ExportedProgram, *inputs: torch.Tensor) -> torch.Tensor:
    mod, parameters = from_torch(program)
    vm = relax.VirtualMachine(tvm.compile(mod, target="rigi1"), [DEVICE, tvm.cpu()])
    moved = [tvm.runtime.tensor(tvm.runtime.from_dlpack(x), DEVICE) for x in inputs]
    return torch.from_dlpack(vm["main"](*moved, *(tvm.runtime.tensor(p, DEVICE) for p in parameters))[0].copyto(tvm.cpu()))


class Products(nn.Module):
    """Every way torch has to say a product."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(32, 48, dtype=torch.bfloat16)
        self.plain = nn.Linear(48, 16, bias=False, dtype=torch.bfloat16)
        self.other = nn.Parameter(torch.randn(16, 24, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.plain(F.silu(self.linear(x)))
        z = torch.addmm(self.other[0, :16], y, self.other[:, :16])
        return torch.matmul(z, self.other) + torch.mm(y, self.other) + torch.bmm(y[None], self.other[None])[0]


def test_products_of_bf16_are_bf16_and_stay_whole() -> None:
    torch.manual_seed(1)
    x = torch.randn(5, 32, dtype=torch.bfloat16)
    program = exported(Products(), x, x={0: ROWS})
    mod, parameters = from_torch(program)
    assert dtypes(mod) == {"bfloat16"}
    assert ops(mod).count("matmul") == 6 and "nn.silu" in ops(mod) and "astype" not in ops(mod)
    assert [str(v.ty.dtype) for v in mod["main"].params] == ["bfloat16"] * (1 + len(parameters))
    for rows in (1, 33):
        x = torch.randn(rows, 32, dtype=torch.bfloat16)
        with torch.no_grad():
            want = Products()(x).float()
        assert (on_chip(program, x).float() - want).abs().max() < 0.03 * want.abs().max()


def test_parameters_come_in_the_order_of_the_function() -> None:
    mod, parameters = from_torch(exported(Products(), torch.randn(5, 32, dtype=torch.bfloat16), x={0: ROWS}))
    wanted = [[int(n) for n in v.ty.shape] for v in mod["main"].params[1:]]
    assert [list(p.shape) for p in parameters] == wanted


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, **self.options)


def heads(count: int, length: int, width: int = 32, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, count, length, width, dtype=dtype)


@pytest.mark.parametrize("dtype,bound", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_attention_keeps_scale_groups_and_causality(dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    model = Attention(is_causal=True, scale=0.1, enable_gqa=True)
    inputs = heads(6, 9, dtype=dtype), heads(2, 9, dtype=dtype), heads(2, 9, dtype=dtype)
    program = exported(model, *inputs)
    mod, _ = from_torch(program)
    assert "nn.attention" in ops(mod) and ops(mod).count("repeat") == 2
    assert (on_chip(program, *inputs).float() - model(*(x.float() for x in inputs))).abs().max() < bound


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_attention_takes_masks_that_broadcast(kind: str) -> None:
    torch.manual_seed(0)
    mask = torch.rand(2, 1, 1, 40) < 0.7
    mask[..., 0] = True
    inputs = heads(3, 7), heads(3, 40), heads(3, 40), mask if kind == "bool" else torch.randn(7, 40)[None, None]
    program = exported(Attention(), *inputs)
    assert (on_chip(program, *inputs) - Attention()(*inputs)).abs().max() < 1e-5


def test_attention_that_cannot_be_taken_is_named() -> None:
    with pytest.raises(ValueError, match="dropout 0.5.*eval"):
        from_torch(exported(Attention(dropout_p=0.5), *[heads(2, 5)] * 3))


def test_windows_are_refused_by_name() -> None:
    x = relax.Var("x", relax.TensorType((1, 8, 2, 16), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.nn.attention(x, x, x, causal_mask="TopLeft", window_size=4)))
    with pytest.raises(Exception, match="nn.attention with window_size 4"):
        relax.transform.LegalizeOps(LEGALIZE_MAP)(builder.finalize())


class Slices(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        table = torch.arange(512)[:n]  # n <= 256: inside
        last, first = x[-1:], x[:1]  # n >= 1: one row each
        return table[:, None] + x[:n] + first + last + (x > 0).cumsum(0)


def test_shapes_stay_known_where_torch_knows_them() -> None:
    program = exported(Slices(), torch.randn(7, 3), x={0: ROWS})
    mod, _ = from_torch(program)
    shapes = [b.var.ty.shape for block in mod["main"].body.blocks for b in block.bindings if isinstance(b.var.ty, relax.TensorType)]
    assert None not in shapes and not any("min" in str(shape) for shape in shapes)
    x = torch.randn(20, 3)
    assert torch.allclose(on_chip(program, x), Slices()(x), atol=1e-4)


def test_permutations_that_undo_each_other_are_gone() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.permute(2, 0, 1).permute(1, 2, 0) + x.transpose(0, 1).transpose(1, 2).permute(2, 0, 1)).contiguous()

    mod, _ = from_torch(exported(Twice(), torch.randn(2, 3, 4)))
    assert ops(relax.transform.DeadCodeElimination()(mod)) == ["add"]


def test_weights_anywhere_in_memory_are_taken() -> None:
    linear = nn.Linear(4, 4, dtype=torch.bfloat16)
    store = torch.empty(64, dtype=torch.bfloat16)
    linear.weight.data = store[3:19].view(4, 4).copy_(linear.weight.data)
    _, parameters = from_torch(exported(linear, torch.randn(2, 4, dtype=torch.bfloat16)))
    assert any(np.array_equal(p.numpy().view(np.uint16), linear.weight.data.view(torch.uint16).numpy()) for p in parameters)


class Mixed(nn.Module):
    """Convolutions of `dtype`; a normalization whose parameters and statistics are fp32."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.first, self.turned = nn.Conv2d(3, 8, 3, padding=1).to(dtype), nn.ConvTranspose2d(8, 4, 2, stride=2).to(dtype)
        self.norm, self.group = nn.BatchNorm2d(8), nn.GroupNorm(2, 4).to(dtype)
        self.line = nn.Conv1d(4, 5, 3).to(dtype)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.line(self.group(self.turned(self.norm(self.first(x)).relu())).flatten(2)),)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_convolutions_and_normalizations_of_16_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module, x = Mixed(dtype).eval(), torch.randn(2, 3, 6, 5).to(dtype)
    got, want = on_chip(exported(module, x), x), module(x)[0]
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), want.float(), rtol=0, atol=float(want.abs().max()) * torch.finfo(dtype).eps * 4)


def test_onnx_slices_with_bounds_as_attributes() -> None:
    """As before version 10, with axes and without."""
    onnx = pytest.importorskip("onnx")
    for extra, part in (({}, np.s_[1:2, 1:3]), ({"axes": [2, 0]}, np.s_[1:3, :, 1:2])):
        node = onnx.helper.make_node("Slice", ["x"], ["y"], starts=[1, 1], ends=[2, 3], **extra)
        values = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", [3, 4, 5]), ("y", None))
        ]
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 9)])
        x = np.arange(60, dtype="float32").reshape(3, 4, 5)
        machine = relax.VirtualMachine(tvm.compile(from_onnx(model), target="rigi1"), DEVICE)
        np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(x, DEVICE)).numpy(), x[part])
        assert len(model.graph.node[0].input) == 1


@pytest.mark.parametrize("version, axis", [(11, 1), (11, -1), (13, 1), (13, -1)])
def test_onnx_hardmax_along_an_axis_of_any_size(version: int, axis: int) -> None:
    """Until version 12 an axis stands for itself and those behind it."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Hardmax", ["x"], ["y"], axis=axis)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b", "c"]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), target="rigi1"), DEVICE)
    for shape in ((2, 3, 4), (1, 5, 1), (3, 1, 17)):
        x = np.random.default_rng(0).integers(-3, 3, shape).astype("float32")  # the first of equals counts
        rows = x.reshape(shape[0], 1, -1) if version < 13 and axis == 1 else np.moveaxis(x, axis, -1)
        expected = np.eye(rows.shape[-1], dtype="float32")[rows.argmax(-1)]
        expected = expected.reshape(shape) if version < 13 and axis == 1 else np.moveaxis(expected, -1, axis)
        np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(x, DEVICE)).numpy(), expected)
