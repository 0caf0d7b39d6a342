"""Generic TIR to kernels in the dialect: each function becomes a launch, each of its top-level statements a stage."""

from __future__ import annotations

from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, StringImm, prim
from tvm.tirx.buffer import is_buffer_var

from ..codegen.context import bits_of
from ..codegen.walk import post_order_visit
from ..dialect import barrier
from ..isa import ELEMENT_LOOPS, PREFIX
from ..target import chip
from . import sequencer
from .compact import compact_parameters

__all__ = ["lower_functions"]


def lower_functions() -> tvm.ir.transform.Pass:
    """A pass that turns every function for a Rigi chip that is not a kernel yet into one."""
    from ..pipeline import is_rigi

    @tvm.transform.module_pass(opt_level=0, name="rigi.rules")
    def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        changed = {}
        for gv, func in mod.functions.items():
            if isinstance(func, tirx.PrimFunc) and is_rigi(func.attrs.get("target")) and not _is_kernel(func):
                changed[gv] = _kernel(gv.name_hint, compact_parameters(func))
        result = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
        result.update(tvm.IRModule(changed))
        return result

    return run


def _is_kernel(func: tirx.PrimFunc) -> bool:
    found = False

    def visit(node: Any) -> None:
        nonlocal found
        if isinstance(node, tirx.AttrStmt):
            found = found or node.attr_key == "thread_extent"
        elif isinstance(node, tirx.For):
            found = found or node.thread_binding is not None
        elif isinstance(node, Call) and node.args and isinstance(node.args[0], StringImm):
            found = found or str(node.args[0].value).startswith(PREFIX)

    post_order_visit(func.body, visit)
    return found


def _kernel(name: str, func: tirx.PrimFunc) -> tirx.PrimFunc:
    figures = chip()
    core = tirx.IterVar(tvm.ir.Range(0, figures.cores), tirx.Var("core", "int32"), tirx.IterVar.ThreadIndex, "blockIdx.x")
    outside: list[Any] = []
    body = func.body
    stages = [body]
    inside: list[Any] = []
    budget = figures.sram_bytes
    if type(body).__name__ == "SBlockRealize" and not list(body.iter_values) and str(body.block.name_hint) == "root":
        root = body.block
        kept = _on_chip(root.alloc_buffers, budget // 2)
        budget -= figures.sram_bytes // 2 if kept else 0
        inside = [tirx.AllocBuffer(b) for b in kept.values()]
        outside = [tirx.AllocBuffer(b) for b in root.alloc_buffers if b not in kept]
        stages = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
        stages = [tvm_ffi.structural_map(s, (tirx.Var, lambda v: kept.get(v, v) if is_buffer_var(v) else v)) for s in stages]
    for number, stage in enumerate(stages):
        done = sequencer.lower(stage, core.var, name, budget // max(len(stages), 1))
        outside += [tirx.AssertStmt(StringImm("ValueError"), condition, [StringImm(text)]) for condition, text in done.checks]
        inside += [tirx.Evaluate(barrier())] * (number > 0) + [done.body]
    launch = tirx.AttrStmt(
        core, "thread_extent", prim.IntImm("int32", figures.cores), tirx.SeqStmt(inside) if len(inside) > 1 else inside[0]
    )
    new = func.with_body(tirx.SeqStmt([*outside, launch]) if outside else launch)
    return new.without_attr("s_tir").with_attr(ELEMENT_LOOPS, True) if "s_tir" in func.attrs else new.with_attr(ELEMENT_LOOPS, True)


def _on_chip(buffers: Any, room: int) -> dict[Any, Any]:
    """The intermediates as buffers in SRAM, if all of them fit into `room` bytes."""
    sizes = [prod(int(n) if isinstance(n, prim.IntImm) else 1 << 40 for n in b.shape) * bits_of(str(b.dtype)) // 8 for b in buffers]
    if sum(sizes) + 64 * len(sizes) > room:
        return {}
    return {b: tirx.decl_buffer(b.shape, b.dtype, b.name, scope="shared.sram") for b in buffers}
