"""Benchmarks of single ops: simulated cycles beside what the chip could at best do for that very work.

`ideal_cycles` is the longer of two bounds taken from the shape alone: floating-point operations over the chip's peak, and operands read
and results written once over HBM's rate. `utilization` is ideal over actual; actual is the whole launch, from the host's launch to the
last barrier. Host seconds are another clock and have their own field. Every run checks its result against fp32 torch on the CPU, but in
timing-only mode, in which nothing is computed and `max_error` is None.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

import sdk_sim

BYTES = 2  # of a bf16


class Chip:
    """The figures of the chip that bounds are made of."""

    def __init__(self) -> None:
        figures = sdk_sim.properties(0)
        self.flops_per_cycle = figures["peak_flops_16bit"] / figures["clock_hz"]
        self.hbm_bytes_per_cycle = figures["hbm_bytes_per_cycle"]
        self.clock_hz = figures["clock_hz"]

    def ideal(self, flops: float, hbm_bytes: float) -> tuple[float, str]:
        compute, memory = flops / self.flops_per_cycle, hbm_bytes / self.hbm_bytes_per_cycle
        return (compute, "compute") if compute >= memory else (memory, "hbm")


def device() -> torch.device:
    """The chip, in the mode that it has (RIGI_MODE). Raises ValueError for the mode without time."""
    import sglang_ext.device  # noqa: F401  registers the device when the entry point has not

    if sdk_sim.get_mode() == "functional":
        raise ValueError("simulated cycles need a mode with time; set RIGI_MODE to timed, timing-only or strict, or leave it out")
    return torch.device("rigi")


def has_data() -> bool:
    """Whether the chip computes anything; in timing-only mode there is neither data to make nor a result to check."""
    return sdk_sim.get_mode() != "timing-only"


def operand(host: Callable[[], torch.Tensor], *sizes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bf16 operand [sizes] in this machine's memory and on the chip: what `host` makes, or where there is no data, nothing."""
    if not has_data():
        return torch.empty(0), torch.empty(sizes, dtype=torch.bfloat16, device="rigi")
    made = host().to(torch.bfloat16)
    return made, made.to("rigi")


def measure(run: Callable[[], Any], trace: Path | None) -> tuple[Any, dict[str, Any]]:
    """Runs once. Returns the result and {cycles, launches, host_seconds}."""
    torch.rigi.synchronize()
    sdk_sim.take_statistics()
    with sdk_sim.trace(str(trace)) if trace else nullcontext():
        start = time.perf_counter()
        result = run()
        torch.rigi.synchronize()
        seconds = time.perf_counter() - start
    statistics = sdk_sim.take_statistics()
    return result, {"cycles": statistics["cycles"], "launches": statistics["launches"], "host_seconds": seconds}


def report(
    op: str, shape: dict[str, Any], flops: float, hbm_bytes: float, measured: dict[str, Any], max_error: float | None
) -> dict[str, Any]:
    chip = Chip()
    ideal, limit = chip.ideal(flops, hbm_bytes)
    cycles = measured["cycles"]
    return {
        "op": op,
        "shape": shape,
        "mode": sdk_sim.get_mode(),
        "cycles": cycles,
        "ideal_cycles": ideal,
        "utilization": ideal / cycles,
        "limit": limit,
        "simulated_us": cycles / chip.clock_hz * 1e6,
        "launches": measured["launches"],
        "max_error": max_error,
        "host_seconds": measured["host_seconds"],
    }


def gemm(m: int, n: int, k: int, dtype: str = "bf16", trace: Path | None = None, seed: int = 0) -> dict[str, Any]:
    """y[m, n] = x[m, k] w[n, k]^T. `max_error` is the largest absolute error; results are about 1 in size."""
    if dtype != "bf16":
        raise ValueError(f"dtype {dtype!r}: the packaged kernels are bf16; use --dtype bf16")
    device()
    torch.manual_seed(seed)
    x, x_chip = operand(lambda: torch.randn(m, k, dtype=torch.bfloat16), m, k)
    w, w_chip = operand(lambda: torch.randn(n, k) / k**0.5, n, k)
    y, measured = measure(lambda: torch.ops.rigi.linear(x_chip, w_chip), trace)
    error = (y.cpu().float() - x.float() @ w.float().T).abs().max().item() if has_data() else None
    return report("gemm", {"m": m, "n": n, "k": k, "dtype": dtype}, 2.0 * m * n * k, BYTES * (m * k + n * k + m * n), measured, error)


