"""What is tried: entries of PyTorch's databases by name and dtype, as plain data that a worker process can be handed."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

DTYPES = {
    name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "int64", "int32", "bool")
}  # the dtypes that models are made of


@dataclass(frozen=True)
class Case:
    """One entry of a database in one dtype. `operands`: how many of its samples each check takes, the first ones; None: all."""

    kind: str  # "op", "module" or "optimizer"
    name: str  # as in the database, with the variant after a dot
    index: int  # of the entry in its database
    dtype: str
    operands: int | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}:{self.dtype}"


def load() -> list[Case]:
    """All cases: operators first. About ten seconds, most of them PyTorch's."""
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import optim_db

    found = [("op", full_name(info), i, info.supported_dtypes("cpu")) for i, info in enumerate(op_db)]
    found += [("module", info.name, i, info.supported_dtypes("cpu")) for i, info in enumerate(module_db)]
    found += [("optimizer", info.optim_cls.__name__, i, {torch.float32}) for i, info in enumerate(optim_db)]
    return [Case(kind, name, i, dtype) for kind, name, i, dtypes in found for dtype in DTYPES if DTYPES[dtype] in dtypes]


def full_name(info: object) -> str:
    name, variant = info.name, info.variant_test_name  # type: ignore[attr-defined]
    return f"{name}.{variant}" if variant else name


def select(
    cases: Sequence[Case], *, pattern: str | None = None, dtypes: Sequence[str] = (), kinds: Sequence[str] = (), operands: int | None = None
) -> list[Case]:
    """Cases whose name matches a glob, of some dtypes and kinds."""
    named = [case for case in cases if pattern is None or fnmatch.fnmatchcase(case.name, pattern)]
    chosen = [case for case in named if (not dtypes or case.dtype in dtypes) and (not kinds or case.kind in kinds)]
    return [replace(case, operands=operands) for case in chosen]


def sample(cases: Sequence[Case]) -> list[Case]:
    """Each entry once: the first in its first dtype, the next in its second, and so on around."""
    entries: dict[tuple[str, int], list[Case]] = {}
    for case in cases:
        entries.setdefault((case.kind, case.index), []).append(case)
    return [dtypes[number % len(dtypes)] for number, dtypes in enumerate(entries.values())]
