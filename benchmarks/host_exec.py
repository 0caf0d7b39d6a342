"""What one host thread does of each instruction: the emulator's own throughput, in functional mode, of a program of one core.

DMA and copies in GB/s (bytes of the SRAM side), vector and activation engines in G elements/s, mma in GFLOP/s (for int8: Gop/s). Operands
lie in a few hundred KiB of the core's SRAM, loads and stores move 8 KiB blocks of 1 MiB of HBM: what is measured is instructions, not
the host's memory. (`rigi bench sdk` measures that with weights larger than the cache.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import sdk_sim
from sdk_sim import _rigi, isa
from sdk_sim.isa import BF16, E4M3, E5M2, F16, F32, I8, I32, Act, Binary, Compare, Group, Reduce, col, row, sram

ROWS, COLS = 16, 1024  # of a vector instruction
BLOCK = 8 << 10  # bytes of a DMA instruction
M, N, K = 128, 128, 256  # of an mma
A, B, C, D = (slot << 18 for slot in range(4))  # SRAM


@dataclass(frozen=True)
class Case:
    """An instruction and how much of `unit` (in units of 1e9 a second) one of them is. `make` takes the address of 1 MiB of HBM."""

    engine: str
    name: str
    unit: str
    amount: float
    make: Callable[[int], np.ndarray]


def _block(addr: int, dtype: isa.DType = F32, cols: int = COLS) -> isa.Operand:
    return sram(addr, cols * (4 if dtype in (F32, I32) else 2 if dtype in (F16, BF16) else 1), dtype)


def _dma() -> list[Case]:
    line, bytes_row = sram(A, BLOCK, I8), BLOCK // 8
    rows = sram(A, bytes_row, I8)
    index = sram(D, 4, I32)

    def case(name: str, make: Callable[[int], np.ndarray], engine: str) -> Case:
        return Case(engine, name, "GB", BLOCK, make)

    return [
        case("load", lambda h: isa.load(line, h, BLOCK, 1, BLOCK), "load"),
        case("load, 8 strided rows", lambda h: isa.load(rows, h, 4 * bytes_row, 8, bytes_row), "load"),
        case("gather of 8 rows", lambda h: isa.gather(rows, h, bytes_row, index, 8, bytes_row), "load"),
        case("load_multicast", lambda h: isa.load_multicast(line, h, BLOCK, 1, BLOCK, Group.GROUP_ALL), "load"),
        case("fill fp32", lambda h: isa.fill(sram(A, BLOCK, F32), 1.0, 1, BLOCK // 4), "load"),
        case("store", lambda h: isa.store(h, BLOCK, line, 1, BLOCK), "store"),
        case("scatter of 8 rows", lambda h: isa.scatter(h, bytes_row, rows, index, 8, bytes_row), "store"),
        case("store_add fp32", lambda h: isa.store_add(h, BLOCK, sram(B, BLOCK, F32), 1, BLOCK), "store"),
        case("store_add bf16", lambda h: isa.store_add(h, BLOCK, sram(B, BLOCK, BF16), 1, BLOCK), "store"),
        case("send", lambda h: isa.send(1, line, line, 1, BLOCK), "store"),
    ]


def _matrix() -> list[Case]:
    def case(dtype: isa.DType, m: int, transposed: bool) -> Case:
        width = 2 if dtype in (F16, BF16) else 1
        acc = sram(C, 4 * N, I32 if dtype == I8 else F32)
        a, b = sram(A, width * K, dtype), sram(B, width * (K if transposed else N), dtype)
        name = f"mma {dtype.name.lower()} M={m}" + (", B transposed" if transposed else "")
        return Case("matrix", name, "FLOP", 2.0 * m * N * K, lambda h: isa.mma(acc, a, b, m, N, K, True, transposed))

    types = (BF16, F16, E4M3, E5M2, I8)
    return [case(t, M, True) for t in types] + [case(BF16, M, False)] + [case(t, 1, True) for t in types] + [case(BF16, 1, False)]


def _vector() -> list[Case]:
    n = float(ROWS * COLS)
    x, y, z = _block(A), _block(B), _block(C)
    half = _block(C, BF16)
    index = sram(D, 4 * COLS, I32)

    def case(name: str, make: Callable[[int], np.ndarray]) -> Case:
        return Case("vector", name, "elements", n, make)

    return [
        case("add fp32", lambda h: isa.binary(Binary.ADD, z, x, y, ROWS, COLS)),
        case("mul bf16", lambda h: isa.binary(Binary.MUL, half, _block(A, BF16), _block(B, BF16), ROWS, COLS)),
        case("mul fp32 by a row", lambda h: isa.binary(Binary.MUL, z, x, row(B, F32), ROWS, COLS)),
        case("mul fp32 by a column", lambda h: isa.binary(Binary.MUL, z, x, col(B, 64, F32), ROWS, COLS)),
        case("div fp32", lambda h: isa.binary(Binary.DIV, z, x, y, ROWS, COLS)),
        case("max fp32", lambda h: isa.binary(Binary.MAX, z, x, y, ROWS, COLS)),
        case("compare fp32", lambda h: isa.compare(Compare.LT, _block(C, I8), x, y, ROWS, COLS)),
        case("select fp32", lambda h: isa.select(z, index, x, y, ROWS, COLS)),
        case("cast fp32 to bf16", lambda h: isa.cast(half, x, ROWS, COLS)),
        case("cast bf16 to fp32", lambda h: isa.cast(z, _block(A, BF16), ROWS, COLS)),
        case("cast fp32 to e4m3", lambda h: isa.cast(_block(C, E4M3), x, ROWS, COLS)),
        case("copy fp32", lambda h: isa.copy(z, x, ROWS, COLS)),
        case("transpose fp32", lambda h: isa.transpose(sram(C, 4 * ROWS, F32), x, ROWS, COLS)),
        case("transpose bf16", lambda h: isa.transpose(sram(C, 2 * ROWS, BF16), _block(A, BF16), ROWS, COLS)),
        case("row sums fp32", lambda h: isa.reduce(Reduce.SUM, sram(C, 4, F32), x, ROWS, COLS)),
        case("row maxima fp32", lambda h: isa.reduce(Reduce.RMAX, sram(C, 4, F32), x, ROWS, COLS)),
        case("iota fp32", lambda h: isa.iota(z, 0.0, 1.0, 1.0, ROWS, COLS)),
        case("take fp32", lambda h: isa.take(z, x, index, ROWS, COLS, COLS)),
        case("top-8 fp32", lambda h: isa.topk(z, sram(D + (1 << 17), 32, I32), x, ROWS, COLS, 8)),
    ]


def _act() -> list[Case]:
    x, z = _block(A), _block(C)
    functions = [f for f in Act if f != Act.IDENTITY]
    return [
        Case("act", f.name.lower(), "elements", float(ROWS * COLS), lambda h, f=f: isa.act(f, z, x, ROWS, COLS, 0.5, 0.5))  # type: ignore[misc]
        for f in functions
    ] + [
        Case(
            "act", "exp with row sums, to bf16", "elements", float(ROWS * COLS),
            lambda h: isa.act(Act.EXP, _block(C, BF16), x, ROWS, COLS, 0.5, 0.5, sums=sram(D + (1 << 17), 4, F32)),
        )
    ]  # fmt: skip


def cases() -> list[Case]:
    """One or more of every instruction class."""
    return _dma() + _matrix() + _vector() + _act()


def measure(seconds: float = 0.004, repeat: int = 7, progress: Callable[[], object] = lambda: None) -> list[dict[str, object]]:
    """[{engine, instruction, unit, throughput}], the best of `repeat` runs of about `seconds` each. Functional mode stays set."""
    sdk_sim.set_mode("functional")
    memory = sdk_sim.malloc(1 << 20)
    memory.fill(0)
    results: list[dict[str, object]] = []
    for case in cases():
        instr = case.make(memory.address)
        count = 16
        while (spent := _seconds(instr, count)) < seconds / 4:
            count *= 4
        count = max(1, int(count * seconds / spent))
        best = min(_seconds(instr, count) for _ in range(repeat)) / count
        unit = "GB/s" if case.unit == "GB" else f"G{case.unit}/s"
        throughput = float(f"{case.amount / best / 1e9:.3g}")
        results.append({"engine": case.engine, "instruction": case.name, "unit": unit, "throughput": throughput})
        progress()
    memory.free()
    return results


def _seconds(instr: np.ndarray, count: int) -> float:
    """Host seconds of one core that fills its operands and issues the instruction `count` times."""
    fills = [isa.fill(sram(addr, 1 << 18, F32), value, 1, 1 << 16) for addr, value in ((A, 1.0), (B, 1.0), (C, 0.0), (D, 0.0))]
    instrs = np.concatenate([isa.program(fills), np.repeat(instr[None], count)])
    offsets = np.array([0] + [len(instrs)] * sdk_sim.properties()["cores"], np.uint64)
    sdk_sim.synchronize()
    start = time.perf_counter()
    _rigi.launch_program(0, "instructions", instrs.ctypes.data, offsets.ctypes.data, 1)
    sdk_sim.synchronize()
    return time.perf_counter() - start
