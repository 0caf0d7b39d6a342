"""Statements: control flow and variables of the sequencer."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Call, StringImm, TensorLoad, prim

from ..isa import ELEMENT_LOOPS, SRAM_SCOPES
from .context import BufferInfo, Kernel, bits_of, op_name, statements
from .expr import ExprPrinter, dtype_of
from .instr import InstructionPrinter
from .scalars import ctype, known, written
from .walk import children, post_order_visit

_OPERAND = 10  # binds more tightly than a comparison
MAX_LOCAL = 4096  # elements of a sequencer array
_REMEDY = {
    "sram": "use an instruction on a block instead: R.fill for a constant, R.add, R.mul, R.act ... to compute, R.load to bring data in",
    "hbm": "compute the block in SRAM and write it with R.store (or R.scatter, R.store_add)",
}


def has_element_loops(body: Any) -> bool:
    """Whether part of a kernel is marked as loops of the sequencer that write elements one by one."""
    found = False

    def visit(node: Any) -> None:
        nonlocal found
        found = found or isinstance(node, tirx.AttrStmt) and node.attr_key == ELEMENT_LOOPS

    post_order_visit(body, visit)
    return found


def _calls(expr: Any) -> bool:
    return isinstance(expr, Call) or any(_calls(child) for child in children(expr))


class StatementPrinter:
    """Prints the statements of one phase."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.lines: list[str] = []
        self._pending: Any = None  # a sequencer variable whose first value may follow at once
        self._declared: list[tuple[int, int]] = []  # line and variable
        self._depth = 1
        self._line = -1
        self._element_loops = False
        self.expr = ExprPrinter(kernel, self.emit)
        self.instruction = InstructionPrinter(kernel, self.expr)

    def emit(self, text: str) -> None:
        self.lines.append("  " * self._depth + text)

    def emit_variable(self, var: Any, text: str) -> None:
        self._declared.append((len(self.lines), var.__chandle__()))
        self.emit(text)

    def finished(self) -> list[str]:
        """The lines; variables that nothing reads are marked, so that the compiler has nothing to remark."""
        for line, var in self._declared:
            if var not in self.kernel.read:
                text = self.lines[line]
                self.lines[line] = text[: len(text) - len(text.lstrip())] + "[[maybe_unused]] " + text.lstrip()
        return self.lines

    def block(self, head: str, body: Any) -> None:
        self.emit(head)
        self._inside(body)

    def _inside(self, body: Any) -> None:
        self.kernel.push()
        self._depth += 1
        self._line = -1
        for stmt in statements(body):
            self(stmt)
        self._line = -1
        self._depth -= 1
        self.kernel.pop()

    def __call__(self, stmt: Any) -> None:
        handler = getattr(self, "_visit_" + type(stmt).__name__.lower(), None)
        if handler is None:
            self.kernel.fail(f"no C++ for the statement {type(stmt).__name__}:\n{stmt}")
        waiting, self._pending = self._pending, None
        if waiting is not None and not (isinstance(stmt, tirx.BufferStore) and stmt.buffer.same_as(waiting)):
            self.emit_variable(waiting, f"{ctype(str(waiting.dtype))} {self.kernel.buffer(waiting).base} = {{}};")
            waiting = None
        if waiting is not None:
            self._first_value(stmt)
        else:
            handler(stmt)

    # ---- instructions
    def _visit_evaluate(self, stmt: Any) -> None:
        call = stmt.value
        if isinstance(call, (prim.IntImm, prim.FloatImm)):
            return
        if isinstance(call, Call):
            name = op_name(call)
            if name == "call_extern" and isinstance(call.args[0], StringImm):
                text, line = self.instruction(call)
                if line and line != self._line:
                    self.emit(f"core.at({line});")
                    self._line = line
                self.emit(text)
                return
            if name in ("tvm_storage_sync", "builtin_assume", "assume"):
                return  # the scoreboard keeps order within a core
            if name in ("break_loop", "continue_loop"):
                self.emit(f"{name.removesuffix('_loop')};")
                return
        if not isinstance(call, Call) and not _calls(call):
            return  # a number that nobody uses
        self.kernel.fail(
            f"the statement {call}: the chip runs its own instructions (tvm_target.dialect) and calls nothing else; a function of the host "
            "is called from Relax, between kernels (R.call_packed, R.call_dps_packed)"
        )

    # ---- variables
    def _visit_bind(self, stmt: Any) -> None:
        if not hasattr(stmt.value.ty, "dtype"):
            self.kernel.fail(f"{stmt.var.name!r} is bound to a pointer; use the buffer itself")
        with self.expr.hoisting():
            text = self.expr(stmt.value)
        if dtype_of(stmt.value).startswith("int") and self.kernel.analyzer.const_int_bound(stmt.value).min_value >= 0:
            self.kernel.bound(stmt.var, 0)
        self.emit_variable(stmt.var, f"const {ctype(dtype_of(stmt.var))} {self.kernel.declare(stmt.var)} = {text};")

    def _visit_allocbuffer(self, stmt: Any) -> None:
        buffer = stmt.buffer
        scope = buffer.scope()
        if scope in SRAM_SCOPES:
            return  # placed by the SRAM plan
        if scope not in ("local", ""):
            self.kernel.fail(
                f"the buffer {buffer.name!r} is allocated in scope {scope!r}; a kernel allocates 'shared.sram' (scratchpad) or "
                "'local' (sequencer variables); working space in HBM is an argument of the kernel"
            )
        extents = [int(n.value) if isinstance(n, prim.IntImm) else -1 for n in buffer.shape]
        if -1 in extents:
            self.kernel.fail(f"the local buffer {buffer.name!r} has a size known only at run time: {list(buffer.shape)}")
        total = 1
        for n in extents:
            total *= n
        if total > MAX_LOCAL:
            self.kernel.fail(f"the local buffer {buffer.name!r} has {total} elements; the sequencer keeps up to {MAX_LOCAL}, use SRAM")
        name = self.kernel.declare(buffer)
        self.kernel.add_buffer(buffer, "local", name)
        if total == 1:
            self._pending = buffer
        else:
            self.emit_variable(buffer, f"{ctype(str(buffer.dtype))} {name}[{total}] = {{}};")

    def _first_value(self, stmt: Any) -> None:
        with self.expr.hoisting():
            value = self.expr(stmt.value)
        self.emit_variable(stmt.buffer, f"{ctype(str(stmt.buffer.dtype))} {self.kernel.buffer(stmt.buffer).base} = {value};")

    def _visit_declbuffer(self, stmt: Any) -> None:
        self.kernel.alias(stmt.buffer, stmt.data)

    def _visit_bufferstore(self, stmt: Any) -> None:
        info = self.kernel.buffer(stmt.buffer)
        if info.place != "local" and self._element_loops:
            self._element(info, stmt)
            return
        if info.place != "local":
            where = ", ".join(str(i) for i in stmt.indices)
            self.kernel.fail(
                f"a scalar store into {info.name}[{where}] (scope {stmt.buffer.scope()!r}): the sequencer cannot write "
                f"{'SRAM' if info.place == 'sram' else 'HBM'}; {_REMEDY[info.place]}, or keep the value in a buffer of scope 'local'"
            )
        with self.expr.hoisting():
            value = self.expr(stmt.value)
        self.emit(f"{self.expr.local(info, list(stmt.indices))} = {value};")

    def _element(self, info: BufferInfo, stmt: Any) -> None:
        """An element of SRAM by a fill; one of HBM by way of the slot, line 1 of the scratchpad."""
        if not known(info.dtype) or info.dtype == "float8_e8m0fnu":
            self.kernel.fail(f"an element of {info.name!r} is written, but the sequencer writes no {info.dtype} numbers; use another type")
        size = bits_of(info.dtype) // 8
        with self.expr.hoisting():
            value = self.expr(stmt.value)
            at = self.expr.sum(info.base, info.offset(list(stmt.indices)) * size)
        if info.place == "sram":
            self.emit(written(info.dtype, at, value))
            return
        slot = self.kernel.chip.line_bytes
        self.emit(written(info.dtype, str(slot), value))
        self.emit(f"core.store(hbm({at}, {size}), sram({slot}, {size}, RIGI_U8), 1, {size});")

    # ---- control flow
    def _visit_seqstmt(self, stmt: Any) -> None:
        for part in statements(stmt):
            self(part)

    def _visit_for(self, stmt: Any) -> None:
        known_kind = stmt.kind in (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED)
        if not known_kind and (not self._element_loops or stmt.thread_binding is not None):
            kind = tirx.ForKind(stmt.kind).name.lower()
            self.kernel.fail(
                f"the loop over {stmt.loop_var.name!r} is {kind}; a core runs serial and unrolled loops "
                "(spread work over cores with T.launch_thread('blockIdx.x', ...), over lanes with instructions on blocks)"
            )
        start = self._settled(stmt.min, f"{stmt.loop_var.name}_begin")
        step = "1" if stmt.step is None else self._settled(stmt.step, f"{stmt.loop_var.name}_step")
        end = self._settled(stmt.min + stmt.extent, f"{stmt.loop_var.name}_end")
        self.kernel.push()
        name = self.kernel.declare(stmt.loop_var)
        if isinstance(stmt.min, prim.IntImm) and int(stmt.min.value) >= 0:
            self.kernel.bound(stmt.loop_var, int(stmt.min.value))
        advance = f"++{name}" if step == "1" else f"{name} += {step}"
        self.block(f"for (int64_t {name} = {start}; {name} < {end}; {advance}) {{", stmt.body)
        self.emit("}")
        self.kernel.pop()

    def _settled(self, e: Any, hint: str) -> str:
        """A bound that keeps its first value: in a constant of its own if it reads anything."""
        reads = False

        def visit(node: Any) -> None:
            nonlocal reads
            reads = reads or isinstance(node, TensorLoad)

        post_order_visit(e, visit)
        if not reads:
            return self.expr(self.kernel.analyzer.simplify(e), _OPERAND)
        with self.expr.hoisting():
            text = self.expr.simplified(e)
        name = self.kernel.fresh(hint)
        self.emit(f"const int64_t {name} = {text};")
        return name

    def _visit_while(self, stmt: Any) -> None:
        self.block(f"while ({self.expr(stmt.condition)}) {{", stmt.body)
        self.emit("}")

    def _visit_ifthenelse(self, stmt: Any) -> None:
        with self.expr.hoisting():
            test = self.expr(stmt.condition)
        self.block(f"if ({test}) {{", stmt.then_case)
        if stmt.else_case is not None:
            self.block("} else {", stmt.else_case)
        self.emit("}")

    def _visit_break(self, _stmt: Any) -> None:
        self.emit("break;")

    def _visit_continue(self, _stmt: Any) -> None:
        self.emit("continue;")

    def _visit_assertstmt(self, stmt: Any) -> None:
        self.kernel.fail(f"an assertion in the kernel ({stmt.condition}): a core cannot stop a launch; check arguments outside")

    def _visit_attrstmt(self, stmt: Any) -> None:
        if stmt.attr_key == "thread_extent":
            self.kernel.fail("two launches nested in one kernel; launch_thread('blockIdx.x', ...) stands once, around everything")
        before, self._element_loops = self._element_loops, self._element_loops or stmt.attr_key == ELEMENT_LOOPS
        for part in statements(stmt.body):
            self(part)
        self._element_loops = before
