"""Executes the notebooks; with --save it also writes their outputs back, so that GitHub shows them.

    python tutorials/run.py                    # all of them
    python tutorials/run.py 01 --save          # one, by the beginning of its name

What differs between runs for no reason of the reader's (execution times, counters, widget state) is not saved.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NOTEBOOKS = sorted(path.stem for path in HERE.glob("*.ipynb"))


def execute(name: str, timeout: int = 240) -> nbformat.NotebookNode:
    """Runs a notebook from top to bottom in a kernel of its own, inside this folder. `timeout` is in host seconds for each cell.

    Raises nbclient.exceptions.CellExecutionError with the cell and its traceback, or CellTimeoutError.
    """
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}, record_timing=False
    )
    return client.execute()


def save(notebook: nbformat.NotebookNode, name: str) -> None:
    """Writes a notebook with its outputs, but without what changes at every run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _settled(cell.outputs)
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, HERE / f"{name}.ipynb")


def _settled(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Without warnings, without counters, and with text in one piece: how it was cut is chance."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        if "execution_count" in output:
            output.execution_count = None
        kept.append(output)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NOTEBOOKS)}; default all")
    parser.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args()
    wanted = tuple(Path(name).name.removesuffix(".ipynb") for name in options.names) or ("",)
    if unknown := [start for start in wanted if not any(name.startswith(start) for name in NOTEBOOKS)]:
        parser.error(f"no notebook is named {', '.join(unknown)}; there are {', '.join(NOTEBOOKS)}")
    for name in filter(lambda name: name.startswith(wanted), NOTEBOOKS):
        begin = time.monotonic()
        notebook = execute(name)
        print(f"{name}: {time.monotonic() - begin:.0f} s on this host", file=sys.stderr)
        if options.save:
            save(notebook, name)


if __name__ == "__main__":
    main()
