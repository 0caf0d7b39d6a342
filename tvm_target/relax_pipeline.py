"""From a Relax module to functions for the VM and PrimFuncs for the chip: what `tvm.compile(module, target="rigi1")` runs.

TVM's `tvm.compile` takes the Relax pipeline of the name "default" whatever the target, so `register` wraps the factory behind that name;
modules for other targets keep TVM's. The order is that of TVM's CPU pipeline:

1. What is computed twice is computed once. Library kernels: what a packaged kernel can do is offloaded to it (`tvm_target.offload`).
2. The rest becomes PrimFuncs (LegalizeOps, with `LEGALIZE` for ops that TVM leaves to functions of the host), constants are folded.
3. Neighbours are fused. A fused PrimFunc is one kernel: a launch costs `launch.host` cycles (1250 on Rigi-1), and what the second function
   reads comes from the scratchpad instead of HBM. The rules (`tvm_target.rules`) inline elementwise producers themselves, so all that
   fusing can cost is a function too large for one rule, which then has more stages.
4. Memory is planned for the whole function, with symbolic sizes where there are some; results of shape arithmetic are computed on the host.

Functions that work on shapes are marked as the host's by TVM and go to LLVM; all others reach `pipeline.lower`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir import Call, Op
from tvm.ir.transform import Pass
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx.buffer import is_buffer_var

from .branch_storage import branch_storage
from .legalize import LEGALIZE_MAP
from .offload import offload
from .paged_cache import no_paged_cache
from .pipeline import is_generic, is_rigi
from .relax_errors import check_operators, legalize
from .short_names import short_names
from .slices import slices
from .turned_products import turn_products

NAME = "rigi"

# Name of a Relax op -> (block builder, call) -> expression: before TVM's own legalization.
LEGALIZE: dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]] = dict(LEGALIZE_MAP)


_OPAQUE = 8  # relax's OpPatternKind


@tirx.transform.prim_func_pass(opt_level=0, name="rigi.keep_kernels")
def _keep_kernels(func: tirx.PrimFunc, _mod: tvm.IRModule, _ctx: Any) -> tirx.PrimFunc:
    """Kernels are not to be fused with anything: their loops are done."""
    return func.with_attr("op_pattern", _OPAQUE) if not is_generic(func) else func


def _foldable(func: tirx.PrimFunc) -> bool:
    return is_generic(func) and not any(is_buffer_var(p) and str(p.dtype).startswith("float8") for p in func.params)


@tvm.transform.module_pass(opt_level=0, name="rigi.fold_constants")
def _fold_constants(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    """FoldConstant, which tries every function of constants on the host. Calls of kernels are kept from it, and functions on 8-bit floats:
    TVM's CPU code for them knows no infinities."""
    hidden = {gv: func for gv, func in mod.functions.items() if isinstance(func, tirx.PrimFunc) and not _foldable(func)}
    shown = tvm.IRModule({gv: func for gv, func in mod.functions.items() if gv not in hidden}, mod.attrs, mod.global_infos)
    folded = relax.transform.FoldConstant()(shown)
    folded.update(tvm.IRModule(hidden))
    return folded


@tvm.transform.module_pass(opt_level=0, name="rigi.views_of_results")
def _views_of_results(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    """Gives results of a function that were computed in it a name inside, too: RewriteDataflowReshape makes views of inner values only,
    and the logits of a model in another shape need no copy. Other shapes of parameters stay copies."""
    changed = {}
    for gv, func in mod.functions.items():
        if not isinstance(func, relax.Function) or not isinstance(func.body, relax.SeqExpr):
            continue
        outside = {p.__chandle__() for p in func.params}
        blocks = [_inner_names(mod, b, outside) if isinstance(b, relax.DataflowBlock) else b for b in func.body.blocks]
        body = relax.SeqExpr(blocks, func.body.body)
        changed[gv] = relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)
    result = tvm.IRModule(dict(mod.functions), mod.attrs, mod.global_infos)
    result.update(tvm.IRModule(changed))
    return result


