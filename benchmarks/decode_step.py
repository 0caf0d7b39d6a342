"""`rigi bench decode-step`: one decode step of a whole Llama-like model, of any size, by the chip's own ops.

Timing-only by default: no weight is made and nothing is computed, so a model that fills the chip's 64 GiB needs next to no host memory.
The ops are those that serving launches for such a model (`sglang_ext/serving/model.py`). The step is measured twice: launched op by
op from the host, and captured once as a graph and replayed.
"""

from __future__ import annotations

import bisect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

import sdk_sim
from benchmarks.kernels import BYTES, Chip, paged
from sdk_sim.origin import emit

PAGE = 16


@dataclass(frozen=True)
class Shape:
    """A Llama-like decoder: grouped-query attention, gated SiLU, RMS norm, rotary positions, bf16."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int

    @property
    def weights(self) -> int:
        """Parameters that a step reads: all but the embedding table's other rows (the head counts, tied or not)."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden) + (self.vocab + 1) * self.hidden

    @property
    def weight_bytes(self) -> int:
        """What the weights take on the chip, head and embedding table apart."""
        return BYTES * (self.weights + self.vocab * self.hidden)

    def cache_bytes(self, batch: int, kv: int) -> int:
        """The pages that hold `kv` tokens of each of `batch` requests, keys and values of all layers, and the page of padding."""
        return BYTES * 2 * self.kv_heads * self.head_dim * self.layers * PAGE * (batch * -(-kv // PAGE) + 1)

    def step_bytes(self, batch: int) -> int:
        """At most what a step's results take: a captured one keeps those of every layer."""
        layer = 5 * self.hidden + 2 * self.head_dim * (self.heads + 2 * self.kv_heads) + self.intermediate
        return batch * (BYTES * self.layers * layer + 4 * self.vocab) + 2**24  # and the few small vectors, tables and workspaces


PRESETS = {
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152),
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, 128256),
    "32b": Shape(64, 5120, 64, 8, 128, 25600, 151936),  # as Qwen3-32B, which fills the chip; without its norms of q and k
}


def from_config(folder: Path) -> Shape:
    """The shape in a Hugging Face folder's config.json. Raises ValueError naming what is missing."""
    try:
        c = json.loads((folder / "config.json").read_text())
        heads = c["num_attention_heads"]
        return Shape(
            layers=c["num_hidden_layers"],
            hidden=c["hidden_size"],
            heads=heads,
            kv_heads=c.get("num_key_value_heads") or heads,
            head_dim=c.get("head_dim") or c["hidden_size"] // heads,
            intermediate=c["intermediate_size"],
            vocab=c["vocab_size"],
        )
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: no readable config.json ({error}); name a Hugging Face model folder") from error
    except KeyError as error:
        raise ValueError(f"{folder}/config.json has no {error}; only Llama-like decoders are known here") from error


