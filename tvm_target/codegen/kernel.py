"""One device function to C++: its arguments, its scratchpad, its phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import prim

from ..isa import LIBRARY, SRAM_SCOPES
from ..target import Chip
from .context import Kernel, identifier, statements
from .expr import ctype
from .phases import split
from .sram import SramPlan
from .stmt import StatementPrinter, has_element_loops
from .walk import post_order_visit


@dataclass(frozen=True)
class KernelSource:
    """The C++ of a kernel and what the manifest says about it. `args`: name, kind ("pointer", "int", "float"), dtype."""

    name: str
    code: str
    args: list[dict[str, str]]
    sram_bytes: int
    phases: int
    element_loops: bool = False  # whether the sequencer writes elements one by one
    library: str = ""  # the op, if it is a kernel of the library


def print_kernel(name: str, func: tirx.PrimFunc, chip: Chip) -> KernelSource:
    """Turns a device function (after SplitHostDevice) into C++ on rigi::Core. Raises CodegenError."""
    kernel = Kernel(name, chip)
    plan = SramPlan(kernel)
    args = [_argument(kernel, p) for p in func.params]
    body, thread = _launch(kernel, func.body)
    loops = has_element_loops(func.body)
    if loops:
        plan.reserve_elements()
    _place(plan, func.body)
    plan.check()
    spread = _spread(kernel, thread)

    functions = []
    phases = split(kernel, body)
    if spread and len(phases) > 1:
        kernel.fail(f"R.barrier() in a kernel over {spread} blocks; with a barrier blockIdx.x must have one block a core, {chip.cores}")
    for number, part in enumerate(phases):
        functions.append(_phase(kernel, number, part, func.params, args, thread, spread))
    lines = [f"namespace {identifier(name)} {{", ""]
    if plan.places:
        lines += [f"// Scratchpad: {plan.used} of {chip.sram_bytes} bytes.", *plan.declarations(), ""]
    for function in functions:
        lines += [*function, ""]
    table = ", ".join(f"phase{n}" for n in range(len(phases)))
    lines += [f"constexpr rigi_phase phases[] = {{{table}}};", f"}}  // namespace {identifier(name)}"]
    return KernelSource(name, "\n".join(lines), args, plan.used, len(phases), loops, _library(func.body))


def _library(body: Any) -> str:
    """The op of a kernel of the library."""
    found = ""

    def visit(node: Any) -> None:
        nonlocal found
        if isinstance(node, tirx.AttrStmt) and node.attr_key == LIBRARY:
            found = str(node.value.value)

    post_order_visit(body, visit)
    return found


def _argument(kernel: Kernel, param: Any) -> dict[str, str]:
    name = kernel.declare(param, param.name.removesuffix("_ptr"))
    element = getattr(param.ty, "element_type", None)
    if element is not None:
        return {"name": param.name.removesuffix("_ptr"), "kind": "pointer", "dtype": str(element)}
    dtype = str(param.ty)
    if dtype == "float16" or dtype == "bfloat16":
        kernel.fail(f"the argument {name!r} is a {dtype} number; pass float32")
    return {"name": param.name, "kind": "float" if dtype.startswith("float") else "int", "dtype": dtype}


def _launch(kernel: Kernel, body: Any) -> tuple[list[Any], Any]:
    """The kernel's flat top level, with what stands before the launch, and the launch itself."""
    flat, thread = [], None
    pending = statements(body)
    while pending:
        stmt = pending.pop(0)
        if isinstance(stmt, tirx.AttrStmt):
            if stmt.attr_key == "thread_extent":
                tag = str(stmt.node.thread_tag)
                if tag != "blockIdx.x":
                    kernel.fail(
                        f"the thread axis {tag!r}: Rigi-1 has cores, no threads; bind loops to 'blockIdx.x' only, or compile the function "
                        "as it was before it was scheduled for a GPU"
                    )
                if thread is not None:
                    kernel.fail("blockIdx.x is launched twice; one launch_thread('blockIdx.x', ...) stands around everything")
                thread = stmt
            pending = statements(stmt.body) + pending
        else:
            flat.append(stmt)
    return flat, thread


def _place(plan: SramPlan, body: Any) -> None:
    def visit(node: Any) -> None:
        if isinstance(node, tirx.AllocBuffer) and node.buffer.scope() in SRAM_SCOPES:
            plan.add(node.buffer)

    post_order_visit(body, visit)


def _spread(kernel: Kernel, thread: Any) -> str:
    """The number of blocks as C++ if it differs from the number of cores, else an empty string."""
    if thread is None:
        kernel.fail(f"no launch: put the kernel's body under `with T.launch_thread('blockIdx.x', {kernel.chip.cores}) as core:`")
    extent = thread.value
    if isinstance(extent, prim.IntImm) and int(extent.value) == kernel.chip.cores:
        return ""
    return str(extent)


def _phase(kernel: Kernel, number: int, body: list[Any], params: Any, args: list[dict[str, str]], thread: Any, spread: str) -> list[str]:
    kernel.push()
    kernel.used.clear()
    kernel.read.clear()
    printer = StatementPrinter(kernel)
    core = kernel.declare(thread.node.var, "core_id")
    kernel.bound(thread.node.var, 0, None if spread else kernel.chip.cores - 1)
    head = [f"void phase{number}(rigi_core* self, const rigi_word* args) {{", "  rigi::Core core(self);"]
    if spread:
        limit = printer.expr.simplified(thread.value)
        whole = tirx.SeqStmt(body) if len(body) > 1 else body[0]
        printer.block(f"for (int64_t {core} = core.id(); {core} < {limit}; {core} += {kernel.chip.cores}) {{", whole)
        printer.emit("}")
    else:
        for stmt in body:
            printer(stmt)
    for k, (param, arg) in enumerate(zip(params, args)):
        name = kernel.names[param.__chandle__()]
        if name not in kernel.used:
            continue
        type_ = ctype(arg["dtype"]) if arg["kind"] != "pointer" else "uint64_t"
        word = {"pointer": "ptr", "float": "f64", "int": "i64"}[arg["kind"]]
        value = f"args[{k}].{word}"
        head.append(f"  const {type_} {name} = {value if type_ in ('uint64_t', 'int64_t') else f'static_cast<{type_}>({value})'};")
    if not spread and core in kernel.used:
        head.append(f"  const int64_t {core} = core.id();")
    if not any("args[" in line for line in head[2:]):
        head[0] = head[0].replace("* args)", "* /*args*/)")
    kernel.pop()
    return [*head, *printer.finished(), "}"]
