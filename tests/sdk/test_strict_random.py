"""Strict mode on random programs of 16 cores: race-free ones have no finding, and one injected fault is the only finding."""

from __future__ import annotations

import ctypes
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.timing.program_data import CORES, GRID, D, Instr, Op, Operand, Program, imm
from benchmarks.timing.random_places import HBM_BYTES, INDICES, INDICES_BYTES
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.short_names import load, multicast, scalar_load, scalar_read, store
from benchmarks.timing.timed_device import STRICT, TIMED, Device

SPARE = 3 << 19  # SRAM that random programs leave alone
Finding = dict[str, Any]
Injected = tuple[str, int, int, int]  # kind, phase, core, place among the core's instructions of that phase


def examples(count: int) -> settings:
    """Programs take milliseconds to run and longer to make."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


class Strict:
    """Device 0 in strict mode: HBM for random programs, and what faults need."""

    def __init__(self, device: Device) -> None:
        self.device = device
        device.reset()
        device.set_mode(STRICT)
        self.hbm = device.malloc(HBM_BYTES)
        device.call("rigiMemset", ctypes.c_void_p(self.hbm), 0, ctypes.c_size_t(HBM_BYTES))
        count = INDICES_BYTES // 4
        device.write(self.hbm + INDICES, struct.pack(f"<{count}i", *[n % 8 for n in range(count)]))
        self.shared = device.malloc(4096)
        device.write(self.shared, bytes(4096))
        self.blank = device.malloc(4096)  # nobody writes it
        self.freed = device.malloc(4096)
        device.free(self.freed)

    def findings(self, program: Program) -> list[Finding]:
        self.device.launch(program)
        text = ctypes.c_void_p()
        self.device.call("rigiDeviceTakeFindings", 0, ctypes.byref(text))
        taken = json.loads(ctypes.string_at(text.value or 0))
        ctypes.CDLL(None).free(text)
        self.device.reset()
        return taken


@pytest.fixture(scope="module")
def strict(device: Device) -> Iterator[Strict]:
    made = Strict(device)
    yield made
    device.reset()
    for pointer in (made.hbm, made.shared, made.blank):
        device.free(pointer)
    device.set_mode(TIMED)


class Fault:
    """Puts one fault at a random place of a program."""

    def __init__(self, strict: Strict, program: Program, rng: random.Random) -> None:
        self.s, self.program, self.rng = strict, program, rng
        self.phase = rng.randrange(1, len(program))
        self.core, self.other = rng.sample(range(CORES), 2)

    def put(self, core: int, *instrs: Instr) -> int:
        """Inserts the instructions side by side into the core's phase; the place of the last one."""
        instructions = self.program[self.phase][core]
        at = self.rng.randint(0, len(instructions))
        instructions[at:at] = instrs
        return at + len(instrs) - 1

    def _alone(self, kind: str, *instrs: Instr) -> Injected:
        return kind, self.phase, self.core, self.put(self.core, *instrs)

    def out_of_bounds(self) -> Injected:
        size, over = self.rng.randint(1, 2048), self.rng.randint(1, 64)
        at = self.s.shared + 4096 - size + over
        bad = load(SPARE, at, size) if self.rng.random() < 0.5 else store(SPARE, at, size)
        return self._alone("out_of_bounds", self._fill(4096), bad)

    def row_out_of_bounds(self) -> Injected:
        rows, size = self.rng.randint(2, 9), self.rng.randint(1, 60)
        stride = self.rng.randint(size + 1, 300)
        at = self.s.shared + 4096 - (rows - 1) * stride - size + 1
        return self._alone("out_of_bounds", Instr(Op.LOAD, rows, size, dst=Operand(SPARE, 64), hbm=at, hbm_stride=stride))

    def use_after_free(self) -> Injected:
        return self._alone("use_after_free", load(SPARE, self.s.freed + self.rng.randrange(4000), 64))

    def unwritten_hbm(self) -> Injected:
        return self._alone("uninitialized", load(SPARE, self.s.blank + self.rng.randrange(4000), self.rng.randint(1, 96)))

    def unwritten_sram(self) -> Injected:
        written, read = self.rng.sample(range(1, 200), 2)
        if written > read:
            written, read = read, written
        return self._alone(
            "uninitialized",
            self._fill(written),
            Instr(Op.COPY, 1, read, dst=Operand(SPARE + 1024, 256, D.U8), a=Operand(SPARE, 256, D.U8)),
        )

    def unwritten_scalar(self) -> Injected:
        bad = scalar_load(self.s.blank + 8 * self.rng.randrange(512), 8) if self.rng.random() < 0.5 else scalar_read(SPARE, 8)
        return self._alone("uninitialized", bad)

    def misaligned(self) -> Injected:
        return self._alone("misaligned", Instr(Op.FILL, 1, 4, dst=Operand(SPARE + self.rng.randrange(1, 64), 16)))

    def invalid(self) -> Injected:
        return self._alone("invalid", Instr(Op.BINARY, 0, 4, dst=Operand(SPARE), a=Operand(SPARE), b=imm(1)))

    def race_of_a_load(self) -> Injected:
        size, byte = self.rng.randint(1, 512), self.rng.randrange(1024)
        self.put(self.other, self._fill(1), store(SPARE, self.s.shared + byte, 1))
        first = max(byte - self.rng.randrange(size), 0)
        return self._alone("race", load(SPARE + 4096, self.s.shared + first, size))

    def race_of_stores(self) -> Injected:
        rows, size, gap = self.rng.randint(1, 8), self.rng.randint(1, 40), self.rng.randint(1, 40)
        self.core, self.other = sorted((self.core, self.other))
        row = self.rng.randrange(rows) * (size + gap) + self.rng.randrange(size)  # one byte of one row
        self.put(self.other, self._fill(1), store(SPARE, self.s.shared + row, 1))
        block = Instr(Op.STORE, rows, size, a=Operand(SPARE, 64), hbm=self.s.shared, hbm_stride=size + gap)
        return self._alone("race", self._fill(1024), block)

    def race_of_a_send(self) -> Injected:
        byte = SPARE + 8192 + 64 * self.rng.randrange(8)
        self.put(self.other, self._fill(64), Instr(Op.SEND, 1, 64, dst=Operand(byte, 64), a=Operand(SPARE, 64), target=self.core))
        size = self.rng.randint(65, 128)  # from the 64 bytes before
        return self._alone("race", Instr(Op.FILL, 1, size, dst=Operand(byte - 64, size, D.U8)))

    def own_store_loaded(self) -> Injected:
        return self._alone("race", self._fill(64), store(SPARE, self.s.shared, 64), load(SPARE + 4096, self.s.shared + 63, 8))

    def other_multicast(self) -> Injected:
        """The last multicast of a grid row, one receiver's from elsewhere."""
        self.phase = len(self.program) - 1
        row = self.rng.randrange(GRID) * GRID
        wrong = row + self.rng.randrange(1, GRID)
        for core in range(row, row + GRID):
            self.program[self.phase][core].append(multicast(0, self.s.shared + (256 if core == wrong else 0), 256, SPARE))
        return "multicast", self.phase, wrong, len(self.program[self.phase][wrong]) - 1

    @staticmethod
    def _fill(size: int) -> Instr:
        return Instr(Op.FILL, 1, size, dst=Operand(SPARE, size, D.U8))


