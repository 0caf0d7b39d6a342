"""SCALE-Sim's cycles follow from the emulator's by formula, to the cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.timing import systolic
from benchmarks.timing.reference_schedule import load_figures

pytest.importorskip("scalesim")


@pytest.mark.parametrize("shape", [(128, 128, 128), (1, 130, 100), (200, 100, 257)], ids=str)
def test_the_difference_is_explained(shape: tuple[int, int, int], tmp_path: Path) -> None:
    m, n, k = shape
    busy, launch = systolic.run_one_core(m, n, k, tmp_path)
    cycles, _, overall = systolic.run_scalesim(m, n, k, tmp_path)
    chip = load_figures()
    assert busy == systolic.our_cycles(m, n, k, chip) < launch
    assert cycles == systolic.predict(busy, m, n, k, chip) <= overall


def test_our_formula_and_theirs_by_hand() -> None:
    """256 cubed: 4 folds of 256 rows; theirs of 128 + 127 + 256 + 127 cycles, counted from 0."""
    chip = load_figures()
    assert systolic.our_cycles(256, 256, 256, chip) == 4 * 256
    assert systolic.predict(4 * 256, 256, 256, 256, chip) == 4 * (128 + 127 + 256 + 127) - 1 == 2551


@pytest.mark.slow
@pytest.mark.parametrize("shape", [s for s in systolic.SHAPES if s[0] * s[1] * s[2] <= 1 << 25], ids=str)
def test_every_shape_of_the_benchmark(shape: tuple[int, int, int], tmp_path: Path) -> None:
    assert systolic.compare(shape, tmp_path).explained
