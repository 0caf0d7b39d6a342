"""`rigi build`: packages the kernels."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from sdk_sim.origin import emit


@click.command()
@click.option("--only", multiple=True, metavar="OP", help="An op or a kernel; may be repeated. Default: all.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where to write. Default: $RIGI_MODULES, or the package.")
@click.option("--force", is_flag=True, help="Build also what is current.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build(only: tuple[str, ...], out: Path | None, force: bool, as_json: bool) -> None:
    """Compiles the kernels for Rigi-1 and packages them, one library each and an index."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    start = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("loading TVM", total=None)
        try:
            from . import build as builder
            from .compiler import CompilerError
            from .package import KernelListError
            from .packing import PackError
            from .runtime import LoaderError
        except ImportError as error:
            raise click.ClickException(
                f"building kernels needs TVM, which cannot be imported: {error}; install rigi[tvm] (make setup)"
            ) from error

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name or "done", completed=done, total=total)

        try:
            result = builder.build(only, out or builder.MODULES, force, show)
        except (KernelListError, CompilerError, PackError, LoaderError, OSError) as error:
            raise click.ClickException(str(error)) from error
    seconds = time.perf_counter() - start
    if as_json:
        emit({"ok": result.ok, **asdict(result), "host_seconds": round(seconds, 3)}, "apache-tvm")
    else:
        click.echo(f"{len(result.built)} kernels built, {len(result.current)} current, in {result.out} ({seconds:.1f} s)", err=True)
        for name, reason in result.failed.items():
            click.echo(f"{name}: {reason}", err=True)
    if not result.ok:
        raise SystemExit(1)