class Model:
    """The model's memory on the chip, uninitialised, and its decode step."""

    def __init__(self, shape: Shape, batch: int, kv: int) -> None:
        chip = torch.device("rigi")
        s = shape

        def empty(*sizes: int) -> torch.Tensor:
            return torch.empty(sizes, dtype=torch.bfloat16, device=chip)

        table, slots = paged(batch, kv, PAGE, torch.Generator().manual_seed(0))
        q, width = s.heads * s.head_dim, s.kv_heads * s.head_dim
        self.shape, self.batch = shape, batch
        self.embedding, self.head, self.norm = empty(s.vocab, s.hidden), empty(s.vocab, s.hidden), empty(s.hidden)
        self.layers = [
            {
                "norm": empty(s.hidden),
                "qkv": empty(q + 2 * width, s.hidden),
                "o": empty(s.hidden, q),
                "post": empty(s.hidden),
                "gate_up": empty(2 * s.intermediate, s.hidden),
                "down": empty(s.hidden, s.intermediate),
                "k": empty(slots, width),
                "v": empty(slots, width),
            }
            for _ in range(s.layers)
        ]
        self.table, self.requests = table.to(chip), torch.arange(batch).to(chip)
        self.lengths, self.positions = torch.full((batch,), kv).to(chip), torch.full((batch,), kv - 1).to(chip)
        self.slots = table[:, kv - 1].long().to(chip)
        self.tokens = torch.zeros(batch, dtype=torch.int64).to(chip)
        self.cos_sin = torch.zeros(kv, s.head_dim).to(chip)

    def step(self) -> torch.Tensor:
        """Token ids [batch] to token ids [batch]."""
        s, ops = self.shape, torch.ops.rigi
        sizes = (s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim)
        x = ops.embedding(self.tokens, self.embedding)
        for layer in self.layers:
            y = ops.rms_norm(x, layer["norm"], 1e-5)
            if self.batch == 1:  # the parts of a one-row result are contiguous
                q, k, v = ops.linear(y, layer["qkv"]).split(sizes, dim=1)
            else:
                q, k, v = (ops.linear(y, part) for part in layer["qkv"].split(sizes, dim=0))
            ops.rope(q, k, self.positions, self.cos_sin, s.head_dim)
            ops.kv_write(k, v, self.slots, layer["k"], layer["v"])
            attended = ops.attention_decode(
                q, layer["k"], layer["v"], self.table, self.requests, self.lengths, s.head_dim, PAGE, s.head_dim**-0.5
            )
            x = ops.linear_residual(attended, layer["o"], x)
            y = ops.rms_norm(x, layer["post"], 1e-5)
            x = ops.linear_residual(ops.linear_silu_mul(y, layer["gate_up"]), layer["down"], x)
        return ops.argmax(ops.linear_f32(ops.rms_norm(x, self.norm, 1e-5), self.head))


