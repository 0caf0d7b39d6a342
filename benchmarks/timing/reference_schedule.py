"""A second opinion on the clock: recomputes the schedule of an instruction trace from the timing rules of the chip manual.

It shares no code with the emulator. From each line of a trace it takes what the instruction is (core, phase, index, engine, op,
args, reads, writes, hbm), works out `issue`, `start`, `end` and `done` by rules 1 to 6 (sdk_sim/README.md, "Timing rules"), and
reports every line where the emulator says something else. The figures come from the chip file. Costs, and whether a line's args
fit the memory it names, are in reference_costs.py, the scoreboard in reference_hazards.py.

    python -m benchmarks.timing.reference_schedule trace.jsonl     # prints the differences; exit code 1 if there are any

How the order of HBM requests is found. Everything that does not wait for an ungranted HBM request is resolved first. What is
then still open waits, directly or through others, for the `end` or `done` of a request that has a start but no grant, and those
lie after that start (an instruction is busy for at least a cycle). So no request still to come can start at or before the
earliest one in hand, and granting the least (start, core, position) is granting in the order of the rules.
"""

from __future__ import annotations

import heapq
import json
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing.reference_costs import (
    ENGINES,
    Record,
    TraceError,
    busy_cycles,
    ceil_div,
    latency_cycles,
    misstatements,
    server_bytes,
)
from benchmarks.timing.reference_hazards import Scoreboard, Spans

CHIP_FILE = Path(__file__).resolve().parents[2] / "sdk_sim" / "chips" / "rigi1.toml"
TIMES = ("issue", "start", "end", "done")


def load_figures(path: Path = CHIP_FILE) -> dict[str, Any]:
    """The chip's figures as nested dicts, as they stand in the chip file."""
    with path.open("rb") as file:
        return tomllib.load(file)


