"""Errors of Relax modules: which operator of which function cannot be compiled, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.ir import Call, Op

from .codegen.errors import CodegenError

Legalization = Callable[[relax.BlockBuilder, Call], Any]

# What the VM's code generator takes; everything else has to be a function by then.
_VM_OPERATORS = {
    "relax.call_builtin_with_ctx",
    "relax.null_value",
    "relax.vm.alloc_storage",
    "relax.vm.alloc_tensor",
    "relax.vm.kill_object",
}


def legalize(own: dict[str, Legalization]) -> tvm.ir.transform.Pass:
    """LegalizeOps with `own` before TVM's legalizations; one that fails is reported with its operator and the functions that use it."""

    @tvm.transform.module_pass(opt_level=0, name="rigi.legalize")
    def run(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
        table = {}
        for name, functions in _operators(mod).items():
            found = own.get(name) or Op.get(name).get_attr("FLegalize")
            if found is not None:
                table[name] = _named(found, functions)
        mod = relax.transform.LegalizeOps(table)(mod)
        _refuse(mod, lambda call: call.op.name in table and not _shaped(call), "LegalizeOps leaves such calls alone")
        return mod

    return run


def _named(found: Legalization, functions: list[str]) -> Legalization:
    def run(builder: relax.BlockBuilder, call: Call) -> Any:
        try:
            return found(builder, call)
        except Exception as error:
            raise CodegenError(_reason(call, functions, str(error))) from error

    return run


def _operators(mod: tvm.IRModule) -> dict[str, list[str]]:
    """The Relax operators of a module, and the functions they are in."""
    found: dict[str, list[str]] = {}
    for gv, func in mod.functions.items():

        def visit(node: Any, function: str = gv.name_hint) -> None:
            if isinstance(node, Call) and isinstance(node.op, Op) and node.op.name.startswith("relax."):
                functions = found.setdefault(node.op.name, [])
                if function not in functions:
                    functions.append(function)

        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)
    return found


@tvm.transform.module_pass(opt_level=0, name="rigi.check_operators")
def check_operators(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    """Refuses operators that nothing has lowered."""
    why = "there is no legalization; decompose it, or add one to relax_pipeline.LEGALIZE"
    _refuse(mod, lambda call: call.op.name.startswith("relax.") and call.op.name not in _VM_OPERATORS, why)
    return mod


def _refuse(mod: tvm.IRModule, refused: Callable[[Call], bool], why: str) -> None:
    def visit(node: Any) -> None:
        if isinstance(node, Call) and isinstance(node.op, Op) and refused(node):
            raise CodegenError(_reason(node, _operators(mod)[node.op.name], why))

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)


def _shaped(call: Call) -> bool:
    return all(x.ty.shape is not None for x in call.args if isinstance(x.ty, relax.TensorType))


def _reason(call: Call, functions: list[str], why: str) -> str:
    where = f"function {', '.join(functions)}: the operator {call.op.name}({', '.join(str(x.ty) for x in call.args)})"
    if not _shaped(call):
        why = "an argument has no shape; name its sizes in the function's signature or with match_cast"
    return f"{where} cannot be compiled: {why}"
