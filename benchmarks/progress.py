"""The progress of a bench, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[str, int, int], None]
"""Told what is being done, how many of it are done, and how many there are (0: unknown)."""


@contextmanager
def shown() -> Iterator[Report]:
    """A bar that lives as long as the context; where standard error is no terminal, a line for every hundred."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            if done == 0:  # a new part: its own clock
                bar.reset(task, total=total or None)
            if not console.is_terminal and done % 100 == 0:
                console.print(f"{what}: {done} of {total}" if total else what)
            bar.update(task, description=what, completed=done)

        yield report
