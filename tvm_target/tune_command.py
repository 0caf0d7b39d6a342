"""`rigi tune`. Outside of `tune`, which needs TVM, so that its help does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sdk_sim.origin import emit

if TYPE_CHECKING:
    from .tune.tuner import Result


@click.command()
@click.argument("op", required=False)
@click.option("--shape", "shapes", multiple=True, metavar="SIZES", help="4096,4096,4096 or m=4096,n=4096,k=4096; may be repeated.")
@click.option("--trials", type=click.IntRange(min=1), default=64, show_default=True, help="Configurations to have measured for a shape.")
@click.option("--exhaustive", is_flag=True, help="Measure all of them.")
@click.option("--processes", type=click.IntRange(min=0), help="Workers that build and measure. Default: one a core. 0: this process.")
@click.option("--seed", default=0, show_default=True, help="Of the search.")
@click.option("--list", "listing", is_flag=True, help="Show the ops with their spaces, and what was tuned.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def tune(
    op: str | None,
    shapes: tuple[str, ...],
    trials: int,
    exhaustive: bool,
    processes: int | None,
    seed: int,
    listing: bool,
    as_json: bool,
) -> None:
    """Finds the fastest configuration of a kernel for a shape.

    A kernel is a template: how an op is cut into tiles is a choice; the result is the same, of attentions up to rounding. OP is tuned by
    building configurations and timing them on the emulated chip without touching data, which is exact: the clock is the chip's, and no
    run differs from another. MetaSchedule chooses what to measure next.

    \b
        rigi tune --list                                     which ops, their sizes and parameters, and what is known
        rigi tune linear --shape 256,4096,1024               m,n,k of y[m, n] = x[m, k] w[n, k]^T
        rigi tune attention_decode --shape batch=1,kv=1000,heads=32,kv_heads=8,head_dim=128
        rigi tune linear --shape 1,576,576 --shape 64,576,576 --trials 200

    Results go to a database that is part of the package, for this revision of the chip and the kernel as it is now (RIGI_TUNED
    names another folder). What is in it is not measured again: a command that was interrupted goes on where it was, and one that was
    finished returns at once. Code that compiles for a fixed shape takes the best from it: `tvm_target.tune.compile(op, shape)`.

    gain is the cycles of the packaged kernel, which serves any shape, over those of the best found.
    """
    from rich.console import Console

    console = Console(stderr=True)
    try:
        with console.status("loading TVM"):
            from .tune.space import TuneError
            from .tune.tuner import tune as run
    except ImportError as error:
        raise click.ClickException(f"tuning needs TVM, which cannot be imported: {error}; install rigi[tvm] (make setup)") from error
    try:
        if listing:
            _list(as_json)
            return
        if op is None or not shapes:
            raise click.UsageError("name an op and a --shape; `rigi tune --list` shows both")
        results = _tune(console, run, op, [parse_shape(text) for text in shapes], trials, exhaustive, processes, seed)
    except TuneError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        emit({"results": [asdict(r) for r in results]}, "apache-tvm")
    else:
        _print(results)


def parse_shape(text: str) -> dict[str, int] | list[int]:
    """4096,4096,4096 or m=4096,n=4096,k=4096."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if not any("=" in part for part in parts):
            return [int(part) for part in parts]
        named = {name.strip(): int(size) for name, size in (part.split("=") for part in parts)}
    except ValueError:
        raise click.UsageError(f"--shape {text!r}: write 4096,4096,4096 or m=4096,n=4096,k=4096") from None
    if len(named) < len(parts):
        raise click.UsageError(f"--shape {text!r}: a size is given twice")
    return named


def _tune(
    console: Any,
    run: Callable[..., Result],
    op: str,
    shapes: list[Any],
    trials: int,
    exhaustive: bool,
    processes: int | None,
    seed: int,
) -> list[Result]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .tune.database import packaged
    from .tune.measure import Bench
    from .tune.spaces import space_of

    wanted = [space_of(op).shape(given) for given in shapes]
    for shape in wanted:  # all of them, before the first is searched
        space_of(op).packaged(shape)
    results = []
    best = TextColumn("{task.fields[best]}")
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), best, TimeElapsedColumn())
    with Bench(processes) as bench, Progress(*columns, console=console, expand=True) as bar:
        for shape in wanted:
            task = bar.add_task(f"{op} {','.join(map(str, shape.values()))}", total=None, best="")

            def show(done: int, of: int, best: int | None, task: Any = task) -> None:
                bar.update(task, completed=done, total=of, best=f"{best:,} cycles" if best else "")

            try:
                result = run(op, shape, trials=trials, exhaustive=exhaustive, bench=bench, progress=show, seed=seed)
            except KeyboardInterrupt:
                known = len(packaged().trials(space_of(op), shape))
                bar.stop()
                click.echo(f"interrupted; {known} trials are in {packaged().path}, the same command goes on from there", err=True)
                raise SystemExit(130) from None
            show(result.trials, result.trials, result.cycles)
            results.append(result)
    return results


def _print(results: list[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    from .tune.space import text

    table = Table("op", "shape", "untuned", "tuned", "gain", "trials", "configuration")
    for r in results:
        found = f"{r.trials} ({r.searched} new)"
        table.add_row(r.op, text(r.shape), f"{r.untuned_cycles:,}", f"{r.cycles:,}", f"{r.gain:.3f}", found, text(r.config))
    Console().print(table)


def _list(as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from .tune.database import packaged
    from .tune.space import text
    from .tune.spaces import spaces

    database = packaged()
    ops = [{"op": s.op, "dtype": s.dtype, "sizes": s.sizes, "defaults": s.defaults, "parameters": s.parameters} for s in spaces().values()]
    tuned: list[dict[str, Any]] = []
    for key in database.keys():
        found, space = database.best(key), spaces().get(key.op)
        config, cycles = found or ({}, None)
        tuned.append(
            {
                "op": key.op,
                "shape": dict(key.shape),
                "trials": database.count(key),
                "cycles": cycles,
                "config": config,
                "current": space is not None and key.source == space.source(),
            }
        )
    if as_json:
        emit({"database": str(database.path), "ops": ops, "tuned": tuned})
        return
    table = Table("op", "sizes (defaults)", "parameters", title="What can be tuned", title_justify="left")
    for s in spaces().values():
        sizes = ", ".join(f"{name} ({s.defaults[name]})" if name in s.defaults else name for name in s.sizes)
        table.add_row(s.op, sizes, "\n".join(f"{name}: {' '.join(map(str, choices))}" for name, choices in s.parameters.items()))
    Console().print(table)
    table = Table("op", "shape", "trials", "cycles", "configuration", "", title=f"Tuned, in {database.path}", title_justify="left")
    for t in tuned:
        cycles_text = "-" if t["cycles"] is None else f"{t['cycles']:,}"
        table.add_row(
            t["op"], text(t["shape"]), str(t["trials"]), cycles_text, text(t["config"]), "" if t["current"] else "of an older kernel"
        )
    Console().print(table)
