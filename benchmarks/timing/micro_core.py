"""Microbenchmarks of one core: issue, queue depth, and the scoreboard.

Cases follow one pattern: an instruction whose times are known, and another that may, or may not, have to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.timing.program_data import COL, ROW, D, Instr, Op, Operand, imm
from benchmarks.timing.rules import Case, Cases, Rules, Stated
from benchmarks.timing.short_names import alone, exp, fill, iota, load, mma, scalar_read, square, sram, store

KIB64 = 1 << 16
PLACE, ELSEWHERE = 1 << 18, 1 << 19


# ---- queues


def queues(r: Rules, hbm: int) -> Cases:
    """n equal, independent instructions of an engine, then one of another engine (which the n may hold back).

    The engine works without a gap, so instruction j starts at j times its busy cycles, b of them. It issues in the cycle after the
    one before it, but not before the one `depth` places earlier has started: at max(j, (j - depth) b).
    """
    engines: dict[str, tuple[Callable[[int], Instr], int]] = {
        "load": (lambda j: load(j * 4096, hbm + j * 4096, 4096), r.dma(4096)),
        "long load": (lambda j: load(j << 14, hbm + (j << 14), 1 << 14), r.dma(1 << 14)),
        "store": (lambda j: store(j * 4096, hbm + j * 4096, 4096), r.dma(4096)),
        "matrix": (lambda j: mma(j * 4096, 1 << 20, 5 << 18, 16, 64, 16), r.mma(16, 64, 16)),
        "vector": (lambda j: iota(j * 4096, 256), r.vector(1, 256)),
        "act": (lambda j: exp(j * 4096, 1 << 20, 1024), r.act(1, 1024)),
    }
    for name, (make, busy) in engines.items():
        for count in range(1, 41) if name == "load" else (15, 16, 17, 18, 33, 40):
            issue = [r.start + max(j, (j - r.depth) * busy) for j in range(count)]
            times: Stated = {(5, 0, j): (issue[j], r.start + j * busy, r.start + (j + 1) * busy, None) for j in range(count)}
            other = load(7 << 18, hbm, 64) if name == "vector" else iota(7 << 18, 64)
            times[5, 0, count] = (issue[-1] + 1, issue[-1] + 1, None, None)
            arrival = issue[-1] + 2
            if name == "store":
                arrival = max(arrival, r.start + count * busy + r.dma_latency)
            yield Case(
                "queue depth", f"{count} x {name}, then another engine", alone(*map(make, range(count)), other), arrival + r.barrier, times
            )


def blocked_queue(r: Rules, hbm: int) -> Cases:
    """The head of the vector queue waits for a load. `depth` instructions find a place, all later ones wait for the head to start."""
    for behind in (0, 1, r.depth - 2, r.depth - 1, r.depth, r.depth + 3):
        ready = r.start + r.dma(KIB64) + r.dma_latency
        busy = r.vector(1, 256)
        waiting = [square(PLACE, 0, 256), *(iota(ELSEWHERE + 4096 * j, 256) for j in range(behind)), exp(1 << 20, 5 << 18, 16)]
        times: Stated = {(5, 0, 1 + j): (None, ready + j * busy, ready + (j + 1) * busy, None) for j in range(behind + 1)}
        place = behind - r.depth  # of the youngest vector instruction, counted from the one that found no place
        issue = r.start + 1 + behind if place < 0 else max(ready + place * busy, r.start + 1 + behind)
        times[5, 0, behind + 2] = (issue + 1, issue + 1, None, None)
        program = alone(load(0, hbm, KIB64), *waiting)
        yield Case("queue depth", f"a waiting head and {behind} behind it", program, issue + 2 + r.barrier, times)


def issue_slots(r: Rules, hbm: int) -> Cases:
    """The sequencer issues one instruction a cycle, whatever the engine."""
    kinds = [
        load(0, hbm, 64),
        store(PLACE, hbm + 4096, 64),
        mma(ELSEWHERE, 1 << 20, 5 << 18, 1, 1, 1),
        iota(6 << 18, 16),
        exp(7 << 18, 3 << 18, 16),
    ]
    for turn in range(len(kinds)):
        order = kinds[turn:] + kinds[:turn]
        times: Stated = {(5, 0, j): (r.start + j, r.start + j, None, None) for j in range(len(order))}
        stored = r.start + order.index(kinds[1]) + r.dma(64) + r.dma_latency
        yield Case("issue", f"one of each engine, beginning with {order[0].op.name.lower()}", alone(*order), stored + r.barrier, times)


# ---- hazards


@dataclass(frozen=True)
class Kind:
    """An instruction that writes, or reads, the 4096 bytes at PLACE (64 x 16 fp32; an mma the bf16 it takes them for)."""

    name: str
    instr: Instr
    busy: int
    latency: int


def writers(r: Rules, hbm: int) -> list[Kind]:
    return [
        Kind("load", load(PLACE, hbm, 4096), r.dma(4096), r.dma_latency),
        Kind("fill", fill(PLACE, 1024), r.dma(4096), 0),
        Kind("mma", mma(PLACE, 1 << 20, 5 << 18, 64, 16, 8), r.mma(64, 16, 8), r.mma_latency),
        Kind("vector", square(PLACE, 6 << 18, 1024), r.vector(1, 1024), r.vector_latency),
        Kind("act", exp(PLACE, 7 << 18, 1024), r.act(1, 1024), r.act_latency),
    ]


def readers(r: Rules, hbm: int) -> list[Kind]:
    return [
        Kind("store", store(PLACE, hbm + (1 << 20), 4096), r.dma(4096), r.dma_latency),
        Kind("mma", mma(ELSEWHERE, PLACE, 5 << 18, 16, 16, 128), r.mma(16, 16, 128), r.mma_latency),
        Kind("vector", square(ELSEWHERE + KIB64, PLACE, 1024), r.vector(1, 1024), r.vector_latency),
        Kind("act", exp(ELSEWHERE + 2 * KIB64, PLACE, 1024), r.act(1, 1024), r.act_latency),
    ]


def _pair(r: Rules, topic: str, name: str, first: Kind, second: Kind, start: int) -> Case:
    """Two instructions, the second of which starts at `start`."""
    end = start + second.busy
    ready = r.start + first.busy
    times: Stated = {
        (5, 0, 0): (r.start, r.start, ready, ready + first.latency),
        (5, 0, 1): (r.start + 1, start, end, end + second.latency),
    }
    done = {first.name: ready + first.latency, second.name: end + second.latency}
    return Case(topic, name, alone(first.instr, second.instr), max(r.start + 2, done.get("store", 0)) + r.barrier, times)


def hazards(r: Rules, hbm: int) -> Cases:
    """A reader or writer waits for the writer's `done`; a writer for the reader's `end`; readers for nobody."""
    for writer in writers(r, hbm):
        for reader in readers(r, hbm):
            yield _pair(r, "read after write", f"{writer.name}, {reader.name}", writer, reader, r.start + writer.busy + writer.latency)
            yield _pair(r, "write after read", f"{reader.name}, {writer.name}", reader, writer, r.start + reader.busy)
        for other in writers(r, hbm):
            yield _pair(
                r,
                "write after write",
                f"{writer.name}, {other.name}",
                writer,
                other,
                max(r.start + writer.busy + writer.latency, r.start + 1),
            )
    for one in readers(r, hbm):
        for two in readers(r, hbm):
            if one.name != two.name:
                yield _pair(r, "read after read", f"{one.name}, {two.name}", one, two, r.start + 1)


def interleaved(r: Rules, hbm: int) -> Cases:
    """Two strided blocks of one pitch: `width` bytes of each row are loaded, a fill begins `offset` bytes further on."""
    for rows, width, pitch, offset in (
        (8, 64, 256, 64), (8, 65, 256, 64), (8, 64, 128, 64), (8, 128, 192, 128), (8, 130, 192, 128), (2, 64, 4096, 2048), (40, 1, 128, 64),
        (8, 192, 256, 192), (8, 200, 256, 192), (1, 64, 64, 64), (1, 65, 65, 64), (8, 64, 256, 64 + 256 * 8), (8, 256, 256, 64 + 256 * 7),
    ):  # fmt: skip
        first = Instr(Op.LOAD, rows, width, dst=sram(0, pitch), hbm=hbm, hbm_stride=width)
        taken = {row * pitch + byte for row in range(rows) for byte in range(width)}
        written = {offset + row * pitch + byte for row in range(rows) for byte in range(64)}
        done = r.start + r.moved(rows * width) + r.dma_latency
        start = done if taken & written else r.start + 1
        second = Instr(Op.BINARY, rows, 16, dst=sram(offset, pitch), a=sram(1 << 20, 64), b=imm(1.0))
        times: Stated = {(5, 0, 1): (r.start + 1, start, start + r.vector(rows, 16), None)}
        name = f"{rows} rows, {width} bytes of {pitch}, then from byte {offset}"
        yield Case("strided blocks", name, alone(first, second), r.start + 2 + r.barrier, times)


def broadcasts(r: Rules, hbm: int) -> Cases:
    """What a broadcast operand reads: one row, one element a row, nothing. A load into those bytes waits for the reader's end."""
    end = r.start + r.vector(4, 64)
    for bcast, label, read in ((ROW, "row", range(256)), (COL, "column", (0, 256, 512, 768)), (0, "block", range(1024))):
        scale = Instr(Op.BINARY, 4, 64, dst=sram(PLACE, 256), a=sram(ELSEWHERE, 256), b=Operand(0, 256, D.F32, bcast), fn=2)
        for at in (0, 64, 192, 256, 320, 768, 960, 1024):
            start = end if set(read) & set(range(at, at + 64)) else r.start + 1
            times: Stated = {(5, 0, 1): (r.start + 1, start, None, None)}
            yield Case("broadcasts", f"a load at byte {at} of a {label}", alone(scale, load(at, hbm, 64)), r.start + 2 + r.barrier, times)


