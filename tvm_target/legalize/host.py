"""unique and nonzero: how large their results are is known when they are done, so NumPy makes them on the host, as for TVM's CPU target.

Tensors are copied to the host and back, so that what follows finds them on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.op.set import numpy_nonzero, numpy_unique

from .common import Legalize


def _on_device(compute: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, *args: Any) -> Any:
        result = compute(x, *args)
        if isinstance(result, tuple):
            return tuple(tvm.runtime.tensor(y.numpy(), x.device) for y in result)
        return tvm.runtime.tensor(result.numpy(), x.device)

    return run


def _by_host(name: str, compute: Callable[..., Any]) -> Legalize:
    tvm_ffi.register_global_func(name, _on_device(compute), override=True)

    def legalize(_bb: relax.BlockBuilder, op: relax.Call) -> Any:
        return relax.call_pure_packed(name, *op.args, ty_args=op.ty)

    return legalize


OPS: dict[str, Legalize] = {
    "relax.nonzero": _by_host("rigi.run.nonzero", numpy_nonzero),
    "relax.unique": _by_host("rigi.run.unique", numpy_unique),
}
