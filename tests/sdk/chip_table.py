"""The table of figures in sdk_sim/README.md, made from the chip file. `python tests/sdk/chip_table.py` writes it anew."""

from __future__ import annotations

import tomllib
from pathlib import Path

SDK = Path(__file__).resolve().parents[2] / "sdk_sim"
CHIP_FILE, MANUAL = SDK / "chips" / "rigi1.toml", SDK / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table() -> str:
    """A Markdown table of every figure: key, value, and the remark that stands beside it in the chip file."""
    remarks: dict[tuple[str, str], str] = {}
    section = ""
    for line in CHIP_FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        elif "=" in line and "#" in line:
            remarks[section, line.split("=")[0].strip()] = line.split("#", 1)[1].strip()
    rows = ["| figure | value | |", "|---|---|---|"]
    for section, figures in tomllib.loads(CHIP_FILE.read_text(encoding="utf-8")).items():
        if isinstance(figures, dict):
            rows += [f"| `{section}.{key}` | {value:,} | {remarks.get((section, key), '')} |" for key, value in figures.items()]
    return "\n".join(rows)


def renewed(manual: str) -> str:
    """The manual with the table as it should be."""
    head, rest = manual.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    MANUAL.write_text(renewed(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
