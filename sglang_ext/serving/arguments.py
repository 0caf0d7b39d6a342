"""What becomes of each argument of SGLang's server: served, ignored with a warning, or refused with a text before anything is loaded.

The table is ``arguments.toml``. `check` runs as the first step of SGLang's own resolution of the arguments, in whatever process asks
for it; ``python -m sglang_ext.serving.arguments`` writes the table as docs/server-arguments.md.
"""

import logging
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

TABLE = Path(__file__).with_name("arguments.toml")
FIRST_STEP = "handle_deprecated_dp_attention"  # of SGLang's resolution pipeline
DEVICES = ("dp_size", "base_gpu_id")  # refused by what they need together


class Verdict(NamedTuple):
    """verdict: "served", "ignored", "refused" or "internal"; for the middle two `why`; what to `do` instead; values that are served."""

    verdict: str
    why: str = ""
    do: str = ""
    allowed: tuple[Any, ...] = ()


@cache
def verdicts() -> dict[str, Verdict]:
    """Name of the argument -> its verdict."""
    table = tomllib.loads(TABLE.read_text())
    found = {name: Verdict("internal") for name in table["internal"]}
    found |= {name: Verdict("served") for group in table["served"].values() for name in group}
    for kind in ("ignored", "refused"):
        for group in table[kind]:
            for name in group["arguments"]:
                allowed = tuple(group.get("allowed", {}).get(name, ()))
                found[name] = Verdict(kind, group["why"], group.get("do", ""), allowed)
    return found


def flag(name: str) -> str:
    """The argument as it is typed."""
    return "--" + name.replace("_", "-")


def check(server_args: Any) -> None:
    """Refuses and warns, by what the caller asked for. Raises ValueError naming the argument, its value and the remedy."""
    from sglang.srt.arg_groups.arg_utils import record_fields

    for field in record_fields(type(server_args)):
        verdict, value = verdicts().get(field.name, Verdict("served")), getattr(server_args, field.name)
        if verdict.verdict not in ("ignored", "refused") or not value or value == field.default or value in verdict.allowed:
            continue
        asked = flag(field.name) if value is True else f"{flag(field.name)} {value}"
        if verdict.verdict == "ignored":
            logger.warning("Rigi ignores %s: %s.", asked, verdict.why)
        elif field.name not in DEVICES or _missing_devices(server_args):
            raise ValueError(f"Rigi does not serve {asked}: {verdict.why}. {verdict.do}.")
    check_model_path("--model-path", server_args.model_path)


def _missing_devices(server_args: Any) -> bool:
    """Whether a replica would run on a chip that does not exist."""
    import torch

    return server_args.base_gpu_id + (server_args.dp_size - 1) * server_args.gpu_id_step >= torch.rigi.device_count()


def check_model_path(what: str, path: str) -> None:
    """Raises ValueError where `path` can only mean a folder or file (not a name on a hub, nor a URL) and there is no model."""
    place = Path(path).expanduser()
    if path.lower() in ("none", "dummy") or "://" in path or place.is_file():
        return
    if place.is_dir():
        if not any((place / name).is_file() for name in ("config.json", "params.json")):
            raise ValueError(f"{what} {path!r}: the folder holds no config.json. Name the folder of a Hugging Face model.")
    elif path.count("/") != 1 or path.startswith(("/", "./", "~")):
        raise ValueError(f"{what} {path!r}: there is no such folder. `rigi model smollm2` makes one and prints its name.")


def check_first(server_args: Any, previous: Callable[[Any], None]) -> None:
    """Around the first step of SGLang's resolution."""
    check(server_args)
    previous(server_args)


def markdown() -> str:
    """docs/server-arguments.md."""
    table = tomllib.loads(TABLE.read_text())
    lines = [
        "# The arguments of SGLang's server on Rigi", "",
        "Made from `sglang_ext/serving/arguments.toml` by `python -m sglang_ext.serving.arguments`. What is refused stops the server",
        "before anything is loaded, with the text below; what is ignored gives a warning.", "", "## Served", "",
    ]  # fmt: skip
    for title, names in table["served"].items():
        lines += [f"- {title}: " + ", ".join(f"`{flag(name)}`" for name in names)]
    for kind, columns in (("ignored", ("because",)), ("refused", ("because", "instead"))):
        lines += ["", f"## {kind.capitalize()}", "", f"| argument | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
        for group in table[kind]:
            names = ", ".join(f"`{flag(name)}`{_served_values(group, name)}" for name in group["arguments"])
            lines.append(f"| {names} | {group['why']} |" + (f" {group['do']} |" if kind == "refused" else ""))
    return "\n".join(lines) + "\n"


def _served_values(group: dict[str, Any], name: str) -> str:
    values = group.get("allowed", {}).get(name)
    return f" (served: {', '.join(map(str, values))})" if values else ""


if __name__ == "__main__":
    Path("docs/server-arguments.md").write_text(markdown())
