"""One process that imports TVM once and runs tests as they come, on one target.

How a test becomes a program is the same for both targets. A model is tried in two forms: "as is", every input an input; and, if that does
not pass on `llvm`, "constants", where all inputs but the first are initializers, as weights, shapes and axes are in the models that
people export. The form that passes on `llvm` is the one that `rigi1` is given. Nothing is done between the front end and `tvm.compile`.
"""

from __future__ import annotations

import functools
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sdk_sim

from ..pool import Work
from .cases import Case, plain

FORMS = ("as is", "constants")


@dataclass
class Result:
    """What came of one test in one form. `stage` is "passed" or where it ended; seconds by stage; cycles on rigi1 alone."""

    test: str
    op: str
    form: str
    stage: str
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    cycles: int = 0
    element_cycles: int = 0
    tried: str = FORMS[0]  # the last form that was run on llvm

    @property
    def passed(self) -> bool:
        return self.stage == "passed"


def start(target: str) -> Callable[[tuple[Case, str]], Result]:
    """In a process of the pool: imports TVM, and gives what runs a (case, form) on the target."""
    import warnings

    import tvm  # noqa: F401 - the time of a test is without it

    warnings.simplefilter("ignore")
    return lambda task: run(*task, target)


def work(target: str) -> Work[tuple[Case, str], Result]:
    """The pool's work on one target. After an error in a run, the state of the chip's process is not trusted."""
    return Work(functools.partial(start, target), lost, lambda result: not (result.stage == "run" and target == "rigi1"))


def lost(task: tuple[Case, str], why: str, words: str) -> Result:
    """The result of a test that cost its process."""
    case, form = task
    return Result(case.name, case.op, form, why, words)


def run(case: Case, form: str, target: str) -> Result:
    """The test through the front end, the compiler, the virtual machine and ONNX's own comparison."""
    result = Result(case.name, case.op, form, "import")
    start = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal start
        now = time.perf_counter()
        result.seconds[result.stage] = round(now - start, 4)
        start, result.stage = now, name

    try:
        module, inputs = import_model(case, form)
        stage("compile")
        executable = compile_module(module, target)
        stage("run")
        outputs = execute(executable, inputs, target, result)
        stage("compare")
        compare(case, outputs)
        stage("passed")
    except Exception as error:  # whatever a stage raises is the test's result
        result.seconds[result.stage] = round(time.perf_counter() - start, 4)
        result.reason = reason(error)
        traceback.print_exc()
    return result


def import_model(case: Case, form: str) -> tuple[Any, list[Any]]:
    """The Relax module of a test, and the values of its parameters."""
    import onnx
    from tvm.relax.frontend.onnx import from_onnx

    model, inputs = onnx.load_from_string(case.model), case.inputs
    if form == "constants":
        if len(inputs) < 2:
            raise ValueError("there is one input only")
        for value, info in list(zip(inputs, model.graph.input))[1:]:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, info.name))
            model.graph.input.remove(info)
        inputs = inputs[:1]
    return from_onnx(model), inputs


def compile_module(module: Any, target: str) -> Any:
    """`tvm.compile` as anyone would call it."""
    import tvm

    return tvm.compile(module, target=target)


def execute(executable: Any, inputs: list[Any], target: str, result: Result) -> list[Any]:
    """Runs `main` on the target's device. The outputs as NumPy arrays, sequences as lists."""
    import tvm
    from tvm import relax

    device = tvm.cpu() if target == "llvm" else tvm.device("ext_dev", 0)

    def put(value: Any) -> Any:
        return [put(item) for item in value] if isinstance(value, list) else tvm.runtime.tensor(value, device=device)

    machine = relax.VirtualMachine(executable, device)
    values = [put(value) for value in inputs]
    if target != "llvm":
        sdk_sim.take_statistics()  # of the test before
    outputs = machine["main"](*values)
    if target != "llvm":
        _count(result, executable)
    single = isinstance(outputs, (tvm.runtime.Tensor, tvm.runtime.ShapeTuple, int, float, bool))
    return [fetch(value) for value in ([outputs] if single else outputs)]


def _count(result: Result, executable: Any) -> None:
    """Simulated cycles of the test's kernels, and of those in which a sequencer works element by element."""
    from tvm_target.runtime import manifests

    loops = {kernel["name"] for about in manifests(executable.mod) for kernel in about["kernels"] if kernel.get("element_loops")}
    for name, used in sdk_sim.take_statistics()["kernels"].items():
        result.cycles += used["cycles"]
        result.element_cycles += used["cycles"] if name in loops else 0


def fetch(value: Any) -> Any:
    """A value of the virtual machine on the host: tensors and shapes as arrays."""
    import numpy as np
    import tvm

    if isinstance(value, tvm.runtime.Tensor):
        return value.numpy()
    if isinstance(value, tvm.runtime.ShapeTuple):
        return np.array([int(item) for item in value], "int64")
    if isinstance(value, (int, float, bool)):
        return np.asarray(value)
    return [fetch(item) for item in value]


def compare(case: Case, outputs: list[Any]) -> None:
    """ONNX's comparison: number, shapes, types, values within the test's tolerances. Raises AssertionError."""
    from onnx.backend.test.runner import Runner

    if any(isinstance(value, list) for value in case.outputs) and len(case.outputs) == 1 and not isinstance(outputs[0], list):
        outputs = [outputs]  # a sequence alone: the machine gives its elements
    Runner.assert_similar_outputs(plain(case.outputs), outputs, case.rtol, case.atol, case.name)


def reason(error: BaseException) -> str:
    """One line: the type and what it says, without addresses, so that equal causes read alike."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, AssertionError):
        lines = [" ".join(line for line in lines if line.startswith(_TELLING)) or " ".join(lines)]
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return re.sub(r"0x[0-9a-f]{6,}", "0x..", text)[:300]


# What to keep of NumPy's comparisons, which print the arrays too.
_TELLING = ("Mismatched elements", "Max absolute difference", "Max relative difference", "nan location mismatch", "inf location mismatch",
            "Output ", "(shapes", "ACTUAL: dtype", "DESIRED: dtype", "ACTUAL: 1", "Unexpected type")  # fmt: skip
