"""`rigi bench opinfo`."""

from __future__ import annotations

import os
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sdk_sim.origin import emit

from .. import progress

SAMPLE_OPERANDS = 2
DTYPE_NAMES = ("float32", "bfloat16", "float16", "int64", "int32", "bool")


@click.command("opinfo")
@click.option("--op", "pattern", metavar="GLOB", help='Entries whose name matches, such as "nn.functional.*" or "mm".')
@click.option("--dtype", "dtypes", type=click.Choice(DTYPE_NAMES), multiple=True, help="Only these; may be repeated. Default: all.")
@click.option("--kind", "kinds", type=click.Choice(["op", "module", "optimizer"]), multiple=True, help="Only these databases.")
@click.option("--operands", type=click.IntRange(min=1), help="So many operands of each check, the first ones. Default: all.")
@click.option("--sample", is_flag=True, help="Each entry in one of its dtypes, with two operands of each check: about two minutes.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="one a CPU", help="Worker processes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds after which a case hangs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    pattern: str | None,
    dtypes: tuple[str, ...],
    kinds: tuple[str, ...],
    operands: int | None,
    sample: bool,
    jobs: int,
    timeout: float,
    as_json: bool,
) -> None:
    """PyTorch's operator, module and optimizer databases on the device, beside the CPU.

    Every operator in every dtype with every operand of the database: plain, non-contiguous, in place, with out=, backward, in forward mode,
    and with bad operands, which have to give the CPU's error. A case is an operator in one dtype; it is "chip" if kernels of the chip did
    all its plain calls and the host none.

    What the device may raise is listed with reasons in benchmarks/opinfo/allowed.py. Exit code 1 if anything else is not right.
    """
    from . import cases, measure

    with progress.shown() as report:
        try:
            report("reading the databases", 0, 0)
            known = cases.load()
            chosen = cases.select(known, pattern=pattern, dtypes=dtypes, kinds=kinds, operands=SAMPLE_OPERANDS if sample else operands)
            chosen = cases.sample(chosen) if sample else chosen
            if not chosen:
                raise ValueError("no entry fits; their names are those of torch.testing._internal.common_methods_invocations.op_db")
            result = measure.measure(chosen, whole=chosen == known, jobs=jobs, timeout=timeout, progress=report)
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            raise click.ClickException(str(error)) from error
    emit(result, "torch") if as_json else _print(result)
    if result["unlisted"] or result["stale"]:
        raise SystemExit(1)


def _print(result: dict[str, Any]) -> None:
    from .measure import OUTCOMES, groups

    console = Console()
    names = ("tried", *OUTCOMES, "chip")
    table = Table("", *names, title="PyTorch's databases on the chip", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {"operators": result, **{f"  {name}": row for name, row in result["by_dtype"].items()}}
    for title, row in {**rows, "modules": result["modules"], "optimizers": result["optimizers"]}.items():
        if row["tried"]:
            table.add_row(title, *(f"{row[name]:,}" for name in names))
    console.print(table)
    console.print(f"{result['calls']:,} calls, {result['seconds']:,.0f} s of work on the host")
    for title, lines in (
        ("Refused, as listed", [(f"{item['calls']:,}", item["reason"], "") for item in result["allowed"]]),
        ("Not right", groups(result["unlisted"])),
        ("Listed as refused, and not refused", [("", reason, "") for reason in result["stale"]]),
    ):
        if lines:
            table = Table("cases", "what", "where", title=title, title_justify="left")
            for line in lines:
                table.add_row(*line)
            console.print(table)
