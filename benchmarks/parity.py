"""``rigi parity``: how close the chip's next-token distributions are to transformers in fp32, beside transformers in bf16.

Teacher-forced: for each prompt, transformers fp32 continues it greedily; every implementation is then asked, at each position
of that continuation, for its distribution. KL(fp32 || x) and top-1 disagreement with fp32 are averaged over all positions.
"""

from pathlib import Path
from typing import Any

import click

from sdk_sim.origin import emit


@click.command()
@click.option(
    "--prompts",
    "prompt_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="User messages, one a line. Default: twenty of our own.",
)
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(2), help="Continuation length of each prompt.")
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="A HuggingFace folder. Default: SmolLM2-135M-Instruct, made if missing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def parity(prompt_file: Path | None, tokens: int, model_path: Path | None, as_json: bool) -> None:
    """Compare the chip's token distributions with transformers in fp32 and in bf16."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from sglang_ext.serving.engine import log_path, quiet
    from sglang_ext.serving.prompts import VARIED

    messages = [line.strip() for line in prompt_file.read_text().splitlines() if line.strip()] if prompt_file else list(VARIED)
    if not messages:
        raise click.ClickException(f"{prompt_file} holds no prompt: write one user message a line")
    with quiet(log_path("parity")) as terminal:
        columns = (TextColumn("{task.description:<48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=terminal)) as bar:
            result = measure(_model(model_path), messages, tokens, bar)
    if as_json:
        emit(result, "sglang", "transformers", "torch")
    else:
        _print(result)


def _model(folder: Path | None) -> Path:
    from sglang_ext.serving.model_folder import make_smollm2

    try:
        return folder or make_smollm2()
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def measure(folder: Path, messages: list[str], tokens: int, bar: Any) -> dict[str, Any]:
    """The JSON fields of ``rigi parity`` for the model in `folder`; `bar` is a rich Progress."""
    import torch

    from benchmarks import reference
    from benchmarks.chip_runner import ChipRunner
    from sglang_ext.serving.demo import chat_texts

    prompts = _token_ids(folder, chat_texts(folder, messages))
    stage = Stages(bar)
    stage("transformers fp32: greedy continuations", tokens)
    model = reference.load(folder, torch.float32)
    continuations = reference.greedy(model, prompts, tokens, stage.advance)
    pairs = list(zip(prompts, continuations))
    stage("transformers fp32: distributions", len(pairs))
    expected = [stage.done(reference.log_probs(model, *pair)) for pair in pairs]
    stage("transformers bf16 on the CPU: distributions", len(pairs))
    model = reference.load(folder, torch.bfloat16)
    bf16 = [stage.done(compare(want, reference.log_probs(model, *pair))) for want, pair in zip(expected, pairs)]
    del model
    stage("Rigi through SGLang: loading", 1)
    runner = ChipRunner(folder)
    stage(f"Rigi: one extend and {tokens - 1} decode steps", tokens)
    logits = stage.done(runner.teacher_forced(prompts, continuations, stage.advance))
    chip = [compare(want, torch.log_softmax(got, dim=-1)) for want, got in zip(expected, logits)]
    return summarize(bf16, chip, tokens)


class Stages:
    """One bar a stage on a terminal; elsewhere a line when a stage begins."""

    def __init__(self, bar: Any):
        self.bar, self.task = bar, None

    def __call__(self, what: str, total: int) -> None:
        if self.task is not None:
            self.bar.update(self.task, completed=self.bar.tasks[-1].total)
        if not self.bar.console.is_terminal:
            self.bar.console.print(what)
        self.task = self.bar.add_task(what, total=total)

    def advance(self, *_: Any) -> None:
        self.bar.advance(self.task)

    def done(self, value: Any) -> Any:
        self.advance()
        return value


def compare(want: Any, got: Any) -> Any:
    """Tensor [2, T]: per position KL(want || got) in nats and whether the most likely token differs. Both: log-probabilities [T, V]."""
    import torch

    kl = (want.double().exp() * (want.double() - got.double())).sum(-1)
    return torch.stack([kl, (want.argmax(-1) != got.argmax(-1)).double()])


def summarize(bf16: list[Any], chip: list[Any], tokens: int) -> dict[str, Any]:
    """Means over all positions, and the chip's beside bf16's."""
    import torch

    (kl_bf16, off_bf16), (kl, off) = (torch.cat(parts, dim=1).mean(1).tolist() for parts in (bf16, chip))
    return {
        "prompts": len(chip),
        "tokens": tokens,
        "kl": kl,
        "kl_bf16_cpu": kl_bf16,
        "kl_ratio": _ratio(kl, kl_bf16),
        "disagreement": off,
        "disagreement_bf16_cpu": off_bf16,
        "disagreement_ratio": _ratio(off, off_bf16),
    }


def _ratio(value: float, base: float) -> float | None:
    """None only where the base is zero and the value is not: then no ratio exists."""
    return value / base if base else (1.0 if value == base else None)


def _token_ids(folder: Path, texts: list[str]) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['prompts']} prompts x {result['tokens']} tokens, against transformers fp32", title_justify="left")
    for column in ("", "Rigi (bf16)", "transformers bf16 CPU", "ratio"):
        table.add_column(column, justify="right" if column else "left")

    def ratio(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    table.add_row("mean KL divergence (nats)", f"{result['kl']:.3e}", f"{result['kl_bf16_cpu']:.3e}", ratio(result["kl_ratio"]))
    row = (f"{result['disagreement']:.2%}", f"{result['disagreement_bf16_cpu']:.2%}", ratio(result["disagreement_ratio"]))
    table.add_row("top-1 disagreement", *row)
    Console().print(table)


if __name__ == "__main__":
    parity()
