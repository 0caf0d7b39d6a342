"""Norms, the SwiGLU gate, rotary embedding, embedding and KV-cache write, over odd sizes."""

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from accuracy import BF16, assert_rounded_once, bf16
from hypothesis import given, settings

ROWS = st.one_of(st.integers(1, 40), st.sampled_from([127, 200, 513]))
WIDTH = st.one_of(st.integers(1, 200), st.sampled_from([576, 1536, 2048, 4100]))


def exact_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()


@settings(max_examples=40, deadline=None)
@given(t=ROWS, h=WIDTH, eps=st.sampled_from([1e-6, 1e-5, 0.1]))
def test_rms_norm(t: int, h: int, eps: float) -> None:
    x, w = bf16(t, h, scale=3), bf16(h)
    want = exact_norm(x, w, eps)
    assert_rounded_once(torch.ops.rigi.rms_norm(x.to("rigi"), w.to("rigi"), eps).cpu(), want, want.abs())
    assert_rounded_once(torch.ops.rigi.rms_norm(x, w, eps), want, want.abs())


@settings(max_examples=40, deadline=None)
@given(t=ROWS, h=WIDTH)
def test_add_rms_norm(t: int, h: int) -> None:
    x, residual, w = bf16(t, h), bf16(t, h), bf16(h)
    y, total = (r.cpu() for r in torch.ops.rigi.add_rms_norm(x.to("rigi"), residual.to("rigi"), w.to("rigi"), 1e-5))
    assert torch.equal(total, x + residual)
    want = exact_norm(total, w, 1e-5)
    assert_rounded_once(y, want, want.abs())


@settings(max_examples=40, deadline=None)
@given(t=ROWS, width=WIDTH)
def test_silu_mul(t: int, width: int) -> None:
    x = bf16(t, 2 * width, scale=4)
    gate, up = x.double().chunk(2, dim=-1)
    want = F.silu(gate) * up
    assert_rounded_once(torch.ops.rigi.silu_mul(x.to("rigi")).cpu(), want, want.abs())


def table(positions: int, rotary: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(positions).float(), 1 / 10000 ** (torch.arange(0, rotary, 2) / rotary))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@settings(max_examples=40, deadline=None)
@given(
    t=st.integers(1, 70),
    heads=st.integers(1, 9),
    kv_heads=st.integers(1, 4),
    dims=st.sampled_from([(64, 64), (64, 32), (128, 128), (96, 96), (80, 20), (256, 256)]),
    data=st.data(),
)
def test_rope(t: int, heads: int, kv_heads: int, dims: tuple[int, int], data: st.DataObject) -> None:
    head_dim, rotary = dims
    positions = torch.tensor(data.draw(st.lists(st.integers(0, 99), min_size=t, max_size=t)))
    q, k, cos_sin = bf16(t, heads * head_dim), bf16(t, kv_heads * head_dim), table(100, rotary)
    chip = [tensor.to("rigi") for tensor in (q, k, positions, cos_sin)]
    torch.ops.rigi.rope(*chip, head_dim)
    cos, sin = cos_sin[positions].double()[:, None].chunk(2, dim=-1)
    for got, before in ((chip[0].cpu(), q), (chip[1].cpu(), k)):
        x = before.view(t, -1, head_dim).double()
        a, b, rest = x[..., : rotary // 2], x[..., rotary // 2 : rotary], x[..., rotary:]
        want = torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)
        assert_rounded_once(got.view(t, -1, head_dim), want, 2 * x.abs().amax())


@settings(max_examples=30, deadline=None)
@given(t=st.integers(1, 300), h=WIDTH, v=st.integers(1, 500), data=st.data())
def test_embedding(t: int, h: int, v: int, data: st.DataObject) -> None:
    ids = torch.tensor(data.draw(st.lists(st.integers(0, v - 1), min_size=t, max_size=t)))
    rows = bf16(v, h)
    assert torch.equal(torch.ops.rigi.embedding(ids.to("rigi"), rows.to("rigi")).cpu(), rows[ids])


@settings(max_examples=30, deadline=None)
@given(t=st.integers(1, 200), width=st.one_of(st.integers(1, 300), st.just(1024)), seed=st.integers(0, 999))
def test_kv_write(t: int, width: int, seed: int) -> None:
    slots = torch.randperm(400, generator=torch.Generator().manual_seed(seed))[:t]
    k, v, k_cache, v_cache = bf16(t, width), bf16(t, width), bf16(400, width), bf16(400, width)
    chip = [tensor.to("rigi") for tensor in (k, v, slots, k_cache, v_cache)]
    torch.ops.rigi.kv_write(*chip)
    torch.ops.rigi.kv_write(k, v, slots, k_cache, v_cache)
    assert torch.equal(chip[3].cpu(), k_cache) and torch.equal(chip[4].cpu(), v_cache)


def test_ops_are_ordered_with_copies_and_the_host() -> None:
    """Launches are asynchronous; copies, the fallback and reads see their results, on any stream."""
    side = torch.rigi.Stream()
    x, w = bf16(64, 576).to("rigi"), torch.ones(576, dtype=BF16).to("rigi")
    want = torch.ops.rigi.rms_norm(x.cpu(), w.cpu(), 1e-5)
    for _ in range(20):
        with torch.rigi.stream(side):
            y = torch.ops.rigi.rms_norm(x, w, 1e-5)
            z = y.clone()
        total = z + 0  # on the host, by the fallback, from the default stream
        assert (total.cpu() - want).abs().max() <= 0.04


def test_memory_returns() -> None:
    x, w = bf16(64, 576).to("rigi"), bf16(576).to("rigi")
    torch.ops.rigi.rms_norm(x, w, 1e-5)
    torch.rigi.synchronize()
    allocated, free = torch.rigi.memory_allocated(), torch.rigi.mem_get_info()[0]
    for _ in range(200):
        torch.ops.rigi.rms_norm(x, w, 1e-5)
    torch.rigi.synchronize()
    assert torch.rigi.memory_allocated() == allocated and torch.rigi.mem_get_info()[0] == free
