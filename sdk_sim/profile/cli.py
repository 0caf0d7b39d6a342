"""The commands `rigi profile` and `rigi trace`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from .reader import Profile, ProfileError, read

_ORIGIN = ("chip", "revision", "sdk_version", "override")  # of sdk_sim.origin: a profile names its own, a trace none


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the profile. Default: rigi-profile-<time>.")
@click.option("--read", "old", type=click.Path(path_type=Path), help="Show a profile made earlier (a folder, or one .jsonl file).")
@click.option("--instructions", is_flag=True, help="Also record every instruction, as `rigi trace` does. Large, and slower.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output; the command's own output goes to standard error."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def profile(out: Path | None, old: Path | None, instructions: bool, as_json: bool, command: tuple[str, ...]) -> None:
    """Run a command and show where the chip's cycles went.

    Whatever COMMAND and its child processes launch on emulated devices is recorded: `rigi demo`, `rigi bench gemm`, a script of yours.
    Shown are the kernels by simulated cycles, how busy they keep each engine, what bounds them and what they wait for. The folder gets
    a trace for ui.perfetto.dev with tracks request > layer > launch > engine and a roofline picture. COMMAND's exit code is passed on.
    A profile that could not be written to its end is shown as far as it goes, and the exit code is then not 0.

    \b
    Examples:
      rigi profile -- rigi demo --max-new-tokens 8
      rigi profile --out gemm -- python my_gemm.py
      rigi profile --read gemm
    """
    if (old is None) == (not command):
        raise click.UsageError("give a command to run (`rigi profile -- COMMAND`) or a profile made earlier (`rigi profile --read DIR`)")
    status = 0
    if old is None:
        folder = out or Path(time.strftime("rigi-profile-%Y%m%d-%H%M%S"))
        if any(folder.glob("*.jsonl")):
            raise click.ClickException(f"{folder} holds an earlier profile; choose another folder with --out, or delete it")
        with _recorded(folder / "instructions.jsonl" if instructions else None) as variables:
            status = _run(command, {**variables, "RIGI_PROFILE": str(folder.resolve())}, to_stderr=as_json)
    else:
        folder = old if out is None else out
        folder = folder if folder.is_dir() or out is not None else folder.parent
    try:
        profiles = read(old or folder) if old or folder.exists() else []
        _check_launches(profiles, status)
        missing = _report(profiles, folder, as_json)
    except ProfileError as error:
        raise _failed(str(error), status) from error
    _end(status, missing)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Run COMMAND and write its trace to this file.")
@click.option("--perfetto", type=click.Path(path_type=Path, dir_okay=False), help="Also write the trace as a Perfetto file.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output; the command's own output goes to standard error."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="FILE | COMMAND...")
def trace(out: Path | None, perfetto: Path | None, as_json: bool, command: tuple[str, ...]) -> None:
    """Record every instruction of a command's launches, or summarise such a trace.

    A trace has one JSON object a line: an instruction with its operands and its simulated times (the manual's section 10). It is large:
    about 400 bytes an instruction. The summary has launches, cycles, the mix of instructions and how occupied the engines were.

    \b
    Examples:
      rigi trace -o gemm.jsonl -- python my_gemm.py
      rigi trace gemm.jsonl
      rigi trace gemm.jsonl --perfetto gemm.pftrace
    """
    from . import instructions

    if not command or (out is None and len(command) != 1):
        raise click.UsageError("give a trace to summarise (`rigi trace FILE`) or a file and a command (`rigi trace -o FILE -- COMMAND`)")
    status = 0
    try:
        if out is not None:
            with _recorded(out) as variables:
                status = _run(command, variables, to_stderr=as_json)
            if not out.stat().st_size:
                out.unlink()
                raise ProfileError(_nothing(status))
        file = out or Path(command[0])
        if not file.is_file():
            raise ProfileError(f"{file} does not exist; `rigi trace -o {file} -- COMMAND` makes a trace")
        summary = instructions.summarize(file)
        if perfetto:
            import sdk_sim

            with _written(perfetto):
                instructions.write_perfetto(file, perfetto, sdk_sim.properties()["clock_hz"])
    except ProfileError as error:
        raise _failed(str(error), status) from error
    except ImportError as error:
        raise _failed(_missing(error), status) from error
    files = {"trace": str(file), **({"perfetto": str(perfetto)} if perfetto else {})}
    if as_json:
        from ..origin import origin

        click.echo(json.dumps({"origin": origin() if out else None, **summary, "files": files}, indent=2))
    else:
        from .tables import show_trace

        show_trace(summary, files)
    _end(status, [summary["missing"]] if summary["missing"] else [])


def _failed(text: str, status: int) -> click.ClickException:
    """An error after a command has run: its own exit code wins over 1."""
    error = click.ClickException(text)
    setattr(error, "exit_code", status or 1)  # noqa: B010  declared as the class's
    return error


def _end(status: int, missing: list[str]) -> NoReturn:
    """The end of a command that has shown what there is: with the exit code `status`, and 1 instead of 0 where something is missing."""
    for sentence in missing:
        click.echo(f"Incomplete: {sentence}", err=True)
    sys.exit(status or bool(missing))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """A file that cannot be written is an error of the profile, and no half of it stays."""
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ProfileError(f"{path} could not be written: {error.strerror or error}") from error


@contextmanager
def _recorded(trace: Path | None) -> Iterator[dict[str, str]]:
    """Gives the variables with which processes write their instructions; when they are done, all of it is in the file `trace`."""
    from . import instructions

    if trace is None:
        yield {}
        return
    trace.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rigi-trace-", dir=trace.resolve().parent) as folder:
        yield {"RIGI_TRACE": folder}
        instructions.join(sorted(Path(folder).glob("*.jsonl")), trace)


def _run(command: tuple[str, ...], variables: dict[str, str], to_stderr: bool) -> int:
    """Runs the command with these variables; returns its exit code. Ctrl-C goes to the command, what it recorded is still shown."""
    program = shutil.which(command[0])
    if program is None and command[0] == "rigi":
        command, program = (sys.executable, "-m", "sdk_sim.cli", *command[1:]), sys.executable
    if program is None:
        raise click.ClickException(f"command not found: {command[0]}")
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=sys.stderr if to_stderr else None)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def _nothing(status: int, untimed: bool = False) -> str:
    if untimed:
        return (
            "everything was launched in functional mode, which has no time. Run it in a mode with time: set RIGI_MODE=timed, or leave "
            "out what chose functional mode"
        )
    if status:
        return f"the command ended with exit code {status} before it launched anything on a Rigi device"
    return "the command launched nothing on a Rigi device in a mode with time"


def _check_launches(profiles: list[Profile], status: int) -> None:
    if not any(profile.launches for profile in profiles):
        if missing := [profile.missing for profile in profiles if profile.missing]:
            raise ProfileError("; ".join(missing))
        raise ProfileError(_nothing(status, untimed=any(profile.untimed for profile in profiles)))


def _report(profiles: list[Profile], folder: Path, as_json: bool) -> list[str]:
    """Draws the files, then prints the table or the JSON object. Returns a sentence for each thing that is missing."""
    from . import perfetto_file, roofline
    from .aggregate import aggregate

    total = aggregate(profiles)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {"profile": str(folder)}
    if (instructions := folder / "instructions.jsonl").exists():
        files["instructions"] = str(instructions)
    notes: list[str] = []
    missing = [profile.missing for profile in profiles if profile.missing]

    def make(kind: str, name: str, draw: Callable[[Path], Any]) -> Any:
        try:
            with _written(folder / name):
                made = draw(folder / name)
        except ImportError as error:
            notes.append(_missing(error))
            return None
        except ProfileError as error:
            missing.append(str(error))
            return None
        files[kind] = str(folder / name)
        return made

    shown = make("perfetto", "profile.pftrace", lambda path: perfetto_file.write(profiles, path))
    make("roofline", "roofline.png", lambda path: roofline.draw(total, profiles[0].device, path))
    if shown and shown["detailed"] < shown["launches"]:
        notes.append(
            f"The trace shows the engines of {shown['detailed']:,} of {shown['launches']:,} launches; the others name one like them."
        )
    if any(profile.untimed for profile in profiles):
        notes.append("Launches in functional mode have no time and are not in the profile.")
    if overrides := sorted({profile.device["override"] for profile in profiles} - {""}):
        notes.append(f"An experiment, not the chip: figures come from {', '.join(overrides)} (RIGI_CHIP).")
    origins = [{key: profile.device.get(key) for key in _ORIGIN} for profile in profiles]
    if any(other != origins[0] for other in origins):
        notes.append("Devices of several chips, revisions, SDKs or overrides are in this profile; `origin` is that of the first.")
    if as_json:
        click.echo(json.dumps({"origin": origins[0], **total, "files": files, "notes": notes, "missing": missing}, indent=2))
        return missing
    from .tables import show_profile

    show_profile(total, files, notes)
    return missing


def _missing(error: ImportError) -> str:
    return f"{error.name or error} is not installed, so a picture is missing: pip install 'rigi[profile]'"
