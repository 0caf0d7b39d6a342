"""Simulated cycles of configurations: many kernels to one compiler run, timed on the emulated chip in timing-only mode.

What costs host time is making a kernel (0.2 s) and, less, timing it. Configurations are therefore compiled in batches, a batch is timed on
all the shapes asked for, and batches are dealt to worker processes, which live as long as the Bench.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from .space import Blank, Shape, Space, TuneError, Values, text
from .spaces import space_of

BATCH = 8  # kernels to a compiler run
_stopped: Any = None  # in a worker: the event that its Bench has no use for further results
_built: dict[tuple[str, Values], Any] = {}  # by op and configuration: the function, or why there is none


@dataclass(frozen=True)
class Measured:
    """A configuration's cycles on each shape asked for: None where it does not fit, or could not be built (`error` says why)."""

    values: Values
    cycles: tuple[int | None, ...]
    error: str = ""


def measure(op: str, batch: Sequence[Values], shapes: Sequence[Shape]) -> list[Measured]:
    """Builds and times configurations in this process. The device's mode is set back afterwards."""
    import sdk_sim

    space = space_of(op)
    new = [values for values in batch if (op, values) not in _built]
    _built.update({(op, values): made for values, made in zip(new, _build(space, new))})
    before = sdk_sim.get_mode()
    sdk_sim.set_mode("timing-only")
    try:
        results = []
        for values in batch:
            if _stopped is not None and _stopped.is_set():
                break
            made = _built[op, values]
            if isinstance(made, str):
                results.append(Measured(values, (None,) * len(shapes), made))
            else:
                results.append(Measured(values, tuple(_time(space, made, values, s) for s in shapes)))
        return results
    finally:
        sdk_sim.set_mode(before)


def _build(space: Space, batch: Sequence[Values]) -> list[Any]:
    """Each configuration's function, or the reason why there is none. One that fails does not take the others with it."""
    import tvm

    from .. import target

    if not batch:
        return []
    target.register()
    names = [space.spec(values).name for values in batch]
    try:
        funcs = {n: space.spec(v).make().with_attr("global_symbol", n) for n, v in zip(names, batch)}
        executable = tvm.compile(tvm.IRModule(funcs), target="rigi1")
        return [executable[name] for name in names]
    except Exception as error:  # whatever the compiler may raise: it belongs to a configuration, not to the search
        if len(batch) == 1:
            return [f"{type(error).__name__}: {error}"]
        return [made for values in batch for made in _build(space, [values])]


def _time(space: Space, function: Any, values: Values, shape: Shape) -> int | None:
    import numpy as np
    import tvm_ffi

    from ..testing import SdkError, device_cycles

    if not space.fits(values, shape):
        return None
    arguments = space.arguments(space.config(values), shape)
    try:
        holders = {id(a): _array(a) for a in arguments if isinstance(a, (Blank, np.ndarray))}
    except SdkError as error:  # operands larger than the HBM
        raise TuneError(f"{space.op}: {text(shape)} cannot be timed: {error}") from error
    passed = [tvm_ffi.from_dlpack(holders[id(a)]) if id(a) in holders else a for a in arguments]
    before = device_cycles()
    function(*passed)
    return device_cycles() - before


def _array(argument: Any) -> Any:
    import ml_dtypes  # noqa: F401  teaches NumPy the name bfloat16

    from ..testing import DeviceArray

    return DeviceArray.blank(argument.shape, argument.dtype) if isinstance(argument, Blank) else DeviceArray(argument)


def _start_worker(stopped: Any) -> None:
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's, which keeps what is done
    os.environ["RIGI_MODE"] = "timing-only"


class Bench:
    """Worker processes that measure. `processes` = 0 measures in this process.

    As a context it holds Ctrl-C back: KeyboardInterrupt then comes up between two batches (or at the end), never inside TVM's C++."""

    def __init__(self, processes: int | None = None) -> None:
        self.processes = min(os.cpu_count() or 1, 8) if processes is None else processes
        self._pool: ProcessPoolExecutor | None = None
        self._stopped = get_context("spawn").Event()
        self._interrupted = threading.Event()
        self._handler: Any = None

    def __enter__(self) -> Bench:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, lambda *_: self._interrupted.set())
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            if failure is not None:
                self._stopped.set()  # a configuration of a large shape takes seconds: only those under way are waited for
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if failure is None:
            self.check()

    def check(self) -> None:
        """Raises the KeyboardInterrupt that was held back."""
        if self._interrupted.is_set():
            raise KeyboardInterrupt

    def measure(self, op: str, wanted: Iterable[Values], shapes: Sequence[Shape]) -> Iterator[list[Measured]]:
        """Batches of results as they come in, in no order."""
        todo = list(wanted)
        # Small jobs are cut so that every worker has one.
        size = max(1, min(BATCH, -(-len(todo) // max(1, self.processes))))
        batches = [todo[i : i + size] for i in range(0, len(todo), size)]
        self.check()
        if not self.processes:
            for batch in batches:
                yield measure(op, batch, shapes)
                self.check()
            return
        running = {self._submit(measure, op, batch, shapes) for batch in batches}
        try:
            while running:
                done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield self._result(future)
                self.check()
        finally:
            for future in running:
                future.cancel()

    def _result(self, future: Future[list[Measured]]) -> list[Measured]:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise TuneError(
                "a worker process ended without a word (killed for want of memory?); what was measured is kept, run the command again, "
                "with fewer --processes if need be"
            ) from error

    def _submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        if self._pool is None:
            # Spawned, not forked: TVM and the device have threads.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, context, _start_worker, (self._stopped,))
        if self._handler is None:
            return self._pool.submit(call, *args)
        # A worker that starts with the signal ignored never sees a Ctrl-C, not even while it imports TVM.
        mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return self._pool.submit(call, *args)
        finally:
            signal.signal(signal.SIGINT, mine)