def paged(batch: int, length: int, page: int, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """A block table of `batch` requests with their pages shuffled, and the number of slots. Page 0 is padding, as in SGLang."""
    pages = -(-length // page)
    order = torch.randperm(batch * pages, generator=generator) + 1
    slots = (order[:, None] * page + torch.arange(page)).reshape(batch, pages * page)
    return slots.to(torch.int32), (batch * pages + 1) * page


def _reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, limits: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention in fp32: q [T, H, D] over k, v [L, G, D]; query t sees keys below limits[t]. Returns [T, H * D]."""
    q, k, v = q.float(), k.float(), v.float()
    group = q.shape[1] // k.shape[1]
    scores = torch.einsum("tgrd,lgd->tgrl", q.unflatten(1, (-1, group)), k) * scale
    scores.masked_fill_(torch.arange(k.shape[0])[None, None, None, :] >= limits[:, None, None, None], float("-inf"))
    return torch.einsum("tgrl,lgd->tgrd", scores.softmax(-1), v).flatten(1)


def attention_prefill(
    seq: int, heads: int, kv_heads: int, head_dim: int, prefix: int = 0, page: int = 16, trace: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Causal attention of `seq` new tokens after `prefix` cached ones, one request. The error is taken on 64 of the rows."""
    chip = device()
    generator = torch.Generator().manual_seed(seed)
    total, scale = prefix + seq, head_dim**-0.5
    table, slots = paged(1, total, page, generator)
    q, q_chip = operand(lambda: torch.randn(seq, heads * head_dim, generator=generator), seq, heads * head_dim)
    cache, cache_chip = operand(lambda: torch.randn(2, slots, kv_heads * head_dim, generator=generator), 2, slots, kv_heads * head_dim)
    places = [t.to(chip) for t in (table, torch.tensor([0]), torch.tensor([prefix]), torch.tensor([seq]), torch.tensor([0]))]
    out, measured = measure(lambda: torch.ops.rigi.attention_extend(q_chip, *cache_chip, *places, head_dim, page, scale), trace)
    error = None
    if has_data():
        rows = torch.linspace(0, seq - 1, min(seq, 64)).long().unique()
        index = table[0, :total].long()
        k, v = (cache[i][index].unflatten(1, (kv_heads, head_dim)) for i in (0, 1))
        expected = _reference(q[rows].unflatten(1, (heads, head_dim)), k, v, rows + prefix + 1, scale)
        error = (out.cpu()[rows].float() - expected).abs().max().item()
    pairs = seq * prefix + seq * (seq + 1) / 2
    hbm_bytes = BYTES * (2 * seq * heads * head_dim + 2 * total * kv_heads * head_dim)
    shape = {"seq": seq, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "prefix": prefix, "page": page}
    return report("attention-prefill", shape, 4.0 * heads * head_dim * pairs, hbm_bytes, measured, error)


def attention_decode(
    batch: int, kv: int, heads: int, kv_heads: int, head_dim: int, page: int = 16, trace: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """One new token of each of `batch` requests over `kv` cached tokens each. The error is taken on up to 4 requests."""
    chip = device()
    generator = torch.Generator().manual_seed(seed)
    scale = head_dim**-0.5
    table, slots = paged(batch, kv, page, generator)
    q, q_chip = operand(lambda: torch.randn(batch, heads * head_dim, generator=generator), batch, heads * head_dim)
    cache, cache_chip = operand(lambda: torch.randn(2, slots, kv_heads * head_dim, generator=generator), 2, slots, kv_heads * head_dim)
    places = [t.to(chip) for t in (table, torch.arange(batch), torch.full((batch,), kv))]
    out, measured = measure(lambda: torch.ops.rigi.attention_decode(q_chip, *cache_chip, *places, head_dim, page, scale), trace)
    errors = []
    for b in torch.linspace(0, batch - 1, min(batch, 4)).long().unique().tolist() if has_data() else ():
        index = table[b, :kv].long()
        k, v = (cache[i][index].unflatten(1, (kv_heads, head_dim)) for i in (0, 1))
        expected = _reference(q[b : b + 1].unflatten(1, (heads, head_dim)), k, v, torch.tensor([kv]), scale)
        errors.append((out[b : b + 1].cpu().float() - expected).abs().max().item())
    error = max(errors, default=None)
    hbm_bytes = BYTES * (2 * batch * heads * head_dim + 2 * batch * kv * kv_heads * head_dim)
    shape = {"batch": batch, "kv": kv, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "page": page}
    return report("attention-decode", shape, 4.0 * batch * heads * head_dim * kv, hbm_bytes, measured, error)
