"""Names of fused functions, made short: fusing joins the names of what it fuses without end, and a kernel's may have 255 characters."""

from __future__ import annotations

import hashlib
from typing import Any

import tvm
from tvm import relax, tirx

from .relax_rewrites import rewritten

MOST = 120


def _short(name: str) -> str:
    return f"{name[: MOST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@relax.expr_functor.mutator
class _Renamer(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule, names: dict[str, tvm.ir.GlobalVar]):
        super().__init__(mod)
        self._names = names

    def visit_global_var_(self, gv: tvm.ir.GlobalVar) -> Any:
        return self._names.get(gv.name_hint, gv)


@tvm.transform.module_pass(opt_level=0, name="rigi.short_names")
def short_names(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    long = {gv: func for gv, func in mod.functions.items() if isinstance(func, tirx.PrimFunc) and len(gv.name_hint) > MOST}
    if not long:
        return mod
    names, functions = {}, {gv: func for gv, func in mod.functions.items() if gv not in long}
    for gv, func in long.items():
        short = tvm.ir.GlobalVar(_short(gv.name_hint))
        relax.expr._update_type(short, gv.ty)
        names[gv.name_hint] = short
        functions[short] = func.with_attr("global_symbol", short.name_hint) if "global_symbol" in (func.attrs or {}) else func
    renamed = tvm.IRModule(functions, mod.attrs, mod.global_infos)
    return rewritten(renamed, _Renamer(renamed, names))
