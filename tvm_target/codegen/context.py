"""What is known while one kernel is printed: its name, its buffers and the C++ names of its variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tvm import sym, tirx
from tvm.ir import Var, prim

from ..isa import DTYPES
from ..target import Chip
from .errors import CodegenError

# Names that the generated file uses itself, or that C++ does.
_RESERVED = set(
    """core args self sram row col imm hbm min max min_of max_of floordiv floormod truncdiv truncmod widen_bf16 round_bf16 std rigi main
    widen_small round_small put put_bits udiv umod clz popcount to_int element_slot phases kernels alignas and asm auto bool break case
    catch char class const continue default delete do double else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new not operator or private protected public register return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while xor""".split()
)


def identifier(name: str) -> str:
    """A C++ identifier like `name`."""
    name = re.sub(r"\W", "_", name) or "v"
    if name[0].isdigit() or name.startswith("__"):
        name = "v" + name
    return name + "_" if name in _RESERVED else name


def bits_of(dtype: str) -> int:
    """Bits of an element, by TVM's name of its type."""
    if dtype in DTYPES:
        return DTYPES[dtype][1]
    if dtype == "bool":
        return 8
    return int(re.search(r"\d+", dtype)[0])  # type: ignore[index]


@dataclass
class BufferInfo:
    """A buffer: where it lies, the C++ name of its base, and its shape."""

    name: str
    place: str  # "sram", "hbm" or "local"
    base: str
    dtype: str
    shape: list[Any]
    strides: list[Any]
    elem_offset: Any = 0
    var: Any = None

    def offset(self, indices: list[Any]) -> Any:
        """Elements from the base to an element."""
        total: Any = prim.IntImm("int64", 0) + _wide(self.elem_offset)
        stride: Any = prim.IntImm("int64", 1)
        for k in range(len(indices) - 1, -1, -1):
            step = _wide(self.strides[k]) if self.strides else stride
            total = total + _wide(indices[k]) * step
            stride = stride * _wide(self.shape[k])
        return total


def _wide(value: Any) -> Any:
    if isinstance(value, int):
        return prim.IntImm("int64", value)
    if isinstance(value, prim.IntImm):
        return prim.IntImm("int64", int(value.value))
    return value if str(value.ty) == "int64" else prim.Cast("int64", value)


@dataclass
class Kernel:
    """The state of printing one kernel."""

    name: str
    chip: Chip
    buffers: dict[int, BufferInfo] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # C++ names
    read: set[int] = field(default_factory=set)  # variables and local buffers whose value is taken
    analyzer: sym.Analyzer = field(default_factory=sym.Analyzer)
    _scopes: list[set[str]] = field(default_factory=lambda: [set()])

    def fail(self, text: str) -> NoReturn:
        raise CodegenError(f"kernel {self.name}: {text}")

    # ---- names
    def push(self) -> None:
        self._scopes.append(set())

    def pop(self) -> None:
        self._scopes.pop()

    def fresh(self, hint: str) -> str:
        """A C++ name that nothing visible has."""
        base = identifier(hint)
        name, count = base, 0
        while any(name in scope for scope in self._scopes):
            count += 1
            name = f"{base}_{count}"
        self._scopes[-1].add(name)
        return name

    def declare(self, var: Any, hint: str | None = None) -> str:
        name = self.fresh(hint or var.name)
        self.names[var.__chandle__()] = name
        return name

    def var(self, var: Any) -> str:
        name = self.names.get(var.__chandle__())
        if name is None:
            self.fail(f"the variable {var.name!r} is used where it has no value; bind it in the same phase (between two R.barrier())")
        self.used.add(name)
        self.read.add(var.__chandle__())
        return name

    def bound(self, var: Any, low: int, high: int | None = None) -> None:
        """What is known of a variable, for tidier arithmetic."""
        self.analyzer.update(var, sym.ConstIntBound(low, (1 << 62) if high is None else high))

    # ---- buffers
    def add_buffer(self, var: Any, place: str, base: str) -> BufferInfo:
        start = var.elem_offset if var.elem_offset is not None else 0
        info = BufferInfo(var.name, place, base, str(var.dtype), list(var.shape), list(var.strides), start, var)
        self.buffers[var.__chandle__()] = info
        return info

    def buffer(self, var: Any) -> BufferInfo:
        info = self.buffers.get(var.__chandle__())
        if info is None:
            self.fail(f"the buffer {var.name!r} is used but neither allocated in the kernel nor an argument")
        self.used.add(info.base)
        return info

    def alias(self, var: Any, data: Any) -> BufferInfo:
        """A buffer declared over another one's storage (or a pointer argument)."""
        target = data
        while type(target).__name__ == "Call":
            if op_name(target) not in ("buffer_data", "reinterpret", "address_of"):
                self.fail(f"the buffer {var.name!r} is declared over {data}, which is no buffer")
            target = target.args[-1]
        for extent in var.shape:
            if isinstance(extent, Var) and extent.__chandle__() in self.names:
                self.bound(extent, 0)
        known = self.buffers.get(target.__chandle__())
        if known is not None:
            return self.add_buffer(var, known.place, known.base)
        return self.add_buffer(var, "hbm", self.names[target.__chandle__()])


def op_name(call: Any) -> str:
    """The operator of a call without its dialect: "call_extern", "address_of", "if_then_else"."""
    return str(call.op.name).rsplit(".", 1)[-1]


def statements(stmt: Any) -> list[Any]:
    """A statement as a flat list."""
    if isinstance(stmt, tirx.SeqStmt):
        return [s for part in stmt.seq for s in statements(part)]
    return [stmt]
