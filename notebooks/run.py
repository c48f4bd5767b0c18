"""Run the notebooks top to bottom and store their outputs: ``python notebooks/run.py [NAME …] [--check]``.

``--check`` runs them without writing. ``LANDSCAPE_QUICK=1`` makes them small.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
COLOURS = 128


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
                for output in cell.outputs:
                    if "image/png" in output.get("data", {}):
                        output.data["image/png"] = smaller(output.data["image/png"])
        nbformat.write(notebook, path)
    return time.perf_counter() - started


def smaller(picture: str) -> str:
    """Return a base64 PNG with a palette, a third of the size: notebooks live in the repository."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(COLOURS).save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main() -> int:
    """Run the notebooks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true", help="do not write the outputs")
    arguments = parser.parse_args()
    os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
    os.environ.pop("MPLBACKEND", None)  # kernels draw inline
    paths = sorted(HERE.glob("*.ipynb"))
    known = {name for path in paths for name in (path.stem, path.stem[:2])}
    if unknown := sorted(set(arguments.names) - known):
        parser.error(
            f"no notebook is called {', '.join(unknown)}; expected a number such as 05, or a name without .ipynb"
        )
    for path in paths:
        if not arguments.names or path.stem in arguments.names or path.stem[:2] in arguments.names:
            print(f"{path.name}: {run(path, write=not arguments.check):.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
