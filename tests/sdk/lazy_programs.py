"""Random programs around large loads, and what they leave in HBM: a digest a program on standard output.

Run as a script with how a load may be deferred in RIGI_LAZY_LOAD_BYTES. Every core has its own HBM, which it loads from, stores to and
scatters into in any order, a shared part that nobody writes, and a small arena of SRAM in which loads, products over parts of what was
loaded, fills, copies and stores keep meeting each other. In the end all of SRAM that was used goes to HBM.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator

from benchmarks.timing.program_data import ACCUMULATE, CORES, GROUP_ALL, SIZE, TRANS_B, D, Instr, Op, Operand, Program
from benchmarks.timing.random_places import HBM_BYTES, INDICES, INDICES_BYTES
from benchmarks.timing.random_programs import Maker
from benchmarks.timing.timed_device import FUNCTIONAL, TIMED, Device

ARENA = 32 << 10  # SRAM in play
RESULTS, ZEROS = ARENA, ARENA + (8 << 10)  # C of the products; an index that is 0
SHARED, OWN = 64 << 10, 64 << 10  # bytes of HBM
TOTAL = SHARED + CORES * OWN + CORES * (ZEROS + 64)


class Loads:
    """Makes one program for `hbm`, the address of TOTAL bytes."""

    def __init__(self, seed: int, hbm: int) -> None:
        self.rng, self.hbm = random.Random(seed), hbm
        self.last: list[Instr] = []  # the loads of the core in hand

    def program(self) -> Program:
        blank = Instr(Op.FILL, 1, (ZEROS + 64) // 4, dst=Operand(0, ZEROS + 64, D.F32), scale=0.0)
        phases: Program = [[[blank] for _ in range(CORES)]]
        for _ in range(self.rng.choice((1, 2, 3))):
            cores = []
            for core in range(CORES):
                self.own = self.hbm + SHARED + core * OWN
                self.last = []
                cores.append([self._any() for _ in range(self.rng.randrange(30))])
            if self.rng.random() < 0.5:
                rows, width, place = self._block()
                cast = Instr(Op.LOAD_MULTICAST, rows, width, dst=place, fn=GROUP_ALL, hbm=self.hbm, hbm_stride=width)
                for instrs in cores:
                    instrs.insert(self.rng.randint(0, len(instrs)), cast)
            phases.append(cores)
        end = self.hbm + SHARED + CORES * OWN
        dump = ZEROS + 64
        phases.append([[Instr(Op.STORE, 1, dump, a=Operand(0, dump), hbm=end + c * dump, hbm_stride=dump)] for c in range(CORES)])
        return phases

    def _block(self) -> tuple[int, int, Operand]:
        """Rows, bytes a row, and a place in the arena for them."""
        r = self.rng
        rows, width = r.randint(1, 24), r.choice((64, 128, 256, 200, 512, 1000))
        stride = width if r.random() < 0.6 else width + 4 * r.randint(0, 40)
        while rows * stride > ARENA:
            rows //= 2
        slots = (0, 8 << 10, 16 << 10) if r.random() < 0.6 else range(0, ARENA, 64)
        addr = r.choice([a for a in slots if a + rows * stride <= ARENA] or [0])
        return rows, width, Operand(addr, stride)

    def _source(self, rows: int, width: int) -> dict[str, int]:
        r = self.rng
        base, room = (self.hbm, SHARED) if r.random() < 0.4 else (self.own, OWN)
        stride = r.choice((width, width, width + r.randint(0, 300), 2048))
        if stride * rows > room:
            stride = width
        first = base + r.randint(0, room - stride * rows)
        if r.random() < 0.1:  # upwards
            return {"hbm": first + stride * (rows - 1), "hbm_stride": -stride}
        return {"hbm": first, "hbm_stride": stride}

    def _any(self) -> Instr:
        names = ("load",) * 5 + ("product",) * 6 + ("store",) * 2 + ("fill", "copy", "add", "scatter", "send", "again", "read")
        made: Instr = getattr(self, "_" + self.rng.choice(names))()
        return made

    def _load(self) -> Instr:
        rows, width, place = self._block()
        self.last.append(Instr(Op.LOAD, rows, width, dst=place, **self._source(rows, width)))
        return self.last[-1]

    def _again(self) -> Instr:
        """Into the place of an earlier load: the ring of buffers that kernels have."""
        if not self.last:
            return self._load()
        old = self.rng.choice(self.last)
        self.last.append(Instr(Op.LOAD, old.rows, old.cols, dst=old.dst, **self._source(old.rows, old.cols)))
        return self.last[-1]

    def _product(self) -> Instr:
        """An mma whose B is part of a block loaded before, mostly."""
        r = self.rng
        if not self.last:
            return self._load()
        loaded = r.choice(self.last[-3:])
        dtype = r.choice((D.BF16, D.BF16, D.F16, D.E4M3, D.E5M2, D.I8))
        rows, width = r.randint(1, loaded.rows), loaded.cols // SIZE[dtype]
        cols = width if r.random() < 0.7 else r.randint(1, width)
        addr, stride = loaded.dst.addr, loaded.dst.stride // SIZE[dtype] * SIZE[dtype]
        if r.random() < 0.3:  # not from the first row, or not as the rows were loaded
            addr += 64 * r.randint(0, 16)
            stride = r.choice((stride, 64, 128, cols * SIZE[dtype]))
        if addr + stride * rows + cols * SIZE[dtype] > ARENA:
            addr, stride = 0, cols * SIZE[dtype]
        trans = r.random() < 0.7
        n, k = (rows, cols) if trans else (cols, rows)
        m = r.choice((1, 1, 1, 2, 3, 4, 5, 8, 9, 16, 17))
        if m * n * 4 > ZEROS - RESULTS:
            m = 1
        flags = (TRANS_B if trans else 0) | (ACCUMULATE if r.random() < 0.4 else 0)
        a = Operand(64 * r.randint(0, 64), r.choice((0, SIZE[dtype], 64)), dtype)
        if k * SIZE[dtype] + m * a.stride > ARENA - a.addr:
            a = Operand(0, 0, dtype)
        dst = Operand(RESULTS, n * 4, D.I32 if dtype == D.I8 else D.F32)
        return Instr(Op.MMA, m, n, k, dst=dst, a=a, b=Operand(addr, stride, dtype), flags=flags)

    def _store(self) -> Instr:
        rows, width, place = self._block()
        stride = width + self.rng.choice((0, 0, 100))
        to = self.own + self.rng.randint(0, OWN - rows * stride)
        source = place if self.rng.random() < 0.7 else Operand(RESULTS, 64)
        return Instr(Op.STORE, rows, width if source is place else 64, a=source, hbm=to, hbm_stride=stride)

    def _fill(self) -> Instr:
        rows, width, place = self._block()
        return Instr(Op.FILL, rows, width // 4, dst=Operand(place.addr, place.stride // 4 * 4, D.F32), scale=self.rng.uniform(-2, 2))

    def _copy(self) -> Instr:
        rows, width, place = self._block()
        return Instr(Op.COPY, 1, width // 4, dst=Operand(RESULTS, width, D.F32), a=Operand(place.addr, width, D.F32))

    def _add(self) -> Instr:
        rows, width, place = self._block()
        to = self.own + 4 * self.rng.randint(0, (OWN - width) // 4)
        return Instr(Op.STORE_ADD, 1, width // 4 * 4, a=Operand(place.addr, width, D.F32), hbm=to, hbm_stride=width)

    def _scatter(self) -> Instr:
        """A row, by the index 0."""
        width = self.rng.choice((64, 256))
        return Instr(
            Op.SCATTER, 1, width, a=Operand(64 * self.rng.randint(0, 64), width), b=Operand(ZEROS, 4, D.I32),
            hbm=self.own + self.rng.randint(0, OWN - width), hbm_stride=width,
        )  # fmt: skip

    def _send(self) -> Instr:
        """Out of the arena to a place behind everything, which nobody reads."""
        return (
            Instr(Op.SEND, 1, 64, dst=Operand(1 << 20, 64), a=Operand(64 * self.rng.randint(0, 256), 64), target=CORES - 1)
            if self.own != self.hbm + SHARED + (CORES - 1) * OWN
            else self._fill()
        )

    def _read(self) -> Instr:
        return Instr(Op.SCALAR_READ, cols=4, a=Operand(4 * self.rng.randint(0, ARENA // 4 - 1)))


def digests(first: int, last: int, threads: int) -> Iterator[str]:
    device = Device()
    device.set_threads(threads)
    hbm = device.malloc(max(TOTAL, HBM_BYTES))
    for seed in range(first, last):
        device.set_mode((FUNCTIONAL, TIMED)[seed % 2])
        data = bytearray(random.Random(seed).randbytes(max(TOTAL, HBM_BYTES)))
        data[INDICES : INDICES + INDICES_BYTES] = bytes(INDICES_BYTES)
        device.write(hbm, bytes(data))
        before = device.cycles()
        program = Maker(seed, hbm).program(3) if seed % 5 == 0 else Loads(seed, hbm).program()
        device.launch(program)
        device.synchronize()
        digest = hashlib.sha256(device.read(hbm, len(data))).hexdigest()
        yield f"{seed} {device.cycles() - before} {digest[:24]}"


if __name__ == "__main__":
    print("\n".join(digests(*(int(a) for a in sys.argv[1:4]))))
