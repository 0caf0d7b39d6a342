"""What a result was made with. Every command with `--json` prints through `emit`, so that each object names it in the same words."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any


def origin(*packages: str) -> dict[str, str | None]:
    """`chip revision sdk_version override` of the devices of this process, and the versions of the `packages` that took part.

    `override` is the chip file of an experiment (RIGI_CHIP), else "". A package that is not installed has the version None.
    """
    import sdk_sim

    p = sdk_sim.properties()
    chip = {"chip": p["name"], "revision": p["revision"], "sdk_version": sdk_sim.version(), "override": p["override_path"]}
    return {**chip, **{package: _version(package) for package in packages}}


def emit(result: dict[str, Any], *packages: str) -> None:
    """Prints the result of a command as one JSON object on a line of standard output, with its `origin`."""
    print(json.dumps({"origin": origin(*packages), **result}), flush=True)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
