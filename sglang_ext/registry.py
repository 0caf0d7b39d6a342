"""The registry: the one place where an op of the chip is declared.

An `Op` says its operands, results and sizes once. From that come the torch schema and meta function, the checks and their messages,
the kernel that serves a call, `torch.ops.rigi.<name>`, the direct Python function and the row in `rigi ops`. The declarations are
`sglang_ext/ops/<name>.py`; the kernels are found in the packaged index (`sglang_ext/kernels.py`).

Calls. `torch.ops.rigi.rms_norm(x, w, eps)` goes through torch's dispatcher (fake tensors, tracing). `registry.function("rms_norm")`
is the same without it, about half the host time: for code that calls an op thousands of times a second.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sglang_ext import _C, kernels
from sglang_ext.shapes import Check, Index, Operand, Result, Scalar, Workspace, bind_sizes, parse

Bound = tuple[str, torch.Tensor, str, int, bool]  # integers' name and values, what they index, its size, whether that is allowed
STRICT = 3  # rigiMode
MAX_PLANS = 4096  # remembered (sizes -> kernel) choices of an op; then they are forgotten and found again


@dataclass(frozen=True, eq=False)
class Op:
    """An op of the chip.

    The kernel is called with operands, records of indices outside, workspaces, results and scalars, in this order, each group as declared.

    Args:
        name: `torch.ops.rigi.<name>`, and `op` in the kernel index.
        summary: one line for `rigi ops`.
        operands: tensors, contiguous on one chip. `Operand(..., mutable=True)` is written in place.
        results: tensors the op makes.
        scalars: numbers after the tensors. Those with `selects=True` take part in choosing the kernel.
        workspaces: scratch tensors for the kernel, made for the call.
        derived: further sizes that kernels may limit, from the ones the shapes bind.
        checks: what must hold of the sizes besides the shapes.
        indices: operands whose values are indices. The kernel touches nothing for one outside, and leaves a record (an int32 tensor
            [1 + indices, cores, 4], see tvm_target/kernels/_indices.py) that raises IndexError when the host next waits for the chip.
        trusted: integers that the kernel takes as they are: `trusted(sizes, **integer operands on the host)` gives them as `Bound`s, each
            of which may rely on those before. They are checked on the CPU, and before the launch in strict mode.
        reference: the same op in plain torch on CPU tensors, in fp32, written apart from the kernel. Mutable operands in place.
        dtype_of: the operand whose dtype the kernel index goes by; by default the first floating one.
    """

    name: str
    summary: str
    operands: tuple[Operand, ...]
    reference: Callable[..., Any]
    results: tuple[Result, ...] = ()
    scalars: tuple[Scalar, ...] = ()
    workspaces: tuple[Workspace, ...] = ()
    derived: Mapping[str, Callable[[dict[str, int]], int]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    indices: tuple[Index, ...] = ()
    trusted: Callable[..., Iterable[Bound]] | None = None
    dtype_of: str | None = None
    plans: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def schema(self) -> str:
        """The torch schema, without namespace."""
        marks = iter("abcdefgh")
        arguments = [f"Tensor({next(marks)}!) {o.name}" if o.mutable else f"Tensor {o.name}" for o in self.operands]
        arguments += [f"{scalar.kind.__name__} {scalar.name}" for scalar in self.scalars]
        results = ["Tensor"] * len(self.results)
        returns = results[0] if len(results) == 1 else f"({', '.join(results)})"
        return f"{self.name}({', '.join(arguments)}) -> {returns}"

    @property
    def leading(self) -> Operand:
        if self.dtype_of:
            return next(operand for operand in self.operands if operand.name == self.dtype_of)
        return next((operand for operand in self.operands if operand.dtypes[0].is_floating_point), self.operands[0])

    def sizes(self, *arguments: Any) -> dict[str, int]:
        """The named sizes of a call, after every check that doesn't need the device. Raises TypeError or ValueError."""
        sizes = bind_sizes(self.name, self.operands, self.scalars, arguments)
        for check in self.checks:
            if not check.holds(sizes):
                raise ValueError(f"rigi.{self.name}: {check.message.format(**sizes)}")
        for name, derive in self.derived.items():
            sizes[name] = derive(sizes)
        return sizes

    def on_host(self, *arguments: Any) -> Any:
        """The reference, after a check of all indices. Raises IndexError."""
        if self.indices or self.trusted:
            sizes = self.sizes(*arguments)
            operands = {self.operands[i].name: arguments[i] for i in self._integers()}
            self._hold((x.operand, operands[x.operand], x.indexed, sizes[x.size], False) for x in self.indices)
            self.check_trusted(sizes, operands)
        return self.reference(*arguments)

    def check_trusted(self, sizes: dict[str, int], operands: dict[str, torch.Tensor]) -> None:
        """IndexError for an integer outside that the kernel would take as it is. The operands are on the host."""
        if self.trusted:
            self._hold(self.trusted(sizes, **operands))

    def _integers(self) -> list[int]:
        return [i for i, operand in enumerate(self.operands) if not operand.dtypes[0].is_floating_point]

    def _hold(self, bounds: Iterable[Bound]) -> None:
        for name, values, indexed, size, includes_size in bounds:
            outside = values[(values < 0) | (values > size - (not includes_size))]
            if len(outside):
                raise IndexError(_C.describe_index(f"rigi.{self.name}", (name, indexed, includes_size), int(outside[0]), size))

    def records(self, device: int) -> torch.Tensor:
        """Where the kernels of this op leave records of indices outside, on one chip."""
        return _C.index_records(device, f"rigi.{self.name}", [(index.operand, index.indexed, False) for index in self.indices])

    def meta(self, *arguments: Any) -> Any:
        """The results' shapes and dtypes, as empty tensors where the operands are (meta and fake tensors)."""
        sizes = self.sizes(*arguments)
        like = arguments[0]
        made = tuple(like.new_empty([parse(dim).value(sizes) for dim in r.shape], dtype=r.dtype) for r in self.results)
        return made[0] if len(made) == 1 else (made or None)

    def prepare(self, *arguments: Any) -> tuple[Any, ...]:
        """Checks a call in full and finds its kernel: (launch, records, shapes of workspaces and results), remembered by the call's key."""
        sizes = self.sizes(*arguments)
        tensors = arguments[: len(self.operands)]
        self._check_places(tensors)
        results = [tuple(parse(dim).value(sizes) for dim in result.shape) for result in self.results]
        written = results or [tuple(t.shape) for t, operand in zip(tensors, self.operands) if operand.mutable]
        if all(0 in shape for shape in written):
            plan = (_nothing_to_do, None, *((0,) for _ in self.workspaces), *results)
        else:
            dtype = tensors[self.operands.index(self.leading)].dtype
            device = tensors[0].device.index
            kernel = kernels.select(self.name, dtype, sizes, device)
            records = self.records(device) if self.indices else None
            launch = _careful(self, sizes, device, kernel.function()) if self.trusted else kernel.function()
            plan = (launch, records, *((w.floats(sizes, kernel.config),) for w in self.workspaces), *results)
        if len(self.plans) >= MAX_PLANS:
            self.plans.clear()
        self.plans[self._key(*arguments)] = plan
        return plan

    def _key(self, *arguments: Any) -> Any:
        tensors = arguments[: len(self.operands)]
        scalars = arguments[len(self.operands) :]
        parts = [part for t in tensors for part in (t.shape, t.dtype, t.get_device())]
        return (*parts, *(value for scalar, value in zip(self.scalars, scalars) if scalar.selects))

    def _check_places(self, tensors: Sequence[torch.Tensor]) -> None:
        first = tensors[0].device
        for operand, tensor in zip(self.operands, tensors):
            where = f"rigi.{self.name}: argument '{operand.name}'"
            if tensor.device.type != "rigi":
                raise TypeError(f"{where} is on {tensor.device}; it must be on the chip: {operand.name}.to('rigi')")
            if tensor.device != first:
                raise TypeError(f"{where} is on {tensor.device}, but '{self.operands[0].name}' is on {first}; move it with .to('{first}')")
            if not tensor.is_contiguous():
                copy = f"use {operand.name}.contiguous()"
                remedy = "it is written in place: pass the tensor itself, not a view of it" if operand.mutable else copy
                raise ValueError(f"{where} is not contiguous (shape {list(tensor.shape)}, strides {list(tensor.stride())}); {remedy}")