def check_fits(shape: Shape, batch: int, kv: int) -> None:
    """Raises ValueError, before anything is made, where weights, cache and intermediate results exceed the chip's free HBM."""
    free, _ = sdk_sim.memory_info()

    def need(batch: int, kv: int) -> int:
        return shape.weight_bytes + shape.cache_bytes(batch, kv) + shape.step_bytes(batch)

    def gib(count: int) -> str:
        return f"{count / 2**30:.2f} GiB"

    if need(batch, kv) <= free:
        return
    said = (
        f"batch {batch} with {kv} tokens of cache each needs {gib(need(batch, kv))} on the chip: {gib(shape.weight_bytes)} of weights, "
        f"{gib(shape.cache_bytes(batch, kv))} of cache, {gib(shape.step_bytes(batch))} of intermediate results; {gib(free)} are free"
    )
    fits = [f"--batch {n}" for n in _largest(batch, lambda n: need(n, kv) <= free)]
    fits += [f"--kv {n * PAGE}" for n in _largest(kv // PAGE, lambda n: need(batch, n * PAGE) <= free)]
    raise ValueError(f"{said}. What fits: {' or '.join(fits) or 'fewer --layers'}")


def _largest(limit: int, fits: Callable[[int], bool]) -> list[int]:
    """The largest of 1..limit that fits, if one does; what fits one fits all smaller ones."""
    count = bisect.bisect_left(range(1, limit + 1), True, key=lambda n: not fits(n))
    return [count] if count else []


def measure(run: Callable[[], Any]) -> dict[str, Any]:
    """Simulated cost by kernel, and host seconds, of one call."""
    sdk_sim.synchronize()
    sdk_sim.take_statistics()
    start = time.perf_counter()
    run()
    sdk_sim.synchronize()
    return {**sdk_sim.take_statistics(), "host_seconds": time.perf_counter() - start}


def decode_step(shape: Shape, batch: int, kv: int, mode: sdk_sim.Mode = "timing-only") -> dict[str, Any]:
    """Fields: cycles and launches of the step launched op by op, `graph_cycles` as a graph's replay, the bound that weights, cache and
    operations set (`ideal_cycles`, `utilization` of the graph), tokens a second of both, kernels with their share; host seconds.
    Raises ValueError where the chip has no room for it."""
    import sglang_ext.device  # noqa: F401  registers the device when the entry point has not

    sdk_sim.set_mode(mode)
    check_fits(shape, batch, kv)
    model = Model(shape, batch, kv)
    stream = sdk_sim.Stream.default()
    model.step()  # torch's first calls
    eager = measure(model.step)
    with sdk_sim.capture(stream) as captured:
        kept = model.step()
    graph = captured.graph.instantiate()
    replay = measure(lambda: graph.launch(stream))
    del kept
    cache = batch * kv * 2 * shape.kv_heads * shape.head_dim * shape.layers
    flops = 2.0 * batch * shape.weights + 4.0 * batch * kv * shape.heads * shape.head_dim * shape.layers
    chip = Chip()
    ideal, limit = chip.ideal(flops, BYTES * (shape.weights + cache))
    cycles = sorted(eager["kernels"].items(), key=lambda item: -item[1]["cycles"])
    return {
        "op": "decode-step",
        "shape": {**shape.__dict__, "batch": batch, "kv": kv, "mode": mode},
        "gib": (shape.weight_bytes + BYTES * cache) / 2**30,
        "launches": eager["launches"],
        "cycles": eager["cycles"],
        "graph_cycles": replay["cycles"],
        "ideal_cycles": ideal,
        "limit": limit,
        "utilization": ideal / replay["cycles"],
        "simulated_us": eager["cycles"] / chip.clock_hz * 1e6,
        "graph_simulated_us": replay["cycles"] / chip.clock_hz * 1e6,
        "tokens_per_s": batch * chip.clock_hz / eager["cycles"],
        "graph_tokens_per_s": batch * chip.clock_hz / replay["cycles"],
        "kernels": {name: {**cost, "share": cost["cycles"] / eager["cycles"]} for name, cost in cycles},
        "host_seconds": eager["host_seconds"],
        "graph_host_seconds": replay["host_seconds"],
    }


def shape_of(preset: str, folder: Path | None, **changes: int | None) -> Shape:
    """The preset's or the folder's shape with the figures that were given."""
    shape = from_config(folder) if folder else PRESETS[preset]
    return replace(shape, **{name: value for name, value in changes.items() if value is not None})


@click.command("decode-step")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="smollm2-135m", show_default=True, help="A known model's shape.")
@click.option(
    "--model-path", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Take the shape from config.json here."
)
@click.option("--layers", type=click.IntRange(min=1), help="Another number of layers.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Requests.")
@click.option(
    "--kv", type=click.IntRange(min=1), default=1024, show_default=True, help="Tokens of each request in the cache, the new one included."
)
@click.option(
    "--mode", type=click.Choice(["timing-only", "timed"]), default="timing-only", show_default=True, help="Without or with the bits."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(preset: str, folder: Path | None, layers: int | None, batch: int, kv: int, mode: sdk_sim.Mode, as_json: bool) -> None:
    """One decode step of a whole model, launched op by op and as a graph."""
    try:
        with Console(stderr=True).status("one decode step"):
            result = decode_step(shape_of(preset, folder, layers=layers), batch, kv, mode)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        emit(result, "torch")
        return
    shape = " ".join(f"{name}={value}" for name, value in result["shape"].items())
    table = Table(title=f"decode-step  {shape}", title_justify="left")
    for column in ("simulated", "op by op", "as a graph"):
        table.add_column(column, justify="left" if column == "simulated" else "right")
    table.add_row("cycles", f"{result['cycles']:,}", f"{result['graph_cycles']:,}")
    table.add_row("time, us", f"{result['simulated_us']:,.1f}", f"{result['graph_simulated_us']:,.1f}")
    table.add_row("tokens/s", f"{result['tokens_per_s']:,.1f}", f"{result['graph_tokens_per_s']:,.1f}")
    table.add_row(
        f"ideal / actual ({result['limit']}-bound)", f"{result['ideal_cycles'] / result['cycles']:.3f}", f"{result['utilization']:.3f}"
    )
    for name, cost in result["kernels"].items():
        table.add_row(f"  {name}", f"{cost['cycles']:,}  {cost['share']:6.1%}  {cost['launches']:4d} x", "")
    table.add_section()
    table.add_row("host seconds", f"{result['host_seconds']:.3f}", f"{result['graph_host_seconds']:.3f}")
    Console().print(table)
    click.echo(f"{result['gib']:.2f} GiB of weights and cache on the chip, {result['launches']} launches.")
