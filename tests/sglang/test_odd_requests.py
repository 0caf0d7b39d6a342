"""No request ends the server: after each of some three hundred odd ones it still answers a plain one, through all its processes."""

import json
import re
import time
from typing import Any

import httpx
import pytest
from odd_requests import REQUESTS
from processes import Server

pytestmark = pytest.mark.slow

PLAIN = {"input_ids": [5, 9], "sampling_params": {"temperature": 0, "max_new_tokens": 3}}
# SGLang answers these with 500, or breaks the stream off; the text says why.
SERVER_ERRORS = {
    "generate: schema that refers to itself": "Grammar",
    "chat: template arguments": "tools",
    "/detokenize: ids that do not exist": "out of range",
    "/api/chat": "",
}
# The chat templates and parsers of /v1/responses are loaded from packages that need not be installed.
MAY_FAIL = ("/v1/responses", "GET /v1/responses")


def send(server: Server, method: str, path: str, body: Any) -> httpx.Response:
    content = (
        body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    )
    return httpx.request(method, server.url + path, content=content, headers={"content-type": "application/json"}, timeout=60)


def explains(reply: httpx.Response) -> bool:
    """Whether an error's body says more than its status does."""
    return reply.status_code < 400 or len(reply.text) > len("Internal Server Error") or reply.status_code in (404, 405)


def test_every_route_of_the_server_is_tried(server: Server):
    tried = {(method, path.split("?")[0]) for _, method, path, _ in REQUESTS}
    for path, methods in server.get("/openapi.json").json()["paths"].items():
        shape = re.compile(re.sub(r"\{.*?\}", ".+", path))
        assert any(shape.fullmatch(other) for _, other in tried), f"no odd request for {path} ({', '.join(methods)})"


def test_the_server_answers_after_each_odd_request(server: Server):
    want = server.post("/generate", PLAIN).json()["output_ids"]
    wrong, paused = [], False
    for name, method, path, body in REQUESTS:
        try:
            reply = send(server, method, path, body)
            served = reply.status_code < 500 or SERVER_ERRORS.get(name, "?") in reply.text or name.startswith(MAY_FAIL)
            if not served or not explains(reply):
                wrong.append((name, reply.status_code, reply.text[:200]))
        except httpx.TransportError as error:
            if name not in SERVER_ERRORS:
                wrong.append((name, type(error).__name__, str(error)))
        paused = path == "/pause_generation" or (paused and path != "/continue_generation")
        if not paused:  # a paused server answers once it goes on
            assert server.post("/generate", PLAIN).json()["output_ids"] == want, f"after {name}"
    assert not wrong
    assert httpx.get(server.url + "/health_generate", timeout=60).status_code == 200


def test_weights_that_cannot_be_read_leave_the_server_as_it_was(server: Server):
    want = server.post("/generate", PLAIN).json()["output_ids"]
    assert server.post("/begin_weight_update", {}).status_code == 200
    broken = server.post("/update_weights_from_tensor", {"serialized_named_tensors": ["AAAA"], "flush_cache": True})
    assert broken.status_code == 400 and len(broken.text) > 30
    server.post("/end_weight_update", {})
    assert server.post("/generate", PLAIN).json()["output_ids"] == want


def test_clients_that_go_away_leave_room_for_others(server: Server):
    long = {**PLAIN, "sampling_params": {"temperature": 1.0, "max_new_tokens": 1500, "ignore_eos": True}, "stream": True}
    for read in (0, 1, 3) * 3:
        with httpx.stream("POST", server.url + "/generate", json=long, timeout=60) as reply:
            lines = reply.iter_lines()
            for _ in range(read):
                next(lines)
    begin = time.monotonic()
    assert server.post("/generate", PLAIN).status_code == 200
    assert time.monotonic() - begin < 20, "aborted requests still run"


def test_a_profile_that_cannot_be_written_leaves_the_server_as_it_was(server: Server):
    started = server.post("/start_profile", {"activities": ["CPU"], "num_steps": 1, "profile_prefix": "../no/such/folder/x"})
    for _ in range(3):
        assert server.post("/generate", PLAIN).status_code == 200
    assert started.status_code in (200, 400)
    server.post("/stop_profile", {})
    assert server.post("/generate", PLAIN).status_code == 200