def _careful(op: Op, sizes: dict[str, int], device: int, launch: Callable[..., Any]) -> Callable[..., Any]:
    """The launch; in strict mode, which may wait for the chip, after a look at what the kernel trusts."""

    def careful(*arguments: Any) -> None:
        if _C.get_mode(device) == STRICT and not _C.is_capturing(device):
            op.check_trusted(sizes, {op.operands[i].name: arguments[i].cpu() for i in op._integers()})
        launch(*arguments)

    return careful


def _nothing_to_do(*_: Any) -> None:
    """The kernel of a call whose results have no elements."""


# The direct function of an op. It is generated because this is the hot path of serving: a loop over operands costs more than the
# launch itself. The key has shape, dtype and device of every operand, so that only layout needs a look at each call.
_DIRECT = """
def {name}({parameters}):
    plan = plans.get(({key},))
    if plan is None or not ({contiguous}):
        plan = prepare({parameters})
    {unpack} = plan
{allocations}
    launch({arguments})
    return {returned}
"""


def _direct(op: Op) -> Callable[..., Any]:
    tensors = [operand.name for operand in op.operands]
    scalars = [scalar.name for scalar in op.scalars]
    made = [workspace.name for workspace in op.workspaces] + [result.name for result in op.results]
    records = ["records"] if op.indices else []
    dtypes = {workspace.name: torch.float32 for workspace in op.workspaces} | {result.name: result.dtype for result in op.results}
    key = [part for t in tensors for part in (f"{t}.shape", f"{t}.dtype", f"{t}.get_device()")]
    key += [scalar.name for scalar in op.scalars if scalar.selects]
    namespace: dict[str, Any] = {"plans": op.plans, "prepare": op.prepare}
    namespace |= {f"dtype_{name}": dtype for name, dtype in dtypes.items()}
    source = _DIRECT.format(
        name=op.name,
        parameters=", ".join(tensors + scalars),
        key=", ".join(key),
        contiguous=" and ".join(f"{t}.is_contiguous()" for t in tensors),
        unpack=", ".join(["launch", "records", *(f"shape_{name}" for name in made)]),
        allocations="\n".join(f"    {name} = {tensors[0]}.new_empty(shape_{name}, dtype=dtype_{name})" for name in made),
        arguments=", ".join(tensors + records + made + scalars),
        returned=", ".join(result.name for result in op.results) or "None",
    )
    exec(compile(source, f"<rigi.{op.name}>", "exec"), namespace)
    function = namespace[op.name]
    function.__doc__ = f"{op.summary}\n\n{op.schema}\n{op.reference.__doc__ or ''}"
    return function


