"""Processes that the SGLang tests start: an HTTP server, an interpreter. Nothing here touches the network but localhost."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

WITHOUT_TVM = Path(__file__).parent / "no_tvm"
"""A folder that makes `import tvm` fail where it is on the path."""


@dataclass
class Server:
    """An HTTP server on the chip, with its log."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def post(self, path: str, body: dict[str, Any], timeout: float = 120) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=timeout)

    def get(self, path: str, timeout: float = 120) -> httpx.Response:
        return httpx.get(self.url + path, timeout=timeout)

    def chat(self, text: str, **options: Any) -> httpx.Response:
        body = {"model": "default", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16, **options}
        return self.post("/v1/chat/completions", body)


def start_server(model: Path, folder: Path, *arguments: str) -> Server:
    """`python -m sglang.launch_server` in which `import tvm` fails; returns when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join([str(WITHOUT_TVM), os.environ.get("PYTHONPATH", "")])
    log = folder / "server.log"
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(model), "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "SGLANG_TORCH_PROFILER_DIR": str(folder)}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    server = Server(f"http://127.0.0.1:{port}", log, process)
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(server.url + "/health_generate", timeout=60).status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.5)
    process.kill()
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def stop_server(server: Server) -> None:
    server.process.terminate()
    try:
        server.process.wait(30)
    except subprocess.TimeoutExpired:
        server.process.kill()


def run_python(code: str, *arguments: str, timeout: float = 600) -> Any:
    """Runs `code` in a new interpreter (SGLang keeps process-wide state) and returns the JSON of its last output line."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
