"""Microbenchmarks of single instructions: every opcode, its sizes, its padding; what the engine is taken, and when the result is there.

An instruction runs alone on core 5. If it leaves its result in SRAM, a store of one line of the result follows: that store can
start at the `done` of the first, so the launch's cycles hold busy and latency; the barrier waits for the store.
"""

from __future__ import annotations

from typing import Any

from benchmarks.timing.program_data import (
    COL,
    GROUP_ALL,
    GROUP_COL,
    GROUP_ROW,
    IMM,
    ROW,
    ROW_BIAS,
    ROW_SUMS,
    SIZE,
    TRANS_B,
    D,
    Instr,
    Op,
    Operand,
    receivers,
)
from benchmarks.timing.rules import Case, Cases, Rules, Stated
from benchmarks.timing.short_names import alone, everywhere, fill, only, sram, store

SIZES = (1, 63, 64, 65, 255, 256, 257, 1000, 4096, 65535, 1 << 19)
BLOCKS = ((2, 64, 64), (3, 100, 100), (3, 100, 128), (7, 65, 200), (16, 256, 4096), (33, 1, 2), (512, 1, 64), (512, 65, 66), (200, 4, -4),
          (64, 100, -300))  # fmt: skip
X, Y, Z, W = (sram(n << 18, 4096) for n in range(4))
LINE = 64


def with_result(r: Rules, hbm: int, topic: str, name: str, instr: Instr, busy: int, latency: int) -> Case:
    """`instr` and a store of a line of its result."""
    done = r.start + busy + latency
    end = done + r.dma(LINE)
    times: Stated = {(5, 0, 0): (r.start, r.start, r.start + busy, done), (5, 0, 1): (r.start + 1, done, end, end + r.dma_latency)}
    program = alone(instr, store(instr.dst.addr, hbm, LINE))
    return Case(topic, name, program, end + r.dma_latency + r.barrier, times)


def stored(r: Rules, topic: str, name: str, instr: Instr, busy: int, latency: int) -> Case:
    """A store or send alone: the barrier waits for it."""
    done = r.start + busy + latency
    return Case(topic, name, alone(instr), done + r.barrier, {(5, 0, 0): (r.start, r.start, r.start + busy, done)})


def dma(r: Rules, hbm: int) -> Cases:
    """Contiguous and strided blocks; a block whose rows follow each other in HBM is one piece, else each row is one."""
    shapes = [(1, size, size) for size in SIZES] + list(BLOCKS)
    for rows, size, pitch in shapes:
        name = f"{rows} x {size} bytes, {pitch} apart"
        at = hbm + (1 << 20)
        pieces = (rows * size,) if pitch == size else (size,) * rows
        block: dict[str, Any] = {"rows": rows, "cols": size, "hbm": at, "hbm_stride": pitch}
        wide = sram(0, max(size, LINE))
        busy = r.moved(rows * size, *pieces)
        yield with_result(r, hbm, "load", name, Instr(Op.LOAD, dst=wide, **block), busy, r.dma_latency)
        if abs(pitch) >= size or rows == 1:
            yield stored(r, "store", name, Instr(Op.STORE, a=wide, **block), busy, r.dma_latency)
        if size % 4 == 0:
            twice = r.moved(rows * size, *pieces, passes=2)  # read and written back
            yield stored(r, "store_add", name, Instr(Op.STORE_ADD, a=wide, **block), twice, r.dma_latency)
        yield stored(r, "send", name, Instr(Op.SEND, rows, size, a=wide, dst=wide, target=9), r.dma(rows * size), r.send_latency)


def fills(r: Rules, hbm: int) -> Cases:
    for dtype in (D.F32, D.F16, D.BF16, D.E4M3, D.E5M2, D.I8, D.I32, D.U8):
        for rows, cols in ((1, 1), (10, 100), (3, 4096)):
            instr = Instr(Op.FILL, rows, cols, dst=sram(0, cols * SIZE[dtype] + 64, dtype), scale=1.0)
            yield with_result(r, hbm, "fill", f"{rows} x {cols} {dtype.name.lower()}", instr, r.dma(rows * cols * SIZE[dtype]), 0)


def indexed(r: Rules, hbm: int) -> Cases:
    """gather and scatter: the list must be there first (a fill, latency 0); each row is a piece, also where rows would follow."""
    for rows, size in ((1, 1), (1, 64), (10, 128), (64, 100), (512, 4), (128, 1024), (3, 65536)):
        ready = r.start + r.dma(4 * rows)
        busy = r.moved(rows * size, *(size,) * rows, indexed_rows=rows)
        block: dict[str, Any] = {"rows": rows, "cols": size, "hbm": hbm, "hbm_stride": size}
        names, data = sram(1 << 20, 4, D.I32), sram(0, size)
        sides: dict[Op, dict[str, Any]] = {Op.GATHER: {"dst": data, "a": names}, Op.SCATTER: {"a": data, "b": names}}
        for op, operands in sides.items():
            program = alone(fill(1 << 20, rows, 3.0, D.I32), Instr(op, **block, **operands))
            end = ready + busy
            times: Stated = {(5, 0, 1): (r.start + 1, ready, end, end + r.dma_latency)}
            # a load holds no barrier: the sequencer is there two cycles after its start
            cycles = (end + r.dma_latency if op == Op.SCATTER else r.start + 2) + r.barrier
            yield Case(op.name.lower(), f"{rows} rows of {size} bytes", program, cycles, times)


