"""Train the reference checkpoints of this folder: ``python data/make.py [FOLDER]``, by default into this folder.

One seed each of five recipes, on the embedded digits; about 15 seconds on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

from landscape.datasets import digits
from landscape.experiments import RECIPES, save_run, train

NAMES = ("sgd", "momentum", "random-labels", "small-data", "poisoned")


def main(folder: Path) -> None:
    """Train and save; the initial weights are left out, because the manifest's model and seed give them again."""
    split = digits()
    for name in NAMES:
        save_run(train(RECIPES[name], split, seed=0), folder, init=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
