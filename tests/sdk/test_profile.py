"""The profiler: every cycle of every engine has one state, the right one; profiles do not depend on memory and change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from profiled import STATES, profiling, records, summary_of
from reference_profile import ENGINES
from reference_profile import profile as expected_profile
from timing_bench import BARRIER, LAUNCH

import sdk_sim
from benchmarks.timing.program_data import CORES, GROUP_ALL, GROUP_ROW, D, Instr, Op, Program
from benchmarks.timing.random_places import HBM_BYTES as RANDOM_HBM
from benchmarks.timing.random_places import INDICES, INDICES_BYTES
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.reference_schedule import launches, load_figures, read_trace
from benchmarks.timing.short_names import everywhere, exp, load, multicast, only, scalar_load, square, sram, store
from benchmarks.timing.timed_device import FUNCTIONAL, TIMED, Device
from sdk_sim import isa

BATCH = 15


@pytest.fixture(autouse=True)
def timed(device: Device) -> Iterator[None]:
    device.set_mode(TIMED)
    yield
    device.set_mode(TIMED)


# ---- the states, by hand


def test_the_example_of_the_manual(device: Device, hbm: int, tmp_path: Path) -> None:
    program = [only({0: [load(0, hbm, 4096), square(4096, 0, 1024), store(4096, hbm + 4096, 4096)]})]
    summary = summary_of(device, program, tmp_path)
    assert summary.cycles == 2666
    assert summary.states("load") == {"busy": 32, "launch": LAUNCH, "barrier": 2666 - 1282}
    assert summary.states("vector") == {"busy": 20, "launch": LAUNCH, "queue": 1, "operand": 1882 - 1251, "barrier": 2666 - 1902}
    assert summary.states("store") == {"busy": 32, "launch": LAUNCH, "queue": 2, "operand": 1934 - 1252, "barrier": 2666 - 1966}
    assert summary.states("matrix") == summary.states("load", core=7) == {"launch": LAUNCH, "barrier": 2666 - LAUNCH}
    assert (summary["hbm_read"], summary["hbm_written"], summary["vector_elements"]) == (4096, 4096, 1024)
    assert summary["program"] == 0 and summary["launch_cost"] == LAUNCH
    assert summary["engines"]["vector"]["spans"] == [
        ["launch", 1250], ["queue", 1251], ["operand", 1882], ["busy", 1902], ["barrier", 2666]
    ]  # fmt: skip


def test_hbm_is_what_a_load_takes_beyond_its_busy_time(device: Device, hbm: int, tmp_path: Path) -> None:
    """16 loads of 64 KiB: busy 272; HBM delivers one in 40.96 cycles, in core order."""
    program = [[load(0, hbm, 1 << 16), store(0, hbm + (1 << 20) + 64 * core, 64)] for core in range(CORES)]
    summary = summary_of(device, [program], tmp_path)
    for core in range(CORES):
        served = -(-((core + 1) * 4096) // 100)
        assert summary.states("load", core).get("hbm", 0) == max(served - 272, 0)


def test_a_full_queue_keeps_the_other_engines_waiting(device: Device, hbm: int, tmp_path: Path) -> None:
    """The square has its operands; it is issued when the 17th load behind the first has its place."""
    loads = [load(4096 * i, hbm, 4096) for i in range(18)]
    summary = summary_of(device, [only({0: [*loads, square(1 << 20, 1 << 20, 256)]})], tmp_path)
    # load 17 is issued when load 1 starts, at 1250 + 32; the square one cycle later
    assert summary.states("vector") | {"barrier": 0} == {"busy": 17, "launch": LAUNCH, "queue": 33, "barrier": 0}


def test_a_scalar_access_is_a_stall_of_the_queue(device: Device, hbm: int, tmp_path: Path) -> None:
    summary = summary_of(device, [only({3: [scalar_load(hbm), square(0, 0, 256)]})], tmp_path)
    assert summary.states("vector", 3) | {"barrier": 0} == {"busy": 17, "launch": LAUNCH, "queue": 600, "barrier": 0}
    assert summary["instructions"]["scalar"] == 1


def test_the_receivers_of_a_multicast_wait_for_the_last_one(device: Device, hbm: int, tmp_path: Path) -> None:
    to = hbm + (1 << 20)  # the stores keep the launch from ending too soon
    program = only({core: [multicast(GROUP_ROW, hbm, 4096, 1 << 17), store(1 << 17, to + 64 * core, 64)] for core in range(4, 8)})
    program[5].insert(0, load(0, hbm + (1 << 16), 1 << 16))  # busy until 1522
    summary = summary_of(device, [program], tmp_path)
    assert [summary.states("load", core).get("operand", 0) for core in range(4, 8)] == [272, 0, 272, 272]
    assert summary["hbm_read"] == (1 << 16) + 4096


def test_waiting_for_a_barrier_is_not_waiting_for_the_queue(device: Device, hbm: int, tmp_path: Path) -> None:
    """Core 0's vector engine has work in both phases; in between it waits for core 1, which is busy for longer."""
    first = only({0: [square(0, 0, 256)], 1: [store(0, hbm, 4096)]})
    second = only({0: [square(0, 0, 256)]})
    summary = summary_of(device, [first, second], tmp_path)
    barrier = LAUNCH + 32 + 600 + BARRIER
    assert summary["engines"]["vector"]["spans"][:4] == [["launch", 1250], ["busy", 1267], ["barrier", barrier], ["busy", barrier + 17]]
    assert summary.cycles == barrier + 1 + BARRIER


