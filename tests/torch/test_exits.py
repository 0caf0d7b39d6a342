"""How a process that uses the chip ends: with its own exit code, and with nothing on standard error but what is its own.

Each script is a process; all are started at once and run a few at a time.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

USE = "import torch\nx = torch.arange(8, device='rigi') + 1\n"
GRAD = "import torch\nx = torch.ones(3, device='rigi', requires_grad=True)\n"
BACKWARD = GRAD + "(x * 2).sum().backward()\n"
FAULT = USE + "import sdk_sim\nfrom sdk_sim import isa\nsdk_sim.launch_program([{0: [isa.fill(isa.sram(1, 64, isa.F32), 0.0, 1, 1)]}])\n"
OUTSIDE = USE + "y = x[torch.tensor([70], device='rigi')]\n"
VM = """
import numpy as np, tvm
from tvm import relax
x = relax.Var("x", relax.TensorType((4, 8), "float32"))
bb = relax.BlockBuilder()
with bb.function("main", [x]):
    bb.emit_func_output(bb.emit(relax.op.exp(x)))
device = tvm.device("ext_dev", 0)
vm = relax.VirtualMachine(tvm.compile(bb.get(), target="rigi1"), device)
y = vm["main"](tvm.runtime.tensor(np.zeros((4, 8), "float32"), device))
"""


@dataclass(frozen=True)
class Script:
    """A program, its exit code (negative: ended by that signal), and what standard error must be: a pattern for all of it."""

    code: str
    status: int = 0
    error: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def traceback(last: str) -> str:
    return rf"(?s)Traceback \(most recent call last\):.*\n{last}.*"


SCRIPTS: dict[str, Script] = {
    # what is there at the end
    "torch imported": Script("import torch"),
    "sdk imported": Script("import sdk_sim"),
    "device imported": Script("import sglang_ext.device"),
    "a tensor": Script(USE),
    "work that nobody waits for": Script(USE + "for _ in range(200): x = x + x"),
    "streams and events": Script(USE + "s = torch.rigi.Stream()\nwith torch.rigi.stream(s): y = x + x\ne = s.record_event()"),
    "pinned memory in use": Script(USE + "h = torch.empty(8, dtype=torch.int64, pin_memory=True)\nh.copy_(x, non_blocking=True)"),
    "a graph": Script(USE + "g = torch.accelerator.Graph()\nwith g: y = x + x\ng.replay()"),
    "a graph in its capture": Script(USE + "g = torch.accelerator.Graph()\ng.capture_begin()\ny = x + x"),
    "two devices": Script(USE + "y = x.to('rigi:1')", environment={"RIGI_DEVICES": "2"}),
    "a buffer of the sdk": Script("import sdk_sim\nb = sdk_sim.malloc(100)"),
    "a host function": Script("import sdk_sim\nsdk_sim.Stream.default().call(lambda: None)"),
    "a cycle of garbage": Script(USE + "class A: pass\na = A(); a.a = a; a.x = x; del a, x"),
    "a destructor that uses the chip": Script(USE + "class A:\n  def __del__(self): (self.x + self.x).cpu()\na = A()\na.x = x"),
    "a finalizer that uses the chip": Script(USE + "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, lambda: (x + x).cpu())"),
    "a tvm module": Script(VM),
    "a tvm module beside torch": Script(USE + VM),
    "a data loader": Script(
        USE + "d = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(8)), 4)\nfor (b,) in d: x = b.to('rigi') + 1"
    ),
    # autograd, whose worker threads end on their own
    "backward": Script(BACKWARD),
    "backward, and its graph": Script(GRAD + "y = (x * 2).sum()\ny.backward(retain_graph=True)"),
    "backward of backward": Script(GRAD + "y = (x ** 3).sum()\n(g,) = torch.autograd.grad(y, x, create_graph=True)\ng.sum().backward()"),
    "backward with a hook": Script(GRAD + "x.register_hook(lambda g: g * 2)\n(x * 2).sum().backward()"),
    "backward of a function in Python": Script(
        GRAD
        + textwrap.dedent("""
        class F(torch.autograd.Function):
            @staticmethod
            def forward(c, a): return a * 2
            @staticmethod
            def backward(c, g): return g * 2
        F.apply(x).sum().backward()
        """)
    ),
    "backward in a thread": Script(GRAD + "import threading\nthreading.Thread(target=lambda: (x * 2).sum().backward()).start()"),
    "backward on two devices": Script(
        BACKWARD + "y = torch.ones(3, device='rigi:1', requires_grad=True)\n(y * 2).sum().backward()", environment={"RIGI_DEVICES": "2"}
    ),
    "backward that raises": Script(
        GRAD + "x.register_hook(lambda g: 1 / 0)\n(x * 2).sum().backward()", 1, traceback("ZeroDivisionError: division by zero")
    ),
    "backward and exit": Script(BACKWARD + "raise SystemExit(9)", 9),
    "backward in an exit handler": Script("import atexit\n" + GRAD + "atexit.register(lambda: (x * 2).sum().backward())"),
    # how it ends
    "an exception": Script(USE + "raise ValueError('mine')", 1, traceback("ValueError: mine")),
    "an exit code": Script(USE + "import sys\nsys.exit(3)", 3),
    "an exit text": Script(USE + "import sys\nsys.exit('so long')", 1, "so long\n"),
    "at once": Script(USE + "import os\nos._exit(7)", 7),
    "an interrupt": Script(
        USE + "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nos.kill(os.getpid(), signal.SIGINT)",
        -2,
        traceback("KeyboardInterrupt"),
    ),
    "a termination": Script(USE + "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", -15),
    "a termination that is handled": Script(
        USE + "import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nos.kill(os.getpid(), signal.SIGTERM)", 5
    ),
    "an exit handler that uses the chip": Script("import atexit\n" + USE + "atexit.register(lambda: (x + x).cpu())"),
    "an exit handler that raises": Script(
        "import atexit\n" + USE + "atexit.register(lambda: 1 / 0)", 0, r"(?s)Exception ignored in atexit callback.*ZeroDivisionError.*"
    ),
    # threads and processes
    "a thread that works on": Script(
        USE + "import threading, time\ndef work():\n  time.sleep(0.1)\n  (x + x).cpu()\nthreading.Thread(target=work).start()"
    ),
    "a sleeping daemon": Script(USE + "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"),
    "a pool of threads": Script(
        USE
        + "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor(2)\nf = [p.submit(lambda: x + x) for _ in range(9)]"
    ),
    "an exit in a thread": Script(USE + "import sys, threading\nthreading.Thread(target=lambda: sys.exit(3)).start()"),
    "a forked child": Script(
        USE + "import os\npid = os.fork()\nif pid == 0: raise SystemExit(4)\nraise SystemExit(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))",
        4,
    ),
    "a spawned child": Script(
        "import multiprocessing, torch\n"
        "p = multiprocessing.get_context('spawn').Process(target=torch.ones, args=(3,), kwargs={'device': 'rigi'})\n"
        "if __name__ == '__main__':\n  p.start(); p.join(); raise SystemExit(p.exitcode)"
    ),
    # what went wrong before
    "a fault that nobody saw": Script(FAULT),
    "a fault": Script(FAULT + "x.cpu()", 1, traceback("torch.AcceleratorError: .*program.*core 0")),
    "a fault that was caught": Script(FAULT + "try: x.cpu()\nexcept RuntimeError: pass"),
    "a fault, and backward": Script(BACKWARD + FAULT),
    "an index outside that nobody saw": Script(
        OUTSIDE + "raise SystemExit(3)",
        3,
        r"rigi: at exit, nobody waited for rigi:0 since: aten::index: index 70 in 'indices\[0\]' .*; allowed: -8 to 7\n",
    ),
    "an index outside that was caught": Script(OUTSIDE + "try: x.cpu()\nexcept IndexError: pass"),
    "an index outside": Script(OUTSIDE + "x.cpu()", 1, traceback("IndexError: aten::index: index 70 .*size 8; allowed: -8 to 7")),
    "no memory": Script(USE + "torch.empty(1 << 40, device='rigi')", 1, traceback("torch.OutOfMemoryError: .*rigiMalloc")),
    # modes and switches
    "functional": Script(BACKWARD, environment={"RIGI_MODE": "functional"}),
    "timing only": Script(USE, environment={"RIGI_MODE": "timing-only"}),
    "strict": Script(USE + "y = x[x - 1].cpu()\ndel x", environment={"RIGI_MODE": "strict"}),
    "strict, and a tensor": Script(USE, environment={"RIGI_MODE": "strict"}),
    "strict, and a tensor that leaks": Script(
        USE + "import ctypes\nctypes.pythonapi.Py_IncRef(ctypes.py_object(x))",
        0,
        r"rigi: strict mode: device 0 still has 1 allocations, 64 bytes; free them before the process ends\nrigi: +allocation .*\n",
        {"RIGI_MODE": "strict"},
    ),
    "profile": Script(BACKWARD, environment={"RIGI_PROFILE": "{folder}"}),
    "trace": Script(BACKWARD, environment={"RIGI_TRACE": "{folder}"}),
    "log": Script(USE, 0, r"(rigi.*\n)*", {"RIGI_LOG": "4"}),
    "prints without fallbacks": Script(
        "import torch\nx = torch.ones(3, 2000).to('rigi')\nprint(x, x[0].bfloat16(), [x[0, 0]])", environment={"RIGI_FALLBACK": "error"}
    ),
}


def run(script: Script, folder: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIGI_")}
    more = {name: value.format(folder=folder) for name, value in script.environment.items()}
    return subprocess.run([sys.executable, "-c", script.code], env={**kept, **more}, capture_output=True, text=True, timeout=300)


Ends = dict[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2))) as pool:
        yield {name: pool.submit(run, script, str(tmp_path_factory.mktemp("run"))) for name, script in SCRIPTS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_process_ends_as_it_says(name: str, ends: Ends) -> None:
    script, end = SCRIPTS[name], ends[name].result()
    assert end.returncode == script.status, end.stderr
    assert re.fullmatch(script.error, end.stderr), end.stderr
