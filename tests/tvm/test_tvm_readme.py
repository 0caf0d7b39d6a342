"""The kernel that the README shows, as it stands there."""

import importlib.util
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tvm

import tvm_target
from tvm_target import testing


def test_the_readmes_kernel(tmp_path) -> None:
    text = (Path(tvm_target.__file__).parent / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "T.prim_func" in block]
    file = tmp_path / "readme_kernel.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("readme_kernel", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    executable = tvm.compile(module.scale, target="rigi1")
    x = np.random.default_rng(0).standard_normal((37, 100)).astype(ml_dtypes.bfloat16)
    assert (testing.run(executable, "scale", x, np.zeros_like(x), 2.0, out=[1]) == x + x).all()
    wide = np.zeros((1, 5000), x.dtype)
    with pytest.raises(RuntimeError, match="rows of more than 4096 elements do not fit"):
        testing.run(executable, "scale", wide, wide, 2.0)
