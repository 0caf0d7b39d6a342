"""The chip's ops, a file each: schema, shapes, dtypes and reference; and the aten ops they serve (`aten.py`).

Everything that runs on the chip for torch is declared here and nowhere else. No kernels: those are packaged modules.
"""

from importlib import import_module

NAMES = (
    "linear", "rms_norm", "silu_mul", "rope", "embedding", "kv_write", "attention_decode", "attention_extend", "argmax", "softmax",
)  # fmt: skip

_registered = False


def register() -> None:
    """Declares every op with the registry and the aten ops they serve with torch; once."""
    global _registered
    if _registered:
        return
    _registered = True
    from sglang_ext.ops import aten
    from sglang_ext.registry import registry

    for name in NAMES:
        for op in import_module(f"sglang_ext.ops.{name}").OPS:
            registry.declare(op)
    aten.register(registry)
