"""The rule that always applies: core 0's sequencer runs a stage element by element.

Slow, and therefore the last resort. What a stage only reads, the sequencer reads in HBM; what it only writes goes to HBM one element at a
time. Neither has a limit of size. What a stage reads back after writing it (accumulators, scans) is kept in SRAM, since a core may not
load in a phase what it has stored in it: buffers whose old contents count are loaded whole before and stored whole after the stage; of
others each element is stored when it is written, so that those never written keep what they had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir import StringImm, TensorLoad, Var, prim
from tvm.tirx.buffer import is_buffer_var

from ..codegen.context import bits_of
from ..codegen.errors import CodegenError
from ..codegen.stmt import MAX_LOCAL
from ..codegen.walk import children
from ..dialect import _emit
from ..isa import ELEMENT_LOOPS, SRAM_SCOPES
from ..operands import Tile

SLOT_BYTES = 128  # what element stores take for themselves (codegen/sram.py)
_LINE = 64


@tvm_ffi.register_error
class LoweringError(CodegenError):
    """A function that the chip cannot run as it is. The text names function, buffers, sizes and what to do."""


@dataclass(frozen=True)
class Sequenced:
    """A lowered stage: statements for the inside of the launch, and conditions that the host asserts before it, with their texts."""

    body: Any
    checks: list[tuple[Any, str]] = field(default_factory=list)


@dataclass
class _Use:
    """How a stage uses a buffer, in the order of execution."""

    buffer: Any
    read: bool = False
    written: bool = False
    old_contents: bool = False  # something may be read that the stage has not written
    complete: bool = False  # every element is surely written


def lower(stage: Any, core: Any, function: str, budget: int) -> Sequenced:
    """`stage`: a statement over buffers in HBM (or already in SRAM), with or without blocks. `core`: the launch's blockIdx.x. `budget`:
    bytes of SRAM that the stage may take. The caller puts barriers around the result. Raises LoweringError."""
    stage = _without_blocks(stage)
    allocated = _allocated(stage)
    uses = _Uses(stage)
    staged = [u for u in uses.found.values() if u.read and u.written and u.buffer.scope() == "global" and u.buffer not in allocated]
    plan = _Plan(function, budget - SLOT_BYTES)
    local = {b: plan.local(b) for b in allocated}
    copies = {u.buffer: plan.copy(u.buffer) for u in staged}
    plan.settle()
    through = {copies[u.buffer]: u.buffer for u in staged if not u.old_contents and not u.complete}
    parts = [_moved("load", u.buffer, copies[u.buffer]) for u in staged if u.old_contents]
    parts.append(_rewritten(stage, {**local, **copies}, through))
    parts += [_moved("store", u.buffer, copies[u.buffer]) for u in staged if u.old_contents or u.complete]
    inside = tirx.AttrStmt(StringImm(function), ELEMENT_LOOPS, prim.IntImm("int32", 1), _seq(parts))
    guarded = tirx.IfThenElse(prim.EQ(core, prim.IntImm(str(core.ty), 0)), inside, None)
    return Sequenced(_seq([*plan.statements, guarded]), plan.checks)


def _seq(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tirx.SeqStmt(parts)


def _without_blocks(stage: Any) -> Any:
    t = s_tir.transform
    passes = tvm.ir.transform.Sequential([t.LowerInitBlock(), t.ConvertBlocksToOpaque(), t.LowerMatchBuffer(), t.LowerOpaqueBlock()])
    func = tirx.PrimFunc([], stage).with_attr("s_tir", True)
    return passes(tvm.IRModule({"stage": func}))["stage"].body


def _allocated(stage: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(stage, [(tirx.AllocBuffer, lambda node: found.append(node.buffer))])
    return found


class _Uses:
    """The uses of buffers of a stage. Buffers declared over another one count as that one."""

    def __init__(self, stage: Any):
        self.found: dict[Any, _Use] = {}
        self._roots: dict[Any, Any] = {}
        self._settled: set[Any] = set()  # buffers whose first access was a write that leaves no old contents to read
        self._around: list[Any] = []  # loops, branches on indices
        self._analyzer = sym.Analyzer()
        self._walk(stage, False)

    def _use(self, buffer: Any) -> _Use:
        buffer = self._roots.get(buffer, buffer)
        return self.found.setdefault(buffer, _Use(buffer))

    def _walk(self, node: Any, doubtful: bool) -> None:
        branch = isinstance(node, tirx.IfThenElse)
        doubtful = doubtful or isinstance(node, tirx.While) or branch and _reads_memory(node.condition)
        if isinstance(node, tirx.For) or branch:
            self._around.append(node)
        for child in children(node):
            self._walk(child, doubtful)
        if isinstance(node, tirx.For) or branch:
            self._around.pop()
        if isinstance(node, tirx.DeclBuffer):
            data = node.data
            while not isinstance(data, Var):
                data = data.args[-1]
            self._roots[node.buffer] = self._roots.get(data, data)
        elif isinstance(node, TensorLoad):
            use = self._use(node.source)
            use.read = True
            use.old_contents = use.old_contents or use.buffer not in self._settled
        elif isinstance(node, tirx.BufferStore):
            use = self._use(node.buffer)
            use.written = True
            if not doubtful and not any(_reads_memory(i) for i in node.indices):
                self._settled.add(use.buffer)
                use.complete = use.complete or self._covers(node)

    def _covers(self, store: Any) -> bool:
        """Whether each index is the variable of a loop over that whole dimension, and no branch depends on one of them."""
        loops = {n.loop_var: n for n in self._around if isinstance(n, tirx.For)}
        if not all(i in loops and loops[i].step is None for i in store.indices) or len(set(store.indices)) < len(store.indices):
            return False
        same = self._analyzer.can_prove_equal
        whole = all(same(loops[i].min, 0) and same(loops[i].extent, n) for i, n in zip(store.indices, store.buffer.shape))
        branches = [n.condition for n in self._around if isinstance(n, tirx.IfThenElse)]
        return whole and not any(_mentions(c, set(store.indices)) for c in branches)


def _mentions(expr: Any, variables: set[Any]) -> bool:
    return expr in variables if isinstance(expr, Var) else any(_mentions(child, variables) for child in children(expr))


def _reads_memory(expr: Any) -> bool:
    return isinstance(expr, TensorLoad) or any(_reads_memory(child) for child in children(expr))


class _Plan:
    """Copies and working buffers of a stage, and what of SRAM each may take."""

    def __init__(self, function: str, budget: int):
        self.function = function
        self.budget = budget
        self.statements: list[Any] = []
        self.checks: list[tuple[Any, str]] = []
        self._fixed: list[tuple[Any, int]] = []
        self._symbolic: list[tuple[Any, Any]] = []  # buffer of the stage, its view in SRAM

    def local(self, buffer: Any) -> Any:
        """A working buffer: an array of the sequencer if it is small, else a buffer in SRAM."""
        size = _static_elements(buffer)
        if buffer.scope() in SRAM_SCOPES or size is None or size > MAX_LOCAL:
            return self.copy(buffer, declared=size is not None)
        return tirx.decl_buffer(buffer.shape, buffer.dtype, buffer.name, scope="local")

    def copy(self, buffer: Any, declared: bool = False) -> Any:
        """A buffer of the same shape in SRAM. `declared`: the stage has a statement that allocates it."""
        if list(buffer.strides):
            raise LoweringError(f"{self.function}: the buffer {buffer.name!r} has strides {list(buffer.strides)}; pass a compact tensor")
        copy = tirx.decl_buffer(buffer.shape, buffer.dtype, f"{buffer.name}_sram", scope="shared.sram")
        size = _static_elements(buffer)
        if size is None:
            self._symbolic.append((buffer, copy))
            return copy
        self._fixed.append((buffer, -(-size * bits_of(str(buffer.dtype)) // 8 // _LINE) * _LINE))
        if not declared:
            self.statements.append(tirx.AllocBuffer(copy))
        return copy

    def settle(self) -> None:
        """Checks what is known, and shares the rest among the buffers whose sizes are not."""
        left = self.budget - sum(size for _, size in self._fixed)
        share = left // max(len(self._symbolic), 1) // _LINE * _LINE
        if left < 0 or self._symbolic and share <= 0:
            lines = [f"  {b.name}  {size:,} bytes  {b.dtype}{list(b.shape)}" for b, size in self._fixed]
            lines += [f"  {b.name}  {b.dtype}{list(b.shape)}, size known at run time" for b, _ in self._symbolic]
            raise LoweringError(
                f"{self.function}: a part of it runs element by element on the sequencer, and what it reads back after writing must lie "
                f"in SRAM, where it may take {self.budget:,} bytes:\n" + "\n".join(lines) + "\nuse smaller tensors, or rewrite the "
                "part as loops over blocks that the tile rules know (elementwise, reduction, contraction)"
            )
        for buffer, view in self._symbolic:
            capacity = share * 8 // bits_of(str(buffer.dtype))
            place = tirx.decl_buffer((capacity,), buffer.dtype, f"{view.name}_place", scope="shared.sram")
            self.statements += [tirx.AllocBuffer(place), tirx.DeclBuffer(view, data=place.data)]
            text = f"{self.function}: {buffer.name} may have up to {capacity} elements, what a core's SRAM has room for"
            self.checks.append((_elements(buffer) <= prim.IntImm("int64", capacity), text))


def _elements(buffer: Any) -> Any:
    total: Any = prim.IntImm("int64", 1)
    for extent in buffer.shape:
        total = total * (extent if str(extent.ty) == "int64" else prim.Cast("int64", extent))
    return sym.Analyzer().simplify(total)


def _static_elements(buffer: Any) -> int | None:
    shape = list(buffer.shape)
    return prod(int(n.value) for n in shape) if all(isinstance(n, prim.IntImm) for n in shape) else None


def _moved(op: str, buffer: Any, copy: Any) -> Any:
    """The whole of a buffer between HBM and its copy in SRAM."""
    size = _elements(buffer)
    size = size * prim.IntImm("int64", bits_of(str(buffer.dtype)) // 8)
    tiles = [_bytes_of(copy), _bytes_of(buffer)]
    move = tirx.Evaluate(_emit(op, *(tiles if op == "load" else tiles[::-1]), prim.IntImm("int64", 1), size))
    return tirx.IfThenElse(size > prim.IntImm("int64", 0), move, None)


def _bytes_of(buffer: Any) -> Tile:
    first = tirx.BufferLoad(buffer, [prim.IntImm("int64", 0)] * len(buffer.shape))
    return Tile(tirx.address_of(first), buffer, "uint8", prim.IntImm("int64", 0))


def _rewritten(stage: Any, renamed: dict[Any, Any], through: dict[Any, Any]) -> Any:
    """The stage on its copies. `through`: copies whose elements are stored to HBM as they are written."""

    def store(node: Any) -> Any:
        if node.buffer not in through:
            return node
        value = tirx.Var(f"{through[node.buffer].name}_new", str(node.buffer.dtype))
        both = [tirx.BufferStore(buffer, value, node.indices) for buffer in (node.buffer, through[node.buffer])]
        return tirx.SeqStmt([tirx.Bind(value, node.value), *both])

    stage = tvm_ffi.structural_map(stage, (Var, lambda node: renamed.get(node, node) if is_buffer_var(node) else node))
    return tvm_ffi.structural_map(stage, (tirx.BufferStore, store)) if through else stage
