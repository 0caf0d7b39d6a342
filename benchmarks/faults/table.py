"""Runs all cases in workers that may die, and judges what came back."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .case import Case
from .native import PACKAGE
from .worker import CASES

# Where the packages lie; sdk_sim may be another build of it, see .ci/sanitize.
FOLDERS = [str(PACKAGE.parent), str(Path(__file__).resolve().parents[2])]
PATIENCE = 120  # seconds for one case; longer is a hang


@dataclass
class Row:
    case: Case
    status: str  # what came back; CRASH or HANG if nothing did
    text: str
    usable: bool
    skipped: str = ""

    @property
    def caught(self) -> bool:
        return self.status == self.case.status

    @property
    def missing(self) -> list[str]:
        """What the text should have said and did not."""
        return [word for word in self.case.words if word not in self.text]

    @property
    def named(self) -> bool:
        return self.caught and not self.missing


def run(report: Callable[[str], None] = lambda name: None, cases: Sequence[Case] | None = None) -> list[Row]:
    """Every case once. `report` is called with the name of each case that is done."""
    rows: list[Row] = []
    todo = list(CASES.values()) if cases is None else list(cases)
    batch = [case for case in todo if not case.environment]
    while batch:
        done = worker(batch, report)
        rows += done
        batch = batch[len(done) :]
    for case in todo:
        if case.environment:
            rows += worker([case], report)
    return rows


def worker(cases: Sequence[Case], report: Callable[[str], None]) -> list[Row]:
    """Rows of the cases up to the first that ended the process or did not end at all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RIGI_")}
    path = os.pathsep.join(filter(None, [*FOLDERS, os.environ.get("PYTHONPATH")]))
    environment = {**kept, "PYTHONPATH": path, "RIGI_DEVICES": "2", **cases[0].environment}
    command = [sys.executable, "-m", f"{__package__}.worker", *(case.name for case in cases)]
    rows: list[Row] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        for case in cases:
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = process.stdout.readline() if ready else b""
            if not line:
                process.kill()
                last = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
                status = "CRASH" if ready else "HANG"
                rows.append(Row(case, status, f"the process ended with {process.wait()}: {' '.join(last)}", False))
                return rows
            answer = json.loads(line)
            if "skipped" in answer:
                rows.append(Row(case, "SKIPPED", "", True, answer["skipped"]))
            else:
                rows.append(Row(case, answer["status"], answer["text"], answer["usable"]))
            report(case.name)
    return rows


def summary(rows: Sequence[Row]) -> dict[str, int | bool]:
    """The figures of `rigi bench faults --json`; cases that could not be tried count nowhere."""
    tried = [row for row in rows if not row.skipped]
    return {
        "injected": len(tried),
        "caught": sum(row.caught for row in tried),
        "named": sum(row.named for row in tried),
        "device_usable": all(row.usable for row in tried),
    }
