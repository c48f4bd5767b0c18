"""Make the studies of ``data/experiments`` again: ``python data/make_experiments.py [FOLDER]``; an hour on one core.

Each file holds the published run of an experiment under its name, and what else its page cites. Finished runs are not repeated.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import landscape as ls
from landscape.datasets import slab
from landscape.experiments import basin_volume, guess_and_check, large_batch, memorised_examples
from landscape.models import mlp
from landscape.studies.large_batch import f1_mlp
from landscape.studies.registry import experiments, run_experiment

ELSEWHERE = ("optimisers", "randomisation-table", "zoo")
"""Studies that are stored in files of their own, or in another's."""
BESIDE = {
    ("large-batch", "60-epochs"): partial(
        large_batch, partial(f1_mlp, 128), matchings=("epochs",), epochs=60, seeds=range(2)
    ),
    ("memorised-examples", "label-noise"): partial(memorised_examples, networks=100, epochs=40, label_noise=0.2),
    ("guess-and-check", "slab"): partial(guess_and_check, partial(mlp, (2, 40, 2)), slab(), guesses=300_000),
}


def main(folder: Path) -> None:
    """Run everything that is not there."""
    for name in (name for name in experiments() if name not in ELSEWHERE):
        run_experiment(name, folder / "tables", save=folder / f"{name}.h5")
    basin_volume(
        poison=(10, 20, 40), seeds=range(2), directions=20, save=folder / "basin-volume.h5", name="more-poison"
    )
    for (study, entry), run in BESIDE.items():
        if entry not in ls.open_study(folder / f"{study}.h5"):
            run().save(folder / f"{study}.h5", entry)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "experiments")
