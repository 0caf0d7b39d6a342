"""How fast the emulator itself is, beside the machine it runs on. Host seconds throughout; what is compared takes turns.

Each function returns raw figures. What a processor computes, other work on the machine makes slower, never faster: the best run counts.
Memory is shared with strangers and may give twice as much for some milliseconds, and costs of a few per cent (timing, a profiler) are
smaller than the noise: there it is the median of ratios of neighbouring runs.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sdk_sim

Progress = Callable[[], object]


def _nothing() -> None:
    pass


def use_threads() -> int:
    """Gives torch and the emulator as many threads as the host has processors, at most 16. Returns the number."""
    import torch

    threads = min(len(os.sched_getaffinity(0)), 16)
    torch.set_num_threads(threads)
    sdk_sim.set_num_threads(threads)
    return threads


def _seconds(work: Callable[[], object]) -> float:
    # The threads of torch's OpenMP wait for more work in a loop, some milliseconds long: on a processor that the emulator, next in turn,
    # has been given. Each side starts on an idle machine.
    time.sleep(0.02)
    start = time.perf_counter()
    work()
    sdk_sim.synchronize()
    return time.perf_counter() - start


def gemm(size: int = 2048, repeat: int = 10, progress: Progress = _nothing) -> dict[str, Any]:
    """torch.ops.rigi.linear in bf16 in functional mode, beside torch.mm in fp32 on the host: [size, size] x [size, size]."""
    import torch

    import sglang_ext.device  # noqa: F401

    sdk_sim.set_mode("functional")
    a, b = torch.randn(size, size), torch.randn(size, size)
    x, w = a.to(torch.bfloat16).to("rigi"), b.to(torch.bfloat16).to("rigi")
    chip, host = [], []
    for _ in range(repeat):
        chip.append(_seconds(lambda: torch.ops.rigi.linear(x, w)))
        host.append(_seconds(lambda: torch.mm(a, b)))
        progress()
    flops = 2.0 * size**3 / 1e9
    return {"size": size, "rigi_gflops": flops / min(chip), "torch_fp32_gflops": flops / min(host), "ratio": min(host) / min(chip)}


def gemv(megabytes: int = 512, repeat: int = 20, progress: Progress = _nothing) -> dict[str, Any]:
    """y[1, n] = x[1, k] w[n, k]^T in bf16 in functional mode, beside plain reading of the very same weights by all threads.

    Reading is torch's sum and its maximum over them as fp32 or int64: one vectorized pass in address order, a share of the memory for
    each thread, far more arithmetic at hand than memory delivers. A round is two products and the two reads, by turns, of which the faster
    one counts; `ratio` is the median over the rounds of the read bandwidth's share that the product reached. `best_ratio` compares the best
    runs of all, which a virtual machine may have had in different states.
    """
    import torch

    import sglang_ext.device  # noqa: F401

    sdk_sim.set_mode("functional")
    k = 16384 if megabytes >= 64 else 1024
    n = (megabytes << 20) // (2 * k)
    w, x = torch.ones(n, k, dtype=torch.bfloat16, device="rigi"), torch.ones(1, k, dtype=torch.bfloat16, device="rigi")
    torch.ops.rigi.linear(x, w)
    sdk_sim.synchronize()
    memory = (ctypes.c_char * (2 * n * k)).from_address(w.data_ptr())  # the host can read the chip's memory
    views = [torch.frombuffer(memory, dtype=dtype) for dtype in (torch.float32, torch.int64)]
    chip, host = [], []
    for _ in range(repeat):
        pairs = [(_seconds(lambda: torch.ops.rigi.linear(x, w)), _seconds(read)) for read in (views[0].sum, views[1].max)]
        chip.append(min(product for product, _ in pairs))
        host.append(min(read for _, read in pairs))
        progress()
    gigabytes = 2.0 * n * k / 1e9
    return {
        "n": n,
        "k": k,
        "rigi_gb_s": gigabytes / min(chip),
        "read_gb_s": gigabytes / min(host),
        "median_gb_s": gigabytes / statistics.median(chip),
        "median_read_gb_s": gigabytes / statistics.median(host),
        "ratio": statistics.median(read / product for read, product in zip(host, chip)),
        "best_ratio": min(host) / min(chip),
    }


def decode(folder: Path, steps: int = 30, prompt: int = 64, progress: Progress = _nothing, **server_args: Any) -> dict[str, Any]:
    """Decode steps of a served model at batch 1 through SGLang's model runner, functional and timed by turns, the context growing.

    `overhead` is the median over all pairs of neighbouring steps of timed / functional - 1; which of the two comes first alternates.
    One run a process.
    """
    import torch

    from benchmarks.chip_runner import ChipRunner

    chip = ChipRunner(folder, **server_args)
    _, logits, batch = chip.runner.extend([chip._request(0, [20 + i % 200 for i in range(prompt)])])
    ids = torch.tensor([100]).to(logits.device)

    def step(mode: sdk_sim.Mode) -> float:
        sdk_sim.set_mode(mode)
        start = time.perf_counter()
        _, out = chip.runner.decode(ids, batch)
        out.cpu()
        return time.perf_counter() - start

    modes: tuple[sdk_sim.Mode, sdk_sim.Mode] = ("functional", "timed")
    for mode in modes * 2:
        step(mode)
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for i in range(steps):
        for mode in modes if i % 2 == 0 else reversed(modes):
            seconds[mode].append(step(mode))
        progress()
    sdk_sim.take_statistics()
    step("timed")
    launches = sdk_sim.take_statistics()["launches"]
    chip.runner.clear()
    functional, timed = seconds["functional"], seconds["timed"]
    return {
        "steps": steps,
        "context": [prompt + 4, prompt + 4 + 2 * steps],
        "launches_a_step": launches,
        "functional_ms": statistics.median(functional) * 1e3,
        "timed_ms": statistics.median(timed) * 1e3,
        "functional_best_ms": min(functional) * 1e3,
        "timed_best_ms": min(timed) * 1e3,
        "overhead": statistics.median(t / f for f, t in zip(functional, timed)) - 1,
    }


class Empty:
    """The empty kernel through the C interface, without Python's own calls in between."""

    GRAPH = 300

    def __init__(self, device: int = 0) -> None:
        self.lib = ctypes.CDLL(str(Path(sdk_sim.__file__).parent / "lib" / "librigi.so"))
        self.lib.rigiGetLastErrorString.restype = ctypes.c_char_p
        self.stream, graph, self.graph = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self.offsets = (ctypes.c_uint64 * (sdk_sim.properties(device)["cores"] + 1))()
        self.call("rigiStreamCreate", device, ctypes.byref(self.stream))
        self.call("rigiStreamBeginCapture", self.stream)
        for _ in range(self.GRAPH):
            self.launch()
        self.call("rigiStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("rigiGraphInstantiate", graph, ctypes.byref(self.graph))

    def call(self, name: str, *args: Any) -> None:
        if getattr(self.lib, name)(*args) != 0:
            raise RuntimeError(f"{name}: {self.lib.rigiGetLastErrorString().decode()}")

    def launch(self) -> None:
        self.call("rigiLaunchProgram", self.stream, b"empty", None, self.offsets, 1)

    def synchronize(self) -> None:
        self.call("rigiStreamSynchronize", self.stream)

    def graph_us(self) -> float:
        """Microseconds of one launch of the graph until it is done."""
        start = time.perf_counter()
        self.call("rigiGraphLaunch", self.graph, self.stream)
        self.synchronize()
        return (time.perf_counter() - start) * 1e6

    def burst_us(self, count: int = 2000) -> float:
        """Microseconds a launch, from the first submission until the last is done."""
        start = time.perf_counter()
        for _ in range(count):
            self.launch()
        self.synchronize()
        return (time.perf_counter() - start) * 1e6 / count

    def alone_us(self, count: int = 200) -> float:
        """Microseconds of a launch and the wait for it."""
        start = time.perf_counter()
        for _ in range(count):
            self.launch()
            self.synchronize()
        return (time.perf_counter() - start) * 1e6 / count


def launches(repeat: int = 20, progress: Progress = _nothing) -> dict[str, dict[str, float]]:
    """Microseconds of empty launches, by mode: `launch` (in a burst), `launch_and_wait`, `graph300`. The best of `repeat` rounds."""
    empty = Empty()
    result: dict[str, dict[str, float]] = {}
    modes: tuple[sdk_sim.Mode, sdk_sim.Mode] = ("functional", "timed")
    for mode in modes:
        sdk_sim.set_mode(mode)
        kinds = {"launch": empty.burst_us, "launch_and_wait": empty.alone_us, "graph300": empty.graph_us}
        empty.graph_us()
        result[mode] = {kind: min(run() for _ in range(repeat * (10 if kind == "graph300" else 1))) for kind, run in kinds.items()}
        progress()
    return result


def profiler_off(folder: Path, repeat: int = 2000, progress: Progress = _nothing) -> dict[str, Any]:
    """What it costs that there is a profiler, while it is off, on a loop of nothing but launches (the graph of 300 empty ones, timed mode).

    Two devices take turns: one that never took a profile, one on which a profile was started and stopped. `overhead` is the median over
    neighbouring runs of the second / the first - 1; it is None if the SDK has no profiler. Needs RIGI_DEVICES=2.
    """
    never, stopped = Empty(0), Empty(1)
    if not hasattr(stopped.lib, "rigiProfilerStart"):
        return {"overhead": None}
    for device in (0, 1):
        sdk_sim.set_mode("timed", device)
    stopped.call("rigiProfilerStart", 1, str(folder).encode())
    stopped.graph_us()
    stopped.call("rigiProfilerStop", 1)
    runs = []
    for i in range(repeat):
        pair = (never, stopped) if i % 2 == 0 else (stopped, never)
        us = {device: device.graph_us() for device in pair}
        runs.append((us[never], us[stopped]))
        progress()
    return {
        "never_started_us": min(a for a, _ in runs),
        "stopped_us": min(b for _, b in runs),
        "overhead": statistics.median(b / a for a, b in runs) - 1,
    }