def read_trace(path: Path) -> list[Record]:
    """The lines of a trace file, in file order."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


# ---- the schedule of one launch


@dataclass
class Group:
    """One multicast, or one barrier: its members, and how many of them are still to come."""

    waiting: int
    key: tuple[int, int] = (1 << 30, 0)  # (lowest core, position there): decides ties at the HBM server
    members: list[int] = field(default_factory=list)
    start: int = 0


class Launch:
    """The instructions of one launch, in file order, and their times once `run` has been called."""

    def __init__(self, records: Sequence[Record], chip: dict[str, Any], launch_cycles: int) -> None:
        self.records, self.chip, self.launch_cycles = records, chip, launch_cycles
        count = len(records)
        self.issue, self.start, self.end, self.done = ([launch_cycles] * count, [0] * count, [0] * count, [0] * count)
        self.resolved = 0
        self.rate = chip["hbm"]["bytes_per_cycle"]
        self.server_free = 0  # in 1 / rate cycles, so that every grant is a whole number
        self.requests: list[tuple[int, tuple[int, int], int]] = []  # heap: (start, (core, position), instruction)
        self.busy = [0 if r["engine"] == "barrier" else busy_cycles(r, chip) for r in records]
        self.latency = [latency_cycles(r, chip) for r in records]
        self.server = [server_bytes(r) for r in records]
        self.position = [0] * count
        self.group: list[Group | None] = [None] * count
        self.next_issue: list[int] = [-1] * count  # the instruction after this one on its core
        self.next_deep: list[int] = [-1] * count  # queue_depth places later on the same engine
        self.next_engine: list[int] = [-1] * count
        self.after_done: list[list[int]] = [[] for _ in records]
        self.after_end: list[list[int]] = [[] for _ in records]
        self.open_issue = [0] * count  # how many times an instruction still waits for
        self.open_start = [1] * count  # its own issue
        self._link()

    # -- who waits for whom

    def _windows(self) -> tuple[dict[str, int], dict[str, int]]:
        depth, forever = self.chip["sequencer"]["queue_depth"], len(self.records) + 1
        shortest, longest = dict.fromkeys(ENGINES, forever), dict.fromkeys(ENGINES, 0)
        for r, busy, latency in zip(self.records, self.busy, self.latency, strict=True):
            if r["engine"] in shortest:
                shortest[r["engine"]] = min(shortest[r["engine"]], busy)
                longest[r["engine"]] = max(longest[r["engine"]], latency)
        reads = dict.fromkeys(ENGINES, depth + 2)
        writes = {e: depth + 2 + ceil_div(longest[e], shortest[e]) if shortest[e] else forever for e in ENGINES}
        return reads, writes

    def _link(self) -> None:
        cores: dict[int, list[int]] = defaultdict(list)
        for i, r in enumerate(self.records):
            cores[r["core"]].append(i)
        self.cores = sorted(cores)
        keep_reads, keep_writes = self._windows()
        spans = Spans()
        multicasts: dict[tuple[Any, ...], Group] = {}
        barriers: list[Group] = []
        for core in self.cores:
            self._link_core(core, cores[core], spans, Scoreboard(spans, keep_reads, keep_writes), multicasts, barriers)

    def _link_core(
        self, core: int, order: list[int], spans: Spans, board: Scoreboard, multicasts: dict[tuple[Any, ...], Group], barriers: list[Group]
    ) -> None:
        depth = self.chip["sequencer"]["queue_depth"]
        queues: dict[str, list[int]] = defaultdict(list)
        used_names: Counter[Any] = Counter()
        unfinished_stores: list[int] = []  # since the last barrier
        phase = 0
        previous = -1
        for position, i in enumerate(order):
            r = self.records[i]
            engine = r["engine"]
            self.position[i] = position
            if previous >= 0:
                self.next_issue[previous] = i
                self.open_issue[i] += 1
            previous = i
            if engine in ENGINES:
                queue = queues[engine]
                if queue:
                    self.next_engine[queue[-1]] = i
                    self.open_start[i] += 1
                if len(queue) >= depth:
                    self.next_deep[queue[-depth]] = i
                    self.open_issue[i] += 1
                queue.append(i)
            if engine == "barrier":
                for j in unfinished_stores:
                    self.after_done[j].append(i)
                self.open_start[i] += len(unfinished_stores)
                unfinished_stores = []
                if phase == len(barriers):
                    barriers.append(Group(len(self.cores)))
                self._join(barriers[phase], i, core, position)
                phase += 1
                continue
            reads = [s for s in map(spans.intern, r["reads"]) if s is not None]
            writes = [s for s in map(spans.intern, r["writes"]) if s is not None]
            on_done, on_end = board.meet(reads, writes)
            for j in on_done:
                self.after_done[j].append(i)
            for j in on_end:
                self.after_end[j].append(i)
            self.open_start[i] += len(on_done) + len(on_end)
            if engine in ENGINES:
                board.add(i, engine, reads, writes)
            if engine == "store":
                unfinished_stores.append(i)
            if r["op"] == "load_multicast":
                receivers = tuple(sorted(r["args"]["receivers"]))
                if core not in receivers:
                    raise TraceError(f"core {core} position {position}: a multicast to {receivers} issued by a core outside of it")
                multicast = multicasts.setdefault((receivers, used_names[receivers]), Group(len(receivers)))
                used_names[receivers] += 1  # the k-th to these receivers in one core is the k-th in the others
                self._join(multicast, i, core, position)

    def _join(self, group: Group, i: int, core: int, position: int) -> None:
        group.members.append(i)
        group.key = min(group.key, (core, position))
        self.group[i] = group

    # -- working it out

    def run(self) -> None:
        todo = [("issue", i) for i in range(len(self.records)) if not self.open_issue[i] and not self.position[i]]
        last_grant = (-1, (-1, -1))
        while True:
            while todo:
                step, i = todo.pop()
                (self._issued if step == "issue" else self._startable)(i, todo)
            if not self.requests:
                break
            start, key, i = heapq.heappop(self.requests)
            if (start, key) < last_grant:
                raise AssertionError("a request turned up after a later one was granted")
            last_grant = (start, key)
            self.server_free = max(start * self.rate, self.server_free) + self.server[i]
            for member in self._together(i):
                self._finish(member, max(start + self.busy[member], ceil_div(self.server_free, self.rate)), todo)
        if self.resolved < len(self.records):
            left = len(self.records) - self.resolved
            raise TraceError(f"{left} instructions never start: a receiver of a multicast or of a barrier is missing")

    def _together(self, i: int) -> list[int]:
        group = self.group[i]
        return group.members if group else [i]

    def _issued(self, i: int, todo: list[tuple[str, int]]) -> None:
        following = self.next_issue[i]
        if following >= 0 and self.records[i]["engine"] in ENGINES:
            self._advance_issue(following, self.issue[i] + 1, todo)
        self._advance_start(i, self.issue[i], todo)

    def _advance_issue(self, i: int, time: int, todo: list[tuple[str, int]]) -> None:
        self.issue[i] = max(self.issue[i], time)
        self.open_issue[i] -= 1
        if not self.open_issue[i]:
            todo.append(("issue", i))

    def _advance_start(self, i: int, time: int, todo: list[tuple[str, int]]) -> None:
        self.start[i] = max(self.start[i], time)
        self.open_start[i] -= 1
        if not self.open_start[i]:
            todo.append(("start", i))

    def _startable(self, i: int, todo: list[tuple[str, int]]) -> None:
        """Nothing but its group keeps instruction i from starting at self.start[i]."""
        group = self.group[i]
        if group is None:
            self._started(i, todo)
            if self.server[i]:
                heapq.heappush(self.requests, (self.start[i], (self.records[i]["core"], self.position[i]), i))
            else:
                self._finish(i, self.start[i] + self.busy[i], todo)
            return
        group.start = max(group.start, self.start[i])
        group.waiting -= 1
        if group.waiting:
            return
        if self.records[i]["engine"] == "barrier":  # `start` stays each core's own arrival
            for member in group.members:
                self._finish(member, group.start + self.chip["launch"]["barrier"], todo)
            return
        for member in group.members:
            self.start[member] = group.start
            self._started(member, todo)
        heapq.heappush(self.requests, (group.start, group.key, i))

    def _started(self, i: int, todo: list[tuple[str, int]]) -> None:
        if self.next_deep[i] >= 0:
            self._advance_issue(self.next_deep[i], self.start[i], todo)

    def _finish(self, i: int, end: int, todo: list[tuple[str, int]]) -> None:
        self.resolved += 1
        self.end[i] = end
        done = self.done[i] = end + self.latency[i]
        if self.next_engine[i] >= 0:
            self._advance_start(self.next_engine[i], end, todo)
        for j in self.after_end[i]:
            self._advance_start(j, end, todo)
        for j in self.after_done[i]:
            self._advance_start(j, done, todo)
        if self.records[i]["engine"] not in ENGINES and self.next_issue[i] >= 0:
            self._advance_issue(self.next_issue[i], end, todo)

    # -- what the launch cannot beat

    def cycles(self) -> int:
        """The end of the last barrier."""
        return max(self.end, default=0)

    def hbm_cycles(self) -> int:
        """HBM's part: every byte once (a multicast once for all receivers) at the full rate."""
        leaders = (i for i in range(len(self.records)) if self._together(i)[0] == i)
        return ceil_div(sum(self.server[i] for i in leaders), self.rate)

    def engine_cycles(self) -> int:
        """The busy cycles of the busiest engine of any core."""
        total: Counter[tuple[int, str]] = Counter()
        for r, busy in zip(self.records, self.busy, strict=True):
            total[r["core"], r["engine"]] += busy
        return max(total.values(), default=0)


