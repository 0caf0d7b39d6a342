"""Kernels of the library inside a module that is being compiled.

A kernel enters the module as its prim_func under its packaged name, so the executable needs no package at run time. What Relax calls is a
small host function before it, `call_<op>`, which picks the first kernel whose limits hold, as `sglang_ext` does when it serves, and adds
the op's numbers (eps, head size). It is compiled by LLVM like every host function and costs about a microsecond.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tvm import relax, tirx
from tvm.ir import StringImm, prim
from tvm.tirx.buffer import is_buffer_var

from ..isa import DISPATCH, LIBRARY
from ..package import KernelSpec, discover
from .graph import Graph, Size

_UNBOUNDED = 1 << 31


@cache
def specs() -> dict[str, list[KernelSpec]]:
    """All kernels by op, in table order."""
    from .unpackaged import UNPACKAGED

    found: dict[str, list[KernelSpec]] = {}
    for spec in [f.spec for f in discover()] + UNPACKAGED:
        found.setdefault(spec.op, []).append(spec)
    return found


_made: dict[str, tirx.PrimFunc] = {}


def _prim_func(spec: KernelSpec) -> tirx.PrimFunc:
    if spec.name not in _made:
        _made[spec.name] = spec.make()
    return _made[spec.name]


def choices(graph: Graph, op: str, known: dict[str, Size], free: str = "") -> list[KernelSpec] | None:
    """The kernels that can serve a call, or None if there may be sizes that none of them takes.

    `known` are the sizes by the names of the op's limits. `free` names the one by which kernels are chosen when they run (the number of
    rows); the limits of the others have to hold for every run. A shape that is known whole gets the tuned kernel if there is one, of the
    ops whose kernels all give the same bits.
    """
    if free and (tuned := _tuned(op, known)) is not None:
        return [tuned]
    kept: list[KernelSpec] = []
    most = graph.most(known[free]) if free else 0
    covered = 0  # up to here every size of `free` has a kernel
    for spec in specs().get(op, ()):
        if not all(_holds(graph, name, limit, known) for name, limit in spec.limits.items() if name != free):
            continue
        low, high = spec.limits.get(free, (None, None))
        low, high = low or 1, most if high is None else high
        if isinstance(known.get(free), int) and not low <= most <= high:
            continue
        if isinstance(known.get(free), int) or not free:
            return [spec]
        if low > covered + 1:
            return None
        kept.append(spec)
        covered = max(covered, high)
        if covered >= min(most, _UNBOUNDED):
            return kept
    return None


def _tuned(op: str, known: dict[str, Size]) -> KernelSpec | None:
    from .. import tune

    shape = {name: size for name, size in known.items() if isinstance(size, int)}
    space = tune.spaces().get(op)
    return tune.tuned(op, shape) if space is not None and shape.keys() == set(space.sizes) else None


def _holds(graph: Graph, name: str, limit: tuple[int | None, int | None], known: dict[str, Size]) -> bool:
    size = known.get(name.removesuffix("_multiple"))
    if size is None:
        return False
    if name.endswith("_multiple"):
        return isinstance(size, int) and size % (limit[0] or 1) == 0
    low, high = limit
    # A size known when it runs is at least 1: with 0 there is nothing to do.
    return (low is None or (size if isinstance(size, int) else 1) >= low) and (high is None or graph.most(size) <= high)


class Library:
    """The library kernels of one module, added as they are needed."""

    def __init__(self, builder: relax.BlockBuilder, taken: set[str]):
        self._builder = builder
        self._taken = taken
        self._kernels: dict[str, str] = {}  # packaged name -> name in the module
        self._dispatchers: dict[Any, Any] = {}

    def function(self, kernels: list[KernelSpec], free: str = "", **numbers: float) -> Any:
        """The host function before these kernels; `numbers` are what their scalar parameters get."""
        key = (tuple(spec.name for spec in kernels), free, tuple(sorted(numbers.items())))
        if key not in self._dispatchers:
            name = self._free_name(f"call_{kernels[0].op}")
            self._dispatchers[key] = self._builder.add_func(self._dispatcher(name, kernels, free, numbers), name)
        return self._dispatchers[key]

    def _free_name(self, wish: str) -> str:
        name, number = wish, 0
        while name in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name

    def _kernel(self, spec: KernelSpec) -> str:
        if spec.name not in self._kernels:
            name = self._kernels[spec.name] = self._free_name(spec.name)
            func = _prim_func(spec)
            func = tirx.PrimFunc(func.params, _marked(func.body, spec.op), func.ret_type, func.attrs)
            self._builder.add_func(func.with_attr("global_symbol", name), name)
        return self._kernels[spec.name]

    def _dispatcher(self, name: str, kernels: list[KernelSpec], free: str, numbers: dict[str, float]) -> tirx.PrimFunc:
        # The first kernel's own parameters: all kernels of an op have the same. Shapes are checked by the kernel that is called.
        params = list(_prim_func(kernels[0]).params)
        tensors = [p for p in params if is_buffer_var(p)]
        missing = [p.name for p in params if not is_buffer_var(p) and p.name not in numbers]
        if missing:
            raise ValueError(f"kernel {kernels[0].name} has parameters without a value: {', '.join(missing)}")
        arguments = [p if is_buffer_var(p) else _number(p, numbers[p.name]) for p in params]
        body = None
        for spec in reversed(kernels):
            call = tirx.Evaluate(tirx.call_cpacked(self._kernel(spec), *arguments))
            high = spec.limits.get(free, (None, None))[1]
            body = call if body is None else tirx.IfThenElse(_sizes(tensors)[free] <= high, call, body)
        if free:
            body = tirx.IfThenElse(_sizes(tensors)[free] > 0, body, None)
        if asserted := _asserted(kernels, tensors, free):
            body = tirx.SeqStmt([*asserted, body])
        return tirx.PrimFunc(tensors, body).with_attrs({"global_symbol": name, DISPATCH: True, "op_pattern": 8})


def _marked(body: Any, op: str) -> Any:
    """The body with its launch marked, so that the manifest says which kernels are the library's."""
    if isinstance(body, tirx.SeqStmt):
        return tirx.SeqStmt([_marked(part, op) for part in body.seq])
    if not isinstance(body, tirx.AttrStmt):
        return body
    inner = _marked(body.body, op)
    if body.attr_key == "thread_extent":
        inner = tirx.AttrStmt(prim.IntImm("int32", 0), LIBRARY, StringImm(op), inner)
    return tirx.AttrStmt(body.node, body.attr_key, body.value, inner)


def _number(param: Any, value: float) -> Any:
    kind = str(param.ty)
    return prim.FloatImm(kind, float(value)) if kind.startswith("float") else prim.IntImm(kind, int(value))


def _sizes(tensors: list[Any]) -> dict[str, Any]:
    """The sizes in the parameters' shapes by name."""
    return {size.name: size for tensor in tensors for size in tensor.shape if hasattr(size, "name")}


def _asserted(kernels: list[KernelSpec], tensors: list[Any], free: str) -> list[Any]:
    """Largest sizes that were taken on the word of `tir_var_upper_bound`; the VM does not look at it."""
    most = {name: high for spec in kernels for name, (_, high) in spec.limits.items() if name != free and high is not None}
    found = []
    for name, size in _sizes(tensors).items():
        if most.get(name, _UNBOUNDED) < _UNBOUNDED:
            text = f"the library's kernel for {kernels[0].op} takes {name} up to {most[name]}: state tir_var_upper_bound as it is"
            # The class names its first two arguments the other way round (apache-tvm 0.27).
            found.append(tirx.AssertStmt(size <= most[name], StringImm("ValueError"), [StringImm(text)]))
    return found
