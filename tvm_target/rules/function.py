"""A generic function to a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import Call, StringImm, Var, prim
from tvm.s_tir import SBlockRealize
from tvm.tirx.buffer import is_buffer_var

from .. import dialect as R
from .. import isa
from ..codegen.walk import post_order_visit
from ..target import chip
from . import contraction, injective, reduction
from .emitter import Emitter
from .rewrite import find
from .sram import Sram
from .stage import Stage, Unsupported, read
from .work import CORES, Kernel

RULES: list[Callable[[Stage, Kernel], None]] = [contraction.lower, reduction.lower, injective.lower]
# Elements of blocks and vectors, largest first: the first that fits is taken.
SIZES = [{"one": 16, "row": full // 4, "col": min(full // 4, 1024), "full": full} for full in (32768, 16384, 8192, 4096, 2048, 1024)]
LOOPS = "rigi.element_loops"


def lower_functions() -> tvm.ir.transform.Pass:
    """All generic functions of a module for a Rigi target, as a pass."""

    @tvm.tirx.transform.prim_func_pass(opt_level=0, name="rigi.rules")
    def run(func: tirx.PrimFunc, _mod: tvm.IRModule, _ctx: Any) -> tirx.PrimFunc:
        return lower_function(func) if is_generic(func) else func

    return run


def is_generic(func: tirx.PrimFunc) -> bool:
    """Whether a function is neither a kernel already nor scheduled for one."""
    generic = True

    def visit(node: Any) -> None:
        nonlocal generic
        if isinstance(node, Call) and node.op.name.endswith("call_extern") and isinstance(node.args[0], StringImm):
            generic = generic and not node.args[0].value.startswith(isa.PREFIX)
        elif isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent":
            generic = False
        elif isinstance(node, tirx.For) and node.kind == tirx.ForKind.THREAD_BINDING:
            generic = False

    post_order_visit(func.body, visit)
    return generic


def lower_function(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The kernel of a generic function."""
    allocated, parts = _parts(func.body)
    limit, last = chip().sram_bytes, None
    for sizes in SIZES:
        body, sram, loops = _kernel(func, allocated, parts, sizes)
        if sram <= limit:
            new = func.with_body(body)
            return new.with_attr(LOOPS, True) if loops else new
        last = sram
    name = str(func.attrs.get("global_symbol", "a function"))
    raise ValueError(f"{name}: its blocks need {last:,} bytes of SRAM even at the smallest tiles, and a core has {limit:,}; split the function")


def _parts(body: Any) -> tuple[list[Any], list[Any]]:
    """Intermediate buffers and top-level statements."""
    allocated: list[Any] = []
    while isinstance(body, SBlockRealize) and not body.block.iter_vars:
        allocated += list(body.block.alloc_buffers)
        body = body.block.body
    parts: list[Any] = []
    for stmt in body.seq if isinstance(body, tirx.SeqStmt) else [body]:
        if isinstance(stmt, tirx.AllocBuffer):
            allocated.append(stmt.buffer)
        else:
            parts.append(stmt)
    return allocated, parts


def _kernel(func: tirx.PrimFunc, allocated: list[Any], parts: list[Any], sizes: dict[str, int]) -> tuple[Any, int, bool]:
    analyzer = tvm.sym.Analyzer()
    for size in _sizes(func):
        analyzer.bind(size, tvm.ir.Range(0, 1 << 40))
    core32 = tirx.Var("core", "int32")
    analyzer.bind(core32, tvm.ir.Range(0, CORES))
    emitter = Emitter(analyzer)
    core = prim.Cast("int64", core32)
    kernel = Kernel(emitter, Sram(sizes), core)
    loops = False
    for number, part in enumerate(parts):
        if number:
            emitter.add(R.barrier())
        loops = _stage(part, kernel) or loops

    body = emitter.take()
    head = [tirx.AllocBuffer(b) for b in kernel.sram.buffers]
    iter_var = tirx.IterVar(tvm.ir.Range(0, CORES), core32, 1, "blockIdx.x")
    launch = tirx.AttrStmt(iter_var, "thread_extent", tirx.const(CORES, "int32"), Emitter.body([*head, *body]))
    workspace = [tirx.AllocBuffer(b) for b in allocated]
    return Emitter.body([*workspace, launch]), kernel.sram.bytes, loops


def _stage(part: Any, kernel: Kernel) -> bool:
    """Emits a stage by the first rule that takes it; True if that was the sequencer."""
    try:
        stage = read(part, kernel.emitter.analyzer)
    except Unsupported as reason:
        return _by_sequencer(part, kernel, [str(reason)])
    reasons = []
    for rule in RULES:
        before, sram = kernel.emitter.mark(), kernel.sram.state()
        try:
            rule(stage, kernel)
            return False
        except Unsupported as reason:
            kernel.emitter.back_to(before)
            kernel.sram.back_to(sram)
            reasons.append(str(reason))
    return _by_sequencer(part, kernel, reasons)


def _by_sequencer(part: Any, kernel: Kernel, reasons: list[str]) -> bool:
    raise Unsupported("; ".join(reasons))


def _sizes(func: tirx.PrimFunc) -> list[Any]:
    """The variables in the shapes of the arguments."""
    found: dict[int, Any] = {}
    for p in func.params:
        if is_buffer_var(p):
            for n in p.shape:
                for v in find(n, Var):
                    found[v.__chandle__()] = v
    return list(found.values())