def test_what_outlives_the_launch_is_cut_off(device: Device, hbm: int, tmp_path: Path) -> None:
    """Nothing waits for this load of 4112 cycles: the launch is over at 1251 + 100."""
    summary = summary_of(device, [only({0: [load(0, hbm, 1 << 20)]})], tmp_path)
    assert summary.cycles == 1351
    assert summary.states("load") == {"busy": 101, "launch": LAUNCH}


def test_many_spans_are_drawn_coarsely_and_counted_exactly(device: Device, hbm: int, tmp_path: Path) -> None:
    chain = [i for k in range(400) for i in (square(0, 0, 256), exp(0, 0, 256))]
    summary = summary_of(device, [only({0: [*chain, store(0, hbm, 64)]})], tmp_path)
    vector = summary["engines"]["vector"]
    assert len(vector["spans"]) <= 256 and vector["resolution"] > 1
    assert vector["spans"][-1][1] == summary.cycles
    assert summary.states("vector")["busy"] == 400 * 17


def test_work_is_counted(device: Device, hbm: int, tmp_path: Path) -> None:
    mma = Instr(Op.MMA, 64, 32, 128, dst=sram(1 << 20, 128), a=sram(0, 256, D.BF16), b=sram(1 << 18, 64, D.BF16))
    byte = Instr(Op.MMA, 64, 32, 128, dst=sram(1 << 20, 128), a=sram(0, 128, D.E4M3), b=sram(1 << 18, 32, D.E4M3))
    adds = Instr(Op.STORE_ADD, 1, 4096, a=sram(0, 4096), hbm=hbm, hbm_stride=4096)
    casts = [multicast(GROUP_ALL, hbm, 4096)]
    summary = summary_of(device, [only({2: [mma, byte, adds, exp(0, 0, 512)]}), everywhere(casts)], tmp_path)
    assert summary["flops_16bit"] == summary["flops_8bit"] == 2 * 64 * 32 * 128
    assert (summary["hbm_read"], summary["hbm_written"]) == (4096 + 4096, 4096)
    assert summary["act_elements"] == 512
    assert summary["instructions"] == {"load": CORES, "store": 1, "matrix": 2, "vector": 0, "act": 1, "scalar": 0}


# ---- the roofline


def test_a_launch_bound_by_hbm(device: Device, hbm: int, tmp_path: Path) -> None:
    """Each core loads 1 MiB twice into the same place and stores a little: HBM takes 20972 cycles, the load engines 8224."""
    twice = [load(0, hbm, 1 << 20)] * 2
    program = [[[*twice, store(0, hbm + (32 << 20) + 64 * core, 64)] for core in range(CORES)]]
    roofline = summary_of(device, program, tmp_path)["roofline"]
    assert roofline["bound"] == "hbm" and 0.8 < roofline["fraction"] <= 1
    assert roofline["intensity"] == roofline["achieved"] == 0


