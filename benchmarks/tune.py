"""`rigi bench tune`: how near the search comes to the best there is, and what tuning gains.

All cycles are simulated, in timing-only mode. Both configurations of every shape, the packaged and the tuned one, are measured anew,
whatever the database says. The exhaustive search builds each configuration once and times it on all its shapes; it leaves the database
alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sdk_sim.origin import emit

LIMIT = 0.97  # tuned against the best of all configurations: best cycles / tuned cycles
Case = tuple[str, Sequence[int] | Mapping[str, int]]
Bar = Callable[[str, int, int], None]

# Layers of Llama-3-8B, SmolLM2-135M and MiniLM with few and many rows, and shapes that no packaged tile was made for.
EXHAUSTIVE: list[Case] = [
    ("linear", (1, 4096, 4096)),
    ("linear", (16, 6144, 4096)),
    ("linear", (100, 4096, 4096)),
    ("linear", (256, 4096, 14336)),
    ("linear", (384, 1536, 384)),
    ("linear", (1000, 576, 576)),
    ("linear", (2048, 4096, 4096)),
    ("linear", (8192, 256, 512)),
    ("attention_decode", (1, 2048, 32, 8, 128)),
    ("attention_decode", (32, 1024, 9, 3, 64)),
    ("attention_extend", (512, 32, 8, 128)),
    ("attention_extend", (2048, 9, 3, 64)),
]
FURTHER: list[Case] = [
    ("linear", (64, 384, 384)),
    ("linear", (300, 11008, 2048)),
    ("linear", (4096, 512, 4096)),
    ("linear_silu_mul", (1, 14336, 4096)),
    ("linear_silu_mul", (128, 1536, 576)),
    ("linear_silu_mul", (1024, 14336, 4096)),
    ("linear_residual", (1, 4096, 14336)),
    ("linear_residual", (128, 576, 1536)),
    ("linear_residual", (1024, 4096, 4096)),
    ("linear_bias", (384, 384, 1536)),
    ("linear_bias", (512, 1152, 384)),
    ("linear_f32", (1, 49152, 576)),
    ("linear_f32", (8, 128256, 4096)),
    ("attention_decode", (8, 4096, 32, 8, 128)),
    ("attention_decode", (1, 300, 9, 3, 64)),
    ("attention_extend", (128, 9, 3, 64)),
    ("attention_extend", (4096, 32, 8, 128)),
    ("attention_extend", (300, 32, 8, 128, 1000)),
]


@click.command("tune")
@click.option("--trials", type=click.IntRange(min=1), default=64, show_default=True, help="Configurations to have measured for a shape.")
@click.option("--shape", "shapes", multiple=True, metavar="OP:SIZES", help="A shape of your own, instead of the 30; may be repeated.")
@click.option("--quick", is_flag=True, help="Three shapes and a coarser search: does it work at all?")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(trials: int, shapes: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Tuned configurations beside the packaged and the best possible ones.

    \b
    exhaustive_shapes   12 shapes: cycles of the tuned configuration and of the best of all configurations of the space
    worst_ratio         the least of best / tuned over them
    shapes              30 shapes: cycles untuned (the packaged kernel) and tuned, and the gain
    second_run_searches configurations measured when all shapes are tuned again, from the database

    Shapes that the database does not hold yet are searched first (see `rigi tune`; RIGI_TUNED names another database). All cycles
    are simulated. With --shape, every shape given is compared with all configurations of its space:

    \b
        rigi bench tune --shape linear:100,4096,4096 --shape attention_decode:batch=8,kv=1000,heads=14,kv_heads=2,head_dim=64
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<60}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def bar(what: str, done: int, of: int) -> None:
            part = what.partition(":")[0]
            if part not in tasks:
                tasks[part] = progress.add_task(what)
            progress.update(tasks[part], description=what, completed=done, total=of)

        if shapes:
            picked: tuple[list[Case], list[Case]] = [parse_case(text) for text in shapes], []
        else:
            picked = (EXHAUSTIVE[4:5], [EXHAUSTIVE[10], FURTHER[0]]) if quick else (EXHAUSTIVE, FURTHER)
        try:
            result = measure(*picked, trials, bar)
        except ValueError as error:  # among them TuneError
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException("interrupted; what the search has found is in the database") from None
    if as_json:
        emit(result, "apache-tvm")
    else:
        _print(result)
    if not result["ok"]:
        raise SystemExit(1)


def parse_case(text: str) -> Case:
    """linear:100,4096,4096 or linear:m=100,n=4096,k=4096."""
    from tvm_target.tune_command import parse_shape

    op, colon, sizes = text.partition(":")
    if not colon:
        raise click.UsageError(f"--shape {text!r}: write OP:SIZES, as in linear:100,4096,4096")
    return op, parse_shape(sizes)


def measure(exhaustive: list[Case], further: list[Case], trials: int, bar: Bar, database: Any = None) -> dict[str, Any]:
    """The JSON fields of ``rigi bench tune``."""
    from tvm_target import tune
    from tvm_target.tune.measure import Bench
    from tvm_target.tune.space import text

    start = time.perf_counter()
    database = tune.Database() if database is None else database
    cases = [(op, tune.space_of(op).shape(sizes)) for op, sizes in [*exhaustive, *further]]
    for op, shape in cases:  # all of them, before the first is searched
        tune.space_of(op).packaged(shape)
    with Bench() as bench:
        found = []
        for i, (op, shape) in enumerate(cases):
            bar(f"search: {op} {text(shape)}", i, len(cases))
            found.append(tune.tune(op, shape, trials=trials, bench=bench, database=database))
        bar("search: done", len(cases), len(cases))
        rows = [_row(bench, result) for result in found]
        best = _exhaustive(bench, cases[: len(exhaustive)], bar)
        again = [tune.tune(op, shape, trials=trials, bench=bench, database=tune.Database(database.path)).searched for op, shape in cases]
    compared = []
    for row, (cycles, values, count) in zip(rows, best):
        config = dict(zip(tune.space_of(row["op"]).parameters, values))
        ratio = cycles / row["tuned_cycles"]
        compared.append({**row, "configurations": count, "best_cycles": cycles, "best_config": config, "ratio": ratio})
    gains = [row["gain"] for row in rows]
    worst = min(row["ratio"] for row in compared)
    return {
        "ok": worst >= LIMIT and sum(again) == 0,
        "exhaustive_shapes": compared,
        "worst_ratio": worst,
        "shapes": rows,
        "mean_gain": math.exp(sum(map(math.log, gains)) / len(gains)),
        "searched": sum(result.searched for result in found),
        "second_run_searches": sum(again),
        "database": str(database.path),
        "seconds": time.perf_counter() - start,
    }


def _row(bench: Any, result: Any) -> dict[str, Any]:
    """A shape's cycles before and after, measured now."""
    tuned, untuned = tuple(result.config.values()), tuple(result.untuned_config.values())
    cycles: dict[tuple[int, ...], int] = {}
    for batch in bench.measure(result.op, list(dict.fromkeys([untuned, tuned])), [result.shape]):
        cycles |= {m.values: m.cycles[0] for m in batch}
    return {
        "op": result.op,
        "shape": result.shape,
        "untuned_cycles": cycles[untuned],
        "tuned_cycles": cycles[tuned],
        "gain": cycles[untuned] / cycles[tuned],
        "trials": result.trials,
        "config": result.config,
    }


