"""Executes the notebooks; with --save it also writes their outputs back, so that GitHub shows them.

    python tutorials/run.py                    # all of them
    python tutorials/run.py 01_a_kernel --save

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
            cell.outputs = [_settled(output) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, HERE / f"{name}.ipynb")


def _settled(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "execution_count" in output:
        output.execution_count = None
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NOTEBOOKS)}; default all")
    parser.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args()
    names = [Path(name).stem for name in options.names] or NOTEBOOKS
    if unknown := set(names) - set(NOTEBOOKS):
        parser.error(f"no notebook named {', '.join(sorted(unknown))}; there are {', '.join(NOTEBOOKS)}")
    for name in names:
        begin = time.monotonic()
        notebook = execute(name)
        print(f"{name}: {time.monotonic() - begin:.0f} s on this host", file=sys.stderr)
        if options.save:
            save(notebook, name)


if __name__ == "__main__":
    main()