def test_a_launch_bound_by_the_matrix_engine(device: Device, hbm: int, tmp_path: Path) -> None:
    a, b = sram(0, 256, D.BF16), sram(1 << 18, 256, D.BF16)
    mmas = [Instr(Op.MMA, 128, 128, 128, dst=sram((1 << 20) + (k % 8 << 16), 512), a=a, b=b) for k in range(50)]
    program = [[*mmas, store(1 << 20, hbm + 64 * core, 64)] for core in range(CORES)]
    summary = summary_of(device, [program], tmp_path)
    roofline, flops = summary["roofline"], 50 * CORES * 2 * 128**3
    assert roofline["bound"] == "matrix"
    assert summary["flops_16bit"] == flops and roofline["intensity"] == flops / (64 * CORES)
    assert roofline["attainable"] == pytest.approx(655.36e12)
    assert roofline["achieved"] == pytest.approx(flops / summary.cycles * 1.25e9)
    assert roofline["fraction"] == pytest.approx(50 * 128 / summary.cycles)
    nothing_moved = summary_of(device, [everywhere(mmas)], tmp_path)["roofline"]
    assert nothing_moved["intensity"] is None and nothing_moved["attainable"] == pytest.approx(655.36e12)


def test_a_small_launch_is_bound_by_latency(device: Device, hbm: int, tmp_path: Path) -> None:
    assert summary_of(device, [only({0: [square(0, 0, 256)]})], tmp_path)["roofline"]["bound"] == "latency"


# ---- the states, at random, against the instruction trace


