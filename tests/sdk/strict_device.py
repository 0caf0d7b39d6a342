"""What the tests of strict mode share: launches on device 0 in strict mode and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import sdk_sim
from sdk_sim import Buffer, RigiError, Status, isa
from sdk_sim.isa import F32, Operand, fill, load, sram, store

Finding = dict[str, Any]


@contextmanager
def strict() -> Iterator[None]:
    """Strict mode, and the mode from before afterwards."""
    before = sdk_sim.get_mode()
    sdk_sim.reset()
    sdk_sim.set_mode("strict")
    sdk_sim.take_findings()
    try:
        yield
    finally:
        sdk_sim.reset()
        sdk_sim.set_mode(before)


def found(phases: Sequence[Any], name: str = "program") -> list[Finding]:
    """Launches a program and gives what was found; the device is usable afterwards. Findings fault it, and only they do."""
    sdk_sim.launch_program(phases, name)
    return collect()


def collect() -> list[Finding]:
    """Waits for what was launched, takes the findings and resets the device."""
    fault = None
    try:
        sdk_sim.synchronize()
    except RigiError as error:
        fault = error
    findings = sdk_sim.take_findings()
    assert sdk_sim.take_findings() == []
    assert (fault is not None) == bool(findings)
    if fault is not None:
        assert fault.status == Status.KERNEL_FAULT
        first = findings[0]
        where = (
            f"kernel {first['kernel']}, core {first['core']}, phase {first['phase']}, instruction {first['instruction']} ({first['op']})"
        )
        assert where in str(fault) and first["text"] in str(fault) and first["kind"] in str(fault)
        assert ("more findings" in str(fault)) == (len(findings) > 1)
        sdk_sim.reset()
    return findings


def one(phases: Sequence[Any]) -> Finding:
    """The only finding of a program."""
    findings = found(phases)
    assert len(findings) == 1, findings
    return findings[0]


def row(addr: int, size: int) -> Operand:
    """One row of `size` bytes."""
    return sram(addr, size, F32)


def load_row(addr: int, hbm: int, size: int) -> np.ndarray:
    return load(row(addr, size), hbm, size, 1, size)


def store_row(hbm: int, addr: int, size: int) -> np.ndarray:
    return store(hbm, size, row(addr, size), 1, size)


def fill_row(addr: int, size: int) -> np.ndarray:
    return fill(sram(addr, size, isa.U8), 1.0, 1, size)


def zeros(size: int) -> Buffer:
    """A buffer with `size` written bytes."""
    return Buffer.from_numpy(np.zeros(size, np.uint8))
