"""A generic function to a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import StringImm, Var, prim
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx.buffer import is_buffer_var

from .. import dialect as R
from ..codegen.scalars import known
from ..isa import ELEMENT_LOOPS
from ..pipeline import is_generic, is_rigi
from ..target import chip
from . import contraction, injective, reduction, sequencer, slow
from .compact import compact_parameters
from .emitter import Emitter
from .fusion import Part, fuse
from .rewrite import find
from .sram import Sram
from .stage import Stage, Unsupported, normal, read
from .work import CORES, Kernel

RULES: list[Callable[[Stage, Kernel], None]] = [contraction.lower, reduction.lower, injective.lower]
# Elements of blocks and vectors, largest first: the first that fits is taken.
SIZES = [{"one": 16, "row": full // 4, "col": min(full // 4, 1024), "full": full} for full in (32768, 16384, 8192, 4096, 2048, 1024)]


def lower_functions() -> tvm.ir.transform.Pass:
    """All generic functions of a module for a Rigi target, as a pass."""

    @tvm.transform.module_pass(opt_level=0, name="rigi.rules")
    def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        changed = {
            gv: lower_function(func, gv.name_hint)
            for gv, func in mod.functions.items()
            if isinstance(func, tirx.PrimFunc) and is_rigi(func.attrs.get("target")) and is_generic(func)
        }
        result = tvm.IRModule(dict(mod.functions), mod.attrs, mod.global_infos)
        result.update(tvm.IRModule(changed))
        return result

    return run


def lower_function(func: tirx.PrimFunc, name: str | None = None) -> tirx.PrimFunc:
    """The kernel of a generic function. Raises LoweringError if its buffers do not fit in SRAM, or it holds what no rule can take."""
    name = name or str(func.attrs.get("global_symbol", "function"))
    func = compact_parameters(func)
    _check_types(func, name)
    allocated, stmts = _parts(_in_hbm(func.body))
    parts = fuse([_read(stmt) for stmt in stmts], allocated)
    limit, choice = chip().sram_bytes, 0
    while True:
        made = _kernel(func, name, allocated, parts, SIZES[choice], fused=len(parts) < len(stmts))
        if made is None:
            parts = [_read(stmt) for stmt in stmts]
            continue
        body, needed, loops = made
        room = limit // 2 if loops else limit
        if needed <= room:
            break
        if choice == len(SIZES) - 1:
            operands = len([p for p in func.params if is_buffer_var(p)])
            raise sequencer.LoweringError(
                f"function {name}: a part of it combines so many tensors at once (the function has {operands} arguments) that even small "
                f"blocks of them need {needed:,} bytes of a core's scratchpad, where there are {room:,}; split the function in several, "
                "each of fewer tensors"
            )
        # Each size is half of the one before: those that are surely too large still are not tried.
        choice = min(choice + max(1, int(math.log2(needed / room))), len(SIZES) - 1)
    new = func.with_body(body)
    new = new.without_attr("s_tir") if "s_tir" in new.attrs else new
    if loops:
        slow.warn(name, loops)
    return new.with_attr(ELEMENT_LOOPS, True) if loops else new


def _check_types(func: tirx.PrimFunc, name: str) -> None:
    for p in func.params:
        if is_buffer_var(p) and not known(str(p.dtype)):
            raise sequencer.LoweringError(
                f"function {name}: the tensor {p.name!r} is {p.dtype}, which the chip does not compute with; keep such numbers packed in "
                "uint8 and unpack them there with bitwise_and and right_shift"
            )


def _in_hbm(body: Any) -> Any:
    """The body with intermediate tensors of other memories (\"shared\", \"local\", as schedules for CPUs and GPUs name them) in HBM: where
    they are kept close by is for the rules to say."""
    moved: dict[Any, Any] = {}

    def visit(node: Any) -> None:
        for b in node.alloc_buffers:
            if b.scope() not in ("", "global"):
                moved[b] = tirx.decl_buffer(b.shape, b.dtype, b.name)

    tvm_ffi.structural_walk(body, [(SBlock, visit)])
    return tvm_ffi.structural_map(body, (Var, lambda v: moved.get(v, v) if is_buffer_var(v) else v)) if moved else body


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


def _kernel(
    func: tirx.PrimFunc, name: str, allocated: list[Any], parts: list[Part], sizes: dict[str, int], fused: bool
) -> tuple[Any, int, list[Part]] | None:
    """The body, the bytes of SRAM that tiles take, and the parts that run as element loops. None if a part is for the sequencer, which runs
    statements as they were written, and parts are fused."""
    analyzer = tvm.sym.Analyzer()
    for size in _sizes(func):
        analyzer.bind(size, tvm.ir.Range(0, 1 << 40))
    core = tirx.Var("core", "int32")
    analyzer.bind(core, tvm.ir.Range(0, CORES))
    emitter = Emitter(analyzer)
    kernel = Kernel(emitter, Sram(sizes), prim.Cast("int64", core))
    checks: list[Any] = []
    loops: list[Part] = []
    for number, part in enumerate(parts):
        if number:
            emitter.add(R.barrier())
        if not _by_tiles(part, kernel):
            if fused:
                return None
            loops.append(part)
            done = sequencer.lower(part.stmt, core, name, chip().sram_bytes // 2 // len(parts))
            # In TVM 0.27 the constructor takes the condition first, whatever its signature says.
            checks += [tirx.AssertStmt(condition, StringImm("ValueError"), [StringImm(text)]) for condition, text in done.checks]
            emitter.add(done.body)
    body = emitter.take()
    head = [*kernel.declarations(), *(tirx.AllocBuffer(b) for b in kernel.sram.buffers)]
    thread = tirx.IterVar(tvm.ir.Range(0, CORES), core, tirx.IterVar.ThreadIndex, "blockIdx.x")
    launch = tirx.AttrStmt(thread, "thread_extent", tirx.const(CORES, "int32"), Emitter.body([*head, *body]))
    workspace = [tirx.AllocBuffer(b) for b in allocated if any(p.writes(b) or p.uses(b) for p in parts)]
    return Emitter.body([*workspace, *checks, launch]), kernel.sram.bytes, loops


def _read(stmt: Any) -> Part:
    try:
        return Part(stmt, read(stmt))
    except Unsupported as reason:
        return Part(stmt, None, [str(reason)])


def _by_tiles(part: Part, kernel: Kernel) -> bool:
    """Emits a stage by the first rule that takes it. If none does, the part keeps the reasons."""
    if part.stage is None:
        return False
    part.reasons = []
    try:
        stage = normal(part.stage, kernel.emitter.analyzer)
    except Unsupported as reason:
        part.reasons.append(str(reason))
        return False
    for rule in RULES:
        before, sram = kernel.emitter.mark(), kernel.sram.state()
        try:
            rule(stage, kernel)
            return True
        except Unsupported as reason:
            kernel.emitter.back_to(before)
            kernel.sram.back_to(sram)
            part.reasons.append(str(reason))
    return False


def _sizes(func: tirx.PrimFunc) -> list[Any]:
    """The variables in the shapes of the arguments."""
    found: dict[int, Any] = {}
    for p in func.params:
        if is_buffer_var(p):
            for n in p.shape:
                for v in find(n, Var):
                    found[v.__chandle__()] = v
    return list(found.values())
