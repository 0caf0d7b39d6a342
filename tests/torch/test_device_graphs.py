"""torch.accelerator.Graph on the chip: capture, replay, memory, and what cannot be captured."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import sdk_sim


@pytest.fixture(autouse=True)
def timed() -> Iterator[None]:
    torch.rigi.set_mode("timed")
    yield
    torch.rigi.synchronize()


def test_a_replay_computes_with_what_the_inputs_hold_then() -> None:
    x, w = torch.randn(3, 64).bfloat16(), torch.randn(32, 64).bfloat16()
    chip_x, chip_w = x.to("rigi"), w.to("rigi")
    graph = torch.accelerator.Graph()
    with graph:
        y = torch.ops.rigi.linear(torch.ops.rigi.rms_norm(chip_x, chip_w[0].contiguous(), 1e-5), chip_w)
        assert torch.rigi.is_current_stream_capturing()
    assert not torch.rigi.is_current_stream_capturing()
    for seed in range(3):
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)).bfloat16()
        chip_x.copy_(x)
        graph.replay()
        eager = torch.ops.rigi.linear(torch.ops.rigi.rms_norm(chip_x, chip_w[0].contiguous(), 1e-5), chip_w)
        assert torch.equal(y.cpu(), eager.cpu())


def test_a_replay_pays_the_graph_launch_cost() -> None:
    x = torch.randn(4, 256).bfloat16().to("rigi")
    w = torch.ones(256).bfloat16().to("rigi")

    def work() -> torch.Tensor:
        y = x
        for _ in range(10):
            y = torch.ops.rigi.rms_norm(y, w, 1e-5)
        return y

    graph = torch.accelerator.Graph()
    with graph:
        kept = work()
    work()
    cycles = []
    for run in (work, graph.replay):
        before = torch.rigi.simulated_cycles()
        run()
        cycles.append(torch.rigi.simulated_cycles() - before)
    properties = sdk_sim.properties()
    assert cycles[0] - cycles[1] == 10 * (properties["launch_cycles"] - properties["graph_launch_cycles"])
    assert torch.equal(kept.cpu(), work().cpu())


def test_memory_of_a_graph_is_its_own_until_it_is_gone() -> None:
    gc.collect()
    torch.rigi.synchronize()
    free = torch.rigi.mem_get_info()[0]
    x, w = torch.randn(64, 512).bfloat16().to("rigi"), torch.ones(512).bfloat16().to("rigi")
    graph = torch.accelerator.Graph()
    with graph:
        inner = torch.ops.rigi.rms_norm(x, w, 1e-5)
        y = torch.ops.rigi.rms_norm(inner, w, 1e-5)
        del inner  # the graph goes on using its memory
    address = y.data_ptr()
    graph.replay()
    expected = y.cpu()
    others = [torch.zeros(64, 512, dtype=torch.bfloat16, device="rigi") for _ in range(8)]
    graph.replay()
    assert torch.equal(y.cpu(), expected) and not any(other.cpu().any() for other in others)
    del y, others
    again = torch.zeros(64, 512, dtype=torch.bfloat16, device="rigi")
    assert again.data_ptr() != address  # the graph still writes there
    graph.replay()
    assert not again.cpu().any()
    del graph, again, x, w
    gc.collect()
    torch.rigi.synchronize()
    assert torch.rigi.mem_get_info()[0] == free


def test_what_the_host_would_have_to_compute_is_refused_by_name() -> None:
    x = torch.randn(4, 4).to("rigi")
    graph = torch.accelerator.Graph()
    with pytest.raises(RuntimeError, match=r"linalg_svd.*no kernel on the chip.*graph"), graph:
        torch.linalg.svd(x)
    graph.reset()
    with pytest.raises(RuntimeError, match="pageable host memory"), graph:
        x.copy_(torch.zeros(4, 4))
    graph.reset()
    with pytest.raises(RuntimeError, match="while the stream captures"), graph:
        x.cpu()
    graph.reset()
    with graph:
        x.zero_()
    graph.replay()
    assert not x.cpu().any()


def test_pinned_copies_and_dumps(tmp_path: Path) -> None:
    host = torch.arange(4.0).pin_memory()
    x = torch.zeros(4).to("rigi")
    graph = torch.accelerator.Graph(keep_graph=True)
    with graph:
        x.copy_(host, non_blocking=True)
    host += 5
    graph.replay()
    assert torch.equal(x.cpu(), torch.arange(4.0) + 5)
    graph.debug_dump(str(tmp_path / "graph.txt"))
    assert (tmp_path / "graph.txt").read_text() == "0 copy stream 0 16 bytes\n"


def test_an_empty_graph_cannot_be_replayed() -> None:
    with pytest.raises(RuntimeError, match="nothing was captured"):
        torch.accelerator.Graph().replay()