def chains(r: Rules, hbm: int) -> Cases:
    """load -> vector -> act -> ... -> store, each waiting for the one before; and sums in one accumulator or in turns."""
    for length in (1, 2, 3, 8, 24):
        instrs = [load(0, hbm, 4096)]
        ready = r.start + r.dma(4096) + r.dma_latency
        for j in range(length):
            at, to = 4096 * j, 4096 * (j + 1)
            instrs.append(exp(to, at, 1024) if j % 2 else square(to, at, 1024))
            ready += r.act(1, 1024) + r.act_latency if j % 2 else r.vector(1, 1024) + r.vector_latency
        program = alone(*instrs, store(4096 * length, hbm + 8192, 4096))
        yield Case("chains", f"{length} in a row", program, ready + r.dma(4096) + r.dma_latency + r.barrier)
    busy = r.mma(16, 16, 16)
    for places in (1, 2, 3, 5):
        count = 3 * places
        step = max(busy * places, busy + r.mma_latency)  # from one use of an accumulator to the next
        instrs = [mma(4096 * (j % places), 1 << 20, 5 << 18, 16, 16, 16, accumulate=True) for j in range(count)]
        times: Stated = {(5, 0, j): (None, r.start + j // places * step + j % places * busy, None, None) for j in range(count)}
        yield Case("chains", f"{count} sums in {places} accumulators", alone(*instrs), r.start + count + r.barrier, times)


def scalar_hazards(r: Rules, hbm: int) -> Cases:
    """A scalar read waits for the writers of its bytes, not for their readers; the next instruction issues at its end."""
    for writer in writers(r, hbm):
        done = r.start + writer.busy + writer.latency
        for offset, start in ((0, done), (4088, done), (4096, r.start + 1)):
            start = max(start, r.start + 1)
            end = start + r.read
            times: Stated = {(5, 0, 1): (r.start + 1, start, end, end), (5, 0, 2): (end, end, None, None)}
            program = alone(writer.instr, scalar_read(PLACE + offset, 8), iota(ELSEWHERE, 16))
            yield Case("scalar_read", f"after {writer.name}, byte {offset}", program, end + 1 + r.barrier, times)
    reader = readers(r, hbm)[0]
    end = r.start + 1 + r.read
    cycles = r.start + reader.busy + reader.latency + r.barrier
    yield Case(
        "scalar_read", "while a store reads", alone(reader.instr, scalar_read(PLACE)), cycles, {(5, 0, 1): (None, r.start + 1, end, end)}
    )


TOPICS = (queues, blocked_queue, issue_slots, hazards, interleaved, broadcasts, chains, scalar_hazards)