class Registry:
    """The ops by name, and their registration with torch."""

    def __init__(self) -> None:
        self.ops: dict[str, Op] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._library: torch.library.Library | None = None

    def declare(self, op: Op) -> Op:
        """Adds an op and defines `torch.ops.rigi.<name>`: kernels on the chip, the reference on the CPU, shapes on meta tensors."""
        if op.name in self.ops:
            raise ValueError(f"op '{op.name}' is declared twice")
        if self._library is None:
            self._library = torch.library.Library("rigi", "FRAGMENT")
        self.ops[op.name] = op
        function = self._functions[op.name] = _direct(op)
        tags = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
        self._library.define(op.schema, tags=tags)
        self._library.impl(op.name, function, "PrivateUse1")
        _C.refuse_backward(op.name)
        self._library.impl(op.name, op.on_host, "CPU")
        torch.library.register_fake(f"rigi::{op.name}", op.meta, lib=self._library)
        return op

    def op(self, name: str) -> Op:
        if name not in self.ops:
            raise KeyError(f"no op '{name}' in the registry; there are: {', '.join(sorted(self.ops))}")
        return self.ops[name]

    def function(self, name: str) -> Callable[..., Any]:
        """The op as a Python function on chip tensors, past torch's dispatcher (no autograd, no tracing)."""
        self.op(name)
        return self._functions[name]

    def serves(self, name: str, dtype: torch.dtype, **sizes: int) -> bool:
        """Whether a packaged kernel takes these sizes (lower-case names as in `rigi ops`), without calling it."""
        return kernels.find(self.op(name).name, dtype, sizes) is not None

    def add_kernels(self, folder: str | os.PathLike[str]) -> None:
        """Serves also the kernels in a folder with an index (`tvm_target.build.build_specs`, `rigi build --out`); they come first."""
        kernels.add_folder(Path(folder))
        self.forget()

    def forget(self) -> None:
        """Forgets kernel choices and loaded modules, after the packaged kernels have changed."""
        for op in self.ops.values():
            op.plans.clear()
        kernels.reload()


registry = Registry()
