"""Offload: parts of a Relax function that a kernel of the library computes become calls of it, in the module itself.

    graph, emitter   reading a function, writing it again
    library          kernels in the module; the host function before them chooses by the sizes of a call
    matmul, norm, attention   what is recognised

The library computes in bf16 with fp32 inside and rounds once; where Relax has several rounded steps the result is nearer to the exact one,
not the same bits. What no kernel takes for every size that the run may bring stays as it is, for the rules.
`rigi.library` in the manifest's entry of a kernel (`library_kernels`) tells it from those that the rules made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax

from . import attention, matmul, norm
from .emitter import Emit, Emitter, Plan, add_functions
from .graph import Graph, bindings
from .library import Library

# In this order; each gives the variables it computes another way, or None.
RECOGNIZERS: list[Callable[[Graph, relax.Var], Plan | None]] = [
    matmul.swiglu,
    matmul.linear_with,
    matmul.linear_cast,
    matmul.linear,
    norm.rms_norm,
    norm.softmax,
    norm.embedding,
    attention.attention,
]


def library_kernels(executable: Any) -> dict[str, str]:
    """The library kernels in a compiled or loaded module: name (as in the device's statistics) -> op."""
    from ..runtime import manifests

    entries = [kernel for about in manifests(getattr(executable, "mod", executable)) for kernel in about["kernels"]]
    return {kernel["name"]: kernel["library"] for kernel in entries if "library" in kernel}


def offload() -> tvm.ir.transform.Pass:
    """The pass: all Relax functions of a module."""

    @tvm.transform.module_pass(opt_level=0, name="rigi.offload")
    def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        builder = relax.BlockBuilder(mod)
        library = Library(builder, {gv.name_hint for gv in mod.functions})
        changed = {}
        for gv, func in mod.functions.items():
            if isinstance(func, relax.Function) and isinstance(func.body, relax.SeqExpr):
                graph = Graph(func)
                plan = _plan(graph)
                if plan:
                    changed[gv] = Emitter(builder, library, graph).rewrite(plan)
        if not changed:
            return mod
        result = tvm.IRModule(dict(mod.functions), mod.attrs, mod.global_infos)
        add_functions(result, builder)
        result.update(tvm.IRModule(changed))
        cleanup = [relax.transform.Normalize(), relax.transform.DeadCodeElimination()]
        return tvm.transform.Sequential(cleanup)(result)

    return run


def _plan(graph: Graph) -> dict[int, Emit]:
    variables = [b.var for b in bindings(graph.func) if isinstance(b, relax.VarBinding)]
    plan: Plan = attention.rotations(graph, variables)
    done = {var.__chandle__() for var in plan}
    # From the end, so that the largest patterns are found first and what lies inside them is left out.
    for var in reversed(variables):
        for recognize in RECOGNIZERS if var.__chandle__() not in done else ():
            found = recognize(graph, var)
            if found is not None:
                plan |= found
                done |= {v.__chandle__() for v in found}
                break
    return {var.__chandle__(): emit for var, emit in plan.items() if emit is not None}
