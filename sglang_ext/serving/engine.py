"""Starts SGLang's Engine on the chip for our own commands: its chatter goes to a log file, its failures become one clear error."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sglang_ext.serving import step_log
from sglang_ext.serving.model_folder import rigi_home


class EngineError(RuntimeError):
    """The engine did not start or died; the text holds the cause and the log's path."""


@dataclass
class Answer:
    """One request's result; times are host seconds after the batch was submitted."""

    text: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0


@contextmanager
def quiet(log: Path) -> Iterator[TextIO]:
    """Sends this process's and its children's stdout and stderr to `log`; yields the terminal's old standard error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    terminal = os.fdopen(os.dup(saved[1]), "w", buffering=1)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, old in zip((1, 2), saved, strict=True):
            os.dup2(old, fd)
            os.close(old)
        terminal.close()


class ChipEngine:
    """SGLang's Engine with the chip as its device: `start` it, `close` it, inside `quiet`.

    timed: simulate time (`RIGI_MODE=timed`) or only compute (faster on the host). Steps are logged to `steps`.
    """

    def __init__(self, model: Path, log: Path, *, timed: bool, terminal: TextIO, **server_args: Any):
        self.model, self.log, self.timed, self.terminal = model, log, timed, terminal
        self.server_args = server_args
        self.start_s = 0.0
        self._flushes = 0
        self._folder = tempfile.TemporaryDirectory(prefix="rigi-steps-")
        self._steps = Path(self._folder.name) / "steps.jsonl"

    def start(self) -> None:
        """Loads the model; takes seconds. Raises EngineError."""
        environment = {"RIGI_STEP_LOG": str(self._steps), "RIGI_MODE": "timed" if self.timed else "functional"}
        previous = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        _watched.update(log=self.log, terminal=self.terminal)
        begin = time.monotonic()
        try:
            import sglang

            self.engine = sglang.Engine(
                model_path=str(self.model), log_level="warning", custom_sigquit_handler=_child_died, **self.server_args
            )
        except Exception as error:
            raise EngineError(_explain(str(error), self.log)) from error
        finally:
            for name, value in previous.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        self.start_s = time.monotonic() - begin

    def close(self) -> None:
        """Ends the engine's processes, if it was started."""
        if self.start_s:
            self.engine.shutdown()
            self._folder.cleanup()

    def generate(
        self, prompts: list[str] | list[list[int]], sampling: dict[str, Any], on_text: Callable[[int, Answer], None] = lambda *_: None
    ) -> list[Answer]:
        """Submits all prompts (texts or token ids) at once and streams: `on_text(index, answer so far)` for each piece."""
        answers = [Answer() for _ in prompts]
        begin = time.monotonic()

        async def one(index: int, prompt: Any) -> None:
            name = "prompt" if isinstance(prompt, str) else "input_ids"
            stream = await self.engine.async_generate(**{name: prompt}, sampling_params=sampling, stream=True)
            answer = answers[index]
            async for chunk in stream:
                answer.last_s = time.monotonic() - begin
                if not answer.tokens:
                    answer.first_s = answer.last_s
                answer.text = chunk.get("text", "")
                answer.ids = list(chunk.get("output_ids") or answer.ids)
                answer.prompt_tokens = chunk["meta_info"]["prompt_tokens"]
                answer.tokens = chunk["meta_info"]["completion_tokens"]
                on_text(index, answer)

        async def everything() -> None:
            await asyncio.gather(*(one(i, prompt) for i, prompt in enumerate(prompts)))

        try:
            self.engine.loop.run_until_complete(everything())
        except ValueError as error:
            raise EngineError(str(error)) from error
        return answers

    def steps(self) -> list[dict[str, Any]]:
        """The forwards since the last call of `steps`.

        A line is written when the next forward begins: so this runs one more token through the engine, whose own line comes
        first in the next call and is left out there.
        """
        self.generate([[1, 2, 3]], {"temperature": 0, "max_new_tokens": 1})
        lines = step_log.read(self._steps)[self._flushes :]
        self._steps.write_text("")
        self._flushes = 1
        return lines


# SGLang pickles its arguments, the handler among them, into its child processes: so it is a plain function.
_watched: dict[str, Any] = {}


def _child_died(*_: object) -> None:
    """SGLang's way to say that a child process failed: tell why, end the whole group."""
    print(f"Error: {_explain('the engine stopped', _watched['log'])}", file=_watched["terminal"], flush=True)
    from sglang.srt.utils import kill_process_tree

    kill_process_tree(os.getpid(), include_parent=False)
    os._exit(1)


def _explain(what: str, log: Path) -> str:
    """`what`, the last exception line in the log, and where the log is."""
    sys.stdout.flush()
    sys.stderr.flush()
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    errors = [line for line in lines if _is_error(line)]
    cause = f" {errors[-1].strip()}" if errors else ""
    return f"{what.rstrip('.')}.{cause} (full log: {log})"


def _is_error(line: str) -> bool:
    head = line.split(":", 1)[0]
    return ":" in line and " " not in head and head.endswith(("Error", "Exception"))


def log_path(name: str) -> Path:
    """Where a command keeps its engine's log."""
    return rigi_home() / "logs" / f"{name}-{os.getpid()}.log"
