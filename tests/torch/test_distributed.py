"""The collectives on chip tensors: one process, and two."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys, torch, torch.distributed as dist, sglang_ext.device
rank, size = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("rigiccl", init_method=f"tcp://127.0.0.1:{sys.argv[3]}", rank=rank, world_size=size)
x = torch.full((4,), float(rank + 1)).to("rigi")
dist.all_reduce(x)
assert x.cpu().eq(sum(range(1, size + 1))).all()
y = torch.full((3,), rank).to("rigi")
dist.broadcast(y, src=size - 1)
assert y.cpu().eq(size - 1).all()
parts = [torch.empty(2, device="rigi") for _ in range(size)]
dist.all_gather(parts, torch.full((2,), float(rank)).to("rigi"))
assert [int(p[0].item()) for p in parts] == list(range(size))
whole = torch.empty(2 * size, device="rigi")
dist.all_gather_into_tensor(whole, torch.full((2,), float(rank)).to("rigi"))
assert whole.cpu().tolist() == [float(r) for r in range(size) for _ in range(2)]
host = torch.ones(2)
dist.all_reduce(host)
assert host.eq(size).all()
group = dist.new_group(list(range(size)), backend="gloo")
dist.all_reduce(host, group=group)
dist.barrier()
if size == 2:
    t = torch.full((2,), 5.0).to("rigi") if rank == 0 else torch.zeros(2, device="rigi")
    dist.send(t, 1) if rank == 0 else dist.recv(t, 0)
    assert t.cpu().eq(5).all()
dist.destroy_process_group()
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_collectives(size: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(size), port],
            cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip
    for rank in ranks:
        out, err = rank.communicate(timeout=120)
        assert out.strip().endswith("fine"), err
