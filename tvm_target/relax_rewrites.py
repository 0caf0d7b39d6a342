"""What passes over Relax functions share: telling calls of an operator, and applying a mutator to a whole module."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.ir import Call, Op


def is_call_of(e: Any, name: str) -> bool:
    """Whether an expression calls the operator of this name, such as "relax.matmul"."""
    return isinstance(e, Call) and isinstance(e.op, Op) and e.op.name == name


def rewritten(mod: tvm.IRModule, mutator: relax.PyExprMutator) -> tvm.IRModule:
    """The module with its Relax functions as the mutator, made for this module, leaves them."""
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            mutator.builder_.update_func(gv, mutator.visit_expr(func))
    return mutator.builder_.get()
