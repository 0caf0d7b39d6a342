"""A program: its inputs, its steps, and what comes out by NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Value:
    """A name of the program and NumPy's value of it. `error`: how far a right result may be from it, relative to the largest element; 0
    where the bits are fixed, as of all integers. Only such values go where a small error makes a large one."""

    name: str
    array: np.ndarray
    error: float = 0.0

    @property
    def dtype(self) -> str:
        return str(self.array.dtype)


@dataclass(frozen=True)
class Step:
    """Lines of TVMScript that define `value`, from the values named in `uses`."""

    lines: tuple[str, ...]
    value: Value
    uses: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """`text` is a TVMScript module whose function takes `inputs` and gives `results`, as nested as `form` (their names) says."""

    seed: int
    inputs: list[Value]
    steps: list[Step]
    results: list[Value]
    form: str
    size: str = ""  # the name of the inputs' first size, if it is known only at run time
    kernels: str = ""  # PrimFuncs that steps call

    def text(self) -> str:
        def annotation(v: Value) -> str:
            shape = ", ".join([f'"{self.size}"' if self.size and v.array.ndim and k == 0 else str(n) for k, n in enumerate(v.array.shape)])
            return f'R.Tensor(({shape}{"," if v.array.ndim == 1 else ""}), "{v.dtype}")'

        args = ", ".join(f"{v.name}: {annotation(v)}" for v in self.inputs)
        lines = [line for step in self.steps for line in step.lines]
        branches = any(line.startswith(("if ", "else")) for line in lines)
        indent = " " * (8 if branches else 12)
        body = "".join(f"{indent}{line}\n" for line in lines)
        if branches:
            inside = body
        else:
            names = ", ".join(dict.fromkeys(s.value.name for s in self.steps))
            inside = f"        with R.dataflow():\n{body}{indent}R.output({names})\n"
        return f"@I.ir_module\nclass Module:\n{self.kernels}    @R.function\n    def main({args}):\n{inside}        return {self.form}\n"

    def script(self) -> str:
        """Python that shows the program and what it should give; it runs by itself."""
        data = "\n".join(f"{v.name} = np.array({v.array.tolist()!r}, {v.dtype!r}).reshape({v.array.shape})" for v in self.inputs)
        wanted = "\n".join(f"# {v.name} should be {v.array.reshape(-1)[:12].tolist()!r}" for v in self.results)
        names = ", ".join(v.name for v in self.inputs)
        return (
            "import ml_dtypes, numpy as np, tvm\nfrom numpy import inf, nan\nfrom tvm import relax\n\n"
            f"TEXT = '''\n{self.text()}'''\n{data}\n{wanted}\n"
            'executable = tvm.compile(tvm.script.from_source(TEXT), target="rigi1")\n'
            'device = tvm.device("ext_dev", 0)\n'
            'main = relax.VirtualMachine(executable, device)["main"]\n'
            f"print(main(*[tvm.runtime.tensor(x, device) for x in ({names},)]))\n"
        )

    def smaller(self) -> Iterable[Program]:
        """What each step alone needs, in order: the first that fails says more than the whole."""
        for count, step in enumerate(self.steps, 1):
            needed, kept = {step.value.name}, []
            for earlier in reversed(self.steps[:count]):
                if earlier.value.name in needed:
                    needed |= set(earlier.uses)
                    kept.append(earlier)
            inputs = [v for v in self.inputs if v.name in needed]
            yield replace(self, inputs=inputs, steps=kept[::-1], results=[step.value], form=step.value.name)
