"""One program on every engine of every core, whose result has only one right value: is the chip there, and are its bits right?"""

from __future__ import annotations

import numpy as np

from . import api, isa

N = 128  # a square block: one pass of the matrix engine


def run(device: int = 0) -> str:
    """Core c computes 2 * (A x A^T + c) + 1 on small integers, exact in every engine. Raises AssertionError if a bit is off."""
    stream = api.Stream(device)
    cores = api.properties(device)["cores"]
    a = np.arange(N * N, dtype=np.float32).reshape(N, N) % 11 - 5
    source = api.Buffer.from_numpy((a.view(np.uint32) >> 16).astype(np.uint16), device)  # the upper half of an fp32 is its bf16
    result = api.Buffer(cores * N * N * 4, device)
    block = isa.sram(0, 2 * N, isa.BF16)
    product = isa.sram(2 * N * N, 4 * N, isa.F32)
    programs = {
        core: [
            isa.load(block, source.address, 2 * N, rows=N, bytes=2 * N),
            isa.mma(product, block, block, N, N, N, transpose_b=True),
            isa.binary(isa.ADD, product, product, isa.imm(core), N, N),
            isa.act(isa.Act.IDENTITY, product, product, N, N, scale=2.0, bias=1.0),
            isa.store(result.address + core * 4 * N * N, 4 * N, product, rows=N, bytes=4 * N),
        ]
        for core in range(cores)
    }
    api.launch_program([programs], "selftest", stream)
    stream.synchronize()
    expected = 2 * (a @ a.T + np.arange(cores, dtype=np.float32)[:, None, None]) + 1
    wrong = result.to_numpy(np.float32, (cores, N, N)) != expected
    if wrong.any():
        core, row, column = np.argwhere(wrong)[0]
        raise AssertionError(f"{wrong.sum()} of {wrong.size} elements are wrong, first core {core} element [{row}, {column}]")
    cycles = stream.cycles
    return f"5 instructions on each of {cores} cores, every bit as expected" + (f", {cycles} simulated cycles" if cycles else "")
