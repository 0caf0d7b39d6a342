"""Strict mode: each kind of finding, to the byte, and what is no finding."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from strict_device import collect, fill_row, found, load_row, one, row, store_row, strict, zeros

import sdk_sim
from sdk_sim import Buffer, RigiError, Status, isa
from sdk_sim.isa import (
    ADD,
    BF16,
    F32,
    I32,
    U8,
    Group,
    binary,
    gather,
    imm,
    load,
    load_multicast,
    mma,
    scatter,
    send,
    sram,
    store,
    store_add,
)

CORES = sdk_sim.properties()["cores"]


@pytest.fixture(autouse=True)
def strict_mode() -> Iterator[None]:
    with strict():
        yield


# ---- uninitialized


@pytest.mark.parametrize(("written", "missing"), [(255, 1), (192, 64), (0, 256)])
def test_sram_that_this_launch_has_not_written(written: int, missing: int) -> None:
    y = sdk_sim.malloc(256)
    fills = [fill_row(0, written)] if written else []
    finding = one([{2: [*fills, store_row(y.address, 0, 256)]}])
    assert (finding["kind"], finding["core"], finding["op"], finding["operand"]) == ("uninitialized", 2, "store", "a")
    assert f"of which {missing} were not written in this launch, the first at {hex(written)}" in finding["text"]


def test_sram_does_not_survive_a_launch_but_does_a_barrier() -> None:
    y = sdk_sim.malloc(256)
    assert found([{0: [fill_row(0, 256)]}, {0: [store_row(y.address, 0, 256)]}]) == []
    assert one([{0: [store_row(y.address, 0, 256)]}])["kind"] == "uninitialized"


def test_an_accumulating_mma_reads_its_destination() -> None:
    a, b, c = sram(0, 64, BF16), sram(1 << 14, 64, BF16), sram(1 << 15, 64, F32)
    inputs = [fill_row(0, 16 * 64), fill_row(1 << 14, 32 * 64)]
    assert found([{0: [*inputs, mma(c, a, b, 16, 16, 32)]}]) == []
    finding = one([{0: [*inputs, mma(c, a, b, 16, 16, 32, accumulate=True)]}])
    assert (finding["kind"], finding["operand"], finding["instruction"]) == ("uninitialized", "dst", 2)


def test_only_the_rows_of_a_strided_operand_are_read() -> None:
    """Rows of 12 bytes, 76 apart: what lies between them may be anything."""
    rows = [isa.fill(sram(0, 76, U8), 1.0, 5, 12)]
    y = sdk_sim.malloc(60)
    assert found([{0: [*rows, store(y.address, 12, sram(0, 76, U8), 5, 12)]}]) == []
    assert one([{0: [*rows, store(y.address, 13, sram(0, 76, U8), 4, 13)]}])["kind"] == "uninitialized"


def test_take_reads_the_elements_that_are_named() -> None:
    index = Buffer.from_numpy(np.array([3, 5], np.int32))
    values, at, out = sram(0, 32, F32), sram(64, 8, I32), sram(128, 8, F32)
    start = [isa.fill(values, 0.0, 1, 6), load(at, index.address, 8, 1, 8)]
    assert found([{0: [*start, isa.take(out, values, at, 1, 2, depth=8)]}]) == []
    start[0] = isa.fill(values, 0.0, 1, 5)
    finding = one([{0: [*start, isa.take(out, values, at, 1, 2, depth=8)]}])
    assert finding["operand"] == "a" and "0x14 to 0x18" in finding["text"]


def test_an_index_list_that_nobody_wrote_stops_the_core() -> None:
    x = zeros(4096)
    finding = one([{0: [gather(row(64, 64), x.address, 64, sram(0, 4, I32), 1, 64), store_row(x.address, 64, 64)]}])
    assert (finding["kind"], finding["operand"], finding["instruction"]) == ("uninitialized", "a", 0)


def test_hbm_that_nobody_wrote() -> None:
    x = sdk_sim.malloc(1000)
    x.copy_from(np.zeros(500, np.uint8))
    assert found([{0: [load_row(0, x.address, 500)]}]) == []
    finding = one([{0: [load_row(0, x.address + 100, 401)]}])
    assert (finding["kind"], finding["operand"]) == ("uninitialized", "hbm")
    number = sdk_sim.allocations()[-1]["number"]
    assert f"allocation {number} (1000 bytes) + 500 " in finding["text"]


def test_device_writes_sets_and_copies_count_as_written() -> None:
    x, y = sdk_sim.malloc(640), sdk_sim.malloc(640)
    assert found([{0: [fill_row(0, 64), store(x.address, 100, sram(0, 8, U8), 7, 8)]}]) == []
    pieces = load(sram(0, 8, U8), x.address, 100, 7, 8)
    assert found([{0: [pieces]}]) == []
    assert len(found([{0: [load_row(0, x.address, 9)]}])) == 1
    sdk_sim._rigi.memcpy(y.address, x.address, 640)  # as written as its source
    assert found([{0: [load(sram(0, 8, U8), y.address, 100, 7, 8)]}]) == []
    assert "+ 8 " in one([{0: [load_row(0, y.address, 16)]}])["text"]
    y.fill(3)
    assert found([{0: [load_row(0, y.address, 640)]}]) == []


def test_store_add_adds_to_something() -> None:
    x = sdk_sim.malloc(128)
    add = [fill_row(0, 64), store_add(x.address, 64, row(0, 64), 1, 64)]
    finding = one([{3: add}])
    assert (finding["kind"], finding["op"], finding["operand"]) == ("uninitialized", "store_add", "hbm")
    x.fill()
    assert found([dict.fromkeys(range(CORES), add)]) == []  # all cores may add to one place


def test_memory_from_before_strict_mode_counts_as_written() -> None:
    sdk_sim.set_mode("timed")
    x = sdk_sim.malloc(256)
    sdk_sim.set_mode("strict")
    assert found([{0: [load_row(0, x.address, 256)]}]) == []


# ---- out of bounds, use after free


@pytest.mark.parametrize(("offset", "size", "by"), [(0, 1001, 1), (999, 2, 1), (744, 257, 1), (1000, 1, None), (-1, 1, None)])
def test_hbm_outside_of_an_allocation(offset: int, size: int, by: int | None) -> None:
    _first, x = zeros(1), zeros(1000)  # x is not where the HBM begins
    number = sdk_sim.allocations()[-1]["number"]
    finding = one([{1: [load_row(0, x.address + offset, size), store_row(x.address, 0, 64)]}])
    assert (finding["kind"], finding["operand"], finding["instruction"]) == ("out_of_bounds", "hbm", 0)
    assert f"allocation {number} (1000 bytes)" in finding["text"]
    if by is not None:
        assert f"leave it by {by} bytes" in finding["text"]
    assert found([{1: [load_row(0, x.address + 999, 1)]}]) == []


def test_each_row_is_a_piece_of_its_own() -> None:
    """Three rows of 8 bytes, 2048 apart, each in another allocation: legal. One of them a byte further is not."""
    blocks = [zeros(16), zeros(1024), zeros(16), zeros(16)]
    at = [b.address for b in blocks]
    rows = load(sram(0, 64, U8), at[0], at[2] - at[0], 2, 16)
    assert found([{0: [rows]}]) == []
    rows["hbm"] += 1
    assert "one of 2 rows" in one([{0: [rows]}])["text"]


def test_an_index_that_leads_outside() -> None:
    x, index = zeros(640), Buffer.from_numpy(np.array([9, 10, -1], np.int32))
    at = sram(1 << 16, 4, I32)
    start = [load(at, index.address, 12, 1, 12), fill_row(0, 256)]
    assert found([{0: [*start, gather(row(0, 64), x.address, 64, at, 1, 64)]}]) == []
    finding = one([{0: [*start, scatter(x.address, 64, row(0, 64), at, 2, 64)]}])
    assert finding["kind"] == "out_of_bounds" and "row 1, by index 10" in finding["text"]
    finding = one([{0: [*start, gather(row(0, 64), x.address, 0, at, 3, 64)]}])
    assert finding["kind"] == "out_of_bounds" and "is -1" in finding["text"]


def test_memory_that_was_freed() -> None:
    x = zeros(512)
    number, address = sdk_sim.allocations()[-1]["number"], x.address
    sdk_sim.launch_program([{0: [load_row(0, address, 512)]}])
    x.free()  # after the launch: no fault
    assert collect() == []
    again = [sdk_sim.malloc(512) for _ in range(8)]
    assert all(b.address != address for b in again)  # it waits in quarantine
    finding = one([{0: [load_row(0, address + 8, 64)]}])
    assert finding["kind"] == "use_after_free"
    assert f"the freed allocation {number} (512 bytes), at its byte 8" in finding["text"]
    with pytest.raises(RigiError, match="freed already"):
        sdk_sim._rigi.free(address)
    with pytest.raises(RigiError, match="no live allocation"):
        sdk_sim._rigi.memset(address, 0, 8)


def test_the_quarantine_gives_way_when_memory_is_needed() -> None:
    free, total = sdk_sim.memory_info()
    for _ in range(8):
        sdk_sim.malloc(free * 3 // 4).free()
    assert sdk_sim.memory_info() == (free, total)


def test_allocating_nearly_everything_touches_nothing() -> None:
    before = int(open("/proc/self/statm").read().split()[1])
    free, _ = sdk_sim.memory_info()
    x = sdk_sim.malloc(free * 9 // 10)
    far = x.address + x.nbytes - 64
    assert found([{0: [fill_row(0, 64), store_row(far, 0, 64)]}, {1: [load_row(0, far, 64)]}]) == []
    assert one([{0: [load_row(0, far - 1, 64)]}])["kind"] == "uninitialized"
    assert int(open("/proc/self/statm").read().split()[1]) - before < 64 << 8  # pages: 64 MiB


def test_an_address_that_is_no_hbm_and_sram_past_its_end() -> None:
    assert one([{0: [load_row(0, 4096, 64)]}])["kind"] == "out_of_bounds"
    finding = one([{0: [fill_row((2 << 20) - 64, 65)]}])
    assert (finding["kind"], finding["operand"]) == ("out_of_bounds", "dst")


# ---- misaligned, invalid


def test_misaligned_operands() -> None:
    finding = one([{0: [isa.fill(sram(32, 64, F32), 0.0, 1, 16)]}])
    assert (finding["kind"], finding["operand"]) == ("misaligned", "dst")
    finding = one([{0: [fill_row(0, 1024), binary(ADD, row(4096, 64), sram(0, 66, F32), imm(1.0), 4, 16)]}])
    assert (finding["kind"], finding["operand"]) == ("misaligned", "a")


def test_what_is_refused_in_all_modes() -> None:
    finding = one([{0: [isa.instr(isa.Op.FILL, dst=row(0, 64), rows=0, cols=1)]}])
    assert finding["kind"] == "invalid" and "rows is 0" in finding["text"]
    finding = one([{0: [fill_row(0, 64), mma(row(64, 64), sram(0, 64, F32), sram(0, 64, BF16), 1, 1, 1)]}])
    assert (finding["kind"], finding["operand"]) == ("invalid", "a")


# ---- races


def test_two_cores_write_one_byte() -> None:
    x = zeros(256)
    apart = {0: [fill_row(0, 64), store_row(x.address, 0, 64)], 5: [fill_row(0, 64), store_row(x.address + 64, 0, 64)]}
    assert found([apart]) == []
    apart[5][1] = store_row(x.address + 63, 0, 64)
    finding = one([apart])
    assert (finding["kind"], finding["core"], finding["instruction"], finding["operand"]) == ("race", 0, 1, "hbm")
    assert (
        "writes 1 bytes" in finding["text"] and "core 5, phase 0, instruction 1 (store)" in finding["text"] and "+ 63 " in finding["text"]
    )


def test_interleaved_strided_blocks_do_not_meet() -> None:
    """Rows of 24 bytes 48 apart, the other core's in the gaps; then one of the two a byte to the right."""
    x = zeros(48 * 16)

    def writer(at: int) -> list[np.ndarray]:
        return [fill_row(0, 24 * 15), store(x.address + at, 48, sram(0, 24, U8), 15, 24)]

    assert found([{0: writer(0), 1: writer(24)}]) == []
    assert "writes 1 bytes" in one([{0: writer(1), 1: writer(24)}])["text"]


