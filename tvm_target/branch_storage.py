"""Storage of branches: each branch of an `if` allocates what it uses.

TVM's StaticPlanBlockMemory reuses the storage of a tensor that is no longer needed, also where the allocation is not visible: what one
branch has allocated is then used in the other, or after both, by a variable that has no value there. This pass, to be run right after
it, gives such a place an allocation of its own.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.ir import Call, Op


@tvm.transform.module_pass(opt_level=0, name="rigi.branch_storage")
def branch_storage(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    result = tvm.IRModule(dict(mod.functions), mod.attrs, mod.global_infos)
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            body = _Scopes().rewritten(func.body, {})
            result[gv] = relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)
    return result


class _Scopes:
    def __init__(self) -> None:
        self._made: dict[Any, Call] = {}  # storage -> its allocation, wherever that stands

    def rewritten(self, body: Any, visible: dict[Any, Any]) -> Any:
        """`visible`: storages that have a value here -> the variable that holds it."""
        if not isinstance(body, relax.SeqExpr):
            return body
        visible = dict(visible)
        return relax.SeqExpr([type(b)(self._bindings(b.bindings, visible)) for b in body.blocks], body.body)

    def _bindings(self, bindings: Any, visible: dict[Any, Any]) -> list[Any]:
        done: list[Any] = []
        for binding in bindings:
            var, value = binding.var, binding.value
            if _calls(value, "relax.memory.alloc_storage"):
                self._made[var] = value
                visible[var] = var
            elif _calls(value, "relax.memory.alloc_tensor"):
                storage = value.args[0]
                if storage not in visible:
                    visible[storage] = relax.Var(storage.name, storage.ty)
                    done.append(relax.VarBinding(visible[storage], self._made[storage]))
                value = Call(value.op, [visible[storage], *value.args[1:]], value.attrs, value.ty_args, value.span)
                binding = relax.VarBinding(var, relax.BlockBuilder().normalize(value))
            elif isinstance(value, relax.If):
                branches = [self.rewritten(branch, visible) for branch in (value.true_branch, value.false_branch)]
                choice = relax.If(value.cond, *branches, value.span)
                binding = relax.VarBinding(var, relax.BlockBuilder().normalize(choice))
            done.append(binding)
        return done


def _calls(value: Any, name: str) -> bool:
    return isinstance(value, Call) and value.op == Op.get(name)
