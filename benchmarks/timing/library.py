"""Every packaged kernel over several shapes, odd ones too: traced, and its schedule recomputed by the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import sdk_sim
from benchmarks.kernels import device, paged
from benchmarks.timing.reference_costs import misstatements
from benchmarks.timing.reference_schedule import disagreements, launches, load_figures, read_trace, schedule

Launch = Callable[[], Any]

LINEAR = ("linear", "linear_f32", "linear_bias", "linear_residual", "linear_silu_mul")
# Each row of the kernel table (m <= 16, 128, 256 with wide n, 512, 3071, above), whole tiles and odd sizes.
GEMMS = ((1, 1536, 576), (16, 33, 100), (17, 192, 576), (128, 100, 72), (129, 2050, 64), (256, 2304, 320), (200, 576, 576),
         (512, 1000, 300), (513, 260, 130), (1030, 130, 33), (3072, 96, 64), (3100, 515, 200))  # fmt: skip
LARGE_GEMMS = ((8, 4096, 4096), (256, 4096, 1024), (1024, 1024, 1024), (4096, 1024, 512))
NORMS = ((1, 576), (7, 100), (200, 1), (64, 2048), (513, 4100))
GATES = ((1, 1536), (8, 4096), (40, 300), (513, 37))
ROPES = ((1, 9, 3, 64, 64), (5, 8, 2, 128, 128), (70, 9, 4, 96, 96), (33, 2, 1, 80, 20))  # tokens, heads, kv heads, head dim, rotary
TABLES = ((1, 576, 1000), (300, 200, 500), (128, 576, 1000), (17, 4100, 50))  # ids, width, rows
WRITES = ((1, 192), (200, 300), (64, 1024), (13, 37))
LOGITS = ((1, 49152), (20, 3000), (3, 1), (5, 70001))
DECODES = (
    ([1, 300, 777], 8, 2, 128),
    ([5] * 33, 9, 3, 64),
    ([4096], 32, 8, 128),
    ([17, 64, 255, 256, 257], 4, 4, 32),
    ([2048] * 16, 8, 2, 64),
)
EXTENDS = (([500, 37, 130], 9, 3, 64), ([1], 4, 4, 32), ([1000], 4, 1, 128), ([64, 65, 128, 3], 8, 2, 96), ([3000], 8, 2, 128))


@dataclass(frozen=True)
class Outcome:
    """A kernel at one shape: the kernels that its trace names, its instructions, cycles, and what the reference contradicts."""

    case: str
    kernels: tuple[str, ...]
    instructions: int
    cycles: int
    wrong: list[str]


def _bf16(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


def gemm(op: str, m: int, n: int, k: int) -> Launch:
    chip = device()
    x, w = _bf16(m, k).to(chip), _bf16(2 * n if op == "linear_silu_mul" else n, k).to(chip)
    more = {"linear_bias": (n,), "linear_residual": (m, n)}.get(op)
    operands = (x, w, _bf16(*more).to(chip)) if more else (x, w)
    return lambda: getattr(torch.ops.rigi, op)(*operands)


def norm(op: str, tokens: int, width: int) -> Launch:
    chip = device()
    x, residual, w = (_bf16(*shape).to(chip) for shape in ((tokens, width), (tokens, width), (width,)))
    operands = (x, w) if op == "rms_norm" else (x, residual, w)
    return lambda: getattr(torch.ops.rigi, op)(*operands, 1e-5)


def silu_mul(tokens: int, width: int) -> Launch:
    x = _bf16(tokens, 2 * width).to(device())
    return lambda: torch.ops.rigi.silu_mul(x)


def rope(tokens: int, heads: int, kv_heads: int, head_dim: int, rotary: int) -> Launch:
    chip = device()
    q, k = _bf16(tokens, heads * head_dim).to(chip), _bf16(tokens, kv_heads * head_dim).to(chip)
    positions, table = (torch.arange(tokens) * 7 % 100).to(chip), torch.rand(100, rotary).to(chip)
    return lambda: torch.ops.rigi.rope(q, k, positions, table, head_dim)


def embedding(ids: int, width: int, rows: int) -> Launch:
    chip = device()
    names, table = (torch.arange(ids) * 31 % rows).to(chip), _bf16(rows, width).to(chip)
    return lambda: torch.ops.rigi.embedding(names, table)


def kv_write(tokens: int, width: int) -> Launch:
    chip = device()
    k, v, k_cache, v_cache = (_bf16(n, width).to(chip) for n in (tokens, tokens, 400, 400))
    slots = torch.randperm(400, generator=torch.Generator().manual_seed(tokens))[:tokens].to(chip)
    return lambda: torch.ops.rigi.kv_write(k, v, slots, k_cache, v_cache)


def sampling(op: str, batch: int, vocabulary: int) -> Launch:
    chip = device()
    logits = torch.randn(batch, vocabulary, generator=torch.Generator().manual_seed(batch)).to(chip)
    temperature = torch.full((batch, 1), 0.7).to(chip)
    return lambda: torch.ops.rigi.argmax(logits) if op == "argmax" else torch.ops.rigi.softmax(logits, temperature)


def attention(extend: bool, lengths: list[int], heads: int, kv_heads: int, head_dim: int) -> Launch:
    """Requests of so many tokens over a paged cache; extend finds a third of them there already."""
    chip, page, scale = device(), 16, head_dim**-0.5
    g = torch.Generator().manual_seed(sum(lengths))
    batch, longest = len(lengths), max(lengths)
    table, slots = paged(batch, longest, page, g)
    cache = torch.randn(2, slots, kv_heads * head_dim, generator=g).bfloat16().to(chip)
    lens, requests, table_on = torch.tensor(lengths).to(chip), torch.arange(batch).to(chip), table.to(chip)
    if not extend:
        q = torch.randn(batch, heads * head_dim, generator=g).bfloat16().to(chip)
        return lambda: torch.ops.rigi.attention_decode(q, cache[0], cache[1], table_on, requests, lens, head_dim, page, scale)
    prefix = torch.tensor([length // 3 for length in lengths])
    new = torch.tensor(lengths) - prefix
    starts = (new.cumsum(0) - new).to(chip)
    q = torch.randn(int(new.sum()), heads * head_dim, generator=g).bfloat16().to(chip)
    more = (table_on, requests, prefix.to(chip), new.to(chip), starts, head_dim, page, scale)
    return lambda: torch.ops.rigi.attention_extend(q, cache[0], cache[1], *more)


def _cases() -> Iterator[tuple[str, Callable[[], Launch]]]:
    families: list[tuple[Any, ...]] = [(op, partial(gemm, op), GEMMS) for op in LINEAR]
    families += [("linear", partial(gemm, "linear"), LARGE_GEMMS)]
    families += [(op, partial(norm, op), NORMS) for op in ("rms_norm", "add_rms_norm")]
    families += [("silu_mul", silu_mul, GATES), ("rope", rope, ROPES), ("embedding", embedding, TABLES), ("kv_write", kv_write, WRITES)]
    families += [(op, partial(sampling, op), LOGITS) for op in ("argmax", "softmax")]
    families += [("attention_decode", partial(attention, False), DECODES), ("attention_extend", partial(attention, True), EXTENDS)]
    for op, make, shapes in families:
        for shape in shapes:
            yield f"{op} {' x '.join(map(str, shape))}", partial(make, *shape)


CASES = dict(_cases())


def traced(launch: Launch, file: Path) -> Any:
    """Runs once in timed mode and returns the result; its instructions are in `file`."""
    torch.rigi.synchronize()
    sdk_sim.set_mode("timed")
    with sdk_sim.trace(str(file)):
        result = launch()
        torch.rigi.synchronize()
    return result


def recompute(case: str, file: Path) -> Outcome:
    """A trace against the reference schedule."""
    chip = load_figures()
    by_launch = launches(read_trace(file))
    wrong: list[str] = [] if by_launch else ["nothing was launched"]
    for lines in by_launch.values():
        wrong += misstatements(lines, chip)
        wrong += map(str, disagreements(schedule(lines, chip)))
    return Outcome(
        case,
        tuple(lines[0]["kernel"] for lines in by_launch.values()),
        sum(map(len, by_launch.values())),
        sum(max(r["end"] for r in lines if r["engine"] == "barrier") for lines in by_launch.values()),
        wrong,
    )


def run(case: str, folder: Path) -> Outcome:
    """One of CASES."""
    file = folder / "library.jsonl"
    traced(CASES[case](), file)
    return recompute(case, file)
