"""What can be wrong with an installation, and what to do about it.

Each layer lists its own checks; the upper ones are found through the entry-point group `rigi.checks` (name = layer, object =
list of `Check`), so that nothing here knows TVM, torch or SGLang. Every list runs in a process of its own: a library that
crashes when it is loaded becomes a failed check.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TIMEOUT_SECONDS = 180
REBUILD = "run `make build` in the checkout"
REINSTALL = "run `make setup` in the checkout, or install requirements.lock with --no-deps"


@dataclass(frozen=True)
class Check:
    """One thing that must hold. `probe` returns a line of detail or raises; `remedy` says what to do when it raises."""

    name: str
    probe: Callable[[], str]
    remedy: str

    def run(self) -> Result:
        try:
            return Result(self.name, True, self.probe(), "")
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            return Result(self.name, False, text, getattr(error, "remedy", "") or self.remedy)


@dataclass(frozen=True)
class Result:
    """The outcome of a check; the fields of `rigi doctor --json`."""

    name: str
    ok: bool
    detail: str
    remedy: str


class Problem(Exception):
    """Raised by a probe that knows better than its check what to do."""

    def __init__(self, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.remedy = remedy


def diagnose() -> Iterator[Result]:
    """Runs every layer's checks, lowest layer first; results come as they are known."""
    lists = [("sdk", "sdk_sim.doctor:CHECKS")]
    lists += [(entry.name, entry.value) for entry in sorted(metadata.entry_points(group="rigi.checks"), key=lambda e: e.name)]
    for layer, reference in lists:
        yield from _run_apart(layer, reference)


def _run_apart(layer: str, reference: str) -> Iterator[Result]:
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "sdk_sim.doctor", reference]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(TIMEOUT_SECONDS, child.kill)
        watchdog.start()
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith(_MARK):
                    yield Result(**json.loads(line[len(_MARK) :]))
            status = child.wait()
        finally:
            timed_out = watchdog.finished.is_set() and child.returncode == -signal.SIGKILL
            watchdog.cancel()
            child.kill()
            child.wait()
        if status == 0:
            return
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()[-1:]
        if timed_out:
            what = f"did not finish within {TIMEOUT_SECONDS} s"
        elif status < 0:
            what = f"ended by {signal.Signals(-status).name}"
        else:
            what = f"ended with status {status}"
        detail = f"the checks of this layer {what}: " + "".join(said)
        yield Result(layer, False, detail.rstrip(": "), f"{REBUILD}; if it stays: make clean build")


_MARK = "rigi-check "


def _main(reference: str) -> None:
    """Child process: runs the list that `reference` (module:name) names, one JSON line a check."""
    module, _, name = reference.partition(":")
    checks: list[Check] = getattr(importlib.import_module(module), name)
    for check in checks:
        print(_MARK + json.dumps(asdict(check.run())), flush=True)


# ---- the checks of this layer


def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise Problem(f"Python {platform.python_version()} at {sys.executable}; from 3.11 to 3.13 is supported")
    return f"Python {platform.python_version()} at {sys.executable}"


def _machine() -> str:
    threads = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    flags = _cpu_flags()
    isa = "AVX-512" if {"avx512f", "avx512bw", "avx512vl"} <= flags else "AVX2" if {"avx2", "fma"} <= flags else "portable code"
    detail = f"{platform.machine()}, {threads} threads, {memory:.0f} GiB, {isa}"
    if memory < 3.5:
        raise Problem(f"{detail}; serving SmolLM2-135M takes about 4 GiB")
    return detail


def _cpu_flags() -> set[str]:
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found.group(1).split()) if found else set()


def _compiler() -> str:
    """A C++20 shared library can be made: what building a kernel needs."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    if compiler is None:
        raise Problem(f"no C++ compiler on PATH (looked for {', '.join(names)})")
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-std=c++20", "-shared", "-fPIC", "-x", "c++", "-", "-o", f"{folder}/probe.so"]
        source = "#include <span>\nint first(std::span<int> s) { return s[0]; }\n"
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Problem(f"{compiler} cannot make a C++20 library: {done.stderr.strip().splitlines()[-1:]}")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout.splitlines()
    return f"{version[0] if version else compiler}"


def _packages() -> str:
    """Installed versions against what this distribution asks for; differences from the tested lock are told."""
    try:
        wanted = [Requirement(text) for text in metadata.requires("rigi") or []]
    except metadata.PackageNotFoundError:
        raise Problem("the distribution `rigi` is not installed, only on the path: its entry points are missing") from None
    bad = []
    for requirement in wanted:
        optional = requirement.marker is not None
        version = _installed(requirement.name)
        if version is None and not optional:
            bad.append(f"{requirement.name} is missing (needs {requirement.specifier})")
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            bad.append(f"{requirement.name} {version} (needs {requirement.specifier})")
    if bad:
        raise Problem("; ".join(bad))
    lock = Path(__file__).parent.parent / "requirements.lock"
    if not lock.is_file():
        return f"{len(wanted)} requirements met"
    pins = dict(line.split("==") for line in lock.read_text().split("\n") if "==" in line and not line.startswith("#"))
    installed = {name: _installed(name) for name in pins}
    other = [f"{n} {v} (tested {pins[n]})" for n, v in installed.items() if v and v.split("+")[0] != pins[n]]
    missing = sum(v is None for v in installed.values())
    same = len(pins) - len(other) - missing
    told = "".join([f", {missing} absent" if missing else "", f", other versions: {', '.join(other)}" if other else ""])
    return f"{same} of {len(pins)} packages as tested{told}"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(canonicalize_name(name))
    except metadata.PackageNotFoundError:
        return None


def _library() -> str:
    import sdk_sim

    return f"SDK {sdk_sim.version()}, {sdk_sim.device_count()} device(s)"


def _chip() -> str:
    import sdk_sim

    chip = sdk_sim.properties(0)
    text = f"{chip['name']} revision {chip['revision']}, {chip['cores']} cores"
    return f"{text}; an experiment: figures from {chip['override_path']} (RIGI_CHIP)" if chip["override_path"] else text


def _program() -> str:
    from sdk_sim import selftest

    return selftest.run()


CHECKS: list[Check] = [
    Check("python", _python, "make .venv with another Python: make clean-venv && make setup PYTHON=python3.11"),
    Check("machine", _machine, "use a machine with more memory, or expect swapping"),
    Check("compiler", _compiler, "install g++ 11 or newer (Debian/Ubuntu: apt install g++; Fedora: dnf install gcc-c++), or set CXX"),
    Check("packages", _packages, REINSTALL),
    Check("library", _library, REBUILD),
    Check("chip", _chip, "check the file that RIGI_CHIP names, or unset RIGI_CHIP"),
    Check("program", _program, f"{REBUILD}; if the bits stay wrong, try RIGI_ISA=portable and report both results"),
]

if __name__ == "__main__":
    _main(sys.argv[1])
