"""TVM's paged key-value cache (`tvm.relax.frontend.nn.llm`) is refused, where a model asks for one and where one is compiled.

It is an object of TVM's runtime that calls attention kernels which the model brings along: for targets with threads of a GPU's kind, whose
number this target has not, or for a CPU, with scratch arrays of sizes known only at run time.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend.nn.llm import kv_cache

from .codegen.errors import CodegenError
from .pipeline import is_rigi

_CREATE = "vm.builtin.paged_attention_kv_cache_create"
_WHY = (
    "has attention kernels for threads of a GPU, or for a CPU with scratch arrays whose size is known only at run time, and neither kind "
    "runs on a Rigi chip. Keep keys and values as tensors that the model takes and returns (from torch: a model with its cache among its "
    "inputs, through tvm_target.frontend.from_torch), or serve the model with SGLang, where the chip has paged attention of its own"
)


def _refusing(create: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        target = kwargs.get("target") or next((a for a in args if isinstance(a, tvm.target.Target)), None)
        if target is not None and is_rigi(target):
            raise CodegenError(f"{type(self).__name__} of tvm.relax.frontend.nn.llm, for the target {target.attrs['model']}: it {_WHY}")
        create(self, *args, **kwargs)

    return __init__


@tvm.transform.module_pass(opt_level=0, name="rigi.no_paged_cache")
def no_paged_cache(mod: tvm.IRModule, _ctx: Any) -> tvm.IRModule:
    """Refuses modules that make such a cache."""
    for gv, func in mod.functions.items():

        def visit(node: Any, name: str = gv.name_hint) -> None:
            if isinstance(node, relax.ExternFunc) and str(node.global_symbol) == _CREATE:
                raise CodegenError(f"function {name} makes a paged key-value cache ({_CREATE}), which {_WHY}")

        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)
    return mod


def register() -> None:
    """Lets the classes refuse this target. Safe to call again."""
    for cache in (kv_cache.TIRPagedKVCache, kv_cache.FlashInferPagedKVCache):
        if not getattr(cache.__init__, "rigi", False):
            cache.__init__ = _refusing(cache.__init__)
            cache.__init__.rigi = True
