"""Prints one line `name digest` for every instruction on fixed, nasty data, and for random programs of all cores.

test_bits_isa.py runs it once for each instruction set and number of host threads (RIGI_ISA, RIGI_NUM_THREADS). With --programs only
the random programs run, which every core of the chip takes part in. With --flush-denormals the device's threads are started by a thread
that flushes denormals, as torch and libraries built with -ffast-math leave behind: threads inherit that.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import platform
import sys

import numpy as np
from bits_machine import FLOATS, INTS, Array, Bench, device
from bits_reference import samples

from benchmarks.timing.program_data import ACCUMULATE, COL, FULL, ROW, ROW_BIAS, ROW_SUMS, TRANS_B, D, Instr, Op
from benchmarks.timing.random_check import make
from benchmarks.timing.random_places import contents

DTYPES = (*FLOATS, *INTS)


def digest(name: str, *blocks: Array) -> None:
    print(name, hashlib.sha256(b"".join(b.tobytes() for b in blocks)).hexdigest(), flush=True)


def matrix(rng: np.random.Generator) -> None:
    kinds = [(D.BF16, D.BF16), (D.F16, D.F16), (D.E4M3, D.E5M2), (D.I8, D.I8)]
    for (left, right), flags in itertools.product(kinds, (0, TRANS_B, ACCUMULATE | TRANS_B)):
        blocks = []
        for rows, cols, depth in ((1, 70, 131), (4, 33, 64), (7, 17, 300), (40, 50, 77)):
            bench, out = Bench(), D.I32 if left == D.I8 else D.F32
            a, b = samples(rng, left, (rows, depth), 0.002), samples(rng, right, (cols, depth) if flags & TRANS_B else (depth, cols), 0.002)
            c = bench.put(samples(rng, out, (rows, cols)), out)
            bench.run(Instr(Op.MMA, rows, cols, depth, dst=c, a=bench.put(a, left), b=bench.put(b, right), flags=flags))
            blocks.append(bench.view(c, rows, cols))
        digest(f"mma-{left.name}-{right.name}-{flags}", *blocks)


def vector(rng: np.random.Generator) -> None:
    for left, right in itertools.product(DTYPES, DTYPES):
        bench = Bench()
        a, b = bench.put(samples(rng, left, (3, 67), 0.3), left), bench.put(samples(rng, right, (3, 67), 0.3), right)
        blocks = []
        for op, fn in [*((Op.BINARY, f) for f in range(6)), *((Op.COMPARE, f) for f in range(6))]:
            blocks += [bench.one(op, 3, 67, dst, a, b, fn=fn).copy() for dst in (left, right, D.F32, D.I32)]
        digest(f"binary-compare-{left.name}-{right.name}", *blocks)
    for kind in DTYPES:
        bench = Bench()
        a, b, c = (bench.put(samples(rng, kind, (4, 333), 0.2), kind, shape) for shape in (FULL, ROW, COL))
        blocks = [bench.one(Op.CAST, 4, 333, dst, a).copy() for dst in DTYPES]
        blocks += [bench.one(Op.SELECT, 4, 333, kind, a, b, c).copy(), bench.one(Op.IOTA, 4, 333, kind, scale=0.3, bias=-1.7).copy()]
        for fn, dst in itertools.product((0, 1), DTYPES):
            out = bench.space(4, 1, dst)
            bench.run(Instr(Op.REDUCE, 4, 333, dst=out, a=a, fn=fn), wrote=[(out, 4, 1)])
            blocks.append(bench.view(out, 4, 1).copy())
        for k in (1, 9, 150):
            values, index = bench.space(4, k, kind), bench.space(4, k, D.I32)
            bench.run(Instr(Op.TOPK, 4, 333, k, dst=values, a=a, c=index), wrote=[(values, 4, k), (index, 4, k)])
            blocks += [bench.view(values, 4, k).copy(), bench.view(index, 4, k).copy()]
        digest(f"cast-select-iota-reduce-topk-{kind.name}", *blocks)


def activation(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32), rng.uniform(-30, 30, 20_000).astype(np.float32)])
    for fn in range(14):
        bench = Bench()
        a, bias = bench.put(x.reshape(4, -1), D.F32), bench.put(samples(rng, D.F32, (4, 1), 0.0), D.F32)
        blocks = [bench.one(Op.ACT, 4, 10_000, D.F32, a, fn=fn).copy()]
        out, sums = bench.space(4, 10_000, D.BF16), bench.space(4, 1, D.F32)
        instr = Instr(Op.ACT, 4, 10_000, dst=out, a=a, b=bias, c=sums, fn=fn, scale=0.01, flags=ROW_BIAS | ROW_SUMS)
        bench.run(instr, wrote=[(out, 4, 10_000), (sums, 4, 1)])
        digest(f"act-{fn}", *blocks, bench.view(out, 4, 10_000), bench.view(sums, 4, 1))


def moving(rng: np.random.Generator) -> None:
    """Raw bits: copies, transposes, gathers inside SRAM and the DMA engines; fills with constants."""
    for kind in DTYPES:
        bench = Bench()
        a = bench.put(samples(rng, kind, (37, 66), 0.3), kind, pad=64)
        index = bench.put(rng.integers(0, 66, (37, 50)).astype(np.int32), D.I32)
        blocks = [bench.one(Op.COPY, 37, 66, kind, a, pad=64).copy(), bench.one(Op.TAKE, 37, 50, kind, a, index, depth=66).copy()]
        turned = bench.space(66, 37, kind)
        bench.run(Instr(Op.TRANSPOSE, 37, 66, dst=turned, a=a), wrote=[(turned, 66, 37)])
        blocks.append(bench.view(turned, 66, 37).copy())
        blocks += [bench.one(Op.FILL, 3, 70, kind, scale=value).copy() for value in (0.1, -0.0, 1e-42, 3e38, float("nan"), -2.5)]
        digest(f"copy-take-transpose-fill-{kind.name}", *blocks)


def programs() -> None:
    """What random programs of 16 cores leave in HBM: every opcode, store_adds of all cores, sends, multicasts."""
    start = contents()
    hbm = device().malloc(len(start))
    for seed in range(12):
        device().write(hbm, start)
        device().launch(make(seed, hbm))
        device().synchronize()
        digest(f"program-{seed}", np.frombuffer(device().read(hbm, len(start)), np.uint8))


def flush_denormals(on: bool) -> None:
    """Through <fenv.h>: glibc keeps MXCSR in the last word of fenv_t on x86-64, FPCR in the first on AArch64."""
    libm = ctypes.CDLL("libm.so.6")
    state = (ctypes.c_uint32 * 16)()
    libm.fegetenv(state)
    word, flags = (7, 0x8040) if platform.machine() == "x86_64" else (0, 1 << 24)
    state[word] = state[word] | flags if on else state[word] & ~flags
    libm.fesetenv(state)


if __name__ == "__main__":
    if "--flush-denormals" in sys.argv:
        flush_denormals(True)
        assert np.float32(1e-40) * np.float32(1.0) == 0.0, "this host's <fenv.h> works differently"
    Bench().run()
    flush_denormals(False)
    if "--programs" not in sys.argv:
        for part in (matrix, vector, activation, moving):
            part(np.random.default_rng(11))
    programs()
