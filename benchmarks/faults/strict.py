"""What only strict mode sees: accesses that the hardware would carry out, and that are wrong all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sdk_sim.isa import ADD, F32, binary, fill, imm, load, send, sram, store

from .case import STRICT, Bench, Case, good
from .native import Outcome, Skip

A, B = sram(4096, 64, F32), sram(8192, 64, F32)
Phases = Sequence[Mapping[int, Sequence[np.ndarray]]]


def strict(name: str, kind: str, place: str, make: Callable[[Bench], Phases], *words: str) -> Case:
    """The launch must fault at `place`, and a finding of that kind must say the same."""

    def inject(bench: Bench) -> Outcome:
        if (refused := bench.api("rigiDeviceSetMode", 0, STRICT)).status != "SUCCESS":
            raise Skip(f"strict mode is not there: {refused.text}")
        with bench.mode(STRICT):
            bench.findings()
            outcome = bench.run(make(bench), name)
            found = [f for f in bench.findings() if f["kind"] == kind and f["kernel"] == name]
            shown = "".join(f" [{f['kind']}: core {f['core']}, phase {f['phase']}, operand {f['operand']}, {f['text']}]" for f in found)
            return Outcome(outcome.status, outcome.text + shown)

    return Case("strict", name, "KERNEL_FAULT", (f"kernel {name}, ", place, f"[{kind}: core ", "rigiDeviceReset", *words), inject)


def written(bench: Bench, nbytes: int = 4096) -> int:
    """Memory of its own, every byte of it written."""
    return bench.malloc(nbytes)


def fresh(bench: Bench) -> int:
    """Memory that nobody has written."""
    return bench.api.new("rigiMalloc", 0, 4096)


def freed(bench: Bench) -> int:
    pointer = written(bench)
    bench.api.must("rigiFree", pointer)
    return pointer


def put(core: int, address: int) -> list[np.ndarray]:
    return [fill(A, core, 1, 16), store(address, 64, A, 1, 64)]


def on_both(bench: Bench, first: Callable[[int], list[np.ndarray]], second: Callable[[int], list[np.ndarray]]) -> Phases:
    """Cores 5 and 6 at one place of HBM."""
    address = written(bench)
    return [{5: first(address), 6: second(address)}]


def leak(bench: Bench) -> Outcome:
    """What is allocated and never freed is listed with its size."""
    if (refused := bench.api("rigiDeviceSetMode", 0, STRICT)).status != "SUCCESS":
        raise Skip(f"strict mode is not there: {refused.text}")
    with bench.mode(STRICT):
        before = {a["address"] for a in bench.allocations()}
        pointer = bench.api.new("rigiMalloc", 0, 12345)
        left = [a for a in bench.allocations() if a["address"] not in before]
        bench.api.must("rigiFree", pointer)
        return Outcome("SUCCESS", f"{len(left)} left: {left}")


CASES = [
    strict(
        "read-sram-never-written",
        "uninitialized",
        "core 5, phase 0, instruction 1 (binary)",
        lambda b: [{5: [good(), binary(ADD, B, A, imm(1), 1, 16)]}],
        "operand a",
    ),
    strict(
        "read-sram-half-written",
        "uninitialized",
        "core 5, phase 0, instruction 1 (store)",
        lambda b: [{5: [fill(A, 0, 1, 8), store(written(b), 64, A, 1, 64)]}],
        "operand a",
    ),
    strict(
        "read-sram-of-an-earlier-launch",
        "uninitialized",
        "core 2, phase 0, instruction 0 (store)",
        lambda b: (b.run([{2: [fill(A, 1, 1, 16)]}]), [{2: [store(written(b), 64, A, 1, 64)]}])[1],
        "operand a",
    ),
    strict(
        "read-hbm-never-written",
        "uninitialized",
        "core 5, phase 1, instruction 2 (load)",
        lambda b: [{5: [good()]}, {5: [load(A, fresh(b), 64, 1, 64)]}],
        "operand hbm",
    ),
    strict(
        "load-before-an-allocation",
        "out_of_bounds",
        "core 5, phase 0, instruction 0 (load)",
        lambda b: [{5: [load(A, written(b) - 64, 64, 1, 64)]}],
        "operand hbm",
    ),
    strict(
        "load-past-an-allocation",
        "out_of_bounds",
        "core 5, phase 0, instruction 0 (load)",
        lambda b: [{5: [load(A, written(b, 1000) + 1000 - 63, 64, 1, 64)]}],
        "operand hbm",
    ),
    strict(
        "store-past-an-allocation",
        "out_of_bounds",
        "core 5, phase 0, instruction 1 (store)",
        lambda b: [{5: [fill(A, 0, 1, 16), store(written(b, 1000) + 1000, 64, A, 1, 64)]}],
        "operand hbm",
    ),
    strict(
        "load-after-free",
        "use_after_free",
        "core 5, phase 0, instruction 0 (load)",
        lambda b: [{5: [load(A, freed(b), 64, 1, 64)]}],
        "operand hbm",
    ),
    strict(
        "store-after-free", "use_after_free", "core 5, phase 0, instruction 1 (store)", lambda b: [{5: put(5, freed(b))}], "operand hbm"
    ),
    strict(
        "race-two-stores",
        "race",
        "phase 0, instruction 1 (store)",
        lambda b: on_both(b, lambda h: put(5, h), lambda h: put(6, h)),
        "operand hbm",
    ),
    strict(
        "race-store-and-load",
        "race",
        "phase 0, instruction ",
        lambda b: on_both(b, lambda h: put(5, h), lambda h: [load(A, h, 64, 1, 64)]),
        "operand hbm",
    ),
    strict(
        "race-load-of-own-store",
        "race",
        "core 5, phase 0, instruction 2 (load)",
        lambda b: (lambda h: [{5: [*put(5, h), load(B, h, 64, 1, 64)]}])(written(b)),
        "operand hbm",
    ),
    strict(
        "race-two-sends",
        "race",
        "phase 0, instruction 1 (send)",
        lambda b: [{c: [fill(A, c, 1, 16), send(3, B, A, 1, 64)] for c in (5, 6)}],
        "operand dst",
    ),
    strict(
        "race-send-and-use",
        "race",
        "phase 0, instruction ",
        lambda b: [{5: [fill(A, 5, 1, 16), send(3, B, A, 1, 64)], 3: [fill(B, 0, 1, 16)]}],
        "operand dst",
    ),
    strict(
        "strict-misaligned",
        "misaligned",
        "core 5, phase 0, instruction 1 (fill)",
        lambda b: [{5: [good(), fill(sram(32, 64, F32), 0, 1, 16)]}],
        "operand dst",
    ),
    Case("strict", "leak", "SUCCESS", ("1 left", "12345"), leak),
]
