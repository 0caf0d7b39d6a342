"""Building statements from Python: what TVMScript is for people, this is for rules."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import tvm
from tvm import sym, tirx
from tvm.ir import prim

INT = "int64"


def constant(value: Any) -> int | None:
    """The Python integer behind an expression, if it is one."""
    if isinstance(value, int):
        return value
    return int(value.value) if isinstance(value, prim.IntImm) else None


def integer(value: int) -> Any:
    return tirx.const(value, INT)


def product(factors: Iterable[Any]) -> Any:
    """Of extents, say; 1 if there are none."""
    return functools.reduce(lambda a, b: a * b, factors, integer(1))


class Emitter:
    """Collects statements, loops and branches. All numbers of its own are int64."""

    def __init__(self, analyzer: sym.Analyzer):
        self.analyzer = analyzer
        self._open: list[list[Any]] = [[]]

    def add(self, item: Any) -> None:
        """A statement, or an instruction (a call)."""
        self._open[-1].append(item if isinstance(item, tirx.Stmt) else tirx.Evaluate(item))

    def simplified(self, value: Any) -> Any:
        return integer(value) if isinstance(value, int) else self.analyzer.simplify(value)

    def let(self, name: str, value: Any) -> Any:
        """A name for a value; constants and variables keep their own."""
        value = self.simplified(value)
        if isinstance(value, (prim.IntImm, tvm.ir.Var)):
            return value
        var = tirx.Var(name, INT)
        self.add(tirx.Bind(var, value))
        bound = self.analyzer.const_int_bound(value)
        if bound.min_value >= 0:
            self.analyzer.bind(var, tvm.ir.Range(0, int(bound.max_value) + 1) if bound.max_value < 1 << 40 else tvm.ir.Range(0, 1 << 40))
        return var

    @contextmanager
    def loop(self, name: str, extent: Any, start: Any = 0, step: int = 1) -> Iterator[Any]:
        """for name in range(start, start + extent, step). A loop of one turn is none."""
        extent = self.simplified(extent)
        if constant(extent) == 1:
            yield self.simplified(start)
            return
        var = tirx.Var(name, INT)
        low = constant(start)
        self.analyzer.bind(var, tvm.ir.Range.from_min_extent(integer(low or 0), extent if low is not None else integer(1 << 40)))
        self._open.append([])
        yield var
        body = self.body(self._open.pop())
        by = None if step == 1 else integer(step)
        self.add(tirx.For(var, self.simplified(start), extent, tirx.ForKind.SERIAL, body, step=by))

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        condition = self.analyzer.simplify(condition)
        if constant(condition) == 1:
            yield
            return
        self._open.append([])
        yield
        body = self._open.pop()
        if constant(condition) != 0:
            self.add(tirx.IfThenElse(condition, self.body(body), None))

    def either(self, condition: Any, yes: Any, no: Any) -> None:
        """One of two instructions."""
        condition = self.analyzer.simplify(condition)
        known = constant(condition)
        if known is None:
            self.add(tirx.IfThenElse(condition, tirx.Evaluate(yes), tirx.Evaluate(no)))
        else:
            self.add(yes if known else no)

    @staticmethod
    def body(stmts: list[Any]) -> Any:
        if not stmts:
            return tirx.Evaluate(integer(0))
        return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)

    def mark(self) -> int:
        """A place to go back to, at the top level."""
        return len(self._open[0])

    def back_to(self, mark: int) -> None:
        """Drops what came after a mark, also half-made loops."""
        self._open = [self._open[0][:mark]]

    def take(self) -> list[Any]:
        """All statements so far; the emitter is empty afterwards."""
        stmts, self._open = self._open[0], [[]]
        return stmts
