"""`rigi bench programs`."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sdk_sim.origin import emit

from .check import FAILED, OUTCOMES, RIGHT, Outcome

FRESH_AFTER = 200  # programs of one process: what libraries keep for ever stays bounded


@click.command("programs")
@click.option("--seed", default=0, show_default=True, help="Seed of the first program; the others follow.")
@click.option("--count", type=click.IntRange(min=1), default=200, show_default=True, help="Programs.")
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for one program.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(seed: int, count: int, timeout: float, as_json: bool) -> None:
    """Random Relax and TIR programs over all types, compiled for the chip and held against NumPy.

    RIGI_MODE=strict checks every access, too. A program that is not right is printed as a script that shows it, as small as it was
    found; a refusal (an error that says what is not supported) does not count as wrong. Exit status 1 if a program is wrong or fails.
    """
    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    bad: list[Outcome] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("programs", total=count)
        for outcome in outcomes(seed, count, timeout):
            counts[outcome.outcome] += 1
            if outcome.outcome != RIGHT:
                bad.append(outcome)
                text = f"# seed {outcome.seed} {outcome.outcome}: {outcome.reason}\n{outcome.script}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
            progress.update(task, advance=1, description=f"{counts[RIGHT]} right")
    result: dict[str, Any] = {"tried": sum(counts.values()), **{name: counts[name] for name in OUTCOMES}}
    if as_json:
        emit({**result, "programs": [vars(o) for o in bad]}, "apache-tvm")
    else:
        click.echo("  ".join(f"{name} {number}" for name, number in result.items()))
    if counts["wrong"] or counts[FAILED]:
        raise SystemExit(1)


def outcomes(first: int, count: int, timeout: float) -> Iterator[Outcome]:
    """Of all programs in order. One that ends its process, or takes longer than `timeout` seconds, has failed; a new process goes on."""
    end = first + count
    while first < end:
        with tempfile.TemporaryFile("w+") as log:
            command = [sys.executable, "-m", "benchmarks.programs.worker", str(first), str(min(FRESH_AFTER, end - first))]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            assert process.stdout is not None
            part = first + min(FRESH_AFTER, end - first)
            try:
                while first < part:
                    ready = select.select([process.stdout], [], [], timeout)[0]
                    line = process.stdout.readline() if ready else ""
                    if not line:
                        yield _lost(first, f"not done after {timeout:g} s" if not ready else _last_words(process, log))
                        first += 1
                        break
                    yield Outcome(**json.loads(line))
                    first += 1
            finally:
                process.kill()
                process.wait()


def _lost(seed: int, reason: str) -> Outcome:
    from .check import program

    return Outcome(seed, FAILED, reason, program(seed).script())


def _last_words(process: subprocess.Popen[str], log: Any) -> str:
    code = process.wait()
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return f"the process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}" + (
        f" after: {lines[-1][:200]}" if lines else ""
    )
