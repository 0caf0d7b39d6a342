"""The node tests of package onnx as plain data that a worker process can be handed."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import random
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

METHOD = 1  # of running a test on llvm: another number makes what is kept of earlier runs void


@dataclass(frozen=True)
class Case:
    """One test: the model as bytes of its protobuf, one data set, and the tolerances the test itself states."""

    name: str
    op: str
    model: bytes
    inputs: list[Any]
    outputs: list[Any]
    rtol: float
    atol: float


def load() -> dict[str, Case]:
    """All node tests by name, in order of name. Some seconds: package onnx computes the data of all of them when it is asked for one."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about infinities that tests are made of
        tests = load_model_tests(kind="node")
    return {test.name: _case(test) for test in sorted(tests, key=lambda test: test.name)}


def _case(test: Any) -> Case:
    (inputs, outputs), *more = test.data_sets
    assert not more, f"{test.name} has more than one data set"
    nodes = test.model.graph.node
    op = nodes[0].op_type if len(nodes) == 1 else test.name.removeprefix("test_").split("_")[0] + " (expanded)"
    return Case(test.name, op, test.model.SerializeToString(), plain(inputs), plain(outputs), test.rtol, test.atol)


def plain(values: Iterable[Any]) -> list[Any]:
    """Tensor protobufs and NumPy scalars as arrays, sequences as lists of them. None (an empty optional) stays."""
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    import numpy as np
    import onnx

    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, (list, tuple)):
        return plain(value)
    return None if value is None else np.asarray(value)


def select(names: Sequence[str], pattern: str | None, sample: int | None, seed: int) -> list[str]:
    """Names that match the glob `pattern`; of these a random `sample`, the same for the same seed. In order."""
    chosen = sorted(name for name in names if pattern is None or fnmatch.fnmatchcase(name, pattern))
    if sample is not None and sample < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample))
    return chosen


def cache_file() -> Path:
    """Where results on `llvm` are kept: they change with these packages and with how a test is run, not with our compiler."""
    folder = os.environ.get("RIGI_CACHE")
    digest = hashlib.sha256()
    for package in ("apache-tvm", "apache-tvm-ffi", "onnx", "numpy", "ml_dtypes"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    digest.update(f"method {METHOD}".encode())
    return (Path(folder) if folder else Path.home() / ".cache" / "rigi") / "onnx-nodes" / f"llvm-{digest.hexdigest()[:16]}.json"
