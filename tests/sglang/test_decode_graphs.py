"""Decode steps as graphs: the bits of launching op by op, in fewer cycles; a model that cannot be captured is served all the same."""

from pathlib import Path

from processes import run_python

COMPARE = """
import json, os, sys
from pathlib import Path
import torch
import sglang_ext.device
from benchmarks.chip_runner import ChipRunner
os.environ["RIGI_MODE"] = "timed"
runner = ChipRunner(Path(sys.argv[1]), max_total_tokens=8192)
graphs = runner.runner.torch_runner.decode_cuda_graph_runner
prompts = [[5, 6, 7], [8] * 40, [9, 10]]
tails = [[11, 12, 13, 14, 15, 16, 17, 18]] * 3
def steps(count):
    torch.rigi.reset_fallbacks()
    before = torch.rigi.simulated_cycles()
    rows = runner.teacher_forced(prompts[:count], tails[:count])
    return rows, torch.rigi.simulated_cycles() - before
result = {"sizes": [], "equal": [], "cycles": []}
for count in (3, 1, 3):
    by_graph, graph_cycles = steps(count)
    result["sizes"].append(sorted(graphs.captured))
    graphs.refused = "for the comparison"
    one_by_one, cycles = steps(count)
    graphs.refused = None
    result["equal"].append(all(torch.equal(a, b) for a, b in zip(by_graph, one_by_one)))
    result["cycles"].append([graph_cycles, cycles])
graphs.captured.clear()
free = torch.rigi.mem_get_info()[0]
steps(3)
steps(3)
result["graph_bytes"] = free - torch.rigi.mem_get_info()[0]
print(json.dumps(result))
"""

REFUSED = """
import json, sys
import torch
import sglang_ext.device
from benchmarks.chip_runner import ChipRunner
from pathlib import Path
runner = ChipRunner(Path(sys.argv[1]), max_total_tokens=8192)
model = runner.runner.torch_runner.model
forward = model.model.forward
model.model.forward = lambda *args, **kwargs: torch.erfinv(forward(*args, **kwargs).float()).nan_to_num().bfloat16()
rows = runner.teacher_forced([[5, 6, 7]] * 2, [[11, 12, 13, 14]] * 2)
graphs = runner.runner.torch_runner.decode_cuda_graph_runner
print(json.dumps({"refused": graphs.refused, "captured": len(graphs.captured), "same": torch.equal(rows[0], rows[1])}))
"""


def test_a_replayed_step_has_the_bits_of_one_launched_op_by_op(tiny_model: Path):
    result = run_python(COMPARE, str(tiny_model))
    assert result["sizes"] == [[3], [1, 3], [1, 3]]
    assert result["equal"] == [True] * 3
    assert all(graph < eager for graph, eager in result["cycles"]), result["cycles"]
    assert result["graph_bytes"] < 64 << 20


def test_a_model_that_needs_the_host_is_served_op_by_op(tiny_model: Path):
    result = run_python(REFUSED, str(tiny_model))
    assert "erfinv" in result["refused"] and "no kernel on the chip" in result["refused"]
    assert result["captured"] == 0 and result["same"]
