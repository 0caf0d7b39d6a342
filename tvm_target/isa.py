"""The instructions as TIR sees them: one table shared by the dialect (which writes the calls) and the codegen (which prints them).

An instruction is the call `call_extern("int32", "rigi.<op>", line, *args)`; `line` is the line of the kernel's source or 0. An operand
is `call_extern("handle", "rigi.tile", address, dtype, pitch, broadcast)`: an address in SRAM or HBM (`address_of` an element, or an access
pointer), the data type in which it is seen, the elements from row to row, and "full", "row" or "col". Numbers stand for themselves.
The arguments come in the order of the method of `rigi::Core` with the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PREFIX = "rigi."
TILE = PREFIX + "tile"
BARRIER = PREFIX + "barrier"
ELEMENT_LOOPS = PREFIX + "element_loops"  # marks what the sequencer does element by element, and functions with such parts
LIBRARY = PREFIX + "library"  # marks the body of a kernel of the library inside another module; the value is its op
DISPATCH = PREFIX + "dispatch"  # marks functions of the host that only call kernels


class Arg(Enum):
    """What stands at a place of an instruction."""

    OUT = "SRAM block, written"
    IN = "SRAM block, read"
    VALUE = "SRAM block (also broadcast) or number, read"
    SRC = "HBM block, read"
    DST = "HBM block, written"
    INT = "integer"
    COLS = "columns in elements; the instruction takes bytes"
    FLOAT = "number"
    BOOL = "truth value"
    FN = "function name"


@dataclass(frozen=True)
class Op:
    """An instruction: the method of rigi::Core, its arguments, and for FN the C enum of each function name."""

    method: str
    args: tuple[Arg, ...]
    functions: dict[str, str] | None = None


BINARY = {"add": "RIGI_ADD", "sub": "RIGI_SUB", "mul": "RIGI_MUL", "div": "RIGI_DIV", "maximum": "RIGI_MAX", "minimum": "RIGI_MIN"}
COMPARE = {name: f"RIGI_{name.upper()}" for name in ("lt", "le", "gt", "ge", "eq", "ne")}
REDUCE = {"sum": "RIGI_SUM", "max": "RIGI_RMAX"}
GROUP = {name: f"RIGI_GROUP_{name.upper()}" for name in ("row", "col", "all")}
ACT = {
    name: f"RIGI_{name.upper()}"
    for name in (
        *("identity", "exp", "exp2", "log", "tanh", "sigmoid", "silu", "gelu", "gelu_tanh"),
        *("rsqrt", "sqrt", "reciprocal", "sin", "cos"),
    )
}

_O, _I, _V, _S, _D = Arg.OUT, Arg.IN, Arg.VALUE, Arg.SRC, Arg.DST
_N, _C, _F, _B, _FN = Arg.INT, Arg.COLS, Arg.FLOAT, Arg.BOOL, Arg.FN

OPS: dict[str, Op] = {
    "load": Op("load", (_O, _S, _N, _C)),
    "gather": Op("gather", (_O, _S, _I, _N, _C)),
    "load_multicast": Op("load_multicast", (_O, _S, _N, _C, _FN), GROUP),
    "fill": Op("fill", (_O, _F, _N, _N)),
    "store": Op("store", (_D, _I, _N, _C)),
    "scatter": Op("scatter", (_D, _I, _I, _N, _C)),
    "store_add": Op("store_add", (_D, _I, _N, _C)),
    "send": Op("send", (_N, _O, _I, _N, _C)),
    "mma": Op("mma", (_O, _I, _I, _N, _N, _N, _B, _B)),
    "binary": Op("binary", (_FN, _O, _V, _V, _N, _N), BINARY),
    "compare": Op("compare", (_FN, _O, _V, _V, _N, _N), COMPARE),
    "select": Op("select", (_O, _V, _V, _V, _N, _N)),
    "cast": Op("cast", (_O, _V, _N, _N)),
    "copy": Op("copy", (_O, _V, _N, _N)),
    "transpose": Op("transpose", (_O, _I, _N, _N)),
    "reduce": Op("reduce", (_FN, _O, _I, _N, _N), REDUCE),
    "take": Op("take", (_O, _I, _I, _N, _N, _N)),
    "topk": Op("topk", (_O, _O, _I, _N, _N, _N)),
    "iota": Op("iota", (_O, _F, _F, _F, _N, _N)),
    "act": Op("act", (_FN, _O, _I, _F, _F, _N, _N), ACT),
    "act_bias": Op("act_bias", (_FN, _O, _I, _F, _I, _N, _N), ACT),
    "act_sums": Op("act_sums", (_FN, _O, _I, _F, _F, _O, _N, _N), ACT),
    "act_bias_sums": Op("act_bias_sums", (_FN, _O, _I, _F, _I, _O, _N, _N), ACT),
    "barrier": Op("", ()),
}

# TVM's name of a data type -> (enum of rigi_isa.h, bits)
DTYPES: dict[str, tuple[str, int]] = {
    "float32": ("RIGI_F32", 32),
    "float16": ("RIGI_F16", 16),
    "bfloat16": ("RIGI_BF16", 16),
    "float8_e4m3fn": ("RIGI_E4M3", 8),
    "float8_e5m2": ("RIGI_E5M2", 8),
    "int8": ("RIGI_I8", 8),
    "int32": ("RIGI_I32", 32),
    "uint8": ("RIGI_U8", 8),
    "int4": ("RIGI_I4", 4),
}
FLOATS_16_OR_8 = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
BROADCASTS = {"full": "sram", "row": "row", "col": "col"}
SRAM_SCOPES = ("shared.sram", "shared.acc", "shared")