def multicasts(r: Rules, hbm: int) -> Cases:
    for group, label in ((GROUP_ROW, "row"), (GROUP_COL, "column"), (GROUP_ALL, "grid")):
        for rows, size, pitch in ((1, 1, 1), (1, 2560, 2560), (7, 100, 128), (1, 1 << 19, 1 << 19)):
            busy = r.moved(rows * size, *(size,) * rows)
            done = r.start + busy + r.dma_latency
            cast = Instr(Op.LOAD_MULTICAST, rows, size, dst=sram(0, max(size, LINE)), hbm=hbm, hbm_stride=pitch, fn=group)
            members = receivers(5, group)
            program = [only({core: [cast, store(0, hbm + (1 << 22) + 64 * core, LINE)] for core in members})]
            end = done + r.dma(LINE) + r.dma_latency
            times: Stated = {(core, 0, 0): (r.start, r.start, r.start + busy, done) for core in members}
            yield Case("load_multicast", f"to a {label}: {rows} x {size} bytes, {pitch} apart", program, end + r.barrier, times)


def products(r: Rules, hbm: int) -> Cases:
    shapes = ((1, 1, 1), (128, 128, 128), (129, 128, 128), (1, 129, 128), (1, 128, 129), (127, 127, 255), (128, 128, 256), (64, 64, 257),
              (200, 300, 300), (400, 16, 512))  # fmt: skip
    kinds = ((D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E5M2), (D.E5M2, D.E4M3), (D.I8, D.I8))
    for m, n, k in shapes:
        for left, right in kinds:
            for flags in (0, TRANS_B):
                dst = sram(0, 4 * n, D.I32 if left == D.I8 else D.F32)
                instr = Instr(Op.MMA, m, n, k, dst=dst, a=sram(1 << 19, 1024, left), b=sram(1 << 20, 1024, right), flags=flags)
                name = f"{m} x {n} x {k} {left.name.lower()}{' transposed' if flags else ''}"
                yield with_result(r, hbm, "mma", name, instr, r.mma(m, n, k, SIZE[left] == 1), r.mma_latency)


def vectors(r: Rules, hbm: int) -> Cases:
    def case(name: str, instr: Instr, busy: int) -> Case:
        return with_result(r, hbm, instr.op.name.lower(), name, instr, busy, r.vector_latency)

    for rows, cols in ((1, 1), (1, 256), (1, 257), (17, 1), (32, 100), (5, 1000), (40, 16), (41, 17)):
        size = f"{rows} x {cols}"
        for fn, label in enumerate(("add", "sub", "mul", "div", "max", "min")):
            passes = r.chip["vector"]["passes_div"] if label == "div" else 1
            yield case(f"{label} {size}", Instr(Op.BINARY, rows, cols, dst=X, a=Y, b=Z, fn=fn), r.vector(rows, cols, passes))
        plain = r.vector(rows, cols)
        for fn in range(6):
            yield case(f"fn {fn} {size}", Instr(Op.COMPARE, rows, cols, dst=X, a=Y, b=Z, fn=fn), plain)
        yield case(size, Instr(Op.SELECT, rows, cols, dst=X, a=Y, b=Z, c=W), plain)
        yield case(size, Instr(Op.COPY, rows, cols, dst=X, a=Y), plain)
        yield case(size, Instr(Op.IOTA, rows, cols, dst=X, a=Operand(imm=1.0)), plain)
        for dtype in (D.BF16, D.E4M3, D.I8, D.I32):
            yield case(f"to {dtype.name.lower()} {size}", Instr(Op.CAST, rows, cols, dst=sram(0, 4096, dtype), a=Y), plain)
        for fn in range(2):
            yield case(f"{('sum', 'max')[fn]} {size}", Instr(Op.REDUCE, rows, cols, dst=sram(0, 4), a=Y, fn=fn), plain)
        larger = max(r.vector(rows, cols, r.chip["vector"]["passes_transpose"]), r.vector(cols, rows, r.chip["vector"]["passes_transpose"]))
        yield case(size, Instr(Op.TRANSPOSE, rows, cols, dst=sram(0, 256), a=Y), larger)
        for k in (1, 2, 5):
            instr = Instr(Op.TOPK, rows, cols, k, dst=sram(0, 64), a=Y, c=sram(W.addr, 64, D.I32))
            if k <= cols:
                yield case(f"{k} of {size}", instr, r.vector(rows, cols, k))
    for bcast, label in ((ROW, "a row"), (COL, "a column"), (IMM, "a number")):
        instr = Instr(Op.BINARY, 32, 100, dst=X, a=Y, b=Operand(Z.addr, 64, D.F32, bcast, 3.0), fn=2)
        yield case(f"mul 32 x 100 by {label}", instr, r.vector(32, 100))


