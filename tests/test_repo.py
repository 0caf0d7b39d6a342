"""The repository as a whole: what its README promises exists, its metadata fits its lock, and its files stay readable."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.faults.table import CASES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
PACKAGES = {"sdk_sim", "tvm_target", "sglang_ext", "benchmarks"}
CODE = (".py", ".cpp", ".hpp", ".h", ".c")
MAX_LINES = 450
MAX_BYTES = 1 << 20


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.fail(f"not a git checkout: {listed.stderr.strip()}")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_ruff_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--output-format=concise", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_large_to_read() -> None:
    assert [f"{path}: {size} bytes" for path in tracked() if (size := path.stat().st_size) > MAX_BYTES] == []
    long = {path: len(path.read_text().splitlines()) for path in tracked() if path.suffix in CODE}
    assert [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in long.items() if lines > MAX_LINES] == []


def test_nothing_built_is_tracked() -> None:
    assert [path for path in tracked() if path.suffix in {".so", ".o", ".pyc", ".log"}] == []


def test_every_text_file_ends_with_one_newline_and_has_no_trailing_blanks() -> None:
    bad = []
    for path in tracked():
        if path.suffix not in {*CODE, ".md", ".toml", ".txt", ".lock"}:
            continue
        text = path.read_text()
        if text and (not text.endswith("\n") or text.endswith("\n\n") or re.search(r"[ \t]+$", text, re.MULTILINE)):
            bad.append(str(path.relative_to(ROOT)))
    assert bad == []


def test_lock_pins_every_requirement_inside_its_range() -> None:
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in pins, f"{name} is pinned twice"
            pins[canonicalize_name(name)] = version
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)], prereleases=True), requirement


def test_commands_in_the_readme_exist() -> None:
    commands = set(PROJECT["entry-points"]["rigi.commands"]) | {"info", "doctor", "profile", "trace"}
    named = set(re.findall(r"`rigi ([a-z]+)|^ +rigi ([a-z]+)", README, re.MULTILINE))
    assert {a or b for a, b in named} - {"COMMAND"} <= commands
    assert commands <= {a or b for a, b in named}, "a command that the README does not mention"


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ +)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_files_named_in_the_readme_exist() -> None:
    missing = [target for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README) if not (ROOT / target).exists()]
    assert missing == []


def test_switches_in_the_readme_are_those_that_the_code_reads() -> None:
    table = set(re.findall(r"^\| `(RIGI_[A-Z_]+)`", README, re.MULTILINE))
    files = [path for path in tracked() if path.suffix in {".py", ".cpp"} and path.relative_to(ROOT).parts[0] in PACKAGES]
    source = "\n".join(path.read_text() for path in files)
    assert {name for name in table if f'"{name}"' not in source} == set(), "in the README, read by nothing"
    read = set(re.findall(r"(?:getenv\(|environ(?:\.get|\.pop|\.setdefault)?[\[(])\s*\"(RIGI_[A-Z_]+)\"", source))
    assert read - table == set(), "read by the code, not in the README"


def test_ci_runs_make_test() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in script and "test </dev/null" in script
    for name in ("run", "setup", "compiler", "sanitize"):
        assert (ROOT / ".ci" / name).stat().st_mode & 0o111
        assert subprocess.run(["bash", "-n", ROOT / ".ci" / name]).returncode == 0


def test_a_missing_compiler_is_told_with_its_remedy() -> None:
    environment = {"PATH": "/usr/bin:/bin", "CXX": "no-such-compiler"}
    done = subprocess.run([ROOT / ".ci/compiler"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert "no-such-compiler" in done.stderr and "apt install g++" in done.stderr


def test_a_missing_python_is_told_with_its_remedy(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "no-such-python"}
    done = subprocess.run([ROOT / ".ci/setup", tmp_path / "venv"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "venv").exists()
    assert "no-such-python" in done.stderr and "apt install python3.11" in done.stderr


def test_the_number_of_cores_in_the_kernels_is_the_chips() -> None:
    grid = tomllib.loads((ROOT / "sdk_sim/chips/rigi1.toml").read_text())["grid"]
    said = {path: re.findall(r"^CORES = (\d+)$", path.read_text(), re.MULTILINE) for path in tracked() if path.suffix == ".py"}
    said = {path: numbers for path, numbers in said.items() if numbers and path.relative_to(ROOT).parts[0] in PACKAGES}
    assert len(said) > 5 and {number for numbers in said.values() for number in numbers} == {str(grid["rows"] * grid["cols"])}


def test_errors_made_on_purpose_are_as_many_as_the_documents_say() -> None:
    for path in (ROOT / "README.md", ROOT / "sdk_sim/README.md"):
        (said,) = re.findall(r"(\d+) errors\s+(?:made )?on purpose", path.read_text())
        assert int(said) == len(CASES)


def test_the_json_of_every_command_names_what_made_it() -> None:
    """Through sdk_sim.origin.emit; but for what describes the chip or a file itself, and a program's talk with its own child."""
    own = {"sdk_sim/cli.py", "sdk_sim/profile/cli.py", "sdk_sim/origin.py", "sdk_sim/doctor.py"}
    own |= {"benchmarks/sdk.py", "benchmarks/faults/worker.py", "benchmarks/architectures.py"}
    files = [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]
    prints = {str(path.relative_to(ROOT)) for path in files if re.search(r"(?:print|echo)\(.*json\.dumps", path.read_text())}
    assert prints == own
