"""GEMM cycles beside SCALE-Sim (package scalesim, a cycle-accurate simulator of systolic arrays), weight-stationary.

One array against one array: a program that does the whole product on core 0, fold by fold, beside SCALE-Sim's array of the same size
with the core's scratchpad and DMA rate; and the library's kernel on all cores. docs/timing-proof.md explains every difference.
"""

from __future__ import annotations

import builtins
import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing.program_data import TRANS_B, D, Instr, Op, Program
from benchmarks.timing.reference_costs import ceil_div
from benchmarks.timing.reference_schedule import load_figures, read_trace
from benchmarks.timing.short_names import only, sram
from benchmarks.timing.timed_device import TIMED, Device

SHAPES = ((128, 128, 128), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (1, 512, 512), (16, 512, 384), (100, 200, 300),
          (1024, 128, 256), (300, 512, 128))  # fmt: skip
ROWS = 256  # of A at a time, at most, in the one-core program
BLOCK_K = 1024  # the largest K of the one-core program
BF16, F32 = 2, 4

CONFIG = """[general]
run_name = rigi
[run_presets]
InterfaceBandwidth = USER
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
ifmapsramszkB = {third}
filtersramszkB = {third}
ofmapsramszkB = {third}
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = ws
Bandwidth = {words}
ReadRequestBuffer = 512
WriteRequestBuffer = 512
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = {words}
IfmapSRAMBankNum = 1
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = {words}
FilterSRAMBankNum = 1
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
"""


@dataclass(frozen=True)
class Comparison:
    """One shape. Cycles of the matrix engine on one core (formula, measured), of that launch, of the library's launch on all cores; and
    SCALE-Sim's: computing, stalled, and from the first prefetch to the last write."""

    m: int
    n: int
    k: int
    folds: int
    busy_formula: int
    busy: int
    launch: int
    library: int
    scalesim: int
    scalesim_stalls: int
    scalesim_total: int
    predicted: int

    @property
    def explained(self) -> bool:
        """Whether our cycles are the formula's, and SCALE-Sim's follow from them."""
        return self.busy == self.busy_formula and self.predicted == self.scalesim


class NotInstalled(RuntimeError):
    """The package scalesim is not there."""


# ---- the formulas


def folds(n: int, k: int, rows: int, cols: int) -> int:
    """Weight tiles: how often the array is filled with other weights."""
    return ceil_div(n, cols) * ceil_div(k, rows)


def our_cycles(m: int, n: int, k: int, chip: dict[str, Any]) -> int:
    """Busy cycles of one matrix engine, bf16 (section 4 of the manual)."""
    matrix = chip["matrix"]
    return folds(n, k, matrix["k_16bit"], matrix["n"]) * max(m, matrix["min_m"])


def predict(busy: int, m: int, n: int, k: int, chip: dict[str, Any]) -> int:
    """SCALE-Sim's compute cycles from ours. Per fold it adds what our engine hides under the fold before: `rows` cycles to load the
    weights, rows - 1 for the skew of A on its way in, cols - 1 to drain; and it streams m rows where we stream at least min_m.
    It reports the index of the last cycle, one less than their number."""
    matrix = chip["matrix"]
    rows, cols = matrix["k_16bit"], matrix["n"]
    return busy + folds(n, k, rows, cols) * (rows + (rows - 1) + (cols - 1) + m - max(m, matrix["min_m"])) - 1


# ---- SCALE-Sim


def _largest(*values: Any) -> Any:
    """scalesim 3.0.0 turns the greatest of some one-element arrays into an int, which NumPy 2.4 refuses to do."""
    found = builtins.max(*values)
    return found.item() if isinstance(found, np.ndarray) else found