def test_a_core_reads_what_another_one_writes() -> None:
    x = zeros(256)
    writer = [fill_row(0, 64), store_row(x.address, 0, 64)]
    finding = one([{0: writer, 9: [load_row(0, x.address + 63, 64)]}])
    assert (finding["kind"], finding["core"], finding["op"]) == ("race", 9, "load") and "core 0" in finding["text"]
    assert found([{0: writer, 9: [load_row(0, x.address + 64, 64)]}]) == []
    assert found([{0: writer}, {9: [load_row(0, x.address, 64)]}]) == []  # a barrier lies between them


def test_what_is_written_in_the_same_phase_is_a_race_and_not_uninitialized() -> None:
    x = sdk_sim.malloc(64)
    assert one([{0: [fill_row(0, 64), store_row(x.address, 0, 64)], 1: [load_row(0, x.address, 64)]}])["kind"] == "race"


def test_a_core_may_load_before_it_stores_but_not_after() -> None:
    x = zeros(64)
    assert found([{0: [load_row(0, x.address, 64), store_row(x.address, 0, 64)]}]) == []
    finding = one([{0: [fill_row(0, 64), store_row(x.address, 0, 64), load_row(0, x.address, 64)]}])
    assert finding["kind"] == "race" and "this core itself" in finding["text"]


