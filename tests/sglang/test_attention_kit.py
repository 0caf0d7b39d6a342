"""SGLang's own unit tests of attention backends, its dense cases, as they are: only head size, dtype and device are named."""

import pytest
from processes import run_python

KIT = """
import json, unittest
import torch
import sglang_ext.device
from sglang.srt.plugins import load_plugins
load_plugins()
from sglang.test.kits.attention_unittest.attention_methods import dense_attention as kit
torch.set_grad_enabled(False)  # the kit fills caches with products of parameters
case, failed, passed = unittest.TestCase(), {}, []
for dense in kit.make_dense_cases("rigi"):
    for layout in ("contiguous", "shuffled_pages", "interleaved_pages", "non_monotonic_extend"):
        try:
            kit.run_dense_attention_case(case, dense, head_dim=32, dtype=torch.bfloat16, device="rigi", loc_layout=layout)
            passed.append([dense.name, layout])
        except Exception as error:
            failed[f"{dense.name}, {layout}"] = f"{type(error).__name__}: {error}"[:400]
print(json.dumps({"failed": failed, "passed": passed}))
"""


@pytest.mark.slow
def test_the_dense_cases_of_sglangs_attention_kit_pass():
    result = run_python(KIT)
    assert result["failed"] == {}
    assert len({name for name, _ in result["passed"]}) == 12
