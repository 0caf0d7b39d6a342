"""The command `rigi`: what belongs to the SDK, and the commands of upper layers.

Those come through the entry-point group `rigi.commands` (name = command, object = click command) and are imported only when they
are run, so that `rigi --help` is quick and a layer that cannot be imported takes only its own commands with it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdk_sim.profile.cli import profile, trace

_GROUP = "rigi.commands"
_HERE = __name__.partition(".")[0]


class LayeredGroup(click.Group):
    """A click group whose further commands are entry points, listed by the package they come from."""

    def _entries(self) -> dict[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=_GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(self._entries())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        entry = self._entries().get(cmd_name)
        if command is not None or entry is None:
            return command
        try:
            return entry.load()
        except Exception as error:  # whatever a layer's import may raise, the other commands stay usable
            raise click.ClickException(_unavailable(entry, error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {_HERE: []}
        for name, command in sorted(self.commands.items()):
            sections[_HERE].append((name, command.get_short_help_str(limit=100)))
        for name, entry in sorted(self._entries().items()):
            sections.setdefault(entry.module.partition(".")[0], []).append((name, _summary(entry)))
        for package, rows in sections.items():
            with formatter.section(_title(package)):
                formatter.write_dl(rows)


def _unavailable(entry: metadata.EntryPoint, error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return (
        f"`rigi {entry.name}` comes from {entry.module}, which cannot be imported here.\n"
        f"  reason: {reason}\n"
        f"  remedy: run `rigi doctor`, which says what is missing; in a checkout `make build` builds what is"
    )


def _source(module: str) -> ast.Module | None:
    """The syntax tree of a module that is not to be imported; None if there is none to read."""
    package, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    for root in (spec.submodule_search_locations or []) if spec else []:
        stem = Path(root, *rest.split(".")) if rest else Path(root)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _summary(entry: metadata.EntryPoint) -> str:
    """The first line of a command's docstring, read without importing its layer."""
    tree = _source(entry.module)
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return _first_line(node)
    return "(not available: its module is missing; see `rigi doctor`)"


def _title(package: str) -> str:
    tree = _source(package)
    line = re.split(r"[:.] ", _first_line(tree))[0] if tree else ""
    return f"{package}: {line}" if line else package


def _first_line(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")


@click.group(cls=LayeredGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rigi", prog_name="rigi")
def main() -> None:
    """The software of the Rigi-1 AI accelerator, on an emulated chip.

    Start with `rigi doctor` (is all well?), `rigi demo` (a real language model on the chip) and `rigi COMMAND --help`.
    Commands with --json print one JSON object on standard output and nothing else there.
    """


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--device", default=0, show_default=True, help="Index of the device.")
def info(as_json: bool, device: int) -> None:
    """The chip's figures, as the SDK reports them."""
    from .info import describe

    try:
        facts = describe(device)
    except Exception as error:  # no library, no such device, an unreadable chip file: the text says which
        raise click.ClickException(f"{error}\n  remedy: run `rigi doctor`") from error
    if as_json:
        _print_json(facts)
        return
    title = f"{facts['name']} revision {facts['revision']}: device {device} of {facts['device_count']}, SDK {facts['sdk_version']}"
    table = Table(title=title, title_justify="left", show_header=False)
    for row in facts["figures"]:
        table.add_row(row["what"], row["text"])
    Console().print(table)
    if facts["override"]:
        click.echo(f"Note: an experiment, not the chip: figures come from {facts['override']} (RIGI_CHIP).")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def doctor(as_json: bool) -> None:
    """Check everything from compiler to serving, and say what to do."""
    from .doctor import diagnose

    progress = Console(stderr=as_json)
    results = []
    for result in diagnose():
        results.append(result)
        mark = "[green]ok    [/]" if result.ok else "[red]failed[/]"
        progress.print(f"{mark} [bold]{result.name}[/]: {escape(result.detail)}", highlight=False, soft_wrap=True)
        if not result.ok:
            progress.print(f"       to do: {escape(result.remedy)}", highlight=False, soft_wrap=True)
    ok = all(result.ok for result in results)
    if as_json:
        _print_json({"ok": ok, "checks": [vars(result) for result in results]})
    else:
        failed = sum(not result.ok for result in results)
        click.echo(f"All {len(results)} checks passed." if ok else f"{failed} of {len(results)} checks failed.")
    sys.exit(0 if ok else 1)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


main.add_command(profile)
main.add_command(trace)

if __name__ == "__main__":
    main()