def test_adds_meet_adds_but_nothing_else() -> None:
    x = zeros(64)
    add = [fill_row(0, 64), store_add(x.address, 64, row(0, 64), 1, 64)]
    assert found([{0: add, 1: add}]) == []
    assert one([{0: add, 1: [fill_row(0, 64), store_row(x.address, 0, 64)]}])["kind"] == "race"
    assert one([{0: add, 1: [load_row(0, x.address, 4)]}])["kind"] == "race"


def test_sram_that_another_core_sends_to() -> None:
    x = zeros(64)
    sender = [fill_row(0, 64), send(3, row(128, 64), row(0, 64), 1, 64)]
    assert found([{0: sender}, {3: [store_row(x.address, 128, 64)]}]) == []
    finding = one([{0: sender, 3: [store_row(x.address, 128, 64)]}])
    assert (finding["kind"], finding["core"]) == ("race", 3) and "SRAM address 0x80 of core 3" in finding["text"]
    finding = one([{0: sender, 3: [fill_row(64, 65)]}])
    assert (finding["kind"], finding["core"], finding["operand"]) == ("race", 3, "dst")
    assert found([{0: sender, 3: [fill_row(64, 64)]}]) == []
    finding = one([{0: sender, 1: sender}])
    assert (finding["kind"], finding["core"]) == ("race", 0) and "core 1" in finding["text"]