def check_random(device: Device, folder: Path, seeds: range, scalars: bool) -> None:
    """Profile and trace of the same launches: all sums of cycles are the launch's, and each is what the trace says."""
    hbm, chip = device.malloc(RANDOM_HBM), load_figures()
    device.write(hbm + INDICES, b"".join((k % 8).to_bytes(4, "little") for k in range(INDICES_BYTES // 4)))
    makers = [Maker(seed, hbm, scalars) for seed in seeds]
    with device.trace(folder / "trace.jsonl"), profiling(device, folder / "profile.jsonl"):
        for maker in makers:
            program = maker.program(maker.rng.choice((1, 2, 3)))
            device.launch(program)
        device.synchronize()
    device.free(hbm)
    programs = {r["program"]: r for r in records(folder / "profile.jsonl", "program")}
    profiled = [programs[r["program"]] for r in records(folder / "profile.jsonl", "launch")]
    traced = list(launches(read_trace(folder / "trace.jsonl")).values())
    assert len(profiled) == len(traced) == len(seeds)
    for seed, actual, lines in zip(seeds, profiled, traced, strict=True):
        expected = expected_profile(lines, chip, LAUNCH)
        for engine in ENGINES:
            cores = actual["engines"][engine]["cores"]
            assert [sum(states) for states in cores] == [actual["cycles"]] * CORES, f"seed {seed}"
            assert cores == expected["engines"][engine], f"seed {seed}, {engine}"
            assert [actual["engines"][engine][s] for s in STATES] == [sum(states) for states in zip(*cores, strict=True)]
        del expected["engines"]
        assert {key: actual[key] for key in expected} == expected, f"seed {seed}"


@pytest.mark.parametrize("start", range(0, 60, BATCH))
def test_random_programs(device: Device, tmp_path: Path, start: int) -> None:
    check_random(device, tmp_path, range(start, start + BATCH), scalars=False)


@pytest.mark.parametrize("start", range(100, 130, BATCH))
def test_random_programs_with_scalars(device: Device, tmp_path: Path, start: int) -> None:
    check_random(device, tmp_path, range(start, start + BATCH), scalars=True)


# ---- what a profile is not


def some_program(hbm: int) -> Program:
    maker = Maker(7, hbm)
    return maker.program(2)


def test_a_profile_from_memory_is_that_of_a_first_launch(device: Device, hbm: int, tmp_path: Path) -> None:
    fresh, again = (tmp_path / name for name in ("fresh", "again"))
    program = some_program(hbm)
    for path in (fresh, again):
        with profiling(device, path):
            device.launch(program)
            device.launch(program)
            device.synchronize()
        device.launch(program)
    assert records(fresh, "program") == records(again, "program")
    assert len(records(fresh, "program")) == 1 and len(records(fresh, "launch")) == 2


def test_a_profile_changes_no_cycles_and_no_bytes(device: Device, hbm: int, tmp_path: Path) -> None:
    program = some_program(hbm)

    def run() -> tuple[int, bytes]:
        device.write(hbm, bytes(1 << 20))
        before = device.cycles()
        device.launch(program)
        return device.cycles() - before, device.read(hbm, 1 << 20)

    plain = run()
    with profiling(device, tmp_path / "p"):
        assert run() == plain
    assert run() == plain
    (launch,) = records(tmp_path / "p", "launch")
    assert launch["end"] - launch["start"] == plain[0] == records(tmp_path / "p", "program")[0]["cycles"]


def test_functional_mode_has_no_time(device: Device, hbm: int, tmp_path: Path) -> None:
    device.set_mode(FUNCTIONAL)
    with pytest.raises(RuntimeError, match="functional mode; call rigiDeviceSetMode"):
        device.call("rigiProfilerStart", 0, str(tmp_path / "p").encode())
    device.set_mode(TIMED)
    with profiling(device, tmp_path / "p"):
        device.set_mode(FUNCTIONAL)
        device.launch([only({0: [square(0, 0, 256)]})])
        device.synchronize()
    assert [r["kind"] for r in records(tmp_path / "p")] == ["device", "untimed"]


def test_a_file_that_cannot_be_written(device: Device, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="/no/p cannot be written: No such file or directory"):
        device.call("rigiProfilerStart", 0, str(tmp_path / "no" / "p").encode())
    device.call("rigiProfilerStop", 0)
    with profiling(device, Path("/dev/full")):
        pass  # nothing was written
    device.call("rigiProfilerStart", 0, b"/dev/full")
    device.launch([only({0: [square(0, 0, 256)]})])
    with pytest.raises(RuntimeError, match="is the disk full"):
        device.call("rigiProfilerStop", 0)


@pytest.mark.parametrize("mode", ["timed", "timing-only"])
def test_the_launches_of_a_graph(mode: sdk_sim.Mode, device: Device, tmp_path: Path) -> None:
    """What a graph's nodes are known to take from earlier launches is profiled too, at the graph's launch cost."""
    program = [{0: [isa.fill(isa.sram(0, 4096, isa.F32), 1.0, rows=1, cols=1024)]}]
    sdk_sim.set_mode(mode)
    with sdk_sim.capture(sdk_sim.Stream.default()) as captured:
        sdk_sim.launch_program(program)
        sdk_sim.launch_program(program)
    graph = captured.graph.instantiate()
    graph.launch()
    for name in ("p", "q"):
        with sdk_sim.profiler(tmp_path / name), sdk_sim.range("step", name):
            graph.launch()
            graph.launch()
        (described,) = records(tmp_path / name, "program")
        assert described["launch_cost"] == 125 and described["cycles"] == 125 + 1 + BARRIER
        found = records(tmp_path / name, "launch")
        assert [launch["ranges"][0][:2] for launch in found] == [["step", name]] * 4
        assert all(b["start"] == a["end"] == a["start"] + described["cycles"] for a, b in zip(found, found[1:], strict=False))


def test_ranges_of_a_capture_come_back_with_each_launch_of_the_graph(device: Device, tmp_path: Path) -> None:
    main, side, path = sdk_sim.Stream(), sdk_sim.Stream(), tmp_path / "p"
    with sdk_sim.profiler(path):
        with sdk_sim.capture(main) as captured, sdk_sim.range("layer", "0", main):
            sdk_sim.launch_program([{}], name="a", stream=main)
            side.wait(sdk_sim.Event().record(main))
            with sdk_sim.range("block", "x", main):
                sdk_sim.launch_program([{}], name="b", stream=main)
            with sdk_sim.range("layer", "side", side):
                sdk_sim.launch_program([{}], name="c", stream=side)
            main.wait(sdk_sim.Event().record(side))
        graph = captured.graph.instantiate()
        for step in range(2):
            with sdk_sim.range("step", str(step), main):
                graph.launch(main)
                sdk_sim.launch_program([{}], name="d", stream=main)
    found = records(path, "launch")
    assert [(r["kernel"], [place[1] for place in r["ranges"]]) for r in found] == [
        (kernel, path) for step in "01" for kernel, path in (("a", [step, "0"]), ("b", [step, "0", "x"]), ("c", ["side"]), ("d", [step]))
    ]
    assert len({r["stream"] for r in found if r["kernel"] == "c"}) == 1, "a graph keeps its streams"
    assert found[0]["ranges"][1][2] == found[1]["ranges"][1][2] != found[4]["ranges"][1][2]


def test_a_fault_ends_no_profile(device: Device, tmp_path: Path) -> None:
    device.call("rigiProfilerStart", 0, str(tmp_path / "p").encode())
    device.launch([only({0: [square(0, 0, 256)]})])
    device.launch([only({0: [square(1, 0, 256)]})])
    with pytest.raises(RuntimeError, match="not 64-byte aligned"):
        device.synchronize()
    device.call("rigiRangePush", device.stream, b"request", b"later")
    device.reset()
    device.launch([only({0: [square(0, 0, 256)]})])
    device.call("rigiProfilerStop", 0)
    assert [launch["ranges"] for launch in records(tmp_path / "p", "launch")] == [[], [["request", "later", 0]]]


def test_a_range_needs_its_names_with_and_without_a_profile(device: Device, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="`kind` is null"):
            device.call("rigiRangePush", device.stream, None, b"x")
        with pytest.raises(RuntimeError, match="`name` is null"):
            device.call("rigiRangePush", device.stream, b"x", None)
        device.call("rigiProfilerStart", 0, str(tmp_path / "p").encode())
    device.call("rigiProfilerStop", 0)
    with pytest.raises(RuntimeError, match="`path` is null"):
        device.call("rigiProfilerStart", 0, None)
    with pytest.raises(RuntimeError, match="device 99 does not exist"):
        device.call("rigiProfilerStart", 99, b"p")


# ---- ranges (through Python)

RANGES = """
import sys, sdk_sim
from sdk_sim.isa import F32, fill, sram
program = [{0: [fill(sram(0, 4096, F32), 1.0, rows=1, cols=1024)]}]
def go(stream=None):
    sdk_sim.launch_program(program, stream=stream)
with sdk_sim.range("before", "the library has a device"):
    go()
other = sdk_sim.Stream()
with sdk_sim.range("request", 'a "b" \\\\ \\n \\u00e9'):
    with sdk_sim.range("layer", "0"):
        go()
        go(other)
    with sdk_sim.range("layer", "1", other):
        go(other)
        go()
    sdk_sim.Buffer(4096).fill(1)
with sdk_sim.range("request", "b", other.handle):
    pass
go(other)
import sdk_sim._rigi as raw
raw.range_pop(0)
go()
"""


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile of RANGES, made by RIGI_PROFILE."""
    folder = tmp_path_factory.mktemp("ranges") / "made" / "by the library"
    subprocess.run([sys.executable, "-c", RANGES], check=True, env={**os.environ, "RIGI_PROFILE": str(folder), "RIGI_DEVICES": "2"})
    (path,) = folder.iterdir()  # nothing ran on device 1
    assert path.name.endswith("-0.jsonl")
    return path


def test_ranges_nest_and_are_in_order_with_submissions(ranged: Path) -> None:
    work = [r for r in records(ranged) if r["kind"] in ("launch", "copy")]
    assert [r["sequence"] for r in work] == list(range(8))
    request, kinds = ["request", 'a "b" \\ \n é'], [[place[:2] for place in r["ranges"]] for r in work]
    default = [r["stream"] for r in work]
    assert default[:7] == [0, 0, default[2], default[2], 0, 0, default[2]] and default[2] != 0
    assert kinds == [
        [["before", "the library has a device"]],
        [request, ["layer", "0"]],
        [],
        [["layer", "1"]],
        [request],
        [request],
        [],
        [],
    ]
    assert work[5]["copy"] == "set"
    numbers = [tuple(place[2] for place in r["ranges"]) for r in work]
    assert numbers[1][0] == numbers[4][0] != numbers[0][0], "a range keeps its number, and no other has it"


def test_every_line_is_an_object_with_its_fields(ranged: Path) -> None:
    lines = records(ranged)
    fields = {
        "device": {"device", "process", "chip", "revision", "override", "cores", "clock_hz", "hbm_bytes_per_cycle"},
        "program": {"program", "cycles", "launch_cost", "instructions", "hbm_read", "hbm_written", "roofline", "engines"},
        "launch": {"kernel", "program", "sequence", "stream", "ranges", "start", "end"},
        "copy": {"copy", "bytes", "sequence", "stream", "ranges", "start", "end"},
    }
    assert lines[0]["kind"] == "device" and {r["kind"] for r in lines[1:]} == {"program", "launch", "copy"}
    for line in lines:
        assert fields[line["kind"]] <= line.keys()
    assert json.loads(json.dumps(lines)) == lines
    for stream in {r["stream"] for r in lines if "stream" in r}:
        mine = [r for r in lines if r.get("stream") == stream]
        assert all(a["end"] <= b["start"] for a, b in zip(mine, mine[1:], strict=False)), "a stream's work is one after the other"


def test_a_folder_that_cannot_be_made() -> None:
    code = "import sdk_sim\nsdk_sim.device_count()"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "RIGI_PROFILE": "/proc/no"}, capture_output=True, text=True)
    assert done.returncode and "RIGI_PROFILE='/proc/no' is no folder that can be written" in done.stderr
