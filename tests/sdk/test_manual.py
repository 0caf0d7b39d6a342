"""The chip manual is current: its table of figures is the chip file's, and every figure and opcode it names exists."""

from __future__ import annotations

import re
import tomllib

import pytest
from chip_table import CHIP_FILE, MANUAL, SDK, renewed

import sdk_sim


def test_table_of_figures_is_current() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    assert renewed(text) == text, "run: python tests/sdk/chip_table.py"


def test_every_figure_named_in_the_text_exists() -> None:
    figures = tomllib.loads(CHIP_FILE.read_text(encoding="utf-8"))
    sections = "|".join(key for key, value in figures.items() if isinstance(value, dict))
    named = re.findall(rf"\b({sections})\.([a-z0-9_]+)\b(?!\()", MANUAL.read_text(encoding="utf-8"))
    assert named
    assert [f"{s}.{k}" for s, k in named if k not in figures[s]] == []


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = MANUAL.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    sdk_sim.set_mode("timed")
    exec(compile(code, str(MANUAL), "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"\)  +# (.*)", code)


def test_every_instruction_is_described() -> None:
    header = (SDK / "include" / "rigi_isa.h").read_text(encoding="utf-8")
    opcodes = re.search(r"typedef enum rigi_op \{(.*?)\} rigi_op;", header, re.S)
    assert opcodes
    names = [n.lower() for n in re.findall(r"^\s*RIGI_(\w+) = \d+,?", opcodes[1], re.M) if n != "OP_COUNT"]
    manual = MANUAL.read_text(encoding="utf-8")
    assert len(names) == 20
    assert [n for n in names if f"`{n}`" not in manual] == []