# ---- multicast


def test_multicast_partners() -> None:
    x = zeros(4096)

    def cast(at: int, size: int = 64) -> np.ndarray:
        return load_multicast(row(0, size), x.address + at, size, 1, size, Group.GROUP_ROW)

    same = {c: [cast(0)] for c in range(4)}
    assert found([same]) == []
    finding = one([{**same, 2: [cast(64)]}])
    assert (finding["kind"], finding["core"], finding["operand"]) == ("multicast", 2, "hbm") and "core 0" in finding["text"]
    assert one([{**same, 2: [cast(0, 128)]}])["operand"] == "dst"
    finding = one([{c: [cast(0)] for c in range(3)}])
    assert finding["kind"] == "multicast" and "core 3 never issues" in finding["text"]


# ---- the whole


def test_every_core_contributes_and_the_first_comes_first() -> None:
    x = zeros(64)
    y = sdk_sim.malloc(64)
    findings = found(
        [
            {7: [load_row(0, x.address + 1, 64)], 4: [store_row(y.address, 0, 4), fill_row(0, 64), load_row(0, 64, 64)]},
            {1: [fill_row(1, 1)]},
        ]
    )
    assert [(f["core"], f["kind"]) for f in findings] == [(4, "uninitialized"), (4, "out_of_bounds"), (7, "out_of_bounds")]
    assert {f["phase"] for f in findings} == {0}  # the phase is finished, the next one not begun


def test_findings_are_bounded() -> None:
    y = sdk_sim.malloc(256 * 64)
    findings = found([[[store_row(y.address + 64 * (16 * n + c), 64 * n, 64) for n in range(16)] for c in range(CORES)]])
    assert len(findings) == 100 and {f["kind"] for f in findings} == {"uninitialized"}


