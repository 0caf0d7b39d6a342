"""Strict mode: an access that leaves the memory it was made from is found, also where it ends in another allocation's live bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from strict_device import Finding, collect, fill_row, found, load_row, one, row, store_row, strict, zeros

import sdk_sim
from sdk_sim import Buffer
from sdk_sim.isa import I32, gather, load, scatter, sram


@pytest.fixture(autouse=True)
def strict_mode() -> Iterator[None]:
    with strict():
        yield


def number() -> int:
    return int(sdk_sim.allocations()[-1]["number"])


@pytest.mark.parametrize("size", [8, 256, 1000, 4096, 100_000])
def test_a_step_or_a_row_past_either_end(size: int) -> None:
    blocks = [zeros(size) for _ in range(3)]
    x = blocks[1].address
    reach = max(4096, size)  # a guard zone is as long as what it guards, and no shorter than 4 KiB
    for offset in (-1, -64, -reach, size, size + 64, size + reach - 1):
        finding = one([{0: [load_row(0, x + offset, 1)]}])
        assert (finding["kind"], finding["operand"]) == ("out_of_bounds", "hbm")
    assert found([{0: [load_row(0, x, size)]}]) == []


def test_rows_by_index_belong_to_the_allocation_that_they_are_counted_from() -> None:
    x, _between, y = zeros(640), zeros(640), zeros(640)
    there = (y.address - x.address) // 64
    index = Buffer.from_numpy(np.array([9, there], np.int32))
    at, start = sram(1 << 16, 4, I32), [load(sram(1 << 16, 4, I32), index.address, 8, 1, 8), fill_row(0, 128)]
    assert found([{0: [*start, gather(row(0, 64), x.address, 64, at, 1, 64), gather(row(0, 64), y.address, 64, at, 1, 64)]}]) == []
    for access in (gather(row(0, 64), x.address, 64, at, 2, 64), scatter(x.address, 64, row(0, 64), at, 2, 64)):
        finding = one([{0: [*start, access]}])
        assert finding["kind"] == "out_of_bounds" and f"row 1, by index {there}" in finding["text"]
        assert f"allocation {number() - 1} (640 bytes) + 0, but rows are counted from" in finding["text"]


def test_what_is_counted_from_outside() -> None:
    """The row itself would lie inside; where the first allocation of the memory is meant, the same instruction is a fault in every mode."""
    _before, x = zeros(640), zeros(640)
    index = Buffer.from_numpy(np.array([1], np.int32))
    at = sram(1 << 16, 4, I32)
    finding = one([{0: [load(at, index.address, 4, 1, 4), gather(row(0, 64), x.address - 64, 64, at, 1, 64)]}])
    assert finding["kind"] == "out_of_bounds" and "row 0 of what is indexed" in finding["text"]


def chase(module: sdk_sim.Module, links: list[int], out: Buffer) -> list[Finding]:
    """Follows the links, each a number of 8 bytes from the first."""
    table = Buffer.from_numpy(np.array(links, np.int64))
    sdk_sim.launch(module.kernel("chase"), [table, out, 2])
    return collect()


def test_a_kernel_uses_what_its_arguments_point_into(module: sdk_sim.Module) -> None:
    out, other = zeros(64), zeros(1 << 20)
    assert chase(module, [1, 0], out) == []
    table = sdk_sim.malloc(16)
    table.copy_from(np.array([(other.address - table.address) // 8 + 5, 0], np.int64))
    sdk_sim.launch(module.kernel("chase"), [table, out, 2])
    (finding,) = collect()
    assert (finding["kind"], finding["kernel"], finding["operand"]) == ("out_of_bounds", "chase", "scalar")
    assert "(1048576 bytes) + 40, into which no argument of the kernel points" in finding["text"]
    sdk_sim.launch(module.kernel("chase"), [table, other, 2])  # now it is an argument
    assert collect() == []


def test_a_kernel_may_follow_a_pointer_that_it_has_read(module: sdk_sim.Module) -> None:
    out, other = zeros(64), zeros(64)
    sdk_sim.launch(module.kernel("follow"), [Buffer.from_numpy(np.array([other.address], np.int64)), out])
    assert collect() == []


def test_instructions_as_data_bring_their_own_addresses() -> None:
    x, y = zeros(64), zeros(64)
    assert found([{0: [load_row(0, x.address, 64), store_row(y.address, 0, 64)]}]) == []