def _inner_names(mod: tvm.IRModule, block: relax.DataflowBlock, outside: set[int]) -> relax.DataflowBlock:
    bindings = []
    for binding in block.bindings:
        var, value = binding.var, getattr(binding, "value", None)
        if isinstance(value, Call) and value.op == Op.get("relax.call_tir") and _reshapes(mod[value.args[0]]):
            source = value.args[1].fields[0]
            if not isinstance(source, relax.Var) or source.__chandle__() in outside:
                outside.add(var.__chandle__())
            elif not isinstance(var, relax.DataflowVar):
                inner = relax.DataflowVar(var.name, var.ty)
                bindings.append(relax.VarBinding(inner, value))
                binding = relax.VarBinding(var, inner)
        bindings.append(binding)
    return relax.DataflowBlock(bindings)


def _reshapes(func: tirx.PrimFunc) -> bool:
    return isinstance(func.body, SBlockRealize) and relax.analysis.has_reshape_pattern(func)


def library_dispatch_passes(target: Any) -> list[Pass]:
    return [no_paged_cache, slices, relax.transform.EliminateCommonSubexpr(), offload()]


def legalize_passes(target: Any) -> list[Pass]:
    t = relax.transform
    return [
        turn_products,
        legalize(LEGALIZE),
        _keep_kernels,
        t.CanonicalizeBindings(),  # items of tuples that are made here: FuseTIR fails where one stands inside another
        t.DeadCodeElimination(),
        t.AnnotateTIROpPattern(),
        _fold_constants,
        t.FuseOps(),
        t.FuseTIR(),
        short_names,
    ]


@tvm.transform.module_pass(opt_level=0, name="rigi.rewrite_reshape")
def _rewrite_reshape(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    """TVM's pass, which looks for a block in every function of one argument: kernels get one for its time."""
    kernels = {gv: f for gv, f in mod.functions.items() if isinstance(f, tirx.PrimFunc) and not is_generic(f)}
    blocked = {gv: f.with_body(SBlockRealize([], True, SBlock([], [], [], "root", f.body))) for gv, f in kernels.items()}
    mod = relax.transform.RewriteDataflowReshape()(tvm.IRModule({**dict(mod.functions), **blocked}, mod.attrs, mod.global_infos))
    kept = {gv: kernels.get(gv, f) for gv, f in mod.functions.items()}
    return tvm.IRModule(kept, mod.attrs, mod.global_infos)


def dataflow_lower_passes(target: Any) -> list[Pass]:
    t = relax.transform
    return [_views_of_results, _rewrite_reshape, t.ToNonDataflow(), t.RemovePurityChecking(), t.CallTIRRewrite()]


def finalize_passes(target: Any) -> list[Pass]:
    t = relax.transform
    return [
        t.StaticPlanBlockMemory(),
        branch_storage,
        t.LowerAllocTensor(),
        t.KillAfterLastUse(),
        t.LowerRuntimeBuiltin(),
        t.ComputePrimValue(),
        t.VMShapeLower(),
        t.AttachGlobalSymbol(),
        check_operators,
    ]


def get_default_pipeline(target: Any) -> Pass:
    """The whole pipeline for a Rigi target, for `tvm.compile(..., relax_pipeline=...)` and for use pass by pass."""

    @tvm.transform.module_pass(opt_level=0, name="rigi.relax")
    def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        with target:
            passes = library_dispatch_passes(target) + legalize_passes(target) + dataflow_lower_passes(target) + finalize_passes(target)
            return tvm.transform.Sequential(passes)(mod)

    return run


def _pipeline_around(stock: Callable[..., Pass], **kwargs: Any) -> Pass:
    other = stock(**kwargs)

    @tvm.transform.module_pass(opt_level=0, name="rigi.relax_dispatch")
    def dispatch(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        target = tvm.target.Target.current()
        return (get_default_pipeline(target) if is_rigi(target) else other)(mod)

    return dispatch


def register() -> None:
    """Puts the pipeline before TVM's default one, for modules compiled for a Rigi chip; `relax.get_default_pipeline` gives it too."""
    pipelines = relax.pipeline.PIPELINE_MAP
    if NAME in pipelines:
        return
    for name in ("default", "default_build"):
        stock = pipelines[name]
        pipelines[name] = lambda stock=stock, **kwargs: _pipeline_around(stock, **kwargs)
    pipelines[NAME] = lambda: get_default_pipeline(tvm.target.Target("rigi1"))

    stock_choice = relax.pipeline.get_default_pipeline

    def choose(target: Any) -> Pass:
        return get_default_pipeline(target) if is_rigi(target) else stock_choice(target)

    relax.pipeline.get_default_pipeline = relax.get_default_pipeline = choose