def _exhaustive(bench: Any, cases: list[tuple[str, dict[str, int]]], bar: Bar) -> list[tuple[int, tuple[int, ...], int]]:
    """For each case: the fewest cycles of all configurations, which one, and how many there were."""
    from tvm_target import tune

    best: dict[int, tuple[int, tuple[int, ...], int]] = {}
    grids = {}
    for op in dict.fromkeys(op for op, _ in cases):
        space, shapes = tune.space_of(op), [shape for o, shape in cases if o == op]
        packaged = [space.packaged(shape) for shape in shapes]
        grids[op] = list(dict.fromkeys([*packaged, *space.grid(*shapes)])), shapes
    done, total = 0, sum(len(grid) for grid, _ in grids.values())
    for op, (grid, shapes) in grids.items():
        places = [i for i, (o, _) in enumerate(cases) if o == op]
        for batch in bench.measure(op, grid, shapes):
            for measured in batch:
                for place, cycles in zip(places, measured.cycles):
                    if cycles is None:
                        continue
                    least, values, count = best.get(place, (cycles, measured.values, 0))
                    best[place] = (*min((least, values), (cycles, measured.values)), count + 1)
            done += len(batch)
            bar(f"exhaustive: {op}", done, total)
    return [best[i] for i in range(len(cases))]


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tvm_target.tune.space import text

    ratios = {(row["op"], text(row["shape"])): row["ratio"] for row in result["exhaustive_shapes"]}
    table = Table("op", "shape", "untuned", "tuned", "gain", "best / tuned", "configuration")
    for row in result["shapes"]:
        ratio = ratios.get((row["op"], text(row["shape"])))
        figures = f"{row['untuned_cycles']:,}", f"{row['tuned_cycles']:,}", f"{row['gain']:.3f}", f"{ratio:.3f}" if ratio else ""
        table.add_row(row["op"], text(row["shape"]), *figures, text(row["config"]))
    Console().print(table)
    click.echo(f"worst ratio {result['worst_ratio']:.4f} (at least {LIMIT}), mean gain {result['mean_gain']:.3f}")
    click.echo(f"second run searched {result['second_run_searches']}; {result['seconds']:.0f} s of host time")