def takes(r: Rules, hbm: int) -> Cases:
    """The largest operand may be the rows that are taken from. The indices are filled first."""
    for rows, cols, depth, bcast in ((4, 10, 200, 0), (4, 10, 200, ROW), (4, 300, 20, 0), (1, 1, 1, 0), (3, 33, 32, 0)):
        ready = r.start + r.dma(4 * rows * cols)
        busy = max(r.vector(rows, cols), r.vector(1 if bcast == ROW else rows, depth))
        take = Instr(Op.TAKE, rows, cols, depth, dst=X, a=Operand(Y.addr, 1024, D.F32, bcast), b=sram(Z.addr, 4 * cols, D.I32))
        times: Stated = {(5, 0, 1): (r.start + 1, ready, ready + busy, ready + busy + r.vector_latency)}
        program = alone(fill(Z.addr, rows * cols, 0.0, D.I32), take)
        yield Case("take", f"{rows} x {cols} of {depth}{' of one row' if bcast else ''}", program, r.start + 2 + r.barrier, times)


def activations(r: Rules, hbm: int) -> Cases:
    bias, sums = sram(Z.addr, 4, bcast=COL), sram(W.addr, 4)
    for fn in range(14):
        for rows, cols in ((1, 1), (4, 256), (64, 8), (3, 257)):
            instr = Instr(Op.ACT, rows, cols, dst=X, a=Y, fn=fn)
            yield with_result(r, hbm, "act", f"fn {fn} {rows} x {cols}", instr, r.act(rows, cols), r.act_latency)
    for flags, label in ((ROW_BIAS, "row bias"), (ROW_SUMS, "row sums"), (ROW_BIAS | ROW_SUMS, "row bias and sums")):
        instr = Instr(Op.ACT, 5, 100, dst=sram(0, 4096, D.BF16), a=Y, b=bias, c=sums, fn=1, flags=flags)
        yield with_result(r, hbm, "act", f"{label} 5 x 100 to bf16", instr, r.act(5, 100), r.act_latency)


def scalars(r: Rules, hbm: int) -> Cases:
    """A scalar access blocks the sequencer: what follows issues at its end."""
    for size in (1, 2, 4, 8):
        access = Instr(Op.SCALAR_LOAD, cols=size, hbm=hbm)
        again, end = r.start + r.miss, r.start + r.miss + r.hit
        times: Stated = {(5, 0, 0): (r.start, r.start, again, again), (5, 0, 1): (again, again, end, end)}
        yield Case("scalar_load", f"{size} bytes, twice", alone(access, access), end + r.barrier, times)
        idle = Instr(Op.SCALAR_READ, cols=size, a=sram(8))
        yield Case(
            "scalar_read",
            f"{size} bytes",
            alone(idle),
            r.start + r.read + r.barrier,
            {(5, 0, 0): (r.start, r.start) + (r.start + r.read,) * 2},
        )


def scalar_lines(r: Rules, hbm: int) -> Cases:
    """A line misses when this core touches it for the first time in this launch."""
    for offsets in ((0, 60, 64, 124, 128, 0), (60, 64), (4096, 4100, 8192, 4096), (63, 64, 63)):
        touched: set[int] = set()
        time = r.start
        times: Stated = {}
        for place, offset in enumerate(offsets):
            line = offset // r.chip["sram"]["line_bytes"]
            end = time + (r.hit if line in touched else r.miss)
            touched.add(line)
            times[5, 0, place] = (time, time, end, end)
            time = end
        program = alone(*(Instr(Op.SCALAR_LOAD, cols=1, hbm=hbm + offset) for offset in offsets))
        yield Case("scalar_load", f"at {', '.join(map(str, offsets))}", program, time + r.barrier, times)


def launches(r: Rules, hbm: int) -> Cases:
    """An empty program is its launch and a barrier for each phase; launches follow each other."""
    for phases in (1, 2, 3, 5):
        yield Case("launch", f"{phases} empty phases", [everywhere([])] * phases, r.start + phases * r.barrier)
    for count in (2, 7):
        yield Case("launch", f"{count} empty launches", [everywhere([])], count * (r.start + r.barrier), launches=count)


TOPICS = (dma, fills, indexed, multicasts, products, vectors, takes, activations, scalars, scalar_lines, launches)
