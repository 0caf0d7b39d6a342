"""Strict mode on compiled kernels: a finding names the line of the kernel's Python source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm.script import tirx as T

import sdk_sim
from tvm_target import dialect as R
from tvm_target import testing

MARK = "# the fault"


pytestmark = pytest.mark.usefixtures("strict")


def line_of_the_fault() -> int:
    lines = Path(__file__).read_text().splitlines()
    (found,) = [n for n, text in enumerate(lines, 1) if text.endswith(f"  {MARK}")]
    return found


def test_the_line_of_the_source_is_named(compile_kernel) -> None:
    @T.prim_func
    def kernel(x: T.handle, y: T.handle):
        n = T.int64()
        X = T.match_buffer(x, (n, 64), "float32")
        Y = T.match_buffer(y, (n, 64), "float32")
        with T.launch_thread("blockIdx.x", 16) as core:
            A = T.alloc_buffer((1, 64), "float32", scope="shared.sram")
            B = T.alloc_buffer((1, 64), "float32", scope="shared.sram")
            if core == 0:
                R.load(A[0, 0], X[0, 0], 1, 60)
                R.mul(B[0, 0], A[0, 0], A[0, 0], 1, 64)  # the fault
                R.store(Y[0, 0], B[0, 0], 1, 64)

    x = np.ones((1, 64), np.float32)
    with pytest.raises(testing.SdkError, match=rf"kernel kernel, core 0.*uninitialized, source line {line_of_the_fault()}\]"):
        testing.run(compile_kernel(kernel), "kernel", x, x)
    (finding,) = sdk_sim.take_findings()
    assert (finding["kind"], finding["op"], finding["operand"]) == ("uninitialized", "binary", "a")
    assert finding["line"] == line_of_the_fault() and "of which 16 were not written in this launch" in finding["text"]
