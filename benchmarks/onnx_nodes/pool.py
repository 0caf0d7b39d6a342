"""Worker processes that may crash, hang or grow: each test has an outcome, and the next one a working process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .cases import Case
from .worker import Result, serve

START_SECONDS = 120.0
MEMORY_BYTES = 6 << 30  # of one worker, resident
FRESH_AFTER = 300  # tests: what libraries keep for ever stays bounded
POLL_SECONDS = 0.25


class Worker:
    """One process of `serve`, and what it is busy with."""

    def __init__(self, target: str, folder: Path):
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads of this process
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, target, str(self.log)), daemon=True)
        self.process.start()
        other.close()
        self.task: tuple[Case, str] | None = None
        self.ready = False
        self.since = time.monotonic()
        self.done = 0

    def give(self, task: tuple[Case, str]) -> None:
        self.task, self.since = task, time.monotonic()
        self.connection.send(task)

    def take(self) -> Any:
        """What the process sent. Raises EOFError or OSError if it ended."""
        answer = self.connection.recv()
        if answer == "ready":
            self.ready = True
        else:
            self.task, self.done = None, self.done + 1
        return answer

    def overdrawn(self, timeout: float) -> str | None:
        """Of what the process has used too much, if anything: "timeout" or "memory"."""
        if time.monotonic() - self.since > (timeout if self.ready else START_SECONDS):
            return "timeout"
        return "memory" if self.resident() > MEMORY_BYTES else None

    def resident(self) -> int:
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> str:
        """Ends the process. Says how it ended, if by itself, and its last words."""
        self.process.join(0.2)
        code = self.process.exitcode
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL) if self.ready else self.process.kill()
        self.process.join()
        self.connection.close()
        words = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"the process ended with {how}" + (f" after: {words[-1].strip()[:160]}" if words else "")


def run(target: str, tasks: list[tuple[Case, str]], jobs: int, timeout: float) -> Iterator[Result]:
    """Results in the order they come. A test that crashes, or outlives `timeout` seconds, costs its worker and no more."""
    waiting = list(reversed(tasks))
    with tempfile.TemporaryDirectory(prefix="rigi-onnx-") as folder:
        workers: list[Worker] = []
        idle: list[Worker] = []
        try:
            while waiting or any(worker.task for worker in workers):
                while len(workers) < min(jobs, len(waiting) + sum(worker.task is not None for worker in workers)):
                    workers.append(Worker(target, Path(folder)))
                for worker in idle:
                    if waiting:
                        worker.give(waiting.pop())
                idle.clear()
                for worker, outcome in _events(workers, timeout):
                    fresh = isinstance(outcome, Result) and not (outcome.stage == "run" and target == "rigi1") and worker.done < FRESH_AFTER
                    if outcome == "ready" or fresh:
                        idle.append(worker)
                    else:
                        workers.remove(worker)
                        words = worker.end()
                        if isinstance(outcome, str):
                            outcome = _lost(worker, outcome, words, timeout)
                    if isinstance(outcome, Result):
                        yield outcome
        finally:
            for worker in workers:
                worker.end()


def _events(workers: list[Worker], timeout: float) -> Iterator[tuple[Worker, Any]]:
    """Answers that have come, and workers that ended or must."""
    busy = {worker.connection: worker for worker in workers}
    ready: list[Connection] = wait(list(busy), POLL_SECONDS)  # type: ignore[assignment]
    for worker in list(workers):
        if worker.connection in ready:
            try:
                yield worker, worker.take()
            except (EOFError, OSError):
                yield worker, "crash"
        elif worker.task is not None or not worker.ready:
            if over := worker.overdrawn(timeout):
                yield worker, over


def _lost(worker: Worker, why: str, words: str, timeout: float) -> Result:
    if worker.task is None:
        raise RuntimeError(f"a worker could not start: {words}")
    case, form = worker.task
    texts = {"timeout": f"not done after {timeout:g} s", "memory": f"took more than {MEMORY_BYTES >> 30} GiB", "crash": words}
    return Result(case.name, case.op, form, why, texts[why])
