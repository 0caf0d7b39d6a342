"""``rigi bench sdk``: the emulator's own speed on this machine, beside what this machine can do, in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sdk_sim.origin import emit

# field: (what it is, the limit asked for, whether larger is better)
LIMITS: dict[str, tuple[str, float, bool]] = {
    "gemm_vs_torch_fp32": ("functional bf16 GEMM / torch.mm in fp32, equal threads", 0.6, True),
    "gemv_vs_read_bandwidth": ("batch-1 GEMV over weights larger than the cache / reading them", 0.7, True),
    "timing_overhead": ("decode step: timed / functional - 1", 0.3, False),
    "profiler_off_overhead": ("launches after a profile was stopped / never profiled - 1", 0.01, False),
    "empty_launch_us": ("an empty kernel, timed mode, submitted in a burst (µs each)", 5.0, False),
    "graph300_us": ("a graph of 300 empty launches, timed mode, until done (µs)", 150.0, False),
}
Bar = Callable[[str, int], Callable[[], object]]


@click.command("sdk")
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="A HuggingFace folder. Default: SmolLM2-135M-Instruct, made if missing."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(model_path: Path | None, as_json: bool) -> None:
    """The emulator's own speed, beside the machine's.

    Everything here is host time; no figure is simulated. What is compared takes turns in one process with equal threads.

    \b
    gemm_vs_torch_fp32      rigi.linear in bf16 (functional mode) over torch.mm in fp32, 2048 x 2048 x 2048: best runs
    gemv_vs_read_bandwidth  bytes of 512 MiB of bf16 weights a second of rigi.linear with one row of x, over those of reading
                            the same memory with torch (its fastest reduction, all threads): median over pairs of neighbours
    timing_overhead         decode steps of the model at batch 1 through SGLang: timed over functional mode, less 1 (median of pairs)
    profiler_off_overhead   launching on a device whose profiler ran and was stopped, over one that never ran it, less 1
    empty_launch_us         a kernel without instructions in timed mode: a burst of launches until all are done, each
    graph300_us             a graph of 300 of them in timed mode, from its launch until it is done

    `exec` is what one thread does of each instruction.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from benchmarks.parity import _model
    from sglang_ext.serving.engine import log_path, quiet

    with quiet(log_path("bench-sdk")) as terminal:
        columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=terminal)) as progress:

            def bar(what: str, total: int) -> Callable[[], object]:
                if not progress.console.is_terminal:
                    progress.console.print(what)
                task = progress.add_task(what, total=total)
                return lambda: progress.advance(task)

            result = measure(_model(model_path), bar)
    if as_json:
        emit(result)
    else:
        _print(result)


def measure(folder: Path, bar: Bar, *, gemm: int = 2048, megabytes: int = 512, steps: int = 30, repeat: int = 10) -> dict[str, Any]:
    """The JSON fields of ``rigi bench sdk``. `folder` holds the model; sizes can be lowered for a test of the harness."""
    from benchmarks import host_exec, host_speed

    threads = host_speed.use_threads()
    launches = host_speed.launches(2 * repeat, bar("empty launches", 2))
    profiler = _profiler(100 * repeat, bar("profiler off", 1))
    products = host_speed.gemm(gemm, repeat, bar(f"GEMM {gemm}", repeat))
    vector = host_speed.gemv(megabytes, 2 * repeat, bar(f"GEMV over {megabytes} MiB", 2 * repeat))
    instructions = host_exec.measure(repeat=min(repeat, 7), progress=bar("instructions", len(host_exec.cases())))
    decode = host_speed.decode(folder, steps, progress=bar("decode steps of the model", steps))
    fields = {
        "gemm_vs_torch_fp32": products.pop("ratio"),
        "gemv_vs_read_bandwidth": vector.pop("ratio"),
        "timing_overhead": decode.pop("overhead"),
        "profiler_off_overhead": profiler.pop("overhead"),
        "empty_launch_us": launches["timed"]["launch"],
        "graph300_us": launches["timed"]["graph300"],
    }
    raw = {"gemm": products, "gemv": vector, "decode": decode, "profiler": profiler, "launches_us": launches}
    return {**_short(fields), "threads": threads, **_short(raw), "exec": instructions}


def _profiler(repeat: int, done: Callable[[], object]) -> dict[str, Any]:
    """host_speed.profiler_off in a process of its own: it needs two devices and a profiler that never ran."""
    code = """
        import json, pathlib, sys
        from benchmarks import host_speed
        print(json.dumps(host_speed.profiler_off(pathlib.Path(sys.argv[1]), int(sys.argv[2]))))
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RIGI_DEVICES": "2"}
        arguments = [sys.executable, "-c", textwrap.dedent(code), str(Path(folder) / "profile"), str(repeat)]
        run = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        raise click.ClickException(f"the measurement of the profiler failed: {run.stderr.strip().splitlines()[-1:]}")
    done()
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def _short(value: Any) -> Any:
    """Numbers with four digits."""
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def met(field: str, value: float | None) -> bool | None:
    """Whether a figure keeps its limit; None if it could not be measured."""
    _, limit, larger = LIMITS[field]
    return None if value is None else value >= limit if larger else value <= limit


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"The emulator on this machine, {result['threads']} threads: host time only", title_justify="left")
    for column in ("field", "what", "measured", "asked", "met"):
        table.add_column(column, justify="right" if column in ("measured", "asked") else "left", no_wrap=column != "what")
    for field, (what, limit, larger) in LIMITS.items():
        value = result[field]
        mark = {None: "not measured", True: "[green]met[/]", False: "[red]not met[/]"}[met(field, value)]
        table.add_row(field, what, "-" if value is None else f"{value:.4g}", f"{'at least' if larger else 'at most'} {limit:g}", mark)
    console.print(table)
    gemm, gemv, decode, launches = (result[name] for name in ("gemm", "gemv", "decode", "launches_us"))
    table = Table(title="Behind them", title_justify="left", show_header=False)
    table.add_row(f"GEMM {gemm['size']}", f"{gemm['rigi_gflops']:.1f} GFLOP/s", f"torch.mm in fp32 {gemm['torch_fp32_gflops']:.1f} GFLOP/s")
    table.add_row(
        f"GEMV {gemv['n']} x {gemv['k']}",
        f"{gemv['median_gb_s']:.1f} GB/s",
        f"reading {gemv['median_read_gb_s']:.1f} GB/s, at best {gemv['read_gb_s']:.1f}",
    )
    table.add_row("decode step", f"{decode['timed_ms']:.2f} ms timed", f"{decode['functional_ms']:.2f} ms functional")
    for mode, us in launches.items():
        rest = f"with a wait for each {us['launch_and_wait']:.2f} µs, graph of 300 {us['graph300']:.1f} µs"
        table.add_row(f"empty launch, {mode}", f"{us['launch']:.2f} µs", rest)
    console.print(table)
    table = Table(title="Instructions, one thread", title_justify="left")
    for column in ("engine", "instruction", "throughput"):
        table.add_column(column, justify="right" if column == "throughput" else "left")
    for line in result["exec"]:
        table.add_row(line["engine"], line["instruction"], f"{line['throughput']:g} {line['unit']}")
    console.print(table)


if __name__ == "__main__":
    command()
