"""Microbenchmarks of all cores together: HBM contention, multicasts, barriers, sends."""

from __future__ import annotations

from itertools import product
from math import ceil

from benchmarks.timing.program_data import GROUP_ALL, GROUP_COL, GROUP_ROW, Instr, receivers
from benchmarks.timing.rules import Case, Cases, Rules, Stated
from benchmarks.timing.short_names import (
    everywhere,
    exp,
    fill,
    iota,
    load,
    mma,
    multicast,
    only,
    scalar_load,
    send,
    square,
    store,
    store_add,
)

KIB64 = 1 << 16
MIB = 1 << 20


# ---- HBM: one server, first come first served


def contention(r: Rules, hbm: int) -> Cases:
    """n cores ask at once: core c is served after the c before it, and the fractions of a cycle add up."""
    for size in (64, 4096, KIB64 - 64, KIB64):
        for count in range(1, r.cores + 1):
            each, busy = r.hbm(size), r.dma(size)
            ends = [r.start + max(busy, ceil((core + 1) * each)) for core in range(count)]
            for make in (load, store) if size == KIB64 else (load,):
                times: Stated = {(core, 0, 0): (r.start, r.start, end, end + r.dma_latency) for core, end in enumerate(ends)}
                program = [only({core: [make(0, hbm + core * KIB64, size)] for core in range(count)})]
                arrival = max(ends) + r.dma_latency if make is store else r.start + 1
                yield Case("contention", f"{count} {make.__name__}s of {size} bytes", program, arrival + r.barrier, times)
    for count in range(1, r.cores + 1):
        ends = [r.start + max(r.dma(KIB64), ceil((core + 1) * 2 * r.hbm(KIB64))) for core in range(count)]
        program = [only({core: [store_add(0, hbm + core * KIB64, KIB64)] for core in range(count)})]
        times = {(core, 0, 0): (r.start, r.start, end, end + r.dma_latency) for core, end in enumerate(ends)}
        yield Case("contention", f"{count} store_adds, read and written", program, max(ends) + r.dma_latency + r.barrier, times)


def streams(r: Rules, hbm: int) -> Cases:
    """Every core keeps its load queue full: the chip moves at the full rate of HBM, to the fraction, or the queues at theirs.

    The last load of core 15 ends when HBM has moved everything; if the queues are the slower part, each of them works without a gap.
    Loads hold no barrier, and as many as the queue has places are issued one a cycle."""
    for size, count in ((KIB64 - 64, 4), (4096, 12), (KIB64, 8), (1000, 16)):
        loads = [[load(n * KIB64, hbm + core * MIB + n * KIB64, size) for n in range(count)] for core in range(r.cores)]
        server, queue = ceil(r.cores * count * r.hbm(size)), count * r.dma(size)
        place = 15 if server > queue + r.dma(size) else 0
        times: Stated = {(place, 0, count - 1): (None, None, r.start + (server if place else queue), None)}
        yield Case("bandwidth", f"{count} loads of {size} bytes in each core", [loads], r.start + count + r.barrier, times)


def order(r: Rules, hbm: int) -> Cases:
    """Core c asks c cycles before core 0 does (it issues fewer instructions first) and is served before it, whatever its number."""
    for count in range(2, r.cores + 1):
        each, busy = r.hbm(KIB64), r.dma(KIB64)
        first = r.start
        program: dict[int, list[Instr]] = {}
        times: Stated = {}
        for place, core in enumerate(reversed(range(count))):  # the highest core comes first
            program[core] = [*(iota(MIB, 16) for _ in range(place)), load(0, hbm + core * KIB64, KIB64)]
            end = max(first + place + busy, ceil(first + (place + 1) * each))
            times[core, 0, place] = (first + place, first + place, end, end + r.dma_latency)
        yield Case("first come", f"{count} cores in falling order", [only(program)], first + count + r.barrier, times)


