"""What a trace line says an instruction is, checked against the memory it names, and what it costs (sections 4 and 12 of the chip manual).

Part of the reference schedule: written from the manual, sharing nothing with the emulator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

ENGINES = ("load", "store", "matrix", "vector", "act")
EIGHT_BIT = {"e4m3", "e5m2", "i8", "int8", "u8", "uint8", "fp8_e4m3", "fp8_e5m2", "fp8_e4m3fn", "float8_e4m3fn", "float8_e5m2"}
GATHERS = ("gather", "scatter")
Record = dict[str, Any]
Chip = dict[str, Any]


class TraceError(ValueError):
    """The trace cannot be scheduled at all: a malformed line, or a multicast that some receiver never issues."""


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def round_up(a: int, to: int) -> int:
    """The next multiple of `to`."""
    return ceil_div(a, to) * to


# ---- costs, from `args`


def busy_cycles(record: Record, chip: Chip) -> int:
    """Cycles for which an instruction occupies its engine, HBM left aside."""
    engine, op, args = record["engine"], record["op"], record["args"]
    if engine in ("load", "store"):
        dma = chip["dma"]
        per_row = dma["cycles_per_index"] * args["rows"] if op in GATHERS else 0
        return dma["setup"] + ceil_div(args["bytes"], dma["bytes_per_cycle"]) + per_row
    if engine == "matrix":
        matrix = chip["matrix"]
        depth = matrix["k_8bit"] if args["dtype"] in EIGHT_BIT else matrix["k_16bit"]
        return ceil_div(args["k"], depth) * ceil_div(args["n"], matrix["n"]) * max(args["m"], matrix["min_m"])
    if engine in ("vector", "act"):
        unit = chip["vector" if engine == "vector" else "activation"]
        return unit["setup"] + args["passes"] * ceil_div(args["n"], unit["lanes"])
    if engine == "scalar":
        return args["block"]
    raise TraceError(f"unknown engine {engine!r}; the chip has {', '.join(ENGINES)}, scalar and barrier")


def latency_cycles(record: Record, chip: Chip) -> int:
    """Cycles from the end of an instruction until its result is visible."""
    engine, op = record["engine"], record["op"]
    if engine in ("load", "store"):
        return {"fill": 0, "send": chip["dma"]["send_latency"]}.get(op, chip["dma"]["latency"])
    return {"matrix": chip["matrix"], "vector": chip["vector"], "act": chip["activation"]}[engine]["latency"] if engine in ENGINES else 0


def server_bytes(record: Record) -> int:
    """Bytes an instruction takes at the HBM server: none for fill, send and everything that is not DMA."""
    if record["engine"] not in ("load", "store") or record["op"] in ("fill", "send"):
        return 0
    return record["args"]["hbm_bytes"] * (2 if record["op"] == "store_add" else 1)


# ---- `args`, from the memory that the line names


def _dma(r: Record, chip: Chip) -> dict[str, Any]:
    spans = r["writes"] if r["engine"] == "load" else r["reads"]
    ((_, width, rows, _),) = [s for s in spans if r["op"] != "scatter" or s[1:3] == [r["hbm"][0][1], r["hbm"][0][2]]][:1]
    burst = chip["hbm"]["burst_bytes"]
    pieces = 0
    for _, piece, count, stride in r["hbm"]:
        one = r["op"] not in GATHERS and (count == 1 or stride == piece)
        pieces += round_up(piece * count, burst) if one else count * round_up(piece, burst)
    return {"bytes": width * rows, "rows": rows, "hbm_bytes": 0 if r["op"] in ("fill", "send") else pieces}


def _matrix(r: Record) -> dict[str, Any]:
    (_, depth, rows, _), (_, width, _, _) = r["reads"][0], r["writes"][0]
    return {"m": rows, "n": width // 4, "k": depth // (1 if r["args"]["dtype"] in EIGHT_BIT else 2)}


def _element_counts(r: Record, pad: int) -> set[int]:
    """What `n` can be: an operand's elements, its rows padded; the line does not say how large its elements are."""
    counts = set()
    for _, width, rows, _ in (*r["reads"], *r["writes"]):
        sizes = {width // s for s in (1, 2, 4) if width % s == 0} | {2 * width, 2 * width - 1}  # the last two: packed int4
        counts |= {rows * round_up(n, pad) for n in sizes}
    return counts


def _vector(r: Record, chip: Chip) -> str:
    unit = chip["vector" if r["engine"] == "vector" else "activation"]
    n, passes = r["args"]["n"], r["args"]["passes"]
    allowed = {1}
    if r["op"] == "binary":
        allowed = {1, chip["vector"]["passes_div"]}
    elif r["op"] == "transpose":
        allowed = {chip["vector"]["passes_transpose"]}
    elif r["op"] == "topk":
        allowed = {r["writes"][1][1] // 4}  # an int32 index each
    wrong = [] if passes in allowed else [f"passes is {passes}, not one of {sorted(allowed)}"]
    if n not in _element_counts(r, unit["row_pad"]):
        wrong.append(f"n is {n}, no padded operand has so many elements")
    return "; ".join(wrong)


class LineCheck:
    """Holds the lines of one launch, given core by core in program order, against the memory they name."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self._lines: set[tuple[int, int]] = set()  # (core, line of HBM) that a scalar_load has touched
        self._casts: dict[tuple[int, tuple[int, ...]], int] = defaultdict(int)
        self._names: dict[str, tuple[Any, ...]] = {}

    def fault(self, r: Record) -> str:
        """What the line gets wrong; empty if nothing."""
        engine, args = r["engine"], r["args"]
        if engine == "barrier":
            return ""
        if engine in ("vector", "act"):
            return _vector(r, self.chip)
        expected = _dma(r, self.chip) if engine in ("load", "store") else _matrix(r) if engine == "matrix" else {"block": self._block(r)}
        wrong = [f"{name} is {args[name]}, its memory says {value}" for name, value in expected.items() if args[name] != value]
        if r["op"] == "load_multicast":
            wrong += self._multicast(r)
        return "; ".join(wrong)

    def _block(self, r: Record) -> int:
        if r["op"] == "scalar_read":
            return self.chip["scalar"]["read"]
        line = (r["core"], r["hbm"][0][0] // self.chip["sram"]["line_bytes"])
        hit = line in self._lines
        self._lines.add(line)
        return self.chip["scalar"]["load_hit" if hit else "load_miss"]

    def _multicast(self, r: Record) -> list[str]:
        """Receivers are a row, a column or all of the grid; one name for the k-th of them to these receivers, and for no other."""
        rows, cols = self.chip["grid"]["rows"], self.chip["grid"]["cols"]
        core, receivers = r["core"], tuple(r["args"]["receivers"])
        row, col = tuple(range(core // cols * cols, core // cols * cols + cols)), tuple(range(core % cols, rows * cols, cols))
        if receivers not in (row, col, tuple(range(rows * cols))):
            return [f"receivers {list(receivers)} are no row, column or grid around core {core}"]
        key = (receivers, self._casts[core, receivers], tuple(map(tuple, r["writes"])), tuple(map(tuple, r["hbm"])))
        self._casts[core, receivers] += 1
        return [] if self._names.setdefault(r["args"]["group"], key) == key else [f"group {r['args']['group']} names two multicasts"]


def misstatements(records: Sequence[Record], chip: Chip) -> list[str]:
    """Every line of one launch whose `args` do not fit the memory it names."""
    check = LineCheck(chip)
    return [f"core {r['core']} phase {r['phase']} index {r['index']} ({r['op']}): {text}" for r in records if (text := check.fault(r))]
