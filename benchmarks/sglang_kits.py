"""SGLang's own test kits against a server on the chip: ``python -m benchmarks.sglang_kits``, what `make kits` runs.

The kits are mix-ins in `sglang.test.kits` that talk HTTP to a running server. Here each becomes a test case over one server with
SmolLM2-135M-Instruct. What fails for another reason than the chip is listed with that reason; anything else that fails is an error.
"""

import importlib
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sdk_sim.origin import emit

KITS = {
    "basic_api_contract_kit": ("BasicAPIContractMixin",),
    "basic_decode_correctness_kit": ("BasicDecodeCorrectnessMixin",),
    "basic_scheduler_stress_kit": ("BasicSchedulerStressMixin",),
    "abort_timeout_kit": ("AbortAllMixin",),
    "anthropic_messages_kit": ("AnthropicMessagesMixin",),
    "ebnf_constrained_kit": ("EBNFConstrainedMixin",),
    "json_constrained_kit": ("JSONConstrainedMixin",),
    "json_mode_kit": ("JSONModeMixin",),
    "matched_stop_kit": ("MatchedStopMixin",),
    "pause_generation_kit": ("PauseResumeInPlaceMixin",),
    "regex_constrained_kit": ("RegexConstrainedMixin",),
    "streaming_session_kit": ("StreamingSessionKitMixin", "AbortLeakReproKitMixin"),
}

# Why a test fails that the chip is not to blame for: what the model answers, or what the kit takes for granted.
EXPECTED: dict[str, str] = {
    "test_finish_stop_str": "the model: asked for a story in a chat, SmolLM2-135M repeats one sentence and writes no newline",
    "test_finish_stop_eos": "the kit: it names the end tokens and the chat marks of Llama 3, which are text to SmolLM2",
    "test_basic_math": "the model: it cannot multiply 17 by 23",
    "test_concurrent_requests": "the model: to this prompt, without chat marks, its first token ends the text",
    "test_json_generate": "the model: its JSON is not finished after the kit's number of tokens",
    "test_count_tokens_with_system": "the kit: without a system message SmolLM2's template inserts one, longer than the kit's",
}


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]


@dataclass
class Outcome:
    kit: str
    test: str
    passed: bool
    seconds: float
    message: str = ""

    @property
    def reason(self) -> str:
        return "" if self.passed else EXPECTED.get(self.test, self.message)

    @property
    def expected(self) -> bool:
        return self.passed or self.test in EXPECTED


@contextmanager
def server(model: Path, log: Path, *arguments: str, ready_s: float = 600) -> Iterator[Server]:
    """SGLang's HTTP server on the chip, functional mode; raises RuntimeError with the log's end if it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(model), "--port", str(port), "--log-level", "warning"]
    with log.open("wb") as out:
        environment = {**os.environ, "RIGI_MODE": "functional"}
        process = subprocess.Popen([*command, *arguments], stdout=out, stderr=subprocess.STDOUT, env=environment)
    running = Server(f"http://127.0.0.1:{port}", process)
    try:
        _await(running, log, ready_s)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _await(running: Server, log: Path, ready_s: float) -> None:
    import httpx

    deadline = time.monotonic() + ready_s
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            if httpx.get(running.url + "/health_generate", timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise RuntimeError(f"the server did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def cases(kit: str, url: str, process: Any, model: str) -> list[unittest.TestCase]:
    """The tests of a kit's mix-ins, bound to a server. model: the name that the server serves, a folder with its tokenizer."""
    import openai
    from transformers import AutoTokenizer

    module = importlib.import_module(f"sglang.test.kits.{kit}")
    attributes = {
        "base_url": url, "process": process, "model": model, "api_key": "unused",
        "client": openai.Client(api_key="unused", base_url=f"{url}/v1"), "tokenizer": AutoTokenizer.from_pretrained(model),
        "abort_all_max_new_tokens": 4000,  # the kit's 16,000 do not fit the model's context
    }  # fmt: skip
    found: list[unittest.TestCase] = []
    for mixin in KITS[kit]:
        case = type(mixin, (getattr(module, mixin), unittest.TestCase), attributes)
        found += unittest.defaultTestLoader.loadTestsFromTestCase(case)  # type: ignore[arg-type]
    return found


def run(test: unittest.TestCase, kit: str) -> Outcome:
    """One test, its prints swallowed."""
    result, begin = unittest.TestResult(), time.monotonic()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        test.run(result)
    wrong = [*result.failures, *result.errors]
    message = wrong[0][1].strip().splitlines()[-1] if wrong else ""
    return Outcome(kit.removesuffix("_kit"), test._testMethodName, not wrong, time.monotonic() - begin, message)


@click.command()
@click.option("--model-path", type=click.Path(path_type=Path), help="The model folder; default SmolLM2-135M-Instruct.")
@click.option("--kit", "kits", multiple=True, type=click.Choice(list(KITS)), help="Only this kit; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def main(model_path: Path | None, kits: tuple[str, ...], as_json: bool) -> None:
    """Run SGLang's own test kits against a server on the chip."""
    from rich.console import Console
    from rich.table import Table

    from sglang_ext.serving import model_folder

    model = model_path or model_folder.make_smollm2()
    console = Console(stderr=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="rigi-kits-") as folder:
        console.print("starting the server")
        options = ("--enable-streaming-session",)
        with server(model, Path(folder) / "server.log", *options) as running:
            for kit in kits or KITS:
                for test in cases(kit, running.url, running.process, str(model)):
                    outcomes.append(run(test, kit))
                    last = outcomes[-1]
                    console.print(f"{'passed' if last.passed else 'FAILED'}  {last.kit}  {last.test}  {last.seconds:.1f} s")
    if as_json:
        emit({"tests": [vars(outcome) | {"reason": outcome.reason} for outcome in outcomes]}, "sglang")
    else:
        table = Table("kit", "passed", "failed", "which, and why")
        for kit in dict.fromkeys(outcome.kit for outcome in outcomes):
            mine = [outcome for outcome in outcomes if outcome.kit == kit]
            failed = [outcome for outcome in mine if not outcome.passed]
            why = "\n".join(f"{outcome.test}: {outcome.reason}" for outcome in failed)
            table.add_row(kit, str(len(mine) - len(failed)), str(len(failed)), why)
        Console().print(table)
        print(f"{sum(outcome.passed for outcome in outcomes)} of {len(outcomes)} passed")
    sys.exit(0 if all(outcome.expected for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
