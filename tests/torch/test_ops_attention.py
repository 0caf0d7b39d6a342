"""Paged attention for decode and extend against fp32 attention on the CPU."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from accuracy import bf16
from hypothesis import given, settings

PAGE = 16


@dataclass
class Batch:
    """Requests over a cache whose pages lie in random order."""

    k_cache: torch.Tensor
    v_cache: torch.Tensor
    req_to_token: torch.Tensor
    req_pool_indices: torch.Tensor

    @classmethod
    def make(cls, lengths: list[int], width: int, seed: int = 0) -> "Batch":
        generator = torch.Generator().manual_seed(seed)
        need = [-(-length // PAGE) for length in lengths]
        context = max(need) * PAGE + PAGE
        pages = 1 + torch.randperm(sum(need), generator=generator)
        rows = torch.randperm(len(lengths) + 2, generator=generator)[: len(lengths)]
        req_to_token = torch.zeros(len(lengths) + 2, context, dtype=torch.int32)
        for row, mine in zip(rows.tolist(), pages.split(need)):
            slots = (mine[:, None] * PAGE + torch.arange(PAGE)).reshape(-1)
            req_to_token[row, : len(slots)] = slots
        total = (sum(need) + 1) * PAGE
        return cls(bf16(total, width), bf16(total, width), req_to_token, rows)

    def arguments(self) -> list[torch.Tensor]:
        return [self.k_cache, self.v_cache, self.req_to_token, self.req_pool_indices]


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    """bf16 results of softmax-weighted means; probabilities pass through bf16 on the chip."""
    assert got.shape == want.shape and not got.isnan().any()
    torch.testing.assert_close(got.float(), want.float(), rtol=2e-2, atol=1.5e-2)


def decode(lengths: list[int], heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> torch.Tensor:
    batch = Batch.make(lengths, kv_heads * head_dim, seed)
    arguments = [bf16(len(lengths), heads * head_dim), *batch.arguments(), torch.tensor(lengths)]
    numbers = (head_dim, PAGE, head_dim**-0.5)
    got = torch.ops.rigi.attention_decode(*(a.to("rigi") for a in arguments), *numbers).cpu()
    close(got, torch.ops.rigi.attention_decode(*arguments, *numbers))
    return got


def extend(requests: list[tuple[int, int]], heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> None:
    prefix, new = ([r[i] for r in requests] for i in (0, 1))
    batch = Batch.make([p + n for p, n in requests], kv_heads * head_dim, seed)
    starts = torch.tensor([sum(new[:i]) for i in range(len(new))])
    arguments = [bf16(sum(new), heads * head_dim), *batch.arguments(), torch.tensor(prefix), torch.tensor(new), starts]
    numbers = (head_dim, PAGE, head_dim**-0.5)
    got = torch.ops.rigi.attention_extend(*(a.to("rigi") for a in arguments), *numbers).cpu()
    close(got, torch.ops.rigi.attention_extend(*arguments, *numbers))


HEADS = st.sampled_from([(9, 3), (1, 1), (4, 4), (8, 1), (32, 8), (6, 2)])


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=20),
    heads=HEADS,
    head_dim=st.sampled_from([32, 64, 128]),
    seed=st.integers(0, 99),
)
def test_decode(lengths: list[int], heads: tuple[int, int], head_dim: int, seed: int) -> None:
    decode(lengths, *heads, head_dim, seed)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 255, 256, 257, 512, 513, 2050])
def test_decode_at_the_edges_of_pages_and_chunks(length: int) -> None:
    decode([length], 9, 3, 64)
    decode([length] * 17, 9, 3, 64)


@settings(max_examples=30, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 150)), min_size=1, max_size=5),
    heads=HEADS,
    head_dim=st.sampled_from([32, 64, 128]),
    seed=st.integers(0, 99),
)
def test_extend(requests: list[tuple[int, int]], heads: tuple[int, int], head_dim: int, seed: int) -> None:
    extend(requests, *heads, head_dim, seed)


@pytest.mark.parametrize("request_", [(0, 1), (0, 16), (0, 129), (1, 1), (15, 17), (512, 1), (100, 400), (0, 600)])
def test_extend_of_one_request(request_: tuple[int, int]) -> None:
    extend([request_], 9, 3, 64)


def test_a_request_gives_the_same_bits_alone_or_in_a_batch() -> None:
    lengths = [700, 3, 256, 40]
    batch = Batch.make(lengths, 192)
    caches = [t.to("rigi") for t in (batch.k_cache, batch.v_cache, batch.req_to_token)]
    rows = [t.to("rigi") for t in (bf16(4, 576), batch.req_pool_indices, torch.tensor(lengths))]

    def attend(of: slice) -> torch.Tensor:
        q, request, length = (t[of] for t in rows)
        return torch.ops.rigi.attention_decode(q, *caches, request, length, 64, PAGE, 0.125).cpu()

    together = attend(slice(0, 4))
    for i in range(4):
        assert torch.equal(attend(slice(i, i + 1))[0], together[i])


def test_bad_sizes_are_refused() -> None:
    batch = Batch.make([20], 128)
    caches = [t.to("rigi") for t in batch.arguments()]
    lengths = torch.tensor([20]).to("rigi")
    q = bf16(1, 192).to("rigi")
    with pytest.raises(ValueError, match="q has 3 heads and the cache 2; heads must be a multiple"):
        torch.ops.rigi.attention_decode(q, *caches, lengths, 64, PAGE, 0.125)
    with pytest.raises(ValueError, match="not a multiple of the page size 7"):
        torch.ops.rigi.attention_decode(bf16(1, 128).to("rigi"), *caches, lengths, 64, 7, 0.125)
    with pytest.raises(TypeError, match="'seq_lens' has dtype int32; allowed: int64"):
        torch.ops.rigi.attention_decode(bf16(1, 128).to("rigi"), *caches, lengths.int(), 64, PAGE, 0.125)
