"""The microbenchmarks of `rigi bench timing`: all right, complete, and sensitive to every figure of the chip that time depends on."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from benchmarks.timing import microbenchmarks
from benchmarks.timing.program_data import Op
from benchmarks.timing.reference_schedule import load_figures
from benchmarks.timing.rules import Rules

CHIP = load_figures()
# Figures that no time of a launch depends on: sizes, the clock, and links outside of the chip.
TIMELESS = {("clock", "hz"), ("sram", "bytes"), ("hbm", "bytes")}
FIGURES = [(s, n) for s, figures in CHIP.items() if isinstance(figures, dict) and s not in ("grid", "link") for n in figures]


def test_every_case_is_right_to_the_cycle(tmp_path: Path) -> None:
    outcomes = microbenchmarks.run(tmp_path)
    assert [(o.case.topic, o.case.name, o.wrong) for o in outcomes if o.off] == []
    assert len(outcomes) >= 150
    assert len({(o.case.topic, o.case.name, o.launched) for o in outcomes}) == len(outcomes)
    assert {i.op for o in outcomes for phase in o.case.program for core in phase for i in core} == set(Op)


@pytest.mark.parametrize("section, name", [f for f in FIGURES if f not in TIMELESS], ids=str)
def test_every_figure_is_pinned_by_some_case(section: str, name: str) -> None:
    """Doubled, the figure changes what the formulas say: an emulator that used another value could not agree with them."""
    other = deepcopy(CHIP)
    other[section][name] *= 2
    launched = "graph" if name == "graph" else "host"
    before, after = (microbenchmarks.cases(Rules(chip, launched), 0) for chip in (CHIP, other))
    assert [(c.cycles, c.times) for c in before] != [(c.cycles, c.times) for c in after]
