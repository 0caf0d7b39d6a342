"""What `rigi info` says about a device: the chip's figures as the SDK reports them, in numbers and in words."""

from __future__ import annotations

from typing import Any


def describe(device: int = 0) -> dict[str, Any]:
    """The device's figures. Raises RigiError for a device that does not exist or a chip file that cannot be read.

    Keys: `name revision sdk_version device_count override figures properties`; `figures` is a list of `{what, value, unit, text}` for
    people, `properties` the SDK's own names and values.
    """
    import sdk_sim

    p = sdk_sim.properties(device)
    ridge = p["peak_flops_16bit"] / p["hbm_bytes_per_s"]
    launch = f"{p['launch_cycles']} cycles from the host, {p['graph_launch_cycles']} in a graph"
    rows: list[tuple[str, float, str, str]] = [
        ("clock", p["clock_hz"], "Hz", f"{p['clock_hz'] / 1e9:g} GHz (1 cycle = {1e9 / p['clock_hz']:g} ns)"),
        ("cores", p["cores"], "", f"{p['cores']}, grid of {p['grid_rows']} rows x {p['grid_cols']} columns"),
        ("scratchpad per core", p["sram_bytes"], "bytes", binary(p["sram_bytes"])),
        ("HBM", p["hbm_bytes"], "bytes", binary(p["hbm_bytes"])),
        ("HBM rate", p["hbm_bytes_per_s"], "bytes/s", f"{p['hbm_bytes_per_s'] / 1e12:g} TB/s ({p['hbm_bytes_per_cycle']} bytes a cycle)"),
        ("peak, 16-bit", p["peak_flops_16bit"], "FLOP/s", f"{p['peak_flops_16bit'] / 1e12:g} TFLOP/s in bf16 and fp16"),
        ("peak, 8-bit", p["peak_ops_8bit"], "op/s", f"{p['peak_ops_8bit'] / 1e12:g} TOP/s in fp8 and int8"),
        ("ridge point", ridge, "FLOP/byte", f"{ridge:.0f} FLOP per HBM byte"),
        ("kernel launch", p["launch_cycles"], "cycles", launch),
        ("barrier", p["barrier_cycles"], "cycles", f"{p['barrier_cycles']} cycles"),
    ]
    return {
        "name": p["name"],
        "revision": p["revision"],
        "sdk_version": sdk_sim.version(),
        "device_count": sdk_sim.device_count(),
        "override": p["override_path"],
        "figures": [{"what": what, "value": value, "unit": unit, "text": text} for what, value, unit, text in rows],
        "properties": p,
    }


def binary(count: int) -> str:
    """2097152 -> '2 MiB'."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):g} {unit}"
    return f"{count} bytes"
