"""Run the notebooks top to bottom and store their outputs: ``python notebooks/run.py [NAME …] [--check]``.

``--check`` runs them without writing. ``LANDSCAPE_QUICK=1`` makes them small.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(path: Path, *, write: bool) -> float:
    """Execute a notebook in an empty folder of its own; return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    if write:
        for cell in notebook.cells:
            cell.get("metadata", {}).pop("execution", None)  # times of day differ from run to run
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
        nbformat.write(notebook, path)
    return time.perf_counter() - started


def main() -> int:
    """Run the notebooks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true", help="do not write the outputs")
    arguments = parser.parse_args()
    os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
    paths = sorted(HERE.glob("*.ipynb"))
    for path in paths:
        if not arguments.names or path.stem in arguments.names or path.stem[:2] in arguments.names:
            print(f"{path.name}: {run(path, write=not arguments.check):.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
