"""Perfetto traces (ui.perfetto.dev) of profiles and instruction traces. Times are simulated.

A profile becomes, for each device and stream, tracks nested in each other: device > stream, if there are several > one for each level
of ranges (request, layer, ...) > launches and copies > the five engines of core 0 with what they did: busy, or the cause of a stall.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .aggregate import ENGINES
from .reader import Profile, Record

# Engine slices beyond this are left out: first of launches whose program is shown elsewhere. About 15 MB.
ENGINE_SLICES = 200_000


class Writer:
    """Tracks and slices in a file. A clock turns cycles into whole nanoseconds; exact cycles are in the annotations."""

    def __init__(self, file: BinaryIO, clock_hz: float = 1e9) -> None:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

        self._builder = StreamingTraceProtoBuilder(file)
        self._begin, self._end = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END
        self._explicit = TrackDescriptor.EXPLICIT
        self._tracks = 0
        self.clock_hz = clock_hz

    def track(self, name: str, parent: int = 0) -> int:
        """A new track below `parent` (0: at the top), after those that are there. Returns its number."""
        self._tracks += 1
        packet = self._builder.create_packet()
        descriptor = packet.track_descriptor
        descriptor.uuid = self._tracks
        descriptor.name = name
        descriptor.child_ordering = self._explicit
        descriptor.sibling_order_rank = self._tracks
        if parent:
            descriptor.parent_uuid = parent
        self._builder.write_packet(packet)
        return self._tracks

    def slice(self, track: int, name: str, start: int, end: int, **facts: Any) -> None:
        """From cycle `start` to `end`. The slices of a track are given in order and do not overlap."""
        self._event(track, self._begin, start, name, {"start cycle": start, "cycles": end - start, **facts})
        self._event(track, self._end, end)

    def _event(self, track: int, kind: int, cycle: int, name: str = "", facts: dict[str, Any] | None = None) -> None:
        packet = self._builder.create_packet()
        packet.timestamp = round(cycle * 1e9 / self.clock_hz)
        packet.trusted_packet_sequence_id = 1
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name:
            event.name = name
        for key, value in (facts or {}).items():
            annotation = event.debug_annotations.add()
            annotation.name = key
            if isinstance(value, int):
                annotation.int_value = value
            elif isinstance(value, float):
                annotation.double_value = value
            else:
                annotation.string_value = str(value)
        self._builder.write_packet(packet)


def write(profiles: Sequence[Profile], path: Path, engine_slices: int = ENGINE_SLICES) -> dict[str, int]:
    """Writes the trace of all profiles. Returns {"launches", "detailed"}: how many there are and how many show their engines.

    A launch without its engines has the number of one with the same program, whose engines did the same.
    """
    shown = {"launches": 0, "detailed": 0}
    with path.open("wb") as file:
        writer = Writer(file)
        for profile in profiles:
            device = profile.device
            writer.clock_hz = device["clock_hz"]
            detailed, engine_slices = _detailed(profile, engine_slices)
            root = writer.track(f"{device['chip']} device {device['device']}, process {device['process']}")
            work = profile.work()
            streams = sorted({record["stream"] for record in work})
            for stream in streams:
                parent = root if len(streams) == 1 else writer.track(f"stream {stream}", root)
                _write_stream(writer, parent, profile, [record for record in work if record["stream"] == stream], detailed)
            shown["launches"] += len(profile.launches)
            shown["detailed"] += sum(launch["sequence"] == detailed[launch["sequence"]] for launch in profile.launches)
    return shown


def _detailed(profile: Profile, budget: int) -> tuple[dict[int, int], int]:
    """For each launch the one that shows its engines (-1: none does), and what is left of the budget.

    Each program's first launch goes before any repetition, so that a long run still shows everything once.
    """
    first: dict[int, int] = {}
    shows: dict[int, int] = {}
    for repetitions in (False, True):
        for launch in profile.launches:
            program, sequence = launch["program"], launch["sequence"]
            if (program in first and first[program] != sequence) != repetitions:
                continue
            first.setdefault(program, sequence)
            slices = sum(len(engine["spans"]) for engine in profile.programs[program]["engines"].values())
            shows[sequence] = sequence if slices <= budget else shows[first[program]] if repetitions else -1
            budget -= slices if shows[sequence] == sequence else 0
    return shows, budget


def _write_stream(writer: Writer, parent: int, profile: Profile, work: list[Record], detailed: dict[int, int]) -> None:
    for depth in range(max((len(record["ranges"]) for record in work), default=0)):
        parent = _write_level(writer, parent, [(record["ranges"][depth], record) for record in work if len(record["ranges"]) > depth])
    launches = writer.track("launch", parent)
    for record in work:
        facts = _launch_facts(profile, record, detailed) if record["kind"] == "launch" else {"bytes": record["bytes"]}
        name = record["kernel"] if record["kind"] == "launch" else f"copy {record['copy']}"
        writer.slice(launches, name, record["start"], record["end"], sequence=record["sequence"], **facts)
    for engine in ENGINES if any(record["kind"] == "launch" for record in work) else ():
        track = writer.track(f"{engine} engine, core 0", launches)
        for record in work:
            if detailed.get(record["sequence"]) == record["sequence"]:
                _write_engine(writer, track, profile.program(record)["engines"][engine], record["start"])


def _write_level(writer: Writer, parent: int, items: list[tuple[list[Any], Record]]) -> int:
    """The track of the ranges at one depth: from the first to the last of what belongs to each."""
    track = writer.track(" / ".join(dict.fromkeys(place[0] for place, _ in items)), parent)
    ranges: dict[int, tuple[str, list[Record]]] = {}
    for (_, name, number), record in items:
        ranges.setdefault(number, (name, []))[1].append(record)
    for name, records in ranges.values():
        launches = sum(record["kind"] == "launch" for record in records)
        writer.slice(track, name, records[0]["start"], records[-1]["end"], launches=launches)
    return track


def _write_engine(writer: Writer, track: int, engine: Record, start: int) -> None:
    begin = 0
    for state, end in engine["spans"]:
        name = "busy" if state == "busy" else f"stall: {state}"
        writer.slice(track, name, start + begin, start + end)
        begin = end


def _launch_facts(profile: Profile, launch: Record, detailed: dict[int, int]) -> dict[str, Any]:
    program = profile.program(launch)
    roofline = program["roofline"]
    facts: dict[str, Any] = {
        "program": launch["program"],
        "bound": roofline["bound"],
        "roofline fraction": roofline["fraction"],
        "flops": program["flops_16bit"] + program["flops_8bit"],
        "HBM bytes": program["hbm_read"] + program["hbm_written"],
    }
    for name, engine in program["engines"].items():
        facts[f"{name} busy"] = engine["busy"] / (program["cycles"] * profile.device["cores"])
    shown = detailed[launch["sequence"]]
    if shown != launch["sequence"]:
        facts["engines"] = f"as in the launch with sequence {shown}" if shown >= 0 else "left out"
    return facts
