"""Lowering of device functions, from TIR as written or scheduled to what the codegen reads.

TVM's default pipeline (`s_tir`) is made for caches and threads: it shrinks scratchpad buffers to the elements it sees accessed (an
operand of an instruction names only its first element), lets buffers share memory, turns bf16 into uint16 and narrows indices. Functions
for Rigi-1 therefore take the shorter road below; all others in the same module take TVM's. TVM picks a pipeline by name, not by target,
so `register` wraps the factory behind that name.

Seam: passes appended to `PRE_LOWERING` run first on each function for this target, before blocks and loops are lowered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.ir import Call, StringImm, prim
from tvm.tirx import compilation_pipeline
from tvm.tirx.buffer import is_buffer_var

from .codegen.walk import post_order_visit
from .isa import DISPATCH, PREFIX
from .target import check_model

NAME = "rigi"


def _rules() -> tvm.ir.transform.Pass:
    from .rules import lower_functions  # imported at the first build: it takes a while

    return lower_functions()


# Passes (IRModule -> IRModule) that rewrite generic TIR into instructions before anything is lowered.
PRE_LOWERING: list[Callable[[], tvm.ir.transform.Pass]] = [_rules]


def is_rigi(target: Any) -> bool:
    """Whether a Target (or None) is a Rigi chip. Raises ChipError for an `ext_dev`, TVM's kind for external devices, that names none:
    nothing else compiles for it, and TVM would make functions of the host."""
    if target is None or target.kind.name != "ext_dev":
        return False
    check_model(target.attrs.get("model"))
    return True


def is_generic(func: tirx.PrimFunc) -> bool:
    """Whether a function is neither a kernel already, nor scheduled for one, nor only calls kernels."""
    generic = DISPATCH not in (func.attrs or {})

    def visit(node: Any) -> None:
        nonlocal generic
        if isinstance(node, Call) and node.op.name.endswith("call_extern") and isinstance(node.args[0], StringImm):
            generic = generic and not node.args[0].value.startswith(PREFIX)
        elif isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent":
            generic = False
        elif isinstance(node, tirx.For) and node.kind == tirx.ForKind.THREAD_BINDING:
            generic = False

    post_order_visit(func.body, visit)
    return generic


def _has_blocks(func: tirx.PrimFunc) -> bool:
    found = False

    def visit(node: Any) -> None:
        nonlocal found
        found = found or type(node).__name__.startswith(("SBlock", "Block"))

    post_order_visit(func.body, visit)
    return found


def _lower_blocks() -> list[tvm.ir.transform.Pass]:
    """Schedules to plain loops. Buffers are compacted to what the blocks declare they read and write."""
    t = s_tir.transform
    return [
        t.CanonicalizeLoop(),
        t.LowerCrossThreadReduction(),
        t.LowerInitBlock(),
        t.PlanAndUpdateBufferAllocationLocation(),
        t.ConvertBlocksToOpaque(),
        t.LiftThreadBinding(),
        t.ManifestSharedMemoryLocalStage(),
        t.CompactBufferAllocation(),
        t.LowerAutoCopy(),
        t.UnifyThreadBinding(),
        t.LowerMatchBuffer(),
        t.StmtSimplify(),
        t.InjectSoftwarePipeline(),
        t.LowerOpaqueBlock(),
    ]


def _lower_plain() -> list[tvm.ir.transform.Pass]:
    return [s_tir.transform.UnifyThreadBinding(), s_tir.transform.LowerOpaqueBlock()]


@tirx.transform.prim_func_pass(opt_level=0, name="rigi.first_device")
def _first_device(func: tirx.PrimFunc, _mod: tvm.IRModule, _ctx: Any) -> tirx.PrimFunc:
    """A function runs on the device of its tensors; one without any on the first. TVM would allocate its workspaces on the host's stack."""
    if not is_rigi(func.attrs.get("target")) or any(is_buffer_var(p) for p in func.params):
        return func
    body = func.body
    for key, value in (("device_id", 0), ("device_type", tvm.device("ext_dev").dlpack_device_type())):
        body = tirx.AttrStmt(StringImm("default"), key, prim.IntImm("int32", value), body)
    return func.with_body(body)


def _finish() -> list[tvm.ir.transform.Pass]:
    return [
        _first_device,
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
    ]


def _host() -> list[tvm.ir.transform.Pass]:
    # LLVM knows neither buffers of several dimensions nor bf16; device code keeps both.
    return [tirx.transform.FlattenBuffer(), tirx.transform.FP8StorageLegalize(), tirx.transform.BF16StorageLegalize()]


def _run(mod: tvm.IRModule, keep: Callable[[Any], bool], passes: list[tvm.ir.transform.Pass]) -> tvm.IRModule:
    part = tirx.transform.Filter(keep)(mod)
    return tvm.ir.transform.Sequential(passes)(part) if part.functions else part


def _merged(parts: list[tvm.IRModule], like: tvm.IRModule) -> tvm.IRModule:
    result = tvm.IRModule({}, like.attrs, like.global_infos)
    for part in parts:
        result.update(part)
    return result


def lower(mod: tvm.IRModule) -> tvm.IRModule:
    """All functions of `mod` (targets bound to Rigi-1) to host and device functions."""
    mod = tvm.ir.transform.Sequential([make() for make in PRE_LOWERING])(mod)
    blocks = _run(mod, _has_blocks, _lower_blocks())
    plain = _run(mod, lambda f: not _has_blocks(f), _lower_plain())
    split = tvm.ir.transform.Sequential(_finish())(_merged([blocks, plain], mod))
    device = tirx.transform.Filter(lambda f: is_rigi(f.attrs.get("target")))(split)
    return _merged([device, _run(split, lambda f: not is_rigi(f.attrs.get("target")), _host())], mod)


def _pipeline_around(stock: Callable[..., Any], **kwargs: Any) -> tuple[tvm.ir.transform.Pass, Callable[[], Any], Callable[[], Any]]:
    other, finish_host, finish_device = stock(**kwargs)

    @tvm.transform.module_pass(opt_level=0, name="rigi.lower")
    def dispatch(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        ours = {gv for gv, f in mod.functions.items() if isinstance(f, tirx.PrimFunc) and is_rigi(f.attrs.get("target"))}
        if not ours:
            return other(mod)
        mine = tvm.IRModule({gv: mod[gv] for gv in ours}, mod.attrs, mod.global_infos)
        rest = tvm.IRModule({gv: f for gv, f in mod.functions.items() if gv not in ours}, mod.attrs, mod.global_infos)
        return _merged([lower(mine), other(rest)] if rest.functions else [lower(mine)], mod)

    def finish() -> tvm.ir.transform.Pass:
        @tvm.transform.module_pass(opt_level=0, name="rigi.finish_device")
        def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
            if any(is_rigi(f.attrs.get("target")) for f in mod.functions.values()):
                return mod
            return finish_device()(mod)

        return run

    return dispatch, finish_host, finish


def register() -> None:
    """Puts the pipeline before TVM's default one, for functions whose target is a Rigi chip. It is also known by its own name, `rigi`."""
    stock = compilation_pipeline.PIPELINE_MAP["s_tir"]
    if getattr(stock, "rigi", False):
        return

    def factory(**kwargs: Any) -> Any:
        return _pipeline_around(stock, **kwargs)

    factory.rigi = True  # type: ignore[attr-defined]
    tirx.register_tir_pipeline("s_tir", factory)
    tirx.register_tir_pipeline(NAME, factory)
