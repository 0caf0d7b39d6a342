"""``rigi bench models``: real models through torch.export, Relax and the chip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sdk_sim.origin import emit

MODELS = ("minilm", "smollm2")


@click.command("models")
@click.option("--only", type=click.Choice(MODELS), help="One model instead of all.")
@click.option("--sentences", type=click.IntRange(1, 50), default=50, show_default=True, help="How many sentences, the longest.")
@click.option("--prompts", type=click.IntRange(1, 20), default=20, show_default=True, help="How many prompts.")
@click.option("--tokens", type=click.IntRange(2), default=64, show_default=True, help="Tokens that follow each prompt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(only: str | None, sentences: int, prompts: int, tokens: int, as_json: bool) -> None:
    """Real models from torch.export through Relax on the chip, beside torch.

    \b
    minilm    all-MiniLM-L6-v2 in fp32: cosine of sentence embeddings to torch's; one compilation for every length
    smollm2   SmolLM2-135M-Instruct in bf16: KL divergence and top-1 disagreement of next-token distributions against
              transformers in fp32, beside those of transformers in bf16 on the CPU (prompt and continuation as one prefill)

    Of the simulated cycles: the share in kernels without element loops of the sequencer, the share in packaged library
    kernels, and the kernels that take most. Compile seconds are of one layer with embeddings and head, with an empty cache
    and with a filled one, each in a new process.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from benchmarks.models import measure
    from sglang_ext.serving.engine import log_path, quiet

    chosen = [only] if only else list(MODELS)
    result: dict[str, Any] = {}
    with quiet(log_path("bench-models")) as terminal:
        columns = (TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=terminal)) as progress:

            def bar(what: str, total: int) -> Callable[[], object]:
                if not progress.console.is_terminal:
                    progress.console.print(what)
                task = progress.add_task(what, total=total)
                return lambda: progress.advance(task)

            if "minilm" in chosen:
                result["minilm"] = measure.embeddings(sentences, bar)
            if "smollm2" in chosen:
                result["smollm2"] = measure.logits(prompts, tokens, bar)
            for model in chosen:
                result[model]["layer_compile_seconds"] = measure.layer_seconds(model, bar)
    if as_json:
        emit(result, "apache-tvm", "torch")
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for model, found in result.items():
        table = Table(title=model, title_justify="left")
        for column in ("what", "measured", "asked"):
            table.add_column(column, justify="left" if column == "what" else "right")
        for row in _accuracy(found):
            table.add_row(*row)
        simulated, seconds = found["simulated"], found["layer_compile_seconds"]
        table.add_row("cycles in kernels without element loops", f"{simulated['without_element_loops']:.4f}", "at least 0.99")
        table.add_row("cycles in library kernels", f"{simulated['offloaded']:.4f}", "")
        table.add_row("simulated cycles", f"{simulated['cycles']:,}", "")
        table.add_row("launches", f"{simulated['launches']:,}", "")
        table.add_section()
        table.add_row("compiling one layer (host s)", f"{seconds['cold']:.2f}", "below 20")
        table.add_row("compiling it again (host s)", f"{seconds['cached']:.2f}", "below 2")
        for name, value in found["host_seconds"].items():
            table.add_row(f"{name} (host s)", f"{value:.2f}", "")
        console.print(table)
        table = Table(title=f"{model}: the kernels that take most cycles", title_justify="left")
        for column in ("kernel", "launches", "cycles", "share", ""):
            table.add_column(column, justify="left" if column in ("kernel", "") else "right")
        for kernel in simulated["kernels"]:
            mark = "element loops" if kernel["element_loops"] else "library" if kernel["library"] else ""
            table.add_row(kernel["name"], f"{kernel['launches']:,}", f"{kernel['cycles']:,}", f"{kernel['share']:.2%}", mark)
        console.print(table)


def _accuracy(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    if "cosine" in found:
        tokens = found["tokens"]
        what = f"least cosine of {found['sentences']} sentences of {tokens['shortest']} to {tokens['longest']} tokens"
        return [(what, f"{found['cosine']['least']:.7f}", "at least 0.9999"), ("mean cosine", f"{found['cosine']['mean']:.7f}", "")]
    rows = []
    for name, what, form in (("kl", "mean KL divergence (nats)", ".3e"), ("disagreement", "top-1 disagreement", ".2%")):
        limit = f"at most 1.25 x {found[name + '_bf16_cpu']:{form}}"
        rows.append((f"{what}, {found['prompts']} prompts x {found['tokens']} tokens", f"{found[name]:{form}}", limit))
    return rows


if __name__ == "__main__":
    command()
