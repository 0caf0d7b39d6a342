"""Lowering rules: any TIR function becomes a kernel of instructions on tiles.

A generic function (as Relax, TE or a person writes it, without R.* calls) is read as a list of stages (`stage`), one loop nest each; every
stage becomes a phase of one kernel and what stages hand on lies in HBM. For each the first rule that takes it:

    contraction   products summed: the matrix engine                        contraction.py
    reduction     sums, extrema, products, arg-extrema                      reduction.py
    injective     everything that computes its points one by one            injective.py
    sequencer     what is left: core 0 runs the loops element by element    sequencer.py

A window of the iteration space (`frame`) is computed at a time: `work` cuts them and shares them among the cores, `access` brings operands
in and results out, `vector` and `functions` turn expressions into instructions, `sram` hands out the scratchpad. A new rule is a file with
`lower(stage, kernel)` that raises `Unsupported`, and a place in RULES. Nothing here knows an operator by name.
"""

from __future__ import annotations

from .function import lower_function, lower_functions
from .slow import ElementLoopsWarning
from .stage import Unsupported

__all__ = ["ElementLoopsWarning", "Unsupported", "lower_function", "lower_functions"]
