"""Model folders and a server for the SGLang tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Server, start_server, stop_server

from sglang_ext.serving import model_folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer random Llama (hidden 128, 4/2 heads of 32, 512 tokens, context 2048)."""
    return model_folder.make_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def real_model() -> Path:
    """SmolLM2-135M-Instruct, made where `rigi model smollm2` puts it."""
    return model_folder.make_smollm2()


@pytest.fixture(scope="session")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The tiny model served over HTTP by processes that cannot import TVM."""
    # A random model asked for JSON would fill its answer with permitted white space.
    running = start_server(tiny_model, tmp_path_factory.mktemp("server"), "--constrained-json-disable-any-whitespace")
    yield running
    stop_server(running)
