"""``rigi bench serve``: serving speed through SGLang's Engine on the chip, beside transformers in fp32 in the same run.

Host speed is measured with the emulator in functional mode (it computes, but keeps no time); simulated times in a second
engine in timed mode. transformers runs before and after the engine, never at the same time, and its better run counts.
"""

import random
import statistics
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from sdk_sim.origin import emit

DECODE_BATCHES = (1, 8)
PREFILL_LENGTHS = (128, 512)
MESSAGE = "Write a long story about a lighthouse keeper who finds a message in a bottle."


@click.command()
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="A HuggingFace folder. Default: SmolLM2-135M-Instruct, made if missing."
)
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(8), help="Decoded tokens a request.")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1), help="Runs of each measurement; the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def serve(model_path: Path | None, tokens: int, repeat: int, as_json: bool) -> None:
    """Decode and prefill speed through SGLang on the chip, and simulated times."""
    from rich.console import Console

    from benchmarks.parity import _model
    from sglang_ext.serving.engine import EngineError, log_path, quiet

    log = log_path("bench-serve")
    with quiet(log) as terminal:
        try:
            result = measure(_model(model_path), tokens, repeat, log, Console(file=terminal))
        except EngineError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        emit(result, "sglang", "transformers", "torch")
    else:
        _print(result)


def measure(folder: Path, tokens: int, repeat: int, log: Path, console: Any) -> dict[str, Any]:
    """The JSON fields of ``rigi bench serve``."""
    import torch

    from benchmarks import reference
    from benchmarks.parity import _token_ids
    from sglang_ext.serving.demo import chat_texts
    from sglang_ext.serving.engine import ChipEngine
    from sglang_ext.serving.progress import step

    prompt = _token_ids(folder, chat_texts(folder, [MESSAGE]))[0]
    terminal = console.file

    def transformers() -> float:
        with step(console, "transformers fp32, batch 1"):
            model = reference.load(folder, torch.float32)
            return max(reference.decode_speed(model, prompt, tokens) for _ in range(2))

    speeds = [transformers()]
    decode: dict[str, float] = {}
    prefill: dict[str, float] = {}
    with step(console, "starting the engine (functional mode)"):
        engine = ChipEngine(folder, log, timed=False, terminal=terminal)
        engine.start()
    with closing(engine):
        _decode(engine, prompt, 1, 8)
        for batch in DECODE_BATCHES:
            with step(console, f"decode, batch {batch}"):
                decode[str(batch)] = _median(_decode(engine, prompt, batch, tokens) for _ in range(repeat))
        for length in PREFILL_LENGTHS:
            with step(console, f"prefill, {length} tokens"):
                prefill[str(length)] = _median(_prefill(engine, length, seed) for seed in range(repeat))
    speeds.append(transformers())
    with step(console, "starting the engine (timed mode)"):
        engine = ChipEngine(folder, log, timed=True, terminal=terminal)
        engine.start()
    with closing(engine), step(console, "simulated times"):
        simulated = _simulated(engine, prompt)
    best = max(speeds)
    return {
        "model": str(folder),
        "decode_tok_s": decode,
        "prefill_tok_s": prefill,
        "transformers_fp32_decode_tok_s": round(best, 2),
        "ratio_decode_b1": round(decode["1"] / best, 3),
        "simulated": simulated,
    }


def _median(values: Any) -> float:
    return round(statistics.median(values), 2)


def _decode(engine: Any, prompt: list[int], batch: int, tokens: int) -> float:
    """Tokens a second from the moment that every request has its first token to the last token."""
    answers = engine.generate([prompt] * batch, {"temperature": 0, "max_new_tokens": tokens + 1, "ignore_eos": True})
    first, last = max(a.first_s for a in answers), max(a.last_s for a in answers)
    return batch * tokens / (last - first)


def _prompt(length: int, seed: int) -> list[int]:
    """Random token ids, different for every seed: no prefix is in the cache."""
    return random.Random(f"{length}/{seed}").choices(range(20, 500), k=length)


def _prefill(engine: Any, length: int, seed: int) -> float:
    """Prompt tokens a second until the first new token."""
    (answer,) = engine.generate([_prompt(length, seed)], {"temperature": 0, "max_new_tokens": 1, "ignore_eos": True})
    return length / answer.last_s


def _simulated(engine: Any, prompt: list[int]) -> dict[str, Any]:
    """Microseconds of the chip for a decode step by batch and a prefill by length, and the tokens a second these mean."""
    out: dict[str, Any] = {"decode_step_us": {}, "decode_tok_s": {}, "prefill_us": {}, "prefill_tok_s": {}}
    engine.generate([prompt], {"temperature": 0, "max_new_tokens": 2})
    for batch in DECODE_BATCHES:
        engine.steps()
        engine.generate([prompt] * batch, {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True})
        lines = [s for s in engine.steps() if s["mode"] == "decode" and s["batch"] == batch]
        microseconds = statistics.mean(s["simulated_us"] for s in lines)
        out["decode_step_us"][str(batch)] = round(microseconds, 2)
        out["decode_tok_s"][str(batch)] = round(batch / microseconds * 1e6, 1)
    for length in PREFILL_LENGTHS:
        engine.steps()
        engine.generate([_prompt(length, -1)], {"temperature": 0, "max_new_tokens": 1})
        (line,) = [s for s in engine.steps() if s["tokens"] == length]
        out["prefill_us"][str(length)] = round(line["simulated_us"], 2)
        out["prefill_tok_s"][str(length)] = round(length / line["simulated_us"] * 1e6, 1)
    return out


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="Host time: tokens a second on this machine", title_justify="left")
    table.add_column("work")
    table.add_column("Rigi, emulated", justify="right")
    table.add_column("transformers fp32", justify="right")
    for batch, speed in result["decode_tok_s"].items():
        reference = f"{result['transformers_fp32_decode_tok_s']:.1f}" if batch == "1" else ""
        table.add_row(f"decode, batch {batch}", f"{speed:.1f}", reference)
    for length, speed in result["prefill_tok_s"].items():
        table.add_row(f"prefill, {length} tokens", f"{speed:.1f}", "")
    console.print(table)
    simulated = result["simulated"]
    table = Table(title="Simulated time: what the chip would need, from its cycle model", title_justify="left")
    for column in ("work", "simulated µs", "simulated tokens/s"):
        table.add_column(column, justify="left" if column == "work" else "right")
    for batch, us in simulated["decode_step_us"].items():
        table.add_row(f"decode step, batch {batch}", f"{us:,.1f}", f"{simulated['decode_tok_s'][batch]:,.0f}")
    for length, us in simulated["prefill_us"].items():
        table.add_row(f"prefill, {length} tokens", f"{us:,.1f}", f"{simulated['prefill_tok_s'][length]:,.0f}")
    console.print(table)


if __name__ == "__main__":
    serve()
