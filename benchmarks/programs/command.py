"""`rigi bench programs`."""

from __future__ import annotations

import os
from collections import Counter

import click
from rich.console import Console

from sdk_sim.origin import emit

from .. import pool, progress
from .check import FAILED, OUTCOMES, RIGHT, WORK, Outcome


@click.command("programs")
@click.option("--seed", default=0, show_default=True, help="Seed of the first program; the others follow.")
@click.option("--count", type=click.IntRange(min=1), default=200, show_default=True, help="Programs.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="one a CPU", help="Worker processes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for one program.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(seed: int, count: int, jobs: int, timeout: float, as_json: bool) -> None:
    """Random Relax and TIR programs over all types, compiled for the chip and held against NumPy.

    RIGI_MODE=strict checks every access, too. A program that is not right is printed as a script that shows it, as small as it was
    found; a refusal (an error that says what is not supported) does not count as wrong. Exit status 1 if a program is wrong or fails.
    """
    console = Console(stderr=True)
    found: list[Outcome] = []
    with progress.shown() as report:
        report("programs", 0, count)
        for outcome in pool.run(WORK, list(range(seed, seed + count)), jobs, timeout):
            found.append(outcome)
            if outcome.outcome != RIGHT:
                text = f"# seed {outcome.seed} {outcome.outcome}: {outcome.reason}\n{outcome.script}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
            report("programs", len(found), count)
    counts = Counter(outcome.outcome for outcome in found)
    result = {"tried": len(found), **{name: counts[name] for name in OUTCOMES}}
    if as_json:
        bad = [vars(outcome) for outcome in sorted(found, key=lambda o: o.seed) if outcome.outcome != RIGHT]
        emit({**result, "programs": bad}, "apache-tvm")
    else:
        click.echo("  ".join(f"{name} {number}" for name, number in result.items()))
    if counts["wrong"] or counts[FAILED]:
        raise SystemExit(1)
