"""`rigi profile` and `rigi trace`, and what they draw: tables, JSON, Perfetto files read back, the roofline picture."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sdk_sim.profile import ENGINES, STALLS, ProfileError, aggregate, instructions, perfetto_file, read

SCRIPT = """
import sys, sdk_sim
from sdk_sim.isa import F32, Binary, binary, load, sram, store
x, y = sdk_sim.malloc(4096), sdk_sim.malloc(4096)
a, b = sram(0, 4096, F32), sram(4096, 4096, F32)
square = [{0: [load(a, x.address, 4096, rows=1, bytes=4096), binary(Binary.MUL, b, a, a, rows=1, cols=1024),
               store(y.address, 4096, b, rows=1, bytes=4096)]}]
for step in range(2):
    with sdk_sim.range("request", f"step {step}"):
        sdk_sim.launch_program([{}], name="empty")
        for layer in range(3):
            with sdk_sim.range("layer", f"layer {layer}"):
                sdk_sim.launch_program(square, name="square")
                sdk_sim.launch_program([{}], name="empty")
        y.to_numpy()
other = sdk_sim.Stream()
sdk_sim.launch_program(square, name="square", stream=other)
sdk_sim.synchronize()
print("done")
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""
SQUARE, EMPTY = 2666, 1350


def rigi(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sdk_sim.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "work.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def folder(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile of the script, made by `rigi profile`."""
    folder = tmp_path_factory.mktemp("profile") / "out"
    done = rigi("profile", "--out", folder, "--", sys.executable, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done\n") and "square" in done.stdout and "ui.perfetto.dev" in done.stdout
    return folder


# ---- reading


def test_the_sums(folder: Path) -> None:
    total = aggregate(read(folder))
    assert (total["launches"], total["cycles"]) == (15, 7 * SQUARE + 8 * EMPTY)
    square, empty = total["kernels"]
    assert (square["kernel"], square["launches"], square["cycles"]) == ("square", 7, 7 * SQUARE)
    assert (empty["kernel"], empty["launches"], empty["cycles"]) == ("empty", 8, 8 * EMPTY)
    assert square["share"] + empty["share"] == pytest.approx(1)
    assert square["microseconds"] == pytest.approx(7 * SQUARE * 0.8e-3)
    for row in (total, square, empty):
        for engine in ENGINES:
            assert sum(row["engines"][engine].values()) == row["cycles"] * 16
            assert set(row["engines"][engine]) == {"busy", *STALLS}
    assert square["utilization"]["vector"] == pytest.approx(20 / SQUARE / 16)
    assert square["hbm_read"] == square["hbm_written"] == 7 * 4096
    assert square["main_stall"]["cause"] == "barrier" and empty["main_stall"]["cause"] == "launch"
    assert total["copies"] == {"to_host": {"number": 2, "bytes": 8192, "cycles": 2 * 2580}}


def test_a_file_that_is_no_profile(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(ProfileError, match="does not exist"):
        read(path)
    for text, reason in (("", "describes no device"), ('{"kind":"device"}\nno\n', "line 2 is not JSON"), ("[]\n", "not an object")):
        path.write_text(text)
        with pytest.raises(ProfileError, match=reason):
            read(path)


def test_a_line_that_a_killed_process_left_half_written_is_left_out(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.jsonl")
    (tmp_path / "1-0.jsonl").write_bytes(path.read_bytes()[:-10])
    assert len(read(tmp_path)[0].launches) == 14


@pytest.mark.parametrize("lines, launches", [(20, 15), (19, 14), (8, 5), (3, 1)])
def test_a_profile_that_was_cut_says_how_much_is_missing(lines: int, launches: int, folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.jsonl")
    whole = path.read_bytes().splitlines(keepends=True)
    assert len(whole) == 20
    (tmp_path / "1-0.jsonl").write_bytes(b"".join(whole[:lines]))
    (profile,) = read(tmp_path)
    assert len(profile.launches) == launches
    if lines == 20:
        assert profile.missing == ""
        return
    assert f"holds {launches} of 15 launches ({lines} of 20 lines)" in profile.missing
    shown = rigi("profile", "--json", "--read", tmp_path)
    assert shown.returncode == 1 and profile.missing in shown.stderr
    assert json.loads(shown.stdout)["missing"] == [profile.missing] and json.loads(shown.stdout)["launches"] == launches


def test_a_profile_of_a_killed_process_is_whole(script: Path, tmp_path: Path) -> None:
    code = script.read_text().replace("sys.exit", "import os; os.kill(os.getpid(), 9); sys.exit")
    done = rigi("profile", "--json", "--out", tmp_path / "p", "--", sys.executable, "-c", code)
    assert done.returncode == 128 + 9
    assert (json.loads(done.stdout)["launches"], json.loads(done.stdout)["missing"]) == (15, [])


# ---- Perfetto


@dataclass
class Track:
    name: str
    parent: int
    slices: list[tuple[str, int, int, dict[str, Any]]] = field(default_factory=list)  # name, begin and end in ns, annotations


def parse(path: Path) -> dict[int, Track]:
    """A Perfetto file's tracks, read with Perfetto's own protobuf."""
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    tracks: dict[int, Track] = {}
    begun: dict[int, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid not in tracks and (descriptor.parent_uuid == 0 or descriptor.parent_uuid in tracks)
            tracks[descriptor.uuid] = Track(descriptor.name, descriptor.parent_uuid)
            continue
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            facts = {a.name: getattr(a, a.WhichOneof("value")) for a in event.debug_annotations}
            begun[event.track_uuid].append((event.name, packet.timestamp, facts))
        else:
            name, begin, facts = begun[event.track_uuid].pop()
            assert begin <= packet.timestamp
            tracks[event.track_uuid].slices.append((name, begin, packet.timestamp, facts))
    assert not any(begun.values())
    return tracks


def path_of(tracks: dict[int, Track], track: Track) -> list[str]:
    return [*(path_of(tracks, tracks[track.parent]) if track.parent else []), track.name]


def test_tracks_nest_and_slices_lie_in_what_they_belong_to(folder: Path) -> None:
    tracks = parse(folder / "profile.pftrace")
    by_path = {tuple(path_of(tracks, t)[1:]): t for t in tracks.values()}
    assert all(path_of(tracks, t)[0].startswith("rigi1 device 0, process ") for t in tracks.values())
    chain = ("stream 0", "request", "layer", "launch")
    requests, layers, launches = (by_path[chain[:n]].slices for n in (2, 3, 4))
    assert [(name, facts["launches"]) for name, _, _, facts in requests] == [("step 0", 7), ("step 1", 7)]
    assert [name for name, *_ in layers] == [f"layer {n}" for n in (0, 1, 2)] * 2
    assert [name for name, *_ in launches] == (["empty", *["square", "empty"] * 3, "copy to_host"]) * 2
    assert all(any(b <= begin and end <= e for _, b, e, _ in requests) for _, begin, end, _ in layers)
    assert sum(any(b <= begin and end <= e for _, b, e, _ in layers) for _, begin, end, _ in launches) == 12
    for name, begin, end, facts in launches:
        assert (begin, end) == (round(facts["start cycle"] * 0.8), round((facts["start cycle"] + facts["cycles"]) * 0.8))
        assert name.startswith("copy") or facts["cycles"] == {"square": SQUARE, "empty": EMPTY}[name]
    kernels = [s for s in launches if not s[0].startswith("copy")]
    for engine in ENGINES:
        slices = by_path[*chain, f"{engine} engine, core 0"].slices
        assert {name for name, *_ in slices} <= {"busy", *(f"stall: {cause}" for cause in STALLS)}
        for _, begin, end, _ in kernels:
            inside = [s for s in slices if begin <= s[1] and s[2] <= end and s[3]["cycles"]]
            assert inside[0][1] == begin and inside[-1][2] == end, "an engine's slices fill its launch"
            assert all(a[2] == b[1] for a, b in zip(inside, inside[1:], strict=False))
    assert [s[0] for s in by_path[*chain, "vector engine, core 0"].slices[:7]] == [
        "stall: launch", "stall: barrier", "stall: launch", "stall: queue", "stall: operand", "busy", "stall: barrier"
    ]  # fmt: skip
    streams = {path[0] for path in by_path if path}
    assert len(streams) == 2, "the other stream has tracks of its own"


def test_a_budget_of_engine_slices_shows_every_program_first(folder: Path, tmp_path: Path) -> None:
    (profile,) = read(folder)
    shown = perfetto_file.write([profile], tmp_path / "p.pftrace", engine_slices=35)
    assert shown["launches"] == 15 and 2 <= shown["detailed"] < 15
    tracks = parse(tmp_path / "p.pftrace")
    launches = [s for t in tracks.values() if t.name == "launch" for s in t.slices if not s[0].startswith("copy")]
    detailed = [facts["sequence"] for *_, facts in launches if "engines" not in facts]
    assert len(detailed) == shown["detailed"] and {0, 1} <= set(detailed)
    assert {facts["engines"] for *_, facts in launches if "engines" in facts} <= {
        "as in the launch with sequence 0", "as in the launch with sequence 1"
    }  # fmt: skip


def test_the_roofline_picture(folder: Path) -> None:
    assert (folder / "roofline.png").read_bytes().startswith(b"\x89PNG")


# ---- the commands


def test_profile_as_json(script: Path, folder: Path, tmp_path: Path) -> None:
    done = rigi("profile", "--json", "--out", tmp_path / "p", "--", sys.executable, script)
    result = json.loads(done.stdout)
    assert done.stderr == "done\n"
    assert (result["launches"], result["cycles"], [k["kernel"] for k in result["kernels"]]) == (15, 29462, ["square", "empty"])
    assert {"engines", "files"} <= result.keys() and all(Path(path).exists() for path in result["files"].values())
    again = json.loads(rigi("profile", "--json", "--read", folder).stdout)
    assert {**again, "files": 0} == {**result, "files": 0}


def test_the_exit_code_is_passed_on(script: Path, tmp_path: Path) -> None:
    done = rigi("profile", "--out", tmp_path / "p", "--", sys.executable, script, "3")
    assert done.returncode == 3 and "square" in done.stdout


@pytest.mark.parametrize(
    "command, environment, code, reason",
    [
        (["no-such-command"], {}, 1, "command not found: no-such-command"),
        ([sys.executable, "-c", "pass"], {}, 1, "launched nothing on a Rigi device"),
        ([sys.executable, "-c", "raise SystemExit(4)"], {}, 4, "ended with exit code 4 before it launched anything"),
        (["SCRIPT"], {"RIGI_MODE": "functional"}, 1, "set RIGI_MODE=timed"),
    ],
)
def test_nothing_to_show(command: list[str], environment: dict[str, str], code: int, reason: str, script: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(script)] if command == ["SCRIPT"] else command
    done = rigi("profile", "--out", tmp_path / "p", "--", *command, **environment)
    assert (done.returncode, done.stderr.count(reason)) == (code, 1), done.stderr


def test_wrong_use(folder: Path, tmp_path: Path) -> None:
    assert "give a command to run" in rigi("profile").stderr
    assert "holds an earlier profile" in rigi("profile", "--out", folder, "--", "true").stderr
    assert "does not exist" in rigi("profile", "--read", tmp_path / "no").stderr
    assert "give a trace to summarise" in rigi("trace").stderr
    assert "does not exist" in rigi("trace", tmp_path / "no").stderr
    (tmp_path / "bad").write_text('{"a": 1}\n')
    assert "is not an instruction trace" in rigi("trace", tmp_path / "bad").stderr


def test_trace_records_summarises_and_converts(script: Path, tmp_path: Path) -> None:
    trace, perfetto = tmp_path / "t.jsonl", tmp_path / "t.pftrace"
    done = rigi("trace", "-o", trace, "--", sys.executable, script, "5")
    assert done.returncode == 5 and "square" in done.stdout and "binary 7" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]
    summary = json.loads(rigi("trace", trace, "--json", "--perfetto", perfetto).stdout)
    assert (summary["launches"], summary["cycles"]) == (15, 29462)
    assert summary["instructions"] == {"load": {"load": 7}, "store": {"store": 7}, "vector": {"binary": 7}}
    assert summary["occupancy"]["vector"] == pytest.approx(7 * 20 / 16 / 29462)
    tracks = parse(perfetto)
    (vector,) = [t for t in tracks.values() if t.name == "vector"]
    assert path_of(tracks, vector) == ["launch", "core 0", "vector"]
    assert [s[3]["cycles"] for s in vector.slices] == [20] * 7


def test_traces_of_several_devices_are_joined(tmp_path: Path) -> None:
    code = "import sdk_sim\nfor d in (0, 1, 1): sdk_sim.launch_program([{}], stream=sdk_sim.Stream(d))\n"
    code += "for d in (0, 1): sdk_sim.synchronize(d)"
    done = rigi("trace", "--json", "-o", tmp_path / "t", "--", sys.executable, "-c", code, RIGI_DEVICES="2")
    assert json.loads(done.stdout)["launches"] == 3
    assert {json.loads(line)["launch"] for line in (tmp_path / "t").read_text().splitlines()} == {0, 1, 2}


def test_a_profile_with_its_instructions(script: Path, tmp_path: Path) -> None:
    done = rigi("profile", "--json", "--instructions", "--out", tmp_path / "p", "--", sys.executable, script)
    files = json.loads(done.stdout)["files"]
    assert json.loads(rigi("trace", "--json", files["instructions"]).stdout)["launches"] == 15
    assert sorted(path.suffix for path in (tmp_path / "p").iterdir()) == [".jsonl", ".jsonl", ".pftrace", ".png"]


# ---- files that cannot be written to their end


MANY = """
import sdk_sim
for n in range(500):
    sdk_sim.launch_program([{}], name="empty")
sdk_sim.synchronize()
"""


def limited(kilobytes: int) -> list[str]:
    """A command that makes 500 launches and may write files of so much; writes beyond fail, as on a full disk."""
    return ["sh", "-c", f"ulimit -f {2 * kilobytes}; trap '' XFSZ; exec \"$0\" -c '{MANY}'", sys.executable]


def test_a_profile_for_which_there_is_no_room(tmp_path: Path) -> None:
    done = rigi("profile", "--json", "--out", tmp_path / "p", "--", *limited(50))
    result = json.loads(done.stdout)
    held = result["launches"]
    assert 0 < held < 500 and done.returncode == 1
    assert f"cannot be written any further, at launch {held + 1}: File too large" in done.stderr
    assert f"Incomplete: {result['missing'][0]}" in done.stderr and f"holds {held} of 500 launches" in result["missing"][0]


def test_a_trace_for_which_there_is_no_room(tmp_path: Path) -> None:
    trace = tmp_path / "t.jsonl"
    done = rigi("trace", "--json", "-o", trace, "--", *limited(50))
    result = json.loads(done.stdout)
    assert done.returncode == 1 and 0 < result["launches"] < 500
    assert f"holds {result['launches']} of 500 launches" in result["missing"] and "File too large" in done.stderr
    again = rigi("trace", trace)
    assert again.returncode == 1 and result["missing"] in again.stderr, "the file itself says so"


def test_a_trace_that_was_cut_between_two_launches(tmp_path: Path) -> None:
    trace = tmp_path / "t.jsonl"
    rigi("trace", "-o", trace, "--", sys.executable, "-c", MANY)
    lines = trace.read_bytes().splitlines(keepends=True)
    assert len(lines) == 500 * 16
    trace.write_bytes(b"".join(lines[: 22 * 16]))
    done = rigi("trace", trace, "--json", "--perfetto", tmp_path / "t.pftrace")
    assert (done.returncode, json.loads(done.stdout)["launches"]) == (1, 21), "the end of the last one may be missing"
    assert "of 500 launches (352 of 8,000 lines)" in done.stderr


def test_a_joined_trace_lacks_what_its_parts_lack(tmp_path: Path) -> None:
    code = "import sdk_sim\nfor d in (0, 1, 1): sdk_sim.launch_program([{}], stream=sdk_sim.Stream(d))\n"
    folder = tmp_path / "parts"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "RIGI_TRACE": str(folder), "RIGI_DEVICES": "2"})
    parts = sorted(folder.iterdir())
    parts[0].write_bytes(parts[0].read_bytes()[:-500])
    instructions.join(parts, tmp_path / "t.jsonl")
    summary = instructions.summarize(tmp_path / "t.jsonl")
    assert re.search(r"holds \d of 3 launches \(4\d of 48 lines\)", summary["missing"])


def test_a_picture_that_cannot_be_written_is_missing(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.jsonl")
    (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "roofline.png").symlink_to("/dev/full")
    done = rigi("profile", "--read", tmp_path)
    assert done.returncode == 1 and "square" in done.stdout
    assert "roofline.png could not be written: No space left on device" in done.stderr
