"""The chip's figures: where they come from, overrides, and chip files that are wrong."""

import tomllib
from pathlib import Path

import pytest
from runtime_process import run

import sdk_sim

CHIP = Path(__file__).resolve().parents[2] / "sdk_sim" / "chips" / "rigi1.toml"
FIGURES = tomllib.loads(CHIP.read_text())


def test_properties_are_the_chip_file():
    p = sdk_sim.properties()
    assert (p["name"], p["revision"]) == (FIGURES["name"], FIGURES["revision"])
    assert (p["grid_rows"], p["grid_cols"]) == (FIGURES["grid"]["rows"], FIGURES["grid"]["cols"])
    assert p["cores"] == p["grid_rows"] * p["grid_cols"]
    assert p["sram_bytes"] == FIGURES["sram"]["bytes"] and p["hbm_bytes"] == FIGURES["hbm"]["bytes"]
    assert p["clock_hz"] == FIGURES["clock"]["hz"]
    assert p["peak_flops_16bit"] == pytest.approx(655.36e12) and p["peak_ops_8bit"] == pytest.approx(1310.72e12)
    assert p["hbm_bytes_per_s"] == pytest.approx(2e12)
    assert p["override_path"] == ""


def test_an_override_replaces_the_keys_it_gives(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text("# twice the memory\n[hbm]\nbytes_per_cycle = 3_200  # was 1600\n")
    out = run("p = sdk_sim.properties(); print(p['hbm_bytes_per_cycle'], p['cores'], p['override_path'])", RIGI_CHIP=str(path))
    assert out == f"3200 16 {path}"


def test_a_smaller_grid_runs(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("[grid]\nrows = 1\ncols = 2\n")
    run("sdk_sim.launch_program([[[], []]]); sdk_sim.synchronize(); assert sdk_sim.properties()['cores'] == 2", RIGI_CHIP=str(path))


WRONG = {
    "[hbm]\nbytes_per_cycel = 1\n": ["line 2", "unknown key 'hbm.bytes_per_cycel'"],
    "[hbm]\nbytes_per_cycle = fast\n": ["line 2", "'hbm.bytes_per_cycle'", "whole number", "fast"],
    "[hbm]\nbytes_per_cycle = 0\n": ["line 2", "out of range"],
    "[hbm]\nbytes_per_cycle = 99999999999\n": ["line 2", "out of range"],
    "[hbm]\nbytes_per_cycle = 1__0\n": ["line 2", "whole number"],
    "[hbm]\n\n\nnonsense\n": ["line 4", "key = value", "nonsense"],
    "name = rigi1\n": ["line 1", "'name'", "double quotes"],
    "[hbm\n": ["line 1", "section"],
    "[launch]\nhost = 1\nhost = 2\n": ["line 3", "given twice"],
    "[sram]\nline_bytes = 32\n": ["sram.line_bytes must be 64"],
    "": ["cannot be read"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_chip_file_is_named_with_line_and_key(tmp_path, text):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    out = run("try: sdk_sim.device_count()\nexcept RigiError as error: print(error.status.name, error)", RIGI_CHIP=str(path))
    assert out.startswith("CHIP_FILE") and str(path) in out
    for words in WRONG[text]:
        assert words in out


def test_a_chip_file_that_is_not_there():
    out = run("try: sdk_sim.device_count()\nexcept RigiError as error: print(error.status.name, error)", RIGI_CHIP="/nowhere.toml")
    assert out.startswith("CHIP_FILE") and "/nowhere.toml" in out and "No such file" in out


@pytest.mark.parametrize(
    "name, value, words",
    [("RIGI_DEVICES", "17", "1 to 16"), ("RIGI_NUM_THREADS", "many", "1 to 64"), ("RIGI_MODE", "quick", "functional, timed")],
)
def test_wrong_environment_variables_are_named(name, value, words):
    out = run("try: sdk_sim.device_count()\nexcept RigiError as error: print(error)", **{name: value})
    assert name in out and value in out and words in out


def test_the_environment_sets_devices_and_mode():
    assert run("print(sdk_sim.device_count(), sdk_sim.get_mode(2))", RIGI_DEVICES="3", RIGI_MODE="functional") == "3 functional"
