"""Make the pictures of the gallery: run the code of ``gallery.md`` and put what it draws into ``figures``.

Run ``python docs/make_gallery.py``. Trained networks and pages that the code writes stay in a temporary folder, or in the
folder named: what was trained there before is found again.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parent
LARGEST = 150_000
"""Bytes of a picture: the repository keeps every version of them."""


def blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def make(page: Path, folder: Path) -> list[Path]:
    """Run the code of a page in a folder and return the pictures it made, now in ``figures``."""
    names: dict[str, object] = {"__name__": "gallery"}
    os.chdir(folder)
    made: dict[str, Path] = {}
    for text in blocks(page):
        started = time.perf_counter()
        exec(compile(text, page.name, "exec"), names)
        for picture in Path("figures").glob("*") if Path("figures").exists() else ():
            made[picture.name] = Path(shutil.copy(picture, DOCS / "figures" / picture.name))
        print(f"{time.perf_counter() - started:6.1f} s  {text.strip().splitlines()[-1][:90]}", flush=True)
    return list(made.values())


def problems(page: Path, made: list[Path]) -> list[str]:
    """Return what is wrong with the pictures: too large, shown but not made, or made but not shown."""
    shown = set(re.findall(r"\(figures/([^)]+)\)", page.read_text(encoding="utf-8")))
    large = [
        f"{picture.name} has {picture.stat().st_size} bytes" for picture in made if picture.stat().st_size > LARGEST
    ]
    return large + [f"{name} is shown or made, not both" for name in sorted(shown ^ {picture.name for picture in made})]


if __name__ == "__main__":
    page = DOCS / "gallery.md"
    with tempfile.TemporaryDirectory() as empty:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else empty)
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit("\n".join(problems(page, make(page, folder.resolve()))) or None)
