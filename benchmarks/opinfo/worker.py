"""One process that holds the databases and runs cases as they come."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from ..pool import Work
from .cases import Case
from .trial import Problem, Trial, line

LOST = {"crash": "crashed", "timeout": "hung", "memory": "crashed"}


@dataclass
class Result:
    """What came of a case: "right", "wrong", "raised", "crashed" or "hung", and each call that was not right."""

    case: Case
    outcome: str
    problems: list[Problem] = field(default_factory=list)
    calls: int = 0
    plain_calls: int = 0
    chip_calls: int = 0
    seconds: float = 0.0

    @property
    def on_chip(self) -> bool:
        """Whether the chip's kernels did every plain call, the host none."""
        return 0 < self.plain_calls == self.chip_calls


def start() -> Callable[[Case], Result]:
    """In a process of the pool: loads torch and its databases, and gives what runs a case."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import optim_db

    from . import checks, modules, optimizers

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # a worker a CPU; and a sum's order does not change from run to run
    kinds: dict[str, tuple[list, Callable[[Case, object], Trial]]] = {
        "op": (op_db, checks.run),
        "module": (module_db, modules.run),
        "optimizer": (list(optim_db), optimizers.run),
    }

    def answer(case: Case) -> Result:
        database, run = kinds[case.kind]
        print(f"{case.id}", flush=True)
        began = time.perf_counter()
        try:
            trial = run(case, database[case.index])
        except Exception as error:  # of the bench itself, or of the database: not silent either
            traceback.print_exc()
            return Result(case, "wrong", [Problem("bench", "wrong", line(error))], seconds=time.perf_counter() - began)
        return Result(
            case, trial.outcome, trial.problems, trial.calls, trial.plain_calls, trial.chip_calls, round(time.perf_counter() - began, 3)
        )

    return answer


def lost(case: Case, why: str, words: str) -> Result:
    """The result of a case that cost its process."""
    return Result(case, LOST[why], [Problem("process", LOST[why], words)])


WORK: Work[Case, Result] = Work(start, lost, keep=lambda result: result.outcome in ("right", "raised", "wrong"), memory_bytes=4 << 30)
