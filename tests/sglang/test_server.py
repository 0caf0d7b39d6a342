"""The HTTP server on the chip, in processes that cannot import TVM: chat, streaming, JSON schema, bad requests beside good ones."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from processes import WITHOUT_TVM, Server

pytestmark = pytest.mark.slow


def test_chat_completion(server: Server):
    reply = server.chat("Hello").json()
    assert reply["choices"][0]["finish_reason"] in ("stop", "length")
    assert reply["usage"]["completion_tokens"] <= 16


def test_streaming_gives_the_same_text(server: Server):
    whole = server.chat("Tell me something").json()["choices"][0]["message"]["content"]
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": "Tell me something"}],
        "temperature": 0,
        "max_tokens": 16,
        "stream": True,
    }
    pieces = []
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=120) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                choices = json.loads(line[6:])["choices"]
                pieces += [choice["delta"].get("content") or "" for choice in choices]
    assert len(pieces) > 2 and "".join(pieces) == whole


def test_json_schema_is_obeyed(server: Server):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "digit", "schema": schema}}
    text = server.chat("A digit", response_format=form, max_tokens=64).json()["choices"][0]["message"]["content"]
    assert json.loads(text)["n"] in range(10)


def test_a_request_that_is_too_long_fails_alone(server: Server):
    with ThreadPoolExecutor(4) as pool:
        good = [pool.submit(server.chat, f"Say {i}", max_tokens=48) for i in range(3)]
        bad = pool.submit(server.chat, "word " * 3000)
        refused = bad.result()
        assert refused.status_code == 400 and "2048" in refused.text
        assert [future.result().status_code for future in good] == [200] * 3
    assert server.chat("Still there?").status_code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"max_tokens": -5},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}}},
    ],
)
def test_bad_parameters_are_client_errors(server: Server, options: dict):
    assert 400 <= server.chat("Hello", **options).status_code < 500
    assert server.chat("Hello").status_code == 200


def test_a_token_id_that_does_not_exist_is_a_client_error(server: Server):
    greedy = {"temperature": 0, "max_new_tokens": 4}
    refused = server.post("/generate", {"input_ids": [5, 99999], "sampling_params": greedy})
    assert refused.status_code == 400 and "99999" in refused.text and "0 to 511" in refused.text
    assert server.post("/generate", {"input_ids": [5, 9], "sampling_params": greedy}).status_code == 200


def test_penalties_logprobs_and_sampling(server: Server):
    reply = server.chat("Hello", temperature=0.9, top_p=0.8, frequency_penalty=0.5, presence_penalty=0.5, logprobs=True, top_logprobs=3)
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3


def test_many_requests_at_once(server: Server):
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda i: server.chat("Same question", max_tokens=8), range(12)))
    assert len({reply.json()["choices"][0]["message"]["content"] for reply in replies}) == 1


def test_the_server_runs_where_tvm_cannot_be_imported(server: Server):
    """The server was started with this path in front: what holds for one interpreter holds for all its processes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(WITHOUT_TVM), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", "import tvm"], capture_output=True, text=True, env=environment)
    assert "No module named 'tvm'" in done.stderr
    assert server.chat("Hello").status_code == 200
