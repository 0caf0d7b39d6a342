"""The notebooks run from top to bottom, and what is committed of them is readable on GitHub."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "tutorials"
sys.path.insert(0, str(FOLDER))

import run  # noqa: E402  tutorials/run.py

MAX_BYTES = 300 << 10


@pytest.fixture(params=run.NOTEBOOKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_there_are_three() -> None:
    assert run.NOTEBOOKS == ["01_a_kernel", "02_a_custom_op", "03_serving"]


def test_the_committed_notebook_is_small_and_shows_its_results(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), f"no plots: python tutorials/run.py {name} --save"
    assert [output for output in outputs if output.output_type == "error"] == []
    text = path.read_text()
    assert str(Path.home()) not in text and "/tmp/" not in text, "a path of the machine that it ran on"


def test_links_between_notebooks_hold(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert [target for target in re.findall(r"\]\(([^):#]+)\)", prose) if not (FOLDER / target).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("notebook", run.NOTEBOOKS)
def test_the_notebook_runs(notebook: str) -> None:
    run.execute(notebook)
