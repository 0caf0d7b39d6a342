"""The command `rigi`: help without imports, plug-in commands, and a doctor that survives what it examines."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sdk_sim import cli, doctor

ROOT = Path(__file__).parent.parent


def entries(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    found = [metadata.EntryPoint(name, value, "rigi.commands") for name, value in values.items()]
    monkeypatch.setattr(cli.metadata, "entry_points", lambda group: found)


def test_help_imports_no_upper_layer() -> None:
    code = (
        "import sys\nfrom sdk_sim.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'tvm', 'tvm_target', 'sglang_ext', 'benchmarks'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout and "bench" in done.stdout


def test_every_command_has_a_line_of_help() -> None:
    assert "not available" not in CliRunner().invoke(cli.main, ["--help"]).output


@pytest.mark.slow
def test_every_entry_point_resolves() -> None:
    importlib.import_module("sglang.srt.platforms")  # it finds the platform itself; the other way round would be a circle
    for group in ("rigi.commands", "rigi.checks", "torch.backends", "sglang.srt.platforms", "sglang.srt.plugins"):
        mine = [entry for entry in metadata.entry_points(group=group) if entry.dist is not None and entry.dist.name == "rigi"]
        assert mine, group
        for entry in mine:
            loaded = entry.load()
            if group == "rigi.commands":
                assert isinstance(loaded, click.Command) and loaded.get_short_help_str(), entry
            elif group == "rigi.checks":
                assert all(isinstance(check, doctor.Check) for check in loaded), entry
            else:
                assert callable(loaded), entry


def test_a_command_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, lost="no_such_layer.cli:lost")
    run = CliRunner().invoke(cli.main, ["lost"])
    assert run.exit_code == 1
    assert "`rigi lost`" in run.output and "no_such_layer" in run.output and "rigi doctor" in run.output
    listing = CliRunner().invoke(cli.main, ["--help"])
    assert listing.exit_code == 0 and "doctor" in listing.output and "not available" in listing.output


def test_a_misspelt_command_is_refused_as_usage() -> None:
    run = CliRunner().invoke(cli.main, ["docter"])
    assert run.exit_code == 2 and "docter" in run.output


def test_info_reports_the_chip_file() -> None:
    run = CliRunner().invoke(cli.main, ["info", "--json"])
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)
    chip = tomllib.loads((ROOT / "sdk_sim/chips/rigi1.toml").read_text())
    assert (facts["name"], facts["revision"], facts["override"]) == (chip["name"], chip["revision"], "")
    values = {row["what"]: row["value"] for row in facts["figures"]}
    assert values["clock"] == chip["clock"]["hz"]
    assert values["cores"] == chip["grid"]["rows"] * chip["grid"]["cols"]
    assert values["scratchpad per core"] == chip["sram"]["bytes"]
    assert values["HBM"] == chip["hbm"]["bytes"]
    assert values["peak, 16-bit"] == pytest.approx(655.36e12) and values["peak, 8-bit"] == pytest.approx(1310.72e12)
    for row in facts["figures"]:
        assert row["text"] and row["text"] in CliRunner().invoke(cli.main, ["info"]).output


def test_info_of_a_device_that_does_not_exist() -> None:
    run = CliRunner().invoke(cli.main, ["info", "--device", "99"])
    assert run.exit_code == 1 and "99" in run.output and "RIGI_DEVICES" in run.output


def test_a_check_turns_an_exception_into_a_remedy() -> None:
    def broken() -> str:
        raise OSError("the disk is full")

    def knows_better() -> str:
        raise doctor.Problem("HBM is full", "free some")

    assert doctor.Check("disk", broken, "empty it").run() == doctor.Result("disk", False, "the disk is full", "empty it")
    assert doctor.Check("memory", knows_better, "buy more").run().remedy == "free some"
    assert doctor.Check("fine", lambda: "yes", "none").run() == doctor.Result("fine", True, "yes", "")


@pytest.mark.parametrize(
    ("body", "expected"), [("import os; os.abort()", "SIGABRT"), ("raise SystemExit(3)", "status 3"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_layer_that_dies_while_loading_is_a_failed_check(
    body: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying_layer.py").write_text(body + "\nCHECKS = []\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (result,) = doctor._run_apart("dying", "dying_layer:CHECKS")
    assert result.name == "dying" and not result.ok and expected in result.detail and result.remedy


def test_a_check_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging_layer.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 1)
    (result,) = doctor._run_apart("hanging", "hanging_layer:CHECKS")
    assert not result.ok and "did not finish" in result.detail


def test_doctor_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    check = next(check for check in doctor.CHECKS if check.name == "compiler")
    result = check.run()
    assert not result.ok and "no-such-compiler" in result.detail and "apt install g++" in result.remedy


@pytest.mark.slow
def test_doctor_finds_nothing_wrong_here() -> None:
    done = subprocess.run([sys.executable, "-m", "sdk_sim.cli", "doctor", "--json"], capture_output=True, text=True, cwd="/")
    report = json.loads(done.stdout)
    assert report["ok"], [check for check in report["checks"] if not check["ok"]]
    assert done.returncode == 0
    assert {"python", "compiler", "packages", "library", "chip", "program", "modules", "device", "kernel", "platform"} <= {
        check["name"] for check in report["checks"]
    }
    for check in report["checks"]:
        assert set(check) == {"name", "ok", "detail", "remedy"}
        assert check["detail"] and not check["remedy"]
