"""`rigi bench onnx`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sdk_sim.origin import emit

from .. import progress


@click.command("onnx")
@click.option("--sample", type=click.IntRange(min=1), help="Take so many of the tests, by chance. Default: all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed takes other tests.")
@click.option("--filter", "pattern", metavar="GLOB", help='Tests whose name matches, such as "test_conv*".')
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="one a CPU", help="Worker processes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, help="Seconds for one test on one target.")
@click.option("--llvm-only", is_flag=True, help="Only what TVM's own CPU target does.")
@click.option("--fresh", is_flag=True, help="Run the tests on llvm although their results are kept.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    sample: int | None, seed: int, pattern: str | None, jobs: int, timeout: float, llvm_only: bool, fresh: bool, as_json: bool
) -> None:
    """ONNX's backend node tests through TVM Relax on the chip.

    Every node test of package onnx goes through TVM's ONNX front end and `tvm.compile`, first for TVM's own CPU target (llvm), then,
    if it passes there, for rigi1: the same model, the same data, ONNX's own comparison with each test's tolerances.

    A model is tried as it is; where llvm does not pass it so, with all inputs but the first as constants, as weights and shapes are in
    exported models (field "forms" counts either). What passes on llvm is kept under $RIGI_CACHE or ~/.cache/rigi for later runs.

    passed / llvm_passed is the ratio; exit code 1 if it is below 0.95.
    """
    from . import measure

    with progress.shown() as report:
        try:
            result = measure.measure(
                pattern=pattern, sample=sample, seed=seed, jobs=jobs, timeout=timeout, fresh=fresh, llvm_only=llvm_only, progress=report
            )
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        emit(result, "apache-tvm", "onnx")
    else:
        _print(result)
    if result["ratio"] is not None and result["ratio"] < measure.BOUND:
        raise SystemExit(1)


def _print(result: dict[str, Any]) -> None:
    console = Console()
    ratio = "-" if result["ratio"] is None else f"{result['ratio']:.1%}"
    passed = "not run" if result["passed"] is None else f"{result['passed']:,}"
    table = Table(title="ONNX node tests through TVM Relax", title_justify="left", show_header=False)
    table.add_row("tests", f"{result['total']:,}")
    table.add_row("pass on llvm", f"{result['llvm_passed']:,}")
    table.add_row("of these on rigi1", f"{passed}  {ratio}")
    for form, counts in result["forms"].items():
        table.add_row(f"  models {form}", f"{counts['llvm_passed']:,} on llvm" + _also(counts["passed"]))
    if result["cycles"]:
        table.add_row("simulated cycles", f"{result['cycles']:,}, {result['element_loop_share']:.1%} in element loops")
    table.add_row("seconds", f"{result['seconds']['all']:,.0f}")
    console.print(table)
    for title, rows in (("Not passed on rigi1", _groups(result["failed"])), ("Not passed on llvm", _llvm(result["llvm_failed"]))):
        if rows:
            table = Table("tests", "reason", "ops", title=title, title_justify="left")
            table.columns[0].justify = "right"
            for row in rows:
                table.add_row(*row)
            console.print(table)


def _also(passed: int | None) -> str:
    return "" if passed is None else f", {passed:,} on rigi1"


def _groups(failed: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Failures by reason, the most frequent first: how many, why, of which ops."""
    ops: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in failed:
        ops[f"{item['stage']}: {item['reason']}"][item["op"]] += 1
    ordered = sorted(ops.items(), key=lambda pair: -pair[1].total())
    return [(str(count.total()), why, ", ".join(f"{op} {n}" for op, n in count.most_common())) for why, count in ordered]


def _llvm(reasons: dict[str, int], rows: int = 12) -> list[tuple[str, str, str]]:
    """The most frequent reasons, and one row for the rest."""
    first = list(reasons.items())[:rows]
    rest = sum(reasons.values()) - sum(count for _, count in first)
    return [(str(count), why, "") for why, count in first] + ([(str(rest), f"{len(reasons) - rows} other reasons", "")] if rest else [])
