"""The roofline picture of a profile: kernels by flops per HBM byte and flops per simulated second, below what the chip allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MOST_NAMES = 12


def draw(total: dict[str, Any], device: dict[str, Any], path: Path) -> None:
    """Writes a PNG. `total` is what `aggregate` returned; a dot's area is the kernel's share of the cycles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    clock, hbm = device["clock_hz"], device["hbm_bytes_per_cycle"] * device["clock_hz"]
    kernels = [k for k in total["kernels"] if k["intensity"] and k["achieved_flops"]]
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xscale="log", yscale="log")
    peaks = {"8-bit": device["flops_per_cycle_8bit"] * clock, "16-bit": device["flops_per_cycle_16bit"] * clock}
    ridge = max(peaks.values()) / hbm
    low = min([1.0, *(k["intensity"] for k in kernels)]) / 2
    high = max([ridge * 4, *(k["intensity"] for k in kernels)]) * 2
    for (name, peak), color in zip(peaks.items(), ("tab:gray", "black")):
        axes.plot([low, peak / hbm, high], [low * hbm, peak, peak], color=color, linewidth=1.5, label=f"{name} peak {_flops(peak)}")
    for index, kernel in enumerate(kernels):
        label = f"{kernel['kernel']} ({kernel['share']:.0%})" if index < _MOST_NAMES else None
        area = 30 + 900 * kernel["share"]
        axes.scatter(kernel["intensity"], kernel["achieved_flops"], area, color=f"C{index % 10}", alpha=0.7, label=label)
    axes.set_xlabel("FLOP per HBM byte")
    axes.set_ylabel("FLOP/s in simulated time")
    without = len(total["kernels"]) - len(kernels)
    note = f"; {without} kernels without matrix work are not shown" if without else ""
    axes.set_title(f"{device['chip']}, simulated: {total['launches']} launches, {total['cycles']:,} cycles{note}", fontsize=10)
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8, loc="lower right", markerscale=0.5)
    figure.savefig(path, dpi=120)


def _flops(value: float) -> str:
    return f"{value / 1e12:g} TFLOP/s"
