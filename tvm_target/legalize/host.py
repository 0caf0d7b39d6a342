"""unique and nonzero: how large their results are is known when they are done, so NumPy makes them on the host, as for TVM's CPU target.

LegalizeOps turns these ops into calls of TVM's functions before it asks anyone else. TVM's leave their results on the host; here they are
wrapped, so that results come to the device where the argument lies and what follows finds them there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm.relax.op.set import numpy_nonzero, numpy_unique


def _beside_argument(compute: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, *args: Any) -> Any:
        result = compute(x, *args)
        if isinstance(result, tvm.runtime.Tensor):
            return _moved(result, x.device)
        return [_moved(y, x.device) for y in result]

    return run


def _moved(y: Any, device: Any) -> Any:
    return y if y.device == device else tvm.runtime.tensor(y.numpy(), device)


def register() -> None:
    for name, compute in (("relax.run.nonzero", numpy_nonzero), ("relax.run.unique", numpy_unique)):
        tvm_ffi.register_global_func(name, _beside_argument(compute), override=True)
