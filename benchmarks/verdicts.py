"""Two verdicts with their evidence: random labels, and small data, against plain SGD on digits.

Run ``python benchmarks/verdicts.py``; the table goes to ``benchmarks/results/verdicts.md``. Finished work in ``--out`` is
used again, so an interrupted run continues. Two recipes are compared on the same inputs always:

- *random labels* against true labels: 1,000 digits, every network on the labels it was trained on;
- *small data* against full data: networks trained on 100 digits or on all 1,000, both measured on those 100.

All train to cross-entropy 0.01, 8 seeds a recipe; what remains of a difference is removed by temperature.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import landscape as ls
from landscape.comparison import placebo
from landscape.comparison.families import agreement
from landscape.datasets import Split, digits
from landscape.experiments import TrainedRun, as_checkpoint, get_recipe, train_many, training_set
from landscape.models import mlp
from landscape.results import Comparison, Placebo, Result
from landscape.results.numbers import spread
from landscape.results.tables import format_table
from landscape.scores.registry import REGISTRY, select

T = TypeVar("T", bound=Result)
NETWORK = partial(mlp, sizes=(64, 256, 256, 10))
BESIDE = (
    "adaptive-trace",
    "adaptive-lambda-max",
    "fisher-rao",
    "fisher-lambda-max",
    "relative-flatness",
    "tic-diagonal",
)
BESIDE += ("kl-radius", "input-jacobian-normalized")
"""Scores measured beside the default panel, so that every family has a say."""
RESAMPLES = 2000
RESULTS = Path(__file__).parent / "results" / "verdicts.md"


def trained(out: Path, seeds: int, workers: int) -> dict[str, list[TrainedRun]]:
    """Return the runs of all recipes; those of small data share one subset, so that all seeds are measured on it."""
    full = digits()
    runs = train_many(
        [get_recipe("sgd"), get_recipe("random-labels")], full, NETWORK, seeds=range(seeds), out=out, workers=workers
    )
    small = get_recipe("small-data", examples=None)
    return runs | train_many([small], part_of(full), NETWORK, seeds=range(seeds), out=out, workers=workers)


def part_of(full: Split) -> Split:
    """Return the split whose training part is the 100 examples that the recipe draws with seed 0."""
    part = training_set(get_recipe("small-data"), full, seed=0)
    return replace(full, name="digits-part", train=(part.X, part.y), train_indices=None)


def on_part(run: TrainedRun, part: Split) -> ls.Checkpoint:
    """Return a network trained on all digits as a checkpoint that is measured on some of them."""
    return ls.Checkpoint(
        run.network(), loss="cross_entropy", train=part.train, test=part.test, init=run.init, name=f"{run.name}-on-part"
    )


def kept(path: Path, name: str, make: Callable[[], T]) -> T:
    """Return a result from a study, or make it and store it there."""
    if path.exists() and name in (study := ls.open_study(path)):
        return cast(T, study[name])
    result = make()
    result.save(path, name, overwrite=True)
    return result


def comparisons(runs: dict[str, list[TrainedRun]], out: Path) -> dict[str, tuple[Comparison, Path]]:
    """Return both comparisons with their studies, from what is stored in ``out`` as far as it is there."""
    scores = [*(definition.slug for definition in select(None)), *BESIDE]
    part = part_of(digits())
    labels = {
        "true labels": [as_checkpoint(run) for run in runs["sgd"]],
        "random labels": [as_checkpoint(run) for run in runs["random-labels"]],
    }
    sizes = {
        "full data": [on_part(run, part) for run in runs["sgd"]],
        "small data": [as_checkpoint(run) for run in runs["small-data"]],
    }
    by_labels, by_size = out / "labels.h5", out / "sizes.h5"
    return {
        "Random labels against true labels": (
            kept(by_labels, "main", lambda: ls.compare(labels, scores=scores, save=by_labels)),
            by_labels,
        ),
        "Small data against full data": (
            kept(by_size, "main", lambda: ls.compare(sizes, scores=scores, match="temper", save=by_size)),
            by_size,
        ),
    }


def section(title: str, result: Comparison, path: Path) -> str:
    """Return one comparison with its evidence: verdict, gates, tests, audit, placebo."""
    verdict = result.verdicts[0]
    margin = float(result.provenance["margin"])
    controls = [
        kept(path, f"placebo-{recipe}", lambda recipe=recipe: placebo(result, recipe, resamples=RESAMPLES))
        for recipe in result.recipes
    ]
    return "\n\n".join(
        [
            f"## {title}: {verdict.verdict}",
            verdict.text,
            f"Audit: {result.audit}.",
            metrics(result),
            gates(result),
            tests(result, agreement(result.tests, verdict.verdict, margin=margin)),
            "Called different, of 2,000 resampled comparisons of 8 seeds with 8 of one recipe, when all scores of the "
            "second arm are multiplied by the factor (× 1.00 is the placebo; the nominal rate is 5 %):",
            power(result, controls),
        ]
    )


def metrics(result: Comparison) -> str:
    """Return losses and accuracies: mean ± standard deviation over seeds."""
    rows = [(name, *map(spread, values)) for name, values in result.metrics.items()]
    return format_table(("", *result.long_names), rows, "markdown")


def gates(result: Comparison) -> str:
    """Return what had to hold before the scores were compared."""
    rows = [(g.gate, f"{g.value:.4g}", f"{g.limit:.4g}", "passed" if g.passed else "failed") for g in result.gates]
    return format_table(("gate", "measured", "limit", ""), rows, "markdown")


def tests(result: Comparison, families: dict[str, str]) -> str:
    """Return one row a score: ratio or difference, interval, p values, and what its family says of the verdict."""
    rows = []
    for test in result.tests:
        known = REGISTRY[test.score]
        shown = (test.difference, test.low, test.high)
        ratio, low, high = (10.0**x for x in shown) if test.scale == "log10" else shown
        role = (
            "decides"
            if test.primary
            else "control"
            if known.orientation == "control"
            else families.get(known.family, "")
        )
        p_value = "" if test.p_value is None else f"{test.p_value:.2g}"
        corrected = "" if test.p_holm is None else f"{test.p_holm:.2g}"
        sign = "×" if test.scale == "log10" else "+"
        effect = (f"{sign} {ratio:.3g}", f"{low:.3g} to {high:.3g}")
        rows.append((test.score, known.family, *effect, p_value, corrected, f"{test.superiority:.2f}", role))
    header = ("score", "family", "effect", "95 % interval", "p", "p (Holm)", "P(sharper)", "role or family")
    return format_table(header, rows, "markdown")


def power(result: Comparison, controls: list[Placebo]) -> str:
    """Return the placebo rate and the power curve of the decision rule, by recipe."""
    names = dict(zip(result.recipes, result.long_names, strict=True))
    header = ("seeds of", *(f"× {10**shift:.2f}" for shift in controls[0].shifts))
    return format_table(header, [(names[c.recipe], *(f"{x:.1%}" for x in c.called)) for c in controls], "markdown")


def main() -> None:
    """Train what is missing, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("study/verdicts"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    runs = trained(arguments.out / "checkpoints", arguments.seeds, arguments.workers)
    found = comparisons(runs, arguments.out)
    head = (
        "# Two verdicts with their evidence\n\n`python benchmarks/verdicts.py`: digits, MLP 64-256-256-10, "
        f"{arguments.seeds} seeds a recipe, trained to cross-entropy 0.01. Effects are those of the second recipe over the "
        "first. The placebo draws both arms from the seeds of one recipe."
    )
    RESULTS.write_text("\n\n".join([head, *(section(title, *made) for title, made in found.items())]) + "\n")


if __name__ == "__main__":
    main()
