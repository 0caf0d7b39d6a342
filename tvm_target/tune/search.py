"""The search: TVM's MetaSchedule over a space of configurations.

To MetaSchedule a task is a function with one block; its schedule samples a choice for each parameter and notes it on the block. Traces,
evolution and the choice of what to measure next are MetaSchedule's; the space, the mutation, the cost model, the builder and the runner,
whose time is simulated, are plugged in. Kernels are templates, so nothing of the block itself is compiled: the builder reads the notes
and the runner measures the template with them.
"""

from __future__ import annotations

import json
import logging
import math
import random
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, te
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ..target import chip
from .database import Trials
from .space import Shape, Space, Values

BLOCK = "op"
NOTE = "rigi."
PER_ROUND = 16  # configurations to a round of measuring
AT_RANDOM = 0.1  # of them
REACH = 1.0  # steps over which cycles are alike
FAR = 1.0  # logarithm of cycles over the best beyond which differences do not matter
Measure = Callable[[list[Values]], Trials]


def _stand_in(space: Space) -> tvm.IRModule:
    one = te.compute((1,), lambda i: i, name=BLOCK)
    return tvm.IRModule({"main": te.create_prim_func([one]).with_attr("global_symbol", "main").with_attr("rigi.op", space.op)})


def search(space: Space, shape: Shape, known: Trials, trials: int, measure: Measure, seed: int = 0) -> None:
    """Measures up to `trials` configurations more, the promising ones. `known` are those measured before; `measure` is called with a
    round of new ones, returns their cycles, and adds them to `known`."""
    rng = random.Random(seed)
    clock = chip().figures["clock"]["hz"]

    def schedule(sch: s_tir.Schedule) -> None:
        _note(sch, space)

    @derived_object
    class Fits(ms.postproc.PyPostproc):
        def _initialize_with_tune_context(self, context: Any) -> None:
            pass

        def apply(self, sch: Any) -> bool:
            values = _noted(sch, space)
            return space.fits(values, shape) and space.worth(values, shape)

        def clone(self) -> Any:
            return Fits()

    @derived_object
    class Mutate(ms.mutator.PyMutator):
        """One parameter to another choice, most often to a neighbour."""

        def _initialize_with_tune_context(self, context: Any) -> None:
            pass

        def apply(self, trace: Any, _state: Any = None) -> Any:
            sampled = [i for i in trace.insts if i.kind.name == "SampleCategorical" and len(i.attrs[0]) > 1]
            inst = rng.choice(sampled)
            now, count = int(trace.decisions[inst]), len(inst.attrs[0])
            near = [c for c in (now - 1, now + 1) if 0 <= c < count]
            choice = rng.choice(near if rng.random() < 0.7 else [c for c in range(count) if c != now])
            return trace.with_decision(inst, choice, remove_postproc=True)

        def clone(self) -> Any:
            return Mutate()

    @derived_object
    class Builder(ms.builder.PyBuilder):
        """An artifact is the configuration: an executable lives in the process that runs it."""

        def build(self, build_inputs: Any) -> Any:
            found = [_noted(s_tir.Schedule(i.mod), space) for i in build_inputs]
            return [ms.builder.BuilderResult(json.dumps(values), None) for values in found]

    @derived_object
    class Runner(ms.runner.PyRunner):
        def run(self, runner_inputs: Any) -> Any:
            wanted = [tuple(json.loads(i.artifact_path)) for i in runner_inputs]
            new = [values for values in dict.fromkeys(wanted) if values not in known]
            if new:
                measure(new)
            return [_Done(known.get(values), clock) for values in wanted]

    @derived_object
    class Model(ms.cost_model.PyCostModel):
        def load(self, path: str) -> None:
            pass

        def save(self, path: str) -> None:
            pass

        def update(self, context: Any, candidates: Any, results: Any) -> None:
            pass  # `known` holds the results already

        def predict(self, context: Any, candidates: Any) -> np.ndarray:
            return scores(space, shape, known, [_noted(c.sch, space) for c in candidates])

    quiet = logging.getLogger(__name__)
    quiet.setLevel(logging.WARNING)
    with _without_foreign_intrinsics():
        task = ms.TuneContext(
            mod=_stand_in(space),
            target=tvm.target.Target(chip().name),
            space_generator=ms.space_generator.ScheduleFn(schedule, sch_rules=[], postprocs=[Fits()], mutator_probs={Mutate(): 1.0}),
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=128, init_measured_ratio=0.3, init_min_unmeasured=32, eps_greedy=AT_RANDOM
            ),
            task_name=space.op,
            rand_state=seed + 1,
            num_threads=1,
            logger=quiet,
        ).clone()
    database = ms.database.MemoryDatabase()
    _seed(database, task, space, known, clock)
    ms.tune_tasks(
        tasks=[task],
        task_weights=[1.0],
        work_dir="",
        max_trials_global=trials,
        num_trials_per_iter=min(PER_ROUND, trials),
        builder=Builder(),
        runner=Runner(),
        database=database,
        cost_model=Model(),
        measure_callbacks=[ms.measure_callback.AddToDatabase()],
    )


