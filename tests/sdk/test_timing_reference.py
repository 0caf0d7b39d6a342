"""The reference schedule notices: any time that is off by one, any figure that is another, any line that misstates its memory."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from random import Random

import pytest

from benchmarks.timing import random_check, reference_schedule
from benchmarks.timing.random_places import HBM_BYTES, contents
from benchmarks.timing.reference_costs import Record, misstatements
from benchmarks.timing.reference_schedule import TIMES, compare, launches, load_figures, read_trace
from benchmarks.timing.timed_device import Device

CHIP = load_figures()
FIGURES = {
    "matrix": ("k_16bit", "k_8bit", "n", "min_m", "latency"),
    "vector": ("lanes", "setup", "latency"),
    "activation": ("lanes", "setup", "latency"),
    "dma": ("bytes_per_cycle", "setup", "cycles_per_index", "latency", "send_latency"),
    "hbm": ("bytes_per_cycle",),
    "sequencer": ("queue_depth",),
    "launch": ("barrier",),
}


@pytest.fixture(scope="module")
def trace(device: Device, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Some random programs of every kind."""
    hbm = device.malloc(HBM_BYTES)
    device.write(hbm, contents())
    file = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    with device.trace(file):
        for seed in range(16):
            device.launch(random_check.make(seed, hbm))
        device.synchronize()
    device.free(hbm)
    return read_trace(file)


def test_a_time_that_is_off_by_one_is_found(trace: list[Record]) -> None:
    random = Random(1)
    for r in random.sample(trace, 40):
        lines = [line for line in trace if line["launch"] == r["launch"]]
        name = random.choice(TIMES)
        r[name] += 1
        found = compare(lines)
        r[name] -= 1
        assert [(d.core, d.phase, d.index, d.name, d.actual - d.expected) for d in found] == [(r["core"], r["phase"], r["index"], name, 1)]


@pytest.mark.parametrize("section, name", [(s, n) for s, names in FIGURES.items() for n in names], ids=str)
def test_another_figure_is_found(trace: list[Record], section: str, name: str) -> None:
    other = deepcopy(CHIP)
    other[section][name] *= 2
    assert any(compare(lines, other, CHIP["launch"]["host"]) for lines in launches(trace).values())


def test_a_line_that_misstates_its_memory_is_found(trace: list[Record]) -> None:
    random = Random(2)
    names = ("bytes", "rows", "hbm_bytes", "m", "n", "k", "block")
    for lines in launches(trace).values():
        assert misstatements(lines, CHIP) == []
        for r in random.sample(lines, 20):
            for name in names:
                if name not in r["args"]:
                    continue
                r["args"][name] += 1
                assert len(misstatements(lines, CHIP)) >= 1, (r, name)
                r["args"][name] -= 1


def test_as_a_command(trace: list[Record], device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "trace.jsonl"
    with device.trace(file):
        device.launch([[[] for _ in range(16)]])
        device.synchronize()
    assert reference_schedule.main([str(file)]) == 0
    assert "16 instructions, 1 launches: 0 differences, 0 misstatements" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"end":1350', '"end":1351'))
    assert reference_schedule.main([str(file)]) == 1
    assert "end is 1351, the rules say 1350" in capsys.readouterr().out
    assert reference_schedule.main([]) == 2
