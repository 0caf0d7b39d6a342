"""`rigi ops`: the registry as a table."""

from typing import Any

import click

from sdk_sim.origin import emit


def rows() -> list[dict[str, Any]]:
    """Every op with its schema, the aten ops it serves and its packaged kernels in table order."""
    import sglang_ext.device  # noqa: F401  declares the ops
    from sglang_ext import kernels
    from sglang_ext.ops.aten import SERVED
    from sglang_ext.registry import registry

    try:
        index = kernels.index()
    except kernels.KernelsMissing:
        index = {}
    return [
        {
            "name": op.name,
            "summary": op.summary,
            "schema": op.schema,
            "aten": list(SERVED.get(op.name, ())),
            "kernels": [
                {
                    "name": k.name,
                    "dtype": k.dtype,
                    "limits": k.limits,
                    "config": k.config,
                    "chip": k.built_for[0],
                    "revision": k.built_for[1],
                    "sdk": k.built_for[2],
                }
                for k in index.get(op.name, ())
            ],
        }
        for op in registry.ops.values()
    ]


@click.command()
@click.option("--fallbacks", is_flag=True, help="What ran on the host in this process, and how to see it in a server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def ops(fallbacks: bool, as_json: bool) -> None:
    """The ops that run on the chip, with their kernels."""
    if fallbacks:
        show_fallbacks(as_json)
        return
    table = rows()
    if as_json:
        emit({"ops": table})
        return
    show_ops(table)


def show_ops(table: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sglang_ext import kernels

    console = Console()
    view = Table("op", "what it computes", "aten", "kernels (first that fits is taken)", title="torch.ops.rigi", expand=False)
    for row in table:
        there = kernels.index()[row["name"]] if row["kernels"] else []
        listed = "\n".join(f"{k.name}: {k.dtype}, {k.limits_text}" for k in there)
        view.add_row(row["name"], escape(row["summary"]), ", ".join(row["aten"]), listed or "[red]none packaged: run `rigi build`[/red]")
    console.print(view)


def show_fallbacks(as_json: bool) -> None:
    import torch

    import sglang_ext.device  # noqa: F401

    counts = torch.rigi.fallbacks()
    if as_json:
        emit({"mode": torch.rigi.fallback_mode(), "fallbacks": counts}, "torch")
        return
    for name, calls in sorted(counts.items(), key=lambda item: -item[1]):
        click.echo(f"{calls:10d}  {name}")
    if not counts:
        click.echo("Nothing ran on the host in this process.")
    click.echo(
        "\nThese are the aten ops of this process that the chip has no kernel for. In your own program: torch.rigi.fallbacks() after\n"
        "torch.rigi.reset_fallbacks(). In a server: start it with RIGI_FALLBACK=warn (each op is named in the log, once) or\n"
        "RIGI_FALLBACK=error (the first one fails its request, naming op, dtypes and shapes). `make demo` prints the counts of its run."
    )
