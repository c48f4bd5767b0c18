"""What momentum does to minima on noisy labels, and what a larger step of plain SGD does, from the studies that are shipped.

Run ``python benchmarks/momentum.py``; the table goes to ``benchmarks/results/momentum.md``. At every share of redrawn labels,
momentum at SGD's learning rate η and momentum at η(1 − β), which takes SGD's steps, are compared with SGD and with each other
by the rule of `landscape.compare`. Runs of one seed share initial weights and labels and are tested as pairs. The study was
measured before the worst case was symmetrised, so that the one-sided one stands in, with draws that all seeds share.

A second study holds plain SGD at η/(1 − β), the effective step of momentum, at four of the shares. With ``--train`` it is made
anew, and goes on where it was interrupted (10 minutes on one core); otherwise no network is trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

import landscape as ls
from landscape.comparison import Facts, judge
from landscape.comparison.judge import fact_row
from landscape.experiments import get_recipe, randomisation_table
from landscape.results import Comparison, Trials
from landscape.scores import REGISTRY
from landscape.studies.evaluations import Panel
from landscape.tables import format_table

ROOT = Path(__file__).parents[1]
STUDY, RESULTS = ROOT / "data" / "randomisation.h5", ROOT / "benchmarks" / "results" / "momentum.md"
LARGE = ROOT / "data" / "large-step.h5"
BOTH = ("adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag", "trace", "lambda-max")
"""Scores that both studies hold."""
STAGE = "loss-0.001"
ORDER = ("adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag")


def train_large() -> Trials:
    """Train plain SGD at η/(1 − β) and measure it as the other study was."""
    return randomisation_table(
        recipes=[get_recipe("sgd", name="sgd-large", long_name="SGD at η/(1 − β)", lr=0.5, max_epochs=4000)],
        noise=(0.0, 0.2, 0.4, 1.0),
        losses=(0.001,),
        epoch=None,
        norm=None,
        panel=Panel(own=BOTH, label_free=(), shared=()),
        audit=False,
        save=LARGE,
    )


def runs_of(study: Trials, noise: float, only: Collection[str] = REGISTRY) -> Trials:
    """Return the runs at one share of redrawn labels, with what the gates look at as far as the study holds it.

    One network and one set of inputs are shared by construction; that accuracies are equal says that nothing collapsed.
    """
    radii = {name.removeprefix("own/"): grid for name, grid in study.coordinates.items() if name.startswith("own/")}
    return Trials.of(rows_of(study, noise, only), factors=("recipe", "seed"), coordinates=radii)


def rows_of(study: Trials, noise: float, only: Collection[str]) -> list[dict[str, Any]]:
    """Return one row per run at one share of redrawn labels, with some of the scores on its own labels."""
    part = study.where(stage=STAGE, noise=noise)
    rows = []
    for i in range(len(part)):
        loss, accuracy, ratio = (float(part[name][i]) for name in ("train/loss", "train/accuracy", "gradient/noise"))
        row = {name: part.factors[name].tolist()[i] for name in ("recipe", "seed")}
        row |= fact_row(Facts("mlp", "digits", loss, accuracy, ratio, 1.0))
        row |= {"reached": bool(part.met[i]), "test/error": float(part["test/error"][i]), "train/loss": loss}
        for name, values in part.measures.items():
            if name.startswith("own/") and name.removeprefix("own/") in only:
                row[name.removeprefix("own/")] = values[i]
                if name in part.errors:
                    row[f"{name.removeprefix('own/')} ±"] = part.errors[name][i]
        rows.append(row)
    return rows


def compared(study: Trials) -> dict[float, Comparison]:
    """Return the comparison of the three recipes at every share of redrawn labels."""
    return {noise: judge(runs_of(study, noise), paired=True) for noise in study.levels("noise")}


def compared_large(study: Trials, large: Trials) -> dict[float, Comparison]:
    """Return the comparison of momentum, SGD and SGD at η/(1 − β) at the shares that both studies hold."""
    radii = {slug: study.coordinates[f"own/{slug}"] for slug in BOTH if f"own/{slug}" in study.coordinates}
    found = {}
    for noise in large.levels("noise"):
        rows = [*rows_of(large, noise, BOTH), *rows_of(study, noise, BOTH)]
        chosen = [row for row in rows if row["recipe"] != "momentum-matched"]
        found[noise] = judge(Trials.of(chosen, factors=("recipe", "seed"), coordinates=radii), paired=True)
    return found


def table(found: dict[float, Comparison], a: str, b: str) -> str:
    """Return one row per share of redrawn labels: effects with intervals, p values, verdict and test errors."""
    rows = []
    for noise, comparison in found.items():
        tests = {row.score: row for row in comparison.tests if (row.a, row.b) == (a, b)}
        verdict = next(row for row in comparison.verdicts if (row.a, row.b) == (a, b))
        deciding = sorted((row for row in tests.values() if row.primary), key=lambda row: ORDER.index(row.score))
        effects = [f"× {10**t.difference:.2f} [{10**t.low:.2f}, {10**t.high:.2f}]" for t in deciding]
        others = [f"× {10 ** tests[name].difference:.2f}" for name in ("trace", "lambda-max")]
        errors = [np.nanmean(comparison.metrics["test/error"][comparison.recipes.index(name)]) for name in (a, b)]
        largest = max(row.p_holm for row in deciding if row.p_holm is not None)
        rows.append(
            (f"{noise:g}", *effects, f"{largest:.2g}", verdict.verdict, *others, *(f"{100 * e:.1f} %" for e in errors))
        )
    header = (
        "noise",
        "worst case",
        "average",
        "1/σ′²",
        "largest p (Holm)",
        "verdict",
        "trace",
        "λmax",
        f"test error, {a}",
        b,
    )
    return format_table(header, rows, "markdown")


def main() -> None:
    """Compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", action="store_true", help="make the study of the larger step anew")
    if parser.parse_args().train:
        train_large()
    study, large = (ls.open_study(path)["randomisation-table"] for path in (STUDY, LARGE))
    found = compared(study)
    head = f"`python benchmarks/momentum.py`: {STAGE.replace('-', ' ')}, 8 seeds per recipe as pairs."
    parts = [f"# Momentum on noisy labels\n\n{head} The worst case is the one-sided one, which the study holds."]
    for a, b in (("sgd", "momentum"), ("sgd", "momentum-matched")):
        parts += [f"## {b} against {a}", table(found, a, b)]
    steps = compared_large(study, large)
    for b in ("momentum", "sgd"):
        parts += [f"## {b} against sgd at η/(1 − β)", table(steps, "sgd-large", b)]
    parts += ["## In words", *(f"{noise:g}: {found[noise].verdicts[0].text}" for noise in found)]
    RESULTS.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
