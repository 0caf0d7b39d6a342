"""argmax and softmax of logits."""

import hypothesis.strategies as st
import pytest
import torch
from accuracy import assert_rounded_once
from hypothesis import given, settings

ROWS, VOCAB = st.integers(1, 20), st.one_of(st.integers(1, 3000), st.sampled_from([4096, 49152]))


@settings(max_examples=40, deadline=None)
@given(b=ROWS, v=VOCAB, levels=st.sampled_from([2, 50, 10**9]), seed=st.integers(0, 999))
def test_argmax_takes_the_first_of_equals(b: int, v: int, levels: int, seed: int) -> None:
    logits = torch.randint(-levels, levels, (b, v), generator=torch.Generator().manual_seed(seed)).float()
    ids = torch.ops.rigi.argmax(logits.to("rigi"))
    assert ids.dtype == torch.int64 and torch.equal(ids.cpu(), logits.argmax(-1))


@pytest.mark.parametrize("place", [0, 1, 127, 128, 4095, 49151])
def test_argmax_at_the_edges(place: int) -> None:
    logits = torch.full((3, 49152), -5.0)
    logits[1, place] = float("inf")
    logits[2] = float("-inf")
    assert torch.ops.rigi.argmax(logits.to("rigi")).cpu().tolist() == [0, place, 0]


def test_nan_counts_as_the_largest() -> None:
    logits = torch.zeros(1, 1000)
    logits[0, 500], logits[0, 10] = float("nan"), float("inf")
    assert torch.ops.rigi.argmax(logits.to("rigi")).cpu().tolist() == [500] == logits.argmax(-1).tolist()


@settings(max_examples=30, deadline=None)
@given(b=ROWS, v=VOCAB, spread=st.sampled_from([1.0, 30.0]), seed=st.integers(0, 999))
def test_softmax(b: int, v: int, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(b, v, generator=generator) * spread
    temperature = torch.rand(b, 1, generator=generator) + 0.3
    probs = torch.ops.rigi.softmax(logits.to("rigi"), temperature.to("rigi")).cpu()
    exact = torch.softmax(logits.double() / temperature.double(), dim=-1)
    # exp of an argument that is off by a few ulp of the largest logit.
    assert_rounded_once(probs, exact, exact * (8 * spread / temperature.double()))
    assert torch.allclose(probs.sum(-1), torch.ones(b), atol=1e-4)
