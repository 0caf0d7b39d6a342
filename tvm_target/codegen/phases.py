"""Phases: the top level of a kernel, cut at its barriers.

A phase is a C++ function of its own, so a value bound in one phase and used in a later one is computed again there. That is free for
arithmetic and costs a cycle for what was read from HBM; it is refused where the value might differ: read from SRAM, read from an argument
that the kernel itself writes, or changed in a loop or a branch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tvm import tirx
from tvm.ir import Call, StringImm, TensorLoad, Var
from tvm.tirx.buffer import is_buffer_var

from ..isa import BARRIER, OPS, PREFIX, SRAM_SCOPES, Arg
from .context import Kernel, op_name
from .walk import post_order_visit


@dataclass
class Facts:
    """What a statement needs and changes. Keys are handles of variables."""

    needs: set[int] = field(default_factory=set)  # variables, and local buffers read before they are written
    binds: set[int] = field(default_factory=set)
    stores: set[int] = field(default_factory=set)  # local buffers written
    sram_values: list[str] = field(default_factory=list)  # SRAM buffers read as numbers
    hbm_values: dict[int, str] = field(default_factory=dict)
    hbm_written: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)


def is_barrier(stmt: Any) -> bool:
    if not isinstance(stmt, tirx.Evaluate) or not isinstance(stmt.value, Call):
        return False
    return op_name(stmt.value) == "call_extern" and isinstance(stmt.value.args[0], StringImm) and stmt.value.args[0].value == BARRIER


def facts(stmt: Any) -> Facts:
    found = Facts()
    loads: list[TensorLoad] = []

    def settle() -> None:
        for load in loads:
            key, scope = load.source.__chandle__(), load.source.scope()
            if scope in SRAM_SCOPES:
                found.sram_values.append(load.source.name)
            elif scope == "local":
                if key not in found.stores:
                    found.needs.add(key)
            else:
                found.hbm_values[key] = load.source.name
        loads.clear()

    def visit(node: Any) -> None:
        if isinstance(node, TensorLoad):
            loads.append(node)
        elif isinstance(node, Call):
            name = op_name(node)
            if name == "address_of":
                loads[:] = [load for load in loads if not load.same_as(node.args[0])]  # an operand, not a value
            elif name == "call_extern":
                _written(node, found)
        elif isinstance(node, tirx.BufferStore):
            settle()
            found.stores.add(node.buffer.__chandle__())
            found.names[node.buffer.__chandle__()] = node.buffer.name
            if node.buffer.scope() == "global":
                found.hbm_written.add(node.buffer.__chandle__())
        elif isinstance(node, Var) and not is_buffer_var(node):
            found.needs.add(node.__chandle__())
        elif isinstance(node, (tirx.Bind, tirx.For)):
            var = node.var if isinstance(node, tirx.Bind) else node.loop_var
            found.binds.add(var.__chandle__())
            found.names[var.__chandle__()] = var.name
        elif isinstance(node, tirx.AllocBuffer):
            found.binds.add(node.buffer.__chandle__())

    post_order_visit(stmt, visit)
    settle()
    found.needs -= found.binds
    return found


def _written(call: Call, found: Facts) -> None:
    op = OPS.get(str(call.args[0].value).removeprefix(PREFIX)) if isinstance(call.args[0], StringImm) else None
    for kind, arg in zip(op.args if op else (), call.args[2:]):
        if kind is not Arg.DST or not isinstance(arg, Call):
            continue

        def note(node: Any) -> None:
            if is_buffer_var(node) or isinstance(node, TensorLoad):
                found.hbm_written.add((node.source if isinstance(node, TensorLoad) else node).__chandle__())

        post_order_visit(arg.args[1] if len(arg.args) > 1 else arg, note)


def split(kernel: Kernel, body: list[Any]) -> list[list[Any]]:
    """The statements of each phase, with what it needs from earlier ones put first. `body` is flat."""
    phases: list[list[Any]] = [[]]
    for stmt in body:
        if is_barrier(stmt):
            phases.append([])
        else:
            phases[-1].append(stmt)
    if len(phases) == 1:
        return phases
    known = {id(s): facts(s) for phase in phases for s in phase}
    written = set().union(*(f.hbm_written for f in known.values()))
    result = [phases[0]]
    for number in range(1, len(phases)):
        earlier = [s for phase in phases[:number] for s in phase]
        result.append(_carried(kernel, number, earlier, phases[number], known, written) + phases[number])
    return result


def _carried(kernel: Kernel, number: int, earlier: list[Any], own: list[Any], known: dict[int, Facts], written: set[int]) -> list[Any]:
    needs: set[int] = set()
    for stmt in reversed(own):
        f = known[id(stmt)]
        needs = (needs - _defines(stmt)) | f.needs
    kept: list[Any] = []
    for stmt in reversed(earlier):
        f = known[id(stmt)]
        if isinstance(stmt, tirx.AllocBuffer):
            # The arrays of the sequencer belong to one phase; declared again if a later one uses them at all.
            if stmt.buffer.scope() == "local" and any(_touches(s, stmt.buffer, known) for s in [*own, *kept]):
                kept.append(stmt)
            continue
        defined = (_defines(stmt) | f.stores) & needs
        if not defined:
            continue
        where = f"{f.names[min(defined)]!r} is used in phase {number}"
        if not isinstance(stmt, (tirx.Bind, tirx.BufferStore)):
            kernel.fail(f"{where} but changed inside a loop or a branch of an earlier phase; set it again after the barrier")
        if f.sram_values:
            kernel.fail(f"{where} but read from SRAM ({f.sram_values[0]!r}) in an earlier phase; read it again after the barrier")
        changed = [name for key, name in f.hbm_values.items() if key in written]
        if changed:
            why = f"read from {changed[0]!r}, which the kernel writes, in an earlier phase"
            kernel.fail(f"{where} but {why}; read it again after the barrier")
        if isinstance(stmt, tirx.Bind):
            needs -= defined
        needs |= f.needs
        kept.append(stmt)
    return kept[::-1]


def _defines(stmt: Any) -> set[int]:
    if isinstance(stmt, tirx.Bind):
        return {stmt.var.__chandle__()}
    if isinstance(stmt, tirx.BufferStore):
        return {stmt.buffer.__chandle__()}
    return set()


def _touches(stmt: Any, buffer: Any, known: dict[int, Facts]) -> bool:
    key, hit = buffer.__chandle__(), False

    def visit(node: Any) -> None:
        nonlocal hit
        used = node.source if isinstance(node, TensorLoad) else node.buffer if isinstance(node, tirx.BufferStore) else None
        hit = hit or used is not None and used.__chandle__() == key

    post_order_visit(stmt, visit)
    return hit
