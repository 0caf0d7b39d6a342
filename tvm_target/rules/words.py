"""Moving elements that no engine computes with: 64-bit ones, as pairs of 32-bit words, bits unchanged.

Copies, transposes, concatenations, gathers and selections of int64, uint64 and float64 are stages of their own kind: every buffer is seen
as int32 with a last dimension of two, and the stage gets one more axis. Stages that compute with int64 do so in 32 bits (see `vector`).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.ir import TensorLoad, prim

from .emitter import integer
from .rewrite import dtype_of, is_call
from .stage import Axis, Stage, Store, bind
from .work import Kernel

WIDE = ("int64", "uint64", "float64")


def as_words(stage: Stage, kernel: Kernel) -> Stage:
    """The stage on words, if it only moves 64-bit elements; else the stage itself."""
    if len(stage.stores) != 1 or stage.init or str(stage.stores[0].buffer.dtype) not in WIDE:
        return stage
    store = stage.stores[0]
    if not _moves(store.value, str(store.buffer.dtype)) or len(store.buffer.strides):
        return stage
    word = Axis(tirx.Var("word", "int64"), integer(2))

    def change(e: Any) -> Any:
        if isinstance(e, TensorLoad):
            return tirx.BufferLoad(kernel.words(e.source), [*e.indices, word.var])
        if isinstance(e, (prim.IntImm, prim.FloatImm)):
            low, high = struct.unpack("<ii", _bits(e))
            return prim.Select(word.var < 1, tirx.const(low, "int32"), tirx.const(high, "int32"))
        if is_call(e, "if_then_else"):
            return tirx.if_then_else(e.args[0], change(e.args[1]), change(e.args[2]))
        assert isinstance(e, prim.Select)
        return prim.Select(e.condition, change(e.true_value), change(e.false_value))

    moved = Store(kernel.words(store.buffer), [*store.indices, word.var], change(store.value))
    new = replace(stage, axes=[*stage.axes, word], stores=[moved])
    bind(new, kernel.emitter.analyzer)
    return new


def _bits(e: Any) -> bytes:
    if isinstance(e, prim.FloatImm):
        return struct.pack("<d", float(e.value))
    return struct.pack("<Q", int(e.value) % (1 << 64))


def _moves(e: Any, dtype: str) -> bool:
    if dtype_of(e) != dtype:
        return False
    if isinstance(e, TensorLoad):
        return not len(e.source.strides)
    if isinstance(e, (prim.IntImm, prim.FloatImm)):
        return True
    if is_call(e, "if_then_else"):
        return _moves(e.args[1], dtype) and _moves(e.args[2], dtype)
    return isinstance(e, prim.Select) and _moves(e.true_value, dtype) and _moves(e.false_value, dtype)
