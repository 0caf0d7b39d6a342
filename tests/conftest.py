"""Files of tests share a process, and its devices; each finds them in the mode of a new process."""

from collections.abc import Iterator

import pytest

import sdk_sim


@pytest.fixture(scope="module", autouse=True)
def timed_mode() -> Iterator[None]:
    yield
    if sdk_sim.get_mode() != "timed":
        sdk_sim.set_mode("timed")
