"""`rigi bench timing`."""

from __future__ import annotations

from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sdk_sim.origin import emit


@click.command()
@click.option("--programs", type=click.IntRange(min=1), default=1000, show_default=True, help="Random programs of 16 cores.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed gives other programs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def timing(programs: int, seed: int, as_json: bool) -> None:
    """The emulator's clock against formulas, a second scheduler and SCALE-Sim.

    Microbenchmarks are formulas over the chip file; random programs and the library's kernels are traced and recomputed by a
    scheduler that knows only the manual. "off" counts those that differ anywhere by at least a cycle. GEMMs stand beside SCALE-Sim,
    whose cycles must follow from ours by formula. Exit code 1 if anything is off.
    """
    from benchmarks.timing import parts

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        try:
            result = parts.measure(
                programs, seed, lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
            )
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        emit(result)
    else:
        _print(result)
    rows = result["details"]["scalesim"]
    if result["microbenchmarks_off"] + result["random_off"] + result["library_off"] or not all(row.get("explained", True) for row in rows):
        raise SystemExit(1)


def _print(result: dict[str, Any]) -> None:
    console, details = Console(), result["details"]
    table = Table(title="The clock, to the cycle", title_justify="left")
    for heading, side in (("", "left"), ("checked", "right"), ("off", "right"), ("", "left")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    kernels, instructions = len(details["packaged_kernels"]), f"{details['library_instructions']:,}"
    notes = {
        "microbenchmarks": f"formulas, from the host and in a graph; {details['times_stated']:,} single times besides",
        "random_programs": f"{details['random_instructions']:,} instructions recomputed from the rules",
        "library_kernels": f"{kernels} packaged kernels, {instructions} instructions recomputed",
    }
    for what, off in (("microbenchmarks", "microbenchmarks_off"), ("random_programs", "random_off"), ("library_kernels", "library_off")):
        table.add_row(what.replace("_", " "), f"{result[what]:,}", f"{result[off]:,}", notes[what])
    console.print(table)
    for what, worst in details["worst"].items():
        if worst:
            console.print(f"worst of {what.replace('_', ' ')}: {worst['name']}, {worst['differences']} differences; {worst['first']}")
    topics: dict[str, list[int]] = {}
    for row in details["microbenchmarks"]:
        count = topics.setdefault(row["topic"], [0, 0])
        count[0] += 1
        count[1] += bool(row["wrong"])
    counts = (f"{name} {n}" + (f" ({off} off)" if off else "") for name, (n, off) in sorted(topics.items()))
    console.print("microbenchmarks: " + ", ".join(counts))
    _print_scalesim(console, details["scalesim"])


def _print_scalesim(console: Console, rows: list[dict[str, Any]]) -> None:
    if missing := next((row["missing"] for row in rows if "missing" in row), None):
        console.print(missing)
        return
    title = "GEMM beside SCALE-Sim: cycles of one 128 x 128 weight-stationary array, bf16"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False, collapse_padding=True)  # fits 80 columns
    for heading in ("m x n x k", "folds", "ours", "SCALE-Sim", "from ours", "stalls", "one core", "chip"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [row[name] for name in ("folds", "busy", "scalesim", "predicted", "scalesim_stalls", "launch", "library")]
        table.add_row(f"{row['m']}x{row['n']}x{row['k']}", *(f"{cell:,}" for cell in cells))
    console.print(table)
    unlike = [row for row in rows if not row["explained"]]
    console.print(
        "ours: busy cycles of a matrix engine; from ours: SCALE-Sim's cycles as a formula of ours; one core, chip: whole launches.\n"
        + (f"{len(unlike)} of {len(rows)} are not explained." if unlike else "Every difference is explained in docs/timing-proof.md.")
    )