def ties(r: Rules, hbm: int) -> Cases:
    """In one core a store and a load wait for the same fill, while other cores keep HBM busy: the lower index is served first."""
    size, half = 1 << 19, 1 << 15
    for others in (1, 7, 15):
        for swap in (False, True):
            pair = [store(0, hbm, half), load(half, hbm + KIB64, half)]
            crowd = {core: [load(0, hbm + core * size, size)] for core in range(1, others + 1)}
            program = [only({**crowd, 0: [fill(0, KIB64 // 4), *(reversed(pair) if swap else pair)]})]
            start = r.start + r.dma(KIB64)
            free = max(r.start + others * r.hbm(size), start)
            ends = [max(start + r.dma(half), ceil(free + (n + 1) * r.hbm(half))) for n in range(2)]
            times: Stated = {(0, 0, n + 1): (r.start + 1 + n, start, ends[n], ends[n] + r.dma_latency) for n in range(2)}
            cycles = ends[1 if swap else 0] + r.dma_latency + r.barrier
            yield Case("ties", f"{'load' if swap else 'store'} first, {others} others", program, cycles, times)


def idle_server(r: Rules, hbm: int) -> Cases:
    """A request after a pause is served at its start: the server does not save up what it did not use."""
    for size in (4096, KIB64):
        start = max(r.start + r.vector(1, 4096) + r.vector_latency, r.start + 1)
        program = [only({0: [load(0, hbm, size)], 3: [iota(MIB, 4096), store(MIB, hbm + MIB, size)]})]
        free = max(r.start + r.hbm(size), start)
        end = max(start + r.dma(size), ceil(free + r.hbm(size)))
        times: Stated = {(3, 0, 1): (r.start + 1, start, end, end + r.dma_latency)}
        yield Case("idle server", f"{size} bytes", program, end + r.dma_latency + r.barrier, times)


# ---- multicast

GROUPS = ((GROUP_ROW, "row"), (GROUP_COL, "column"), (GROUP_ALL, "grid"))


def late_receivers(r: Rules, hbm: int) -> Cases:
    """One receiver's load queue is taken: all start when it is free, together, and one request goes to HBM."""
    for group, label in GROUPS:
        members = receivers(6, group)
        for late in members[:: max(len(members) // 4, 1)]:
            for size in (4096, KIB64):
                program = only({core: [multicast(group, hbm, size, 1 << 18)] for core in members})
                program[late].insert(0, load(0, hbm + MIB, KIB64))
                start = r.start + r.dma(KIB64)
                end = start + r.dma(size)
                times: Stated = {(core, 0, int(core == late)): (None, start, end, end + r.dma_latency) for core in members}
                arrival = r.start + 2
                yield Case("multicast", f"to a {label}, core {late} late, {size} bytes", [program], arrival + r.barrier, times)


def multicast_hazards(r: Rules, hbm: int) -> Cases:
    """The destination is still read in one receiver, still written in another: the later of the two holds all."""
    for group, label in GROUPS:
        members = receivers(5, group)
        for reader, writer in ((members[0], members[1]), (members[2], members[0])):
            program = only({core: [multicast(group, hbm, 4096)] for core in members})
            program[reader].insert(0, store(0, hbm + MIB, KIB64))
            program[writer].insert(0, exp(0, MIB, KIB64))
            start = max(r.start + r.dma(KIB64), r.start + r.act(1, KIB64) + r.act_latency)
            end = start + r.dma(4096)
            times: Stated = {(core, 0, int(core in (reader, writer))): (None, start, end, end + r.dma_latency) for core in members}
            cycles = r.start + r.dma(KIB64) + r.dma_latency + r.barrier
            yield Case("multicast", f"to a {label}, read in core {reader}, written in {writer}", [program], cycles, times)


def multicast_server(r: Rules, hbm: int) -> Cases:
    """One request whatever the receivers; it ties as its lowest receiver."""
    for size in (4096, KIB64, 1 << 18):
        program = only({core: [load(0, hbm + core * MIB, size)] for core in range(r.cores) if core % 4 != 1})
        for core in receivers(1, GROUP_COL):
            program[core].append(multicast(GROUP_COL, hbm, size))
        granted = [core for core in range(r.cores) if core % 4 != 1 or core == 1]  # in the order of the server
        times: Stated = {}
        for place, core in enumerate(granted):
            end = max(r.start + r.dma(size), ceil(r.start + (place + 1) * r.hbm(size)))
            for member in receivers(1, GROUP_COL) if core == 1 else [core]:
                times[member, 0, 0] = (r.start, r.start, end, end + r.dma_latency)
        yield Case("multicast", f"among loads of {size} bytes", [program], r.start + 1 + r.barrier, times)


def multicast_queues(r: Rules, hbm: int) -> Cases:
    """Multicasts take the load queue of every receiver, which has its places there too."""
    size, busy = 1 << 15, r.dma(1 << 15)
    for group, label in GROUPS:
        members = receivers(0, group)
        for count in (1, 4, 20):
            casts = [multicast(group, hbm + n * size, size, n * size) for n in range(count)]
            program = [only({core: [*casts, load(7 << 18, hbm, 64)] for core in members})]
            issue = r.start + max(count, (count - r.depth) * busy)
            times: Stated = {(core, 0, count): (issue, r.start + count * busy, None, None) for core in members}
            for core, n in product(members, range(count)):
                times[core, 0, n] = (None, r.start + n * busy, r.start + (n + 1) * busy, None)
            yield Case("multicast", f"{count} to a {label}, then a load", program, issue + 1 + r.barrier, times)


# ---- barriers


def barriers(r: Rules, hbm: int) -> Cases:
    """A barrier waits for stores, adds and sends, not for loads nor for the other engines; one core holds all."""
    free = r.start + 1
    kinds = {
        "load": (load(0, hbm, KIB64), free),
        "fill": (fill(0, KIB64 // 4), free),
        "mma": (mma(0, MIB, 5 << 18, 128, 16, 16), free),
        "vector": (square(KIB64, 0, 4096), free),
        "act": (exp(KIB64, 0, 4096), free),
        "store": (store(0, hbm, KIB64), r.start + r.dma(KIB64) + r.dma_latency),
        "store_add": (store_add(0, hbm, KIB64), r.start + r.moved(KIB64, passes=2) + r.dma_latency),
        "send": (send(0, 1, KIB64), r.start + r.dma(KIB64) + r.send_latency),
        "scalar_load": (scalar_load(hbm), r.start + r.miss),
    }
    for name, (instr, arrival) in kinds.items():
        for core in (0, 7, 15):
            end = arrival + r.barrier
            reached = arrival if name == "scalar_load" else free
            times: Stated = {(core, 0, 1): (reached, arrival, end, end), ((core + 1) % r.cores, 0, 0): (r.start, r.start, end, end)}
            yield Case("barrier", f"after a {name} in core {core}", [only({core: [instr]})], end, times)


def phases(r: Rules, hbm: int) -> Cases:
    """Instructions of later phases: they issue at the barrier's end; loads, hazards and queues reach across it."""
    second = r.start + 1 + r.barrier  # the barrier's end if nothing holds it
    done = r.start + r.dma(KIB64) + r.dma_latency
    program = [only({5: [load(0, hbm, KIB64)]}), only({5: [square(1 << 18, 1 << 19, 256), exp(MIB, 0, 256)]})]
    start = max(done, second + 1)
    times: Stated = {(5, 1, 0): (second, second, None, None), (5, 1, 1): (second + 1, start, start + r.act(1, 256), None)}
    yield Case("phases", "a load in flight across the barrier", program, second + 2 + r.barrier, times)

    busy = r.mma(128, 16, 2048)
    program = [only({5: [mma(0, 1 << 18, MIB, 128, 16, 2048)]}), only({5: [fill(1 << 18, 64)]})]
    start = max(r.start + busy, second)
    yield Case(
        "phases",
        "write after read across the barrier",
        program,
        second + 1 + r.barrier,
        {(5, 1, 0): (second, start, start + r.dma(256), None)},
    )

    for before in (4, 16, 24):
        loads = [load(n * KIB64, hbm + n * KIB64, KIB64) for n in range(30)]
        busy = r.dma(KIB64)
        issue = [r.start + max(n, (n - r.depth) * busy) for n in range(before)]
        second = issue[-1] + 1 + r.barrier
        for n in range(before, 30):
            issue.append(max(second if n == before else issue[-1] + 1, r.start + (n - r.depth) * busy))
        times = {(5, 0, n): (issue[n], r.start + n * busy, None, None) for n in range(before)}
        times |= {(5, 1, n - before): (issue[n], max(issue[n], r.start + n * busy), None, None) for n in range(before, 30)}
        yield Case(
            "phases",
            f"30 loads, the barrier after {before}",
            [only({5: loads[:before]}), only({5: loads[before:]})],
            issue[-1] + 1 + r.barrier,
            times,
        )

    for count in (2, 5):
        program = [only({5: [scalar_load(hbm), store(0, hbm + MIB, 4096)]})] * count
        ends = [r.start]
        for n in range(count):
            ends.append(ends[-1] + (r.miss if n == 0 else r.hit) + r.dma(4096) + r.dma_latency + r.barrier)
        times = {(2, n, 0): (ends[n], ends[n], ends[n + 1], ends[n + 1]) for n in range(count)}
        yield Case("phases", f"{count}: a scalar load misses in the first only", program, ends[-1], times)
    yield Case("phases", "each core late in turn", *_turns(r, hbm))


def _turns(r: Rules, hbm: int) -> tuple[list[list[list[Instr]]], int]:
    program = [only({core: [store(0, hbm, 4096 * (core + 1))]}) for core in range(r.cores)]
    cycles = r.start + sum(r.dma(4096 * (core + 1)) + r.dma_latency + r.barrier for core in range(r.cores))
    return program, cycles


def sends(r: Rules, hbm: int) -> Cases:
    """Sends use no HBM and are not held by the receiver's instructions; they take the store queue."""
    for size in (64, 4096, KIB64):
        for count in (1, 3, 18):
            program = everywhere([])
            for core in range(r.cores):
                program[core] = [send(0, (core + 1) % r.cores, size, MIB + core * KIB64 % (1 << 19)) for _ in range(count)]
            end = r.start + count * r.dma(size)
            times: Stated = {(core, 0, count - 1): (None, end - r.dma(size), end, end + r.send_latency) for core in (0, 9, 15)}
            yield Case("send", f"{count} of {size} bytes from every core", [program], end + r.send_latency + r.barrier, times)


TOPICS = (
    contention,
    streams,
    order,
    ties,
    idle_server,
    late_receivers,
    multicast_hazards,
    multicast_server,
    multicast_queues,
    barriers,
    phases,
    sends,
)
