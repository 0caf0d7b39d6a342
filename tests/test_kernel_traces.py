"""The library's kernels under the timing rules: their instruction traces recompute to the cycle, and timing changes no bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sdk_sim
import sglang_ext.device  # noqa: F401
from benchmarks.kernels import paged
from benchmarks.timing import reference_schedule as reference

CHIP = torch.device("rigi")


Launch = Callable[[], torch.Tensor]


def gemm(m: int, n: int, k: int) -> Launch:
    x, w = (torch.randn(*s, generator=torch.Generator().manual_seed(m)).bfloat16().to(CHIP) for s in ((m, k), (n, k)))
    return lambda: torch.ops.rigi.linear(x, w)


def attention(extend: bool, lengths: list[int], heads: int, kv_heads: int, head_dim: int) -> Launch:
    g = torch.Generator().manual_seed(sum(lengths))
    batch, longest = len(lengths), max(lengths)
    table, slots = paged(batch, longest, 16, g)
    cache = torch.randn(2, slots, kv_heads * head_dim, generator=g).bfloat16().to(CHIP)
    lens, requests, table_on = torch.tensor(lengths).to(CHIP), torch.arange(batch).to(CHIP), table.to(CHIP)
    if not extend:
        q = torch.randn(batch, heads * head_dim, generator=g).bfloat16().to(CHIP)
        return lambda: torch.ops.rigi.attention_decode(q, cache[0], cache[1], table_on, requests, lens, head_dim, 16, head_dim**-0.5)
    prefix = [length // 3 for length in lengths]
    new = torch.tensor(lengths) - torch.tensor(prefix)
    starts = (new.cumsum(0) - new).to(CHIP)
    q = torch.randn(int(new.sum()), heads * head_dim, generator=g).bfloat16().to(CHIP)
    p, n = torch.tensor(prefix).to(CHIP), new.to(CHIP)
    return lambda: torch.ops.rigi.attention_extend(q, cache[0], cache[1], table_on, requests, p, n, starts, head_dim, 16, head_dim**-0.5)


CASES = {
    "gemm, one row": lambda: gemm(1, 1536, 576),
    "gemm, multicast both ways": lambda: gemm(700, 1000, 300),
    "extend": lambda: attention(True, [500, 37, 130], 9, 3, 64),
    "decode, several chunks": lambda: attention(False, [1, 300, 777], 8, 2, 128),
}


@pytest.mark.parametrize("case", CASES)
def test_a_kernels_trace_recomputes_and_timing_changes_no_bit(case: str, tmp_path: Path) -> None:
    launch = CASES[case]()
    torch.rigi.synchronize()
    try:
        sdk_sim.set_mode("timed")
        file = tmp_path / "trace.jsonl"
        with sdk_sim.trace(str(file)):
            timed = launch()
            torch.rigi.synchronize()
        sdk_sim.set_mode("functional")
        functional = launch()
        torch.rigi.synchronize()
    finally:
        sdk_sim.set_mode("timed")
    assert torch.equal(timed.cpu().view(torch.int16), functional.cpu().view(torch.int16))
    launches = reference.launches(reference.read_trace(file))
    assert len(launches) == 1
    for records in launches.values():
        assert len(records) > 100
        assert [str(difference) for difference in reference.compare(records)] == []