def run_scalesim(m: int, n: int, k: int, folder: Path) -> tuple[int, int, int]:
    """(compute cycles without stalls, stalls, cycles from first prefetch to last write) of one array. Raises NotInstalled."""
    try:
        from scalesim.memory import double_buffered_scratchpad_mem, read_buffer, write_buffer
        from scalesim.scale_sim import scalesim
    except ImportError as error:
        raise NotInstalled(f"the package scalesim cannot be imported ({error}): pip install 'scalesim>=3,<4'") from error
    for module in (double_buffered_scratchpad_mem, read_buffer, write_buffer):
        module.max = _largest
    chip = load_figures()
    matrix, words = chip["matrix"], chip["dma"]["bytes_per_cycle"] // BF16
    third = chip["sram"]["bytes"] // BF16 // 3 // 1024  # thousands of words for each of A, B and C: SCALE-Sim's words have one byte
    config, topology, layout = folder / "array.cfg", folder / "gemm.csv", folder / "layout.csv"
    config.write_text(CONFIG.format(rows=matrix["k_16bit"], cols=matrix["n"], third=third, words=words))
    topology.write_text(f"Layer, M, N, K,\ngemm, {m}, {n}, {k},\n")
    layout.write_text("Layer,\ngemm, " + "1, " * 20 + "\n")
    with contextlib.redirect_stdout(io.StringIO()):
        simulator = scalesim(
            save_disk_space=True, verbose=False, config=str(config), topology=str(topology), layout=str(layout), input_type_gemm=True
        )
        simulator.run_scale(top_path=str(folder))
    (layer,) = simulator.runner.single_layer_sim_object_list
    overall, cycles, stalls = (int(value) for value in layer.get_compute_report_items()[:3])
    return cycles - stalls, stalls, overall


# ---- the same product on one core of ours


def one_core(m: int, n: int, k: int, hbm: int) -> Program:
    """C [m, n] fp32 = A [m, k] W [n, k]^T, bf16, on core 0: blocks of A stay, tiles of W and C pass through two buffers each."""
    if k > BLOCK_K:
        raise ValueError(f"K = {k} is more than the {BLOCK_K} that this program keeps in the scratchpad")
    a_at, w_at, c_at = 0, 1 << 20, 3 << 19  # two of 512 KiB, two of 256 KiB, two of 128 KiB
    x, w, y = hbm, hbm + BF16 * m * k, hbm + BF16 * (m * k + n * k)
    instrs = []
    turn = 0
    blocks = ceil_div(m, ROWS)
    for block in range(blocks):
        first = block * m // blocks
        rows = (block + 1) * m // blocks - first  # even shares: none is shorter than min_m unless all of m is
        a = sram(a_at + block % 2 * (1 << 19), BF16 * k, D.BF16)
        instrs.append(Instr(Op.LOAD, rows, BF16 * k, dst=a, hbm=x + BF16 * first * k, hbm_stride=BF16 * k))
        for column in range(0, n, 128):
            cols = min(128, n - column)
            tile = sram(w_at + turn % 2 * (1 << 18), BF16 * k, D.BF16)
            c = sram(c_at + turn % 2 * (1 << 17), F32 * cols)
            instrs.append(Instr(Op.LOAD, cols, BF16 * k, dst=tile, hbm=w + BF16 * column * k, hbm_stride=BF16 * k))
            instrs.append(Instr(Op.MMA, rows, cols, k, dst=c, a=a, b=tile, flags=TRANS_B))
            instrs.append(Instr(Op.STORE, rows, F32 * cols, a=c, hbm=y + F32 * (first * n + column), hbm_stride=F32 * n))
            turn += 1
    return [only({0: instrs})]


def run_one_core(m: int, n: int, k: int, folder: Path) -> tuple[int, int]:
    """(busy cycles of the matrix engine by the trace, cycles of the launch)."""
    device = Device()
    device.set_mode(TIMED)
    size = BF16 * (m * k + n * k) + F32 * m * n
    hbm = device.malloc(size)
    device.write(hbm, bytes(size))
    before = device.cycles()
    try:
        with device.trace(folder / "gemm.jsonl"):
            device.launch(one_core(m, n, k, hbm))
            device.synchronize()
    finally:
        device.free(hbm)
    busy = sum(r["end"] - r["start"] for r in read_trace(folder / "gemm.jsonl") if r["engine"] == "matrix")
    return busy, device.cycles() - before


def run_library(m: int, n: int, k: int) -> int:
    """Cycles of the library's kernel on all cores."""
    from benchmarks.kernels import gemm

    return gemm(m, n, k)["cycles"]


def compare(shape: tuple[int, int, int], folder: Path) -> Comparison:
    """One shape by every route. Raises NotInstalled without the package scalesim."""
    m, n, k = shape
    cycles, stalls, overall = run_scalesim(m, n, k, folder)
    chip = load_figures()
    busy, launch = run_one_core(m, n, k, folder)
    count = folds(n, k, chip["matrix"]["k_16bit"], chip["matrix"]["n"])
    predicted = predict(busy, m, n, k, chip)
    return Comparison(m, n, k, count, our_cycles(m, n, k, chip), busy, launch, run_library(m, n, k), cycles, stalls, overall, predicted)
