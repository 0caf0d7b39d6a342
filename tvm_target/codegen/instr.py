"""Instructions: the calls that the dialect and the tensor intrinsics leave in TIR, to one method call of rigi::Core each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.ir import Call, StringImm, Var, prim

from ..isa import BROADCASTS, DTYPES, OPS, PREFIX, TILE, Arg
from .context import BufferInfo, Kernel, bits_of, op_name
from .expr import ExprPrinter


@dataclass
class Block:
    """A `rigi.tile` call read back: buffer, byte offset from its base, data type, pitch in elements, broadcast."""

    buffer: BufferInfo
    offset: Any
    dtype: str
    pitch: Any
    broadcast: str

    @property
    def bits(self) -> int:
        return DTYPES[self.dtype][1]


def scaled(elements: Any, bits: int) -> Any:
    """Elements to bytes."""
    if isinstance(elements, int):
        return elements * bits // 8
    return elements * (bits // 8) if bits >= 8 else (elements * bits + 7) // 8


class InstructionPrinter:
    """Prints instructions of one kernel, and checks what only now is known: kinds of operands and their alignment."""

    def __init__(self, kernel: Kernel, expr: ExprPrinter):
        self.kernel = kernel
        self.expr = expr

    def __call__(self, call: Call) -> tuple[str, int]:
        """The C++ statement, and the line of the kernel's source (0 if unknown)."""
        name = call.args[0].value
        op = OPS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if op is None or name == PREFIX + "barrier":
            if op is not None:
                self.kernel.fail("R.barrier() stands inside a loop or a branch; a phase can only end at the top level of the kernel")
            self.kernel.fail(f"unknown external function {name!r}; known: {', '.join(PREFIX + n for n in OPS)}")
        line = int(call.args[1].value) if isinstance(call.args[1], prim.IntImm) else 0
        args = list(call.args[2:])
        if len(args) != len(op.args):
            wanted = ", ".join(a.value for a in op.args)
            self.kernel.fail(f"{name} has {len(args)} operands, not {len(op.args)}: {wanted}")
        blocks = [self._block(a) if self._is_tile(a) else None for a in args]
        bits = next((b.bits for b, kind in zip(blocks, op.args) if b is not None and kind in (Arg.OUT, Arg.IN)), 8)
        with self.expr.hoisting():
            texts = [self._argument(name, kind, a, b, bits, op.functions) for kind, a, b in zip(op.args, args, blocks)]
        return f"core.{op.method}({', '.join(texts)});", line

    def _argument(self, name: str, kind: Arg, arg: Any, block: Block | None, bits: int, functions: dict[str, str] | None) -> str:
        if kind in (Arg.OUT, Arg.IN, Arg.VALUE) and block is not None:
            return self._sram(name, block)
        if kind in (Arg.SRC, Arg.DST) and block is not None:
            return self._hbm(name, block)
        if kind is Arg.FN:
            text = arg.value if isinstance(arg, StringImm) else str(arg)
            if functions is None or text not in functions:
                self.kernel.fail(f"{name}: unknown function {text!r}; known: {', '.join(functions or ())}")
            return functions[text]
        if kind in (Arg.OUT, Arg.IN, Arg.SRC, Arg.DST) or block is not None:
            self.kernel.fail(f"{name}: {arg} stands where the instruction takes: {kind.value}")
        if kind is Arg.VALUE:
            return f"imm({self.expr.simplified(arg)})"
        return self.expr.simplified(scaled(arg, bits) if kind is Arg.COLS else arg)

    # ---- operands
    @staticmethod
    def _is_tile(arg: Any) -> bool:
        return isinstance(arg, Call) and op_name(arg) == "call_extern" and isinstance(arg.args[0], StringImm) and arg.args[0].value == TILE

    def _block(self, tile: Call) -> Block:
        _, address, dtype, pitch, broadcast = tile.args
        info, offset = self.address(address)
        return Block(info, offset, dtype.value, pitch, broadcast.value)

    def address(self, e: Any) -> tuple[BufferInfo, Any]:
        """A pointer expression as a buffer and a byte offset."""
        if isinstance(e, Var):
            return self.kernel.buffer(e), prim.IntImm("int64", 0)
        if isinstance(e, Call):
            name = op_name(e)
            if name == "address_of" and hasattr(e.args[0], "source"):
                info = self.kernel.buffer(e.args[0].source)
                return info, scaled(info.offset(list(e.args[0].indices)), bits_of(info.dtype))
            if name == "tvm_access_ptr":
                info, base = self.address(e.args[1])
                return info, base + scaled(_as_int64(e.args[2]), bits_of(info.dtype))
            if name == "handle_add_byte_offset":
                info, base = self.address(e.args[0])
                return info, base + _as_int64(e.args[1])
            if name in ("buffer_data", "reinterpret"):
                return self.address(e.args[-1])
        self.kernel.fail(f"the address {e} is neither an element of a buffer nor an access pointer")

    def _must_be(self, place: str, name: str, block: Block) -> None:
        if block.buffer.place != place:
            wanted = "in SRAM (scope 'shared.sram')" if place == "sram" else "in HBM (an argument)"
            self.kernel.fail(f"{name}: {block.buffer.name!r} lies in {block.buffer.place}, but this operand must be {wanted}")

    def _sram(self, name: str, block: Block) -> str:
        self._must_be("sram", name, block)
        self._aligned(name, block)
        base = self.expr.sum(block.buffer.base, block.offset)
        return f"{BROADCASTS[block.broadcast]}({base}, {self.expr.simplified(scaled(block.pitch, block.bits))}, {DTYPES[block.dtype][0]})"

    def _hbm(self, name: str, block: Block) -> str:
        self._must_be("hbm", name, block)
        base = self.expr.sum(block.buffer.base, block.offset)
        return f"hbm({base}, {self.expr.simplified(scaled(block.pitch, block.bits))})"

    def _aligned(self, name: str, block: Block) -> None:
        # Only what is certain for every value of the variables; the rest is the emulator's.
        known = self.expr.modular(block.offset)
        line = self.kernel.chip.line_bytes
        if known is not None and known[0] % line == 0 and known[1] % line != 0:
            self.kernel.fail(
                f"{name}: an operand in {block.buffer.name!r} starts {known[1] % line} bytes after a {line}-byte line; "
                f"blocks must start at multiples of {line} bytes (pad the row or choose another first element)"
            )


def _as_int64(e: Any) -> Any:
    return e if str(e.ty) == "int64" else prim.Cast("int64", e)
