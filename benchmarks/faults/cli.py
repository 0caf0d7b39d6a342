"""`rigi bench faults`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from sdk_sim.origin import emit


@click.command()
@click.option("--calls", type=click.IntRange(min=0), default=0, show_default=True, help="Random calls of the C API, besides.")
@click.option("--modules", type=click.IntRange(min=0), default=0, show_default=True, help="Mutated module files, besides.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of both.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def faults(calls: int, modules: int, seed: int, as_json: bool) -> None:
    """Errors made on purpose: caught, named, and the device usable afterwards.

    Faults of programs (what an instruction cannot do, and what only strict mode sees) and wrong calls of the C API. An error is caught if
    the process lives and the expected status comes back; it is named if the text has everything needed to find it: for a program kernel,
    core, phase, instruction, operand and limit. After each the device is reset and has to compute something right.
    """
    from .table import CASES, run, summary

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("faults", total=len(CASES))
        rows = run(lambda name: progress.update(task, advance=1, description=name))
        result: dict[str, Any] = summary(rows)
        if calls or modules:
            from .fuzz import fuzz

            progress.update(task, description=f"{calls} calls, {modules} modules", total=None)
            result["fuzz"], _ = fuzz(calls, modules, seed)
    console = Console(stderr=as_json)
    table = Table(title="Injected errors", title_justify="left")
    for column in ("kind", "error", "status", "text"):
        table.add_column(column, overflow="fold")
    for row in rows:
        good = row.named and row.usable
        if as_json and (good or row.skipped):
            continue
        status = f"[green]{row.status}[/]" if good else f"[yellow]{row.status}[/]" if row.skipped else f"[red]{row.status}[/]"
        notes = [escape(row.skipped or row.text)]
        notes += [f"[red]not said: {escape(', '.join(row.missing))}[/]"] if row.caught and row.missing else []
        notes += [f"[red]expected {row.case.status}[/]"] if not row.caught and not row.skipped else []
        notes += [] if row.usable else ["[red]the device was not usable afterwards[/]"]
        table.add_row(row.case.kind, row.case.name, status, "\n".join(notes))
    if table.rows:
        console.print(table)
    if as_json:
        emit(result)
        return
    skipped = sum(bool(row.skipped) for row in rows)
    console.print(
        f"{result['injected']} injected, {result['caught']} caught, {result['named']} named, {skipped} skipped; "
        f"device {'usable' if result['device_usable'] else '[red]not usable[/]'} after each"
    )
    if "fuzz" in result:
        console.print(", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in result["fuzz"].items()))
