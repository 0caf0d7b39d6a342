"""Profiles and traces as tables on the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .aggregate import ENGINES, STALLS


def show_profile(total: dict[str, Any], files: dict[str, str], notes: list[str]) -> None:
    """The kernels by simulated cycles, the engines, where the files are and how to open them."""
    console = _console()
    title = f"Kernels by simulated time: {total['launches']:,} launches, {total['cycles']:,} cycles, {total['microseconds']:,.1f} µs"
    table = _table(title)
    table.add_column("kernel", overflow="fold", min_width=12)
    for column in ("launches", "cycles", "share", "busy %\nld/st/mat/vec/act", "roof"):
        table.add_column(column, justify="right")
    table.add_column("bound")
    table.add_column("main stall")
    for kernel in total["kernels"]:
        stall = kernel["main_stall"]
        table.add_row(
            escape(kernel["kernel"]),
            f"{kernel['launches']:,}",
            f"{kernel['cycles']:,}",
            f"{kernel['share']:.1%}",
            _percents(kernel["utilization"]),
            f"{kernel['roofline_fraction']:.0%}",
            kernel["bound"],
            f"{stall['cause']} {stall['share']:.0%}",
        )
    console.print(table)
    table = _table("Engines: share of all cores' cycles")
    table.add_column("engine")
    for column in ("busy", *STALLS):
        table.add_column(column, justify="right")
    for engine, states in total["engines"].items():
        whole = sum(states.values())
        table.add_row(engine, *(f"{states[state] / whole:.1%}" for state in ("busy", *STALLS)))
    console.print(table)
    console.print(
        "roof: cycles that HBM at full rate or the matrix engines at peak need, of those taken.\n"
        "main stall: of the kernel's busiest engine. Manual of the chip, section Profile.",
        highlight=False,
    )
    for kind, copies in total["copies"].items():
        console.print(f"Copies {kind}: {copies['number']:,}, {copies['bytes']:,} bytes, {copies['cycles']:,} cycles", highlight=False)
    _show_files(console, files)
    for note in notes:
        console.print(f"Note: {escape(note)}", highlight=False, soft_wrap=True)


def show_trace(summary: dict[str, Any], files: dict[str, str]) -> None:
    """An instruction trace by kernels and by engines."""
    console = _console()
    table = _table(f"Kernels by simulated time: {summary['launches']:,} launches, {summary['cycles']:,} cycles")
    table.add_column("kernel", overflow="fold", min_width=12)
    for column in ("launches", "cycles", "share", "instructions", "occupied %\nld/st/mat/vec/act"):
        table.add_column(column, justify="right")
    for kernel in summary["kernels"]:
        table.add_row(
            escape(kernel["kernel"]),
            f"{kernel['launches']:,}",
            f"{kernel['cycles']:,}",
            f"{kernel['share']:.1%}",
            f"{kernel['instructions']:,}",
            _percents(kernel["occupancy"]),
        )
    console.print(table)
    mix = _table("Instructions; occupied: share of all cores' cycles with one in service")
    for column in ("engine", "occupied", "operations"):
        mix.add_column(column, justify="right" if column == "occupied" else "left")
    for engine, ops in summary["instructions"].items():
        share = summary["occupancy"].get(engine)
        mix.add_row(engine, "" if share is None else f"{share:.1%}", ", ".join(f"{op} {count:,}" for op, count in ops.items()))
    console.print(mix)
    _show_files(console, files)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)  # a file has no width


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))


def _percents(shares: dict[str, float]) -> str:
    return "/".join(f"{100 * shares[engine]:.0f}" for engine in ENGINES)


def _show_files(console: Console, files: dict[str, str]) -> None:
    for kind, path in files.items():
        how = "  (open it at https://ui.perfetto.dev: Open trace file)" if kind == "perfetto" else ""
        console.print(f"{kind}: {escape(path)}{how}", highlight=False, soft_wrap=True)