@derived_object
class _Done(ms.runner.PyRunnerFuture):
    def __init__(self, cycles: int | None, clock: float) -> None:
        super().__init__()
        self.cycles, self.clock = cycles, clock

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        if self.cycles is None:
            return ms.runner.RunnerResult(None, "cannot be built")
        return ms.runner.RunnerResult([self.cycles / self.clock], None)


def _note(sch: Any, space: Space, decisions: tuple[int, ...] | None = None) -> None:
    """Samples every parameter (or takes the decisions given) and notes the choices on the block."""
    block = sch.get_sblock(BLOCK)
    for i, (name, choices) in enumerate(space.parameters.items()):
        decision = None if decisions is None else decisions[i]
        sch.annotate(block, NOTE + name, sch.sample_categorical(list(choices), [1 / len(choices)] * len(choices), decision))


def _noted(sch: Any, space: Space) -> Values:
    notes = sch.get(sch.get_sblock(BLOCK)).annotations
    return tuple(int(notes[NOTE + name]) for name in space.parameters)


def _seed(database: Any, task: Any, space: Space, known: Trials, clock: float) -> None:
    """Tells MetaSchedule what was measured before, as far as the space still has it: parents of the first generation."""
    workload = database.commit_workload(task.mod)
    for values, cycles in known.items():
        if cycles is None or any(v not in choices for v, choices in zip(values, space.parameters.values())):
            continue
        sch = s_tir.Schedule(task.mod)
        _note(sch, space, tuple(choices.index(v) for v, choices in zip(values, space.parameters.values())))
        database.commit_tuning_record(ms.database.TuningRecord(sch.trace, workload, [cycles / clock], task.target, None))


def promising(space: Space, shape: Shape, known: Trials, rest: list[Values], count: int) -> list[Values]:
    """The `count` configurations of `rest` with the best scores."""
    return [rest[i] for i in np.argsort(-scores(space, shape, known, rest), kind="stable")[:count]]


def scores(space: Space, shape: Shape, known: Trials, wanted: list[Values]) -> np.ndarray:
    """How promising configurations are: the improvement over the best known that a Gaussian process expects of each, the largest being 1.

    Distances are steps between neighbouring choices and differences of what is derived from them. Cycles count as logarithms, and
    those far above the best alike. Not negative: MetaSchedule takes what is below 0 for 0."""
    points = [(values, cycles) for values, cycles in known.items() if cycles is not None]
    if not points or not wanted:
        return np.zeros(len(wanted))
    places = [{choice: i for i, choice in enumerate(choices)} for choices in space.parameters.values()]

    def located(values: Values) -> list[float]:
        return [*(_place(p, v) for p, v in zip(places, values)), *space.derived(space.config(values), shape)]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None, :] - b[None, :, :]) ** 2).sum(-1) / (2 * REACH**2))

    x, z = np.array([located(values) for values, _ in points]), np.array([located(values) for values in wanted])
    y = np.log([cycles for _, cycles in points])
    y = np.minimum(y - y.min(), FAR)
    mean, spread = y.mean(), y.std() + 1e-6
    near = kernel(z, x)
    solved = np.linalg.solve(kernel(x, x) + 1e-3 * np.eye(len(x)), np.column_stack([(y - mean) / spread, near.T]))
    doubt = np.sqrt(np.maximum(1e-9, 1 - np.einsum("ij,ji->i", near, solved[:, 1:])))
    better = (-mean / spread - near @ solved[:, 0]) / doubt
    below = np.array([(1 + math.erf(b / math.sqrt(2))) / 2 for b in better])
    expected = doubt * (better * below + np.exp(-(better**2) / 2) / math.sqrt(2 * math.pi))
    return np.maximum(expected, 0) / max(expected.max(), 1e-30)


def _place(places: dict[int, int], value: int) -> float:
    if value in places:
        return places[value]
    low = max((choice for choice in places if choice < value), default=min(places))
    return places[low] + 0.5


@contextmanager
def _without_foreign_intrinsics() -> Iterator[None]:
    """TuneContext imports the tensor intrinsics of CUDA, ROCm and ARM, which takes half a minute; nothing here uses them."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
