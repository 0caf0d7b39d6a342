"""The ops on several chips and from several threads; in processes of their own, since RIGI_DEVICES is read once."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import threading, sdk_sim, torch, sglang_ext.device
from sdk_sim import isa
x, w = torch.randn(9, 64).bfloat16(), torch.randn(48, 64).bfloat16()
want = torch.ops.rigi.linear(x, w)
same = lambda got: (got.cpu().float() - want.float()).abs().max() <= 0.13
for device in ("rigi:0", "rigi:1"):
    y = torch.ops.rigi.linear(x.to(device), w.to(device))
    assert y.device == torch.device(device) and same(y)
    assert torch.rigi.statistics(device)["launches"] == 1  # on that chip and no other
try:
    torch.ops.rigi.linear(x.to("rigi:0"), w.to("rigi:1"))
except TypeError as error:
    assert "'weight' is on rigi:1, but 'x' is on rigi:0" in str(error)
else:
    raise AssertionError("operands on two chips were accepted")

failures = []
def work(i):
    try:
        device = f"rigi:{i % 2}"
        with torch.rigi.stream(torch.rigi.Stream(device)):
            a, b = x.to(device), w.to(device)
            for _ in range(100):
                y = torch.ops.rigi.linear(a, b)
                z = torch.ops.rigi.linear(a[:1 + i], b)
            assert same(y) and torch.equal(z.cpu(), y.cpu()[:1 + i])
    except Exception as error:
        failures.append(error)

threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not failures, failures

# An index outside, or a fault, on one chip leaves the other alone.
torch.ops.rigi.embedding(torch.tensor([1 << 30]).to("rigi:1"), w.to("rigi:1"))
torch.rigi.synchronize("rigi:0")
try:
    torch.rigi.synchronize("rigi:1")
    raise SystemExit("no error")
except IndexError:
    torch.rigi.synchronize("rigi:1")
sdk_sim.launch_program([{0: [isa.fill(isa.sram(1, 64, isa.F32), 0.0, 1, 1)]}], stream=sdk_sim.Stream.default(1))
try:
    torch.rigi.synchronize("rigi:1")
    raise SystemExit("no error")
except torch.AcceleratorError:
    assert torch.rigi.device_error("rigi:1") and torch.rigi.device_error("rigi:0") is None
    assert same(torch.ops.rigi.linear(x.to("rigi:0"), w.to("rigi:0")))
    torch.rigi.reset_device("rigi:1")
    assert same(torch.ops.rigi.linear(x.to("rigi:1"), w.to("rigi:1")))
print("fine")
"""


def test_two_chips_and_six_threads() -> None:
    env = {**os.environ, "RIGI_DEVICES": "2"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "fine", done.stderr
