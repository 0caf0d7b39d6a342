"""What people see while something takes longer than two seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner


class _Clock:
    """A spinner with the seconds since it was made."""

    def __init__(self, what: str):
        self.what, self.begin, self.spinner = what, time.monotonic(), Spinner("dots")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def __rich__(self) -> RenderableType:
        self.spinner.update(text=f"{self.what} … {self.seconds:.0f} s")
        return self.spinner


@contextmanager
def step(console: Console, what: str) -> Iterator[None]:
    """A spinner while the block runs (a line, where there is no terminal), then a line with how long it took."""
    clock = _Clock(what)
    if console.is_terminal:
        with Live(clock, console=console, refresh_per_second=8, transient=True):
            yield
    else:
        console.print(f"{what} …")
        yield
    console.print(f"[green]✓[/] {what} [dim]({clock.seconds:.1f} s)[/]")
