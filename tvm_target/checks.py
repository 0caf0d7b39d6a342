"""What `rigi doctor` asks of this layer: the loader, the packaged kernels, and whether TVM is at hand."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

from sdk_sim.doctor import REBUILD, REINSTALL, Check, Problem

BUILD = "run `rigi build` (in a checkout: make build)"


def modules_folder() -> Path:
    return Path(os.environ.get("RIGI_MODULES") or Path(__file__).with_name("modules"))


def _loader() -> str:
    from tvm_target import runtime

    path = runtime.library_path()
    runtime._native()
    return str(path)


def _modules() -> str:
    """Every kernel of the index is there and was built for this chip, revision and SDK."""
    import sdk_sim

    folder = modules_folder()
    try:
        index = json.loads((folder / "index.json").read_text())
    except FileNotFoundError:
        raise Problem(f"no packaged kernels in {folder}") from None
    entries = index["kernels"] if isinstance(index, dict) else index
    chip = sdk_sim.properties(0)
    here = (chip["name"], chip["revision"], sdk_sim.version())
    for entry in entries:
        built_for = (entry["chip"], entry["revision"], entry["sdk"])
        if built_for != here:
            raise Problem(f"kernel {entry['name']} was built for {' '.join(built_for)}; this is {' '.join(here)}")
        if not (folder / entry["file"]).is_file():
            raise Problem(f"kernel {entry['name']}: {folder / entry['file']} is missing")
    ops = {entry["op"] for entry in entries}
    return f"{len(entries)} kernels for {len(ops)} ops, built for {' '.join(here)}, in {folder}"


def _tvm() -> str:
    try:
        version = metadata.version("apache-tvm")
    except metadata.PackageNotFoundError:
        return "not installed; needed to compile kernels, never to serve"
    import tvm

    import tvm_target.target

    tvm_target.target.register()
    if not tvm.device("ext_dev", 0).exist:
        raise Problem("TVM's runtime does not see device 0")
    return f"apache-tvm {version}, target {tvm.target.Target('rigi1').kind}/rigi1"


CHECKS: list[Check] = [
    Check("loader", _loader, REBUILD),
    Check("modules", _modules, BUILD),
    Check("tvm", _tvm, REINSTALL),
]
