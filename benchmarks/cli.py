"""`rigi bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.decode_step import command as decode_step
from benchmarks.faults.cli import faults
from benchmarks.models.command import command as models
from benchmarks.onnx_nodes.command import command as onnx
from benchmarks.opinfo.command import command as opinfo
from benchmarks.programs.command import command as programs
from benchmarks.sdk import command as sdk
from benchmarks.serve import serve
from benchmarks.timing.command import timing
from benchmarks.tune import command as tune
from sdk_sim.origin import emit

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
TRACE = click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write the instruction trace of the measured launch here."
)
SEED = click.option("--seed", default=0, show_default=True, help="Seed of the random operands.")
SIZE = click.IntRange(min=1)


def show(result: dict[str, Any], as_json: bool) -> None:
    """The result as one JSON object, or as a table with simulated and host figures apart."""
    if as_json:
        emit(result, "torch")
        return
    shape = " ".join(f"{name}={value}" for name, value in result["shape"].items())
    table = Table(title=f"{result['op']}  {shape}", title_justify="left", show_header=False)
    table.add_row(
        "simulated cycles", f"{result['cycles']:,}", f"{result['simulated_us']:,.1f} us on the chip, {result['launches']} launch(es)"
    )
    table.add_row("ideal cycles", f"{result['ideal_cycles']:,.0f}", f"bound by {result['limit']}")
    table.add_row("utilization", f"{result['utilization']:.3f}", "ideal / simulated")
    if result["max_error"] is None:
        table.add_row("largest error", "not computed", f"{result['mode']} mode has no data")
    else:
        table.add_row("largest error", f"{result['max_error']:.2e}", "against fp32 torch on the CPU")
    table.add_section()
    table.add_row("host seconds", f"{result['host_seconds']:.3f}", "what the emulator took on this machine")
    Console().print(table)


def run(bench: Callable[[], dict[str, Any]], as_json: bool, what: str) -> None:
    """Runs a benchmark with a spinner on stderr, and turns its errors into one line."""
    with Console(stderr=True).status(what):
        try:
            result = bench()
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise click.ClickException(str(error)) from error
    show(result, as_json)


@click.group()
def bench() -> None:
    """Simulated cycles beside the chip's limit, and host time, measured.

    Those of one op run it on the emulated chip, check the result against fp32 torch and print the simulated cycles of the launch beside
    the attainable limit (utilization = ideal / actual). With RIGI_MODE=timing-only nothing is computed, so the size is not limited by
    this machine. Host seconds are a separate figure.
    """


@bench.command()
@click.option("--m", "m", type=SIZE, default=4096, show_default=True, help="Rows of x (tokens).")
@click.option("--n", "n", type=SIZE, default=4096, show_default=True, help="Rows of the weight (output features).")
@click.option("--k", "k", type=SIZE, default=4096, show_default=True, help="Columns of both (input features).")
@click.option("--dtype", type=click.Choice(["bf16"]), default="bf16", show_default=True)
@SEED
@TRACE
@JSON
def gemm(m: int, n: int, k: int, dtype: str, seed: int, trace: Path | None, as_json: bool) -> None:
    """y[m, n] = x[m, k] w[n, k]^T."""
    from . import kernels

    run(lambda: kernels.gemm(m, n, k, dtype, trace, seed), as_json, f"gemm {m} x {n} x {k}")


@bench.command("attention-prefill")
@click.option("--seq", type=SIZE, default=8192, show_default=True, help="New tokens.")
@click.option("--heads", type=SIZE, default=32, show_default=True, help="Query heads.")
@click.option("--kv-heads", type=SIZE, default=8, show_default=True, help="Key and value heads.")
@click.option("--head-dim", type=SIZE, default=128, show_default=True)
@click.option("--prefix", type=click.IntRange(min=0), default=0, show_default=True, help="Cached tokens before the new ones.")
@click.option("--page", type=SIZE, default=16, show_default=True, help="Tokens to a page of the cache.")
@SEED
@TRACE
@JSON
def attention_prefill(
    seq: int, heads: int, kv_heads: int, head_dim: int, prefix: int, page: int, seed: int, trace: Path | None, as_json: bool
) -> None:
    """Causal attention of new tokens over a paged cache, one request."""
    from . import kernels

    run(
        lambda: kernels.attention_prefill(seq, heads, kv_heads, head_dim, prefix, page, trace, seed),
        as_json,
        f"attention over {prefix} + {seq} tokens",
    )


@bench.command("attention-decode")
@click.option("--batch", type=SIZE, default=32, show_default=True, help="Requests.")
@click.option("--kv", type=SIZE, default=4096, show_default=True, help="Cached tokens of each request.")
@click.option("--heads", type=SIZE, default=32, show_default=True, help="Query heads.")
@click.option("--kv-heads", type=SIZE, default=8, show_default=True, help="Key and value heads.")
@click.option("--head-dim", type=SIZE, default=128, show_default=True)
@click.option("--page", type=SIZE, default=16, show_default=True, help="Tokens to a page of the cache.")
@SEED
@TRACE
@JSON
def attention_decode(
    batch: int, kv: int, heads: int, kv_heads: int, head_dim: int, page: int, seed: int, trace: Path | None, as_json: bool
) -> None:
    """One new token of each request over a paged cache."""
    from . import kernels

    run(
        lambda: kernels.attention_decode(batch, kv, heads, kv_heads, head_dim, page, trace, seed),
        as_json,
        f"attention of {batch} x {kv} tokens",
    )


bench.add_command(serve)
bench.add_command(decode_step)
bench.add_command(timing)
bench.add_command(faults)
bench.add_command(sdk)
bench.add_command(onnx)
bench.add_command(opinfo)
bench.add_command(models)
bench.add_command(programs)
bench.add_command(tune)
