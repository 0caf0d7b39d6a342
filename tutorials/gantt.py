"""Pictures of the chip's instruction trace, for the notebooks. All times are simulated cycles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

COLORS = {"load": "#4477aa", "matrix": "#cc6677", "vector": "#ddaa33", "act": "#aa4499", "store": "#228833"}
Row = dict[str, Any]


def read(path: str | Path) -> list[Row]:
    """The instructions of a trace file (`sdk_sim.trace`), one dictionary each; fields as in section 10 of the chip's manual."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def draw(axes: Axes, rows: Iterable[Row], core: int = 0, until: int | None = None, title: str = "") -> None:
    """One core's engines over time: a lane for each engine that works, a bar for each instruction from its start to its end."""
    mine = [row for row in rows if row["core"] == core and row["engine"] in COLORS]
    lanes = [engine for engine in COLORS if any(row["engine"] == engine for row in mine)]
    for row in mine:
        lane = len(lanes) - 1 - lanes.index(row["engine"])
        axes.barh(lane, row["end"] - row["start"], left=row["start"], color=COLORS[row["engine"]], edgecolor="white", linewidth=0.6)
    axes.set_yticks(range(len(lanes)), reversed(lanes))
    axes.set_xlim(0, until or max(row["end"] for row in mine))
    axes.set_xlabel("simulated cycles since the launch")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def busy(rows: Iterable[Row], engine: str, core: int = 0) -> int:
    """Cycles between start and end of an engine's instructions, summed over one core. Waiting for HBM is part of a load's time."""
    return sum(row["end"] - row["start"] for row in rows if row["core"] == core and row["engine"] == engine)


def hbm_bytes(rows: Iterable[Row]) -> int:
    """Bytes that a launch moved over HBM, padded to bursts; a multicast counts once, a `store_add` twice."""
    total, seen = 0, set()
    for row in rows:
        size = row["args"].get("hbm_bytes", 0)
        if group := row["args"].get("group"):
            if group in seen:
                continue
            seen.add(group)
        total += size * (2 if row["op"] == "store_add" else 1)
    return total
