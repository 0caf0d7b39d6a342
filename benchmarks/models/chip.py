"""A Relax model compiled for a target, its parameters on the device, and what its kernels cost there."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
import tvm
from tvm import relax

import sdk_sim
from tvm_target.frontend import from_torch
from tvm_target.offload import library_kernels
from tvm_target.runtime import manifests

TARGET = "rigi1"


class Compiled:
    """An exported program, compiled once. Call it with torch tensors on the CPU."""

    def __init__(self, exported: torch.export.ExportedProgram, target: str = TARGET):
        begin = time.perf_counter()
        module, parameters = from_torch(exported)
        self.import_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        self.executable = tvm.compile(module, target=target)
        self.compile_seconds = time.perf_counter() - begin
        self.device = tvm.device("ext_dev") if target == TARGET else tvm.cpu()
        self._run = relax.VirtualMachine(self.executable, [self.device, tvm.cpu()] if target == TARGET else self.device)["main"]
        self._parameters = [tvm.runtime.tensor(p, self.device) for p in parameters]

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first output, on the CPU."""
        moved = [tvm.runtime.tensor(tvm.runtime.from_dlpack(x.contiguous()), self.device) for x in inputs]
        return torch.from_dlpack(self._run(*moved, *self._parameters)[0].copyto(tvm.cpu()))


@dataclass
class Cost:
    """Simulated launches and cycles by kernel."""

    cycles: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)

    def take(self) -> None:
        """Adds what ran on the device since the last call of this kind."""
        for name, used in sdk_sim.take_statistics()["kernels"].items():
            self.cycles[name] += used["cycles"]
            self.launches[name] += used["launches"]

    def report(self, executable: Any, top: int = 20) -> dict[str, Any]:
        """Totals, the two shares by cycles, and the `top` kernels that took most."""
        total = sum(self.cycles.values())
        loops, library = element_loops(executable), set(library_kernels(executable))
        share = lambda names: sum(self.cycles[n] for n in names) / total if total else 0.0  # noqa: E731
        return {
            "cycles": total,
            "launches": sum(self.launches.values()),
            "without_element_loops": 1.0 - share(loops & set(self.cycles)),
            "offloaded": share(library & set(self.cycles)),
            "kernels": [
                {
                    "name": name,
                    "launches": self.launches[name],
                    "cycles": cycles,
                    "share": cycles / total,
                    "element_loops": name in loops,
                    "library": name in library,
                }
                for name, cycles in self.cycles.most_common(top)
            ],
        }


def element_loops(executable: Any) -> set[str]:
    """The kernels of a compiled module in which a sequencer writes elements one by one."""
    return {kernel["name"] for about in manifests(executable.mod) for kernel in about["kernels"] if kernel.get("element_loops")}
