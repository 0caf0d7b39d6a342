"""Whether a trace says of a program what the program is: every line its instruction, every launch its cycles, none below its bounds."""

from __future__ import annotations

from typing import Any

from benchmarks.timing.program_data import CORES, Instr, Op, Program, describe
from benchmarks.timing.reference_costs import Record, misstatements
from benchmarks.timing.reference_hazards import Spans
from benchmarks.timing.reference_schedule import Launch


def same_bytes(actual: list[list[int]], expected: list[list[int]]) -> bool:
    """Whether two lists of spans name the same bytes, span by span in any order."""
    spans = Spans()
    return sorted({spans.intern(s) for s in actual} - {None}) == sorted({spans.intern(s) for s in expected} - {None})  # type: ignore[type-var]


def misstated(record: Record, instr: Instr) -> str:
    """What a trace line gets wrong about its instruction; empty if nothing."""
    expected: dict[str, Any] = describe(instr, record["core"])
    wrong = [name for name in ("engine", "op") if record[name] != expected[name]]
    args = {name: record["args"].get(name) for name in expected["args"]}
    wrong += [f"args.{name} {args[name]} != {value}" for name, value in expected["args"].items() if args[name] != value]
    wrong += [f"{name} {record[name]} != {expected[name]}" for name in ("reads", "writes") if not same_bytes(record[name], expected[name])]
    return f"core {record['core']} phase {record['phase']} index {record['index']} {instr}: {'; '.join(wrong)}" if wrong else ""


def _core_faults(lines: list[Record], phases: list[list[Instr]]) -> list[str]:
    """Faults in the lines of one core, whose instructions are given phase by phase."""
    expected = [(phase, instr) for phase, instrs in enumerate(phases) for instr in (*instrs, None)]  # None: the barrier
    places = [(r["phase"], r["index"]) for r in lines]
    if len(lines) != len(expected) or places != sorted(set(places)):
        return [f"core {lines[0]['core']} has {len(lines)} lines for {len(expected)} instructions and barriers, or out of order"]
    faults = []
    for r, (phase, instr) in zip(lines, expected):
        where = f"core {r['core']} phase {r['phase']} index {r['index']}"
        if r["phase"] != phase:
            faults.append(f"{where}: an instruction of phase {phase}")
        if instr is None:
            faults += [] if (r["engine"], r["op"]) == ("barrier", "barrier") else [f"{where}: {r['op']} where a barrier is due"]
            continue
        if instr.op in (Op.LOAD, Op.LOAD_MULTICAST, Op.STORE, Op.STORE_ADD) and r["hbm"][0][1:] != [
            instr.cols,
            instr.rows,
            instr.hbm_stride,
        ]:
            faults.append(f"{where}: hbm {r['hbm']} is not {instr}")
        if wrong := misstated(r, instr):
            faults.append(wrong)
    return faults


def launch_faults(times: Launch, program: Program) -> list[str]:
    """What is wrong with a launch's lines besides their times, and with its cycles beside what it cannot beat."""
    by_core: dict[int, list[Record]] = {core: [] for core in range(CORES)}
    for r in times.records:
        by_core[r["core"]].append(r)
    faults = misstatements(times.records, times.chip)
    for core, lines in by_core.items():
        faults += _core_faults(lines, [phase[core] for phase in program])
    last = max(r["end"] for r in times.records)
    bound = times.launch_cycles + max(times.hbm_cycles(), times.engine_cycles())
    return faults if last >= bound else [*faults, f"everything ended at {last}, before {bound}, the least that HBM and the engines take"]