# ---- comparing


@dataclass(frozen=True)
class Difference:
    """One time on which the trace and the rules disagree."""

    launch: int
    core: int
    phase: int
    index: int
    op: str
    name: str
    expected: int
    actual: int

    def __str__(self) -> str:
        where = f"launch {self.launch} core {self.core} phase {self.phase} index {self.index} ({self.op})"
        return f"{where}: {self.name} is {self.actual}, the rules say {self.expected}"


def launches(records: Iterable[Record]) -> dict[int, list[Record]]:
    """The records of each launch, in order of appearance."""
    by_launch: dict[int, list[Record]] = {}
    for r in records:
        by_launch.setdefault(r["launch"], []).append(r)
    return by_launch


def schedule(records: Sequence[Record], chip: dict[str, Any] | None = None, launch_cycles: int | None = None) -> Launch:
    """The recomputed times of one launch. `launch_cycles`: the host's launch cost by default, the graph's if the trace begins there."""
    chip = chip or load_figures()
    if launch_cycles is None:
        first = min((r.get("issue", 0) for r in records), default=0)
        launch_cycles = chip["launch"]["graph" if first == chip["launch"]["graph"] else "host"]
    launch = Launch(records, chip, launch_cycles)
    launch.run()
    return launch


def disagreements(launch: Launch) -> list[Difference]:
    """Every time in the records of a launch that is not the recomputed one, the earliest first."""
    differences = []
    for i, r in enumerate(launch.records):
        for name in TIMES:
            expected = getattr(launch, name)[i]
            if r[name] != expected:
                differences.append(Difference(r["launch"], r["core"], r["phase"], r["index"], r["op"], name, expected, r[name]))
    return sorted(differences, key=lambda d: d.expected)


def compare(records: Sequence[Record], chip: dict[str, Any] | None = None, launch_cycles: int | None = None) -> list[Difference]:
    """Every time of a trace (any number of launches) that the rules contradict."""
    chip = chip or load_figures()
    return [d for lines in launches(records).values() for d in disagreements(schedule(lines, chip, launch_cycles))]


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    by_launch = launches(read_trace(Path(arguments[0])))
    chip = load_figures()
    wrong = [text for lines in by_launch.values() for text in misstatements(lines, chip)]
    differences = [d for lines in by_launch.values() for d in disagreements(schedule(lines, chip))]
    for line in (*wrong, *differences)[:40]:
        print(line)
    count = sum(map(len, by_launch.values()))
    print(f"{count} instructions, {len(by_launch)} launches: {len(differences)} differences, {len(wrong)} misstatements")
    return 1 if differences or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
