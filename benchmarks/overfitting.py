"""Are networks that were trained on few examples sharper? ``python benchmarks/overfitting.py [ZOO.h5]``.

Networks of the zoo with true labels, 250 against 1,000 examples, nothing else different, all at cross-entropy 0.01. Their scores
on own data are the zoo's; here follow those that no label enters, on own inputs and on the same held-out ones. Keeps what is
measured in ``data/overfitting.h5`` and writes ``results/overfitting.md``; a few minutes on one core.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from settings import run_settled

import landscape as ls
from landscape.results import Trials
from landscape.statistics import Cells
from landscape.studies.grid import JobsRun, run_jobs
from landscape.studies.zoo import evaluated
from landscape.tables import format_table

HERE = Path(__file__).parent
SAVE = HERE.parent / "data" / "overfitting.h5"
FACTORS = ("network", "data", "examples", "seed", "effective_step", "momentum")
LABEL_FREE = ("kl-radius", "input-jacobian")
ON_OWN = ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag", "trace", "lambda-max")
STEPS = (0.05, 0.5)
RESAMPLES = 1_999


@cache
def opened(path: str) -> Any:
    """Return the zoo of a file."""
    return ls.zoo(path)


def measured(path: str, row: int) -> dict[str, Any]:
    """Return the label-free scores of one network on 250 of its own inputs and on 250 held-out ones."""
    checkpoint, found = opened(path).checkpoint(row), {}
    for place, on in (("own", "train"), ("held out", "test")):
        options = {"seed": row, "radii": {"kl-radius": (0.01,)}}
        panel = ls.sharpness(evaluated(checkpoint.objective(on)), list(LABEL_FREE), **options)
        found |= {f"{place}/{slug}": panel[slug].value for slug in LABEL_FREE}
    return found


def ratio(trials: Trials, name: str) -> tuple[float, float, float, int, int, float]:
    """Return few over many examples: geometric mean over pairs of cells, its interval, in how many kinds it has that sign, p."""
    cells = Cells.of_design({f: trials[f].tolist() for f in FACTORS if f != "seed"}, ("network", "data"))
    values = np.asarray(trials[name], dtype=float)
    [mean] = cells.means(np.log10(np.where(values > 0, values, np.nan)))
    of = np.unique(cells.of, return_index=True)[1]
    few = np.asarray(trials["examples"])[of] == 250
    first, second = np.nonzero(cells.alone(cells.axes.index("examples")) & few[:, None] & ~few)
    each = mean[first] - mean[second]
    known = np.isfinite(each)
    each, kind = each[known], cells.stratum[first][known]
    drawn = np.random.default_rng(0).integers(len(each), size=(RESAMPLES, len(each)))
    low, high = np.percentile(each[drawn].mean(axis=1), [2.5, 97.5])
    kinds = [each[kind == number].mean() for number in np.unique(kind)]
    same = sum(np.sign(one) == np.sign(each.mean()) for one in kinds)
    return 10 ** each.mean(), 10**low, 10**high, same, len(kinds), len(each)


def main() -> None:
    path = str(Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "data" / "zoo.h5"))
    zoo = opened(path)
    trials, kept = zoo.trials, np.isin(np.arange(len(zoo.trials)), zoo.kept)
    clean = kept & (trials["label_noise"] == 0)
    chosen = np.flatnonzero(clean & np.isin(trials["effective_step"], STEPS))
    settings = {
        "rows": chosen.tolist(),
        "draws": trials.arrays["draw"][chosen].astype(int).tolist(),
        "scores": list(LABEL_FREE),
    }
    with JobsRun(SAVE, "overfitting", settings) as run:
        found = run.result
        if found is None:
            run_jobs(measured, {str(i): (path, int(i)) for i in chosen}, run, workers=1, desc="networks")
            names = (*FACTORS, *ON_OWN, "test_error", "train_loss")
            rows = [{name: trials[name][i].item() for name in names} | dict(run.done[str(i)]) for i in chosen]
            found = run.conclude(Trials.of(rows, factors=FACTORS, study="overfitting", settings=settings))
    table = []
    for name, where in [
        *((name, "own data, own labels") for name in ON_OWN),
        *((f"own/{name}", "own inputs, no labels") for name in LABEL_FREE),
        *((f"held out/{name}", "the same held-out inputs, no labels") for name in LABEL_FREE),
        ("test_error", "test"),
    ]:
        value, low, high, same, kinds, pairs = ratio(found, name)
        table.append(
            (name.rpartition("/")[2], where, f"× {value:.2f} [{low:.2f}, {high:.2f}]", f"{same} of {kinds}", str(pairs))
        )
    header = ("measure", "evaluated on", "250 / 1,000 examples", "kinds of that sign", "pairs of recipes")
    text = (
        "## Few examples against many\n\n`python benchmarks/overfitting.py`; networks of `data/zoo.h5` with true labels at "
        f"cross-entropy 0.01, η/(1−β) of {STEPS[0]} and {STEPS[1]}, momentum 0 and 0.9; {len(found)} networks. Geometric means "
        "over pairs of recipes that differ in the number of examples alone, 95 % bootstrap intervals over pairs; a kind is an "
        f"architecture on a data set.\n\n{format_table(header, table, 'markdown')}\n"
    )
    (HERE / "results" / "overfitting.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run_settled(main)