def test_strict_mode_takes_the_time_of_timed_mode() -> None:
    x = zeros(4096)
    program = [{0: [load_row(0, x.address, 4096), binary(ADD, row(4096, 4096), row(0, 4096), imm(1.0), 1, 1024)]}]

    def cycles() -> int:
        before = sdk_sim.Stream.default().cycles
        sdk_sim.launch_program(program)
        return sdk_sim.Stream.default().cycles - before

    strictly = cycles()
    sdk_sim.set_mode("timed")
    assert strictly == cycles() > 0


def test_allocations_are_listed_in_every_mode() -> None:
    sdk_sim.set_mode("functional")
    first, second = sdk_sim.malloc(100), sdk_sim.malloc(200)
    listed = sdk_sim.allocations()[-2:]
    assert [a["address"] for a in listed] == [first.address, second.address] and [a["bytes"] for a in listed] == [100, 200]
    assert listed[0]["number"] + 1 == listed[1]["number"]
    first.free()
    assert sdk_sim.allocations()[-1] == listed[1] and listed[0] not in sdk_sim.allocations()


@pytest.mark.parametrize(("kept", "said"), [("x", "allocation 1: 4.9 KiB (5000 bytes)"), ("None", "")])
def test_leaks_are_listed_when_the_process_ends(kept: str, said: str) -> None:
    code = f"from sdk_sim import _rigi; x = _rigi.malloc(0, 5000); {kept} or _rigi.free(x)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "RIGI_MODE": "strict", "PYTHONPATH": ":".join(sys.path)}, capture_output=True
    )
    assert done.returncode == 0
    assert (said in done.stderr.decode()) if said else done.stderr == b""


def test_a_graph_is_checked_at_each_launch() -> None:
    x = zeros(64)
    with sdk_sim.capture() as captured:
        sdk_sim.launch_program([{0: [load_row(0, x.address, 64)]}], "captured")
    graph = captured.graph.instantiate()
    graph.launch()
    assert collect() == []
    x.free()
    graph.launch()
    (finding,) = collect()
    assert (finding["kind"], finding["kernel"]) == ("use_after_free", "captured")


def test_leaving_strict_mode_forgets_what_was_written() -> None:
    x = sdk_sim.malloc(256)
    assert len(found([{0: [load_row(0, x.address, 256)]}])) == 1
    sdk_sim.launch_program([{0: [load_row(0, x.address, 256)]}])
    sdk_sim.set_mode("timed")  # waits for what was submitted in strict mode
    assert len(collect()) == 1
    sdk_sim.launch_program([{0: [load_row(0, x.address, 256)]}])
    assert collect() == []
    sdk_sim.set_mode("strict")
    assert found([{0: [load_row(0, x.address, 256)]}]) == []
    y = sdk_sim.malloc(256)
    assert len(found([{0: [load_row(0, y.address, 256)]}])) == 1


def test_copies_between_devices_pass_on_what_is_written() -> None:
    code = """
import sdk_sim
from sdk_sim import _rigi
from strict_device import load_row
import numpy as np
x, y = sdk_sim.malloc(256, 0), sdk_sim.malloc(256, 1)
x.copy_from(np.zeros(100, np.uint8))
_rigi.memcpy(y.address, x.address, 256)
stream = sdk_sim.Stream.default(1)
sdk_sim.launch_program([{0: [load_row(0, y.address, 100)]}], stream=stream)
sdk_sim.synchronize(1)
sdk_sim.launch_program([{0: [load_row(0, y.address, 101)]}], stream=stream)
print([(f["kind"], "+ 100 " in f["text"]) for f in sdk_sim.take_findings(1)], sdk_sim.take_findings(0))
"""
    environment = {
        **os.environ,
        "RIGI_MODE": "strict",
        "RIGI_DEVICES": "2",
        "PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "[('uninitialized', True)] []\n", done.stderr


def test_null_results_are_refused() -> None:
    lib = ctypes.CDLL(str(Path(sdk_sim.__file__).parent / "lib" / "librigi.so"))
    for call in (lib.rigiDeviceTakeFindings, lib.rigiDeviceGetAllocations):
        assert call(0, None) == Status.INVALID_VALUE
    assert lib.rigiMemMarkWritten(None, ctypes.c_size_t(4)) == Status.INVALID_POINTER
