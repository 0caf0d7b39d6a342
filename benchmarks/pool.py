"""Worker processes that may crash, hang or grow: each task has an outcome, and the next one a working process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

START_SECONDS = 600.0  # on a machine that is busy with other things
FRESH_AFTER = 300  # tasks: what libraries keep for ever stays bounded
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Work(Generic[Task, Result]):
    """What the processes of a pool do.

    Args:
        start: called once in each process; gives the function from a task to its result. It, tasks and results are pickled.
        lost: the result of a task whose process ended: the task, "crash", "timeout" or "memory", and a sentence.
        keep: whether a process goes on after this result.
        memory_bytes: what one process may have, resident.
    """

    start: Callable[[], Callable[[Task], Result]]
    lost: Callable[[Task, str, str], Result]
    keep: Callable[[Result], bool] = lambda _: True
    memory_bytes: int = 6 << 30


def run(work: Work[Task, Result], tasks: list[Task], jobs: int, timeout: float) -> Iterator[Result]:
    """Results in the order they come. A task that crashes, or outlives `timeout` seconds, costs its process and no more."""
    waiting = list(reversed(tasks))
    with tempfile.TemporaryDirectory(prefix="rigi-bench-") as folder:
        workers: list[Worker] = []
        idle: list[Worker] = []
        try:
            while waiting or any(worker.busy for worker in workers):
                while len(workers) < min(jobs, len(waiting) + sum(worker.busy for worker in workers)):
                    workers.append(Worker(work, Path(folder)))
                for worker in idle:
                    if waiting:
                        worker.give(waiting.pop())
                idle.clear()
                for worker, event, value in _events(workers, timeout):
                    if event == "ready" or (event == "result" and work.keep(value) and worker.done < FRESH_AFTER):
                        idle.append(worker)
                    else:
                        workers.remove(worker)
                        words = worker.end()
                        if event != "result":
                            value = _lost(work, worker, event, words, timeout)
                    if event != "ready":
                        yield value
        finally:
            for worker in workers:
                worker.end()


class Worker:
    """One process, and what it is busy with."""

    def __init__(self, work: Work[Any, Any], folder: Path):
        self.memory_bytes = work.memory_bytes
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads of this process
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, work.start, str(self.log)), daemon=True)
        self.process.start()
        other.close()
        self.task: Any = None
        self.busy = False
        self.ready = False
        self.since = time.monotonic()
        self.done = 0

    def give(self, task: Any) -> None:
        self.task, self.busy, self.since = task, True, time.monotonic()
        self.connection.send(task)

    def take(self) -> tuple[str, Any]:
        """What the process sent: ("ready", None) or ("result", the result). Raises EOFError or OSError if it ended."""
        event, value = self.connection.recv()
        if event == "ready":
            self.ready = True
        else:
            self.busy, self.done = False, self.done + 1
        return event, value

    def overdrawn(self, timeout: float) -> str | None:
        """Of what the process has used too much, if anything: "timeout" or "memory"."""
        if time.monotonic() - self.since > (timeout if self.ready else START_SECONDS):
            return "timeout"
        return "memory" if self.resident() > self.memory_bytes else None

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


def _serve(connection: Connection, start: Callable[[], Callable[[Any], Any]], log: str) -> None:
    """The process: answers tasks until the other end closes. What is printed goes to the file `log`."""
    os.setsid()  # with the compilers that it starts, it can be ended as a group
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = sys.stderr = open(log, "a", buffering=1)
    answer = start()
    connection.send(("ready", None))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(("result", answer(task)))


def _events(workers: list[Worker], timeout: float) -> Iterator[tuple[Worker, str, Any]]:
    """Answers that have come, and workers that ended ("crash") or must ("timeout", "memory")."""
    ready = wait([worker.connection for worker in workers], POLL_SECONDS)
    for worker in list(workers):
        if worker.connection in ready:
            try:
                yield worker, *worker.take()
            except (EOFError, OSError):
                yield worker, "crash", None
        elif (worker.busy or not worker.ready) and (over := worker.overdrawn(timeout)):
            yield worker, over, None


def _lost(work: Work[Task, Result], worker: Worker, why: str, words: str, timeout: float) -> Result:
    if not worker.busy:
        raise RuntimeError(f"a worker could not start: {words}")
    said = f", {words.partition(' after: ')[2]}" if " after: " in words else ""
    texts = {
        "timeout": f"not done after {timeout:g} s{said}",
        "memory": f"took more than {work.memory_bytes >> 30} GiB{said}",
        "crash": words,
    }
    return work.lost(worker.task, why, texts[why])