FAULTS: list[Callable[[Fault], Injected]] = [
    Fault.out_of_bounds,
    Fault.row_out_of_bounds,
    Fault.use_after_free,
    Fault.unwritten_hbm,
    Fault.unwritten_sram,
    Fault.unwritten_scalar,
    Fault.misaligned,
    Fault.invalid,
    Fault.race_of_a_load,
    Fault.race_of_stores,
    Fault.race_of_a_send,
    Fault.own_store_loaded,
    Fault.other_multicast,
]


@examples(60)
@given(seed=st.integers(0, 1 << 30), phases=st.integers(1, 4))
def test_a_race_free_program_has_no_findings(strict: Strict, seed: int, phases: int) -> None:
    assert strict.findings(Maker(seed, strict.hbm, scalars=True).program(phases)) == []


@pytest.mark.parametrize("inject", FAULTS, ids=lambda f: f.__name__)
@examples(12)
@given(seed=st.integers(0, 1 << 30), phases=st.integers(1, 3))
def test_one_fault_is_the_only_finding(strict: Strict, inject: Callable[[Fault], Injected], seed: int, phases: int) -> None:
    program = Maker(seed, strict.hbm, scalars=True).program(phases)
    kind, phase, core, place = inject(Fault(strict, program, random.Random(seed)))
    before = sum(len(program[p][core]) + 1 for p in range(phase))  # barriers count
    findings = strict.findings(program)
    assert [(f["kind"], f["phase"], f["core"], f["instruction"]) for f in findings] == [(kind, phase, core, before + place)]
    assert findings[0]["op"] == program[phase][core][place].op.name.lower()
