"""Control requests that fail: every type of request has a reply that carries the error through SGLang's own encoding."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastapi import HTTPException
from sglang.srt.managers import io_struct

from sglang_ext.serving import control, seeds


def broken(request: object) -> None:
    raise RuntimeError("the reason")


NAMES = [name for name in vars(io_struct) if name.endswith(("ReqInput", "Req")) and "Tokenized" not in name]
CONTROL = [name for name in NAMES if hasattr(io_struct, name.removesuffix("Input") + "Output")]


@pytest.mark.parametrize("name", CONTROL)
def test_a_failing_handler_answers_with_its_error(name: str):
    request = object.__new__(type(name, (), {}))
    reply = control._guarded(None, broken, request)
    received = io_struct._msgpack_decoder.decode(io_struct._msgpack_encoder.encode(reply))
    assert type(received) is type(reply)

    async def call(_: object) -> list:
        return [received]

    with pytest.raises(HTTPException, match="RuntimeError: the reason"):
        asyncio.run(control.raise_failures(call, None))


def test_a_failing_generation_request_is_aborted_alone():
    sent: list = []
    scheduler = SimpleNamespace(send_abort_output=lambda abort, request: sent.append((abort.rid, abort.finished_reason["message"])))
    one = type("TokenizedGenerateReqInput", (), {"rid": "a"})()
    two = type("BatchTokenizedGenerateReqInput", (), {"batch": [one, SimpleNamespace(rid="b")]})()
    assert control._guarded(scheduler, broken, one) is None
    assert control._guarded(scheduler, broken, two) is None
    assert sent == [(rid, "RuntimeError: the reason") for rid in ("a", "a", "b")]


def test_the_noise_of_a_seed_is_a_race_of_exponential_clocks():
    """A draw by it has the asked distribution over seeds, and over positions."""
    probs = torch.tensor([0.5, 0.25, 0.125, 0.125])
    for numbers in ((list(range(4000)), [3] * 4000), ([-1] * 4000, list(range(4000)))):
        drawn = (probs * seeds.race(*numbers, 4)).argmax(-1)
        np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4000, probs, atol=0.03)


def test_the_noise_of_a_row_depends_on_nothing_else():
    rows = seeds.race([7, -(2**63), 2**63 - 1], [0, 5, 2047], 301)
    assert torch.equal(seeds.race([-(2**63)], [5], 301), rows[1:2])
    assert len({tuple(row.tolist()) for row in rows}) == 3
