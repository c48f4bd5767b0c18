"""How far the verdict reaches: two questions on five kinds of network, and recipes that differ in nothing but the order of data.

Run ``python benchmarks/reach.py``; the table goes to ``benchmarks/results/reach.md``. The questions are random labels against
true labels, and momentum at equal η and at equal η/(1 − β) against SGD, for an MLP, a CNN without norm layers, a ResNet-8 with
batch norm, a patch transformer, and a head that is tuned on a frozen body. Eight seeds per recipe, at matched loss. With
``--order``, the placebo that can fail: small networks from eight initial weights, each trained in six orders of the data; in
each of 200 comparisons both arms draw one order per initial weights, and everything is run through, gates and pairs.

Training and scores resume where they were stopped: runs lie in ``--out``, panels beside its studies.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import numpy as np
from torch import nn

import landscape as ls
from landscape.comparison import PRIMARY, facts, judge
from landscape.comparison.judge import fact_row
from landscape.datasets import digits
from landscape.experiments import as_checkpoint, get_recipe, train, train_many
from landscape.models import mlp, resnet, small_cnn, transformer
from landscape.results import Comparison, Trials
from landscape.results.scores import score_columns
from landscape.scores import REGISTRY
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results"
RATE, LOSS = 0.05, 0.05
STARTS, ORDERS, COMPARISONS = 8, 6, 200


def tuned_head(seed: int = 0) -> nn.Module:
    """Return an MLP whose first layer is frozen; a linear head on random features is what is trained."""
    network = mlp((64, 512, 10), seed=seed)
    first = next(module for module in network.modules() if isinstance(module, nn.Linear))
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    return network


NETWORKS: dict[str, tuple[Any, bool]] = {
    "MLP": (partial(mlp, (64, 128, 128, 10)), True),
    "CNN without norm": (partial(small_cnn, norm="none"), False),
    "ResNet-8, batch norm": (partial(resnet, 8, width=8, in_channels=1), False),
    "patch transformer": (partial(transformer, width=32, heads=2, layers=1), False),
    "tuned head": (tuned_head, True),
}
"""Kinds of network by name: how one is made, and whether it takes flat digits."""


def recipes() -> dict[str, Any]:
    """Return the recipes that are compared, by the names of tables."""
    sgd = get_recipe("sgd", lr=RATE, target=LOSS)
    return {
        "SGD": sgd,
        "random labels": replace(get_recipe("random-labels", lr=RATE, target=LOSS), name="random-labels"),
        "momentum, equal η": replace(get_recipe("momentum", lr=RATE, target=LOSS), name="momentum"),
        "momentum, equal η/(1 − β)": replace(get_recipe("momentum-matched", lr=RATE / 10, target=LOSS), name="matched"),
    }


def of_network(name: str, out: Path, seeds: int, workers: int) -> Comparison:
    """Train one kind of network by all recipes, and compare them."""
    factory, flat = NETWORKS[name]
    place = out / name.split(",")[0].replace(" ", "-").lower()
    chosen = recipes()
    runs = train_many(
        list(chosen.values()), digits(flatten=flat), factory, seeds=range(seeds), out=place / "runs", workers=workers
    )
    arms = {label: [as_checkpoint(run, factory) for run in runs[recipe.name]] for label, recipe in chosen.items()}
    place.mkdir(parents=True, exist_ok=True)
    found = ls.compare(arms, scores=list(PRIMARY), save=place / "study.h5")
    found.save(place / "study.h5", "main", overwrite=True)
    return found


def networks(out: Path, only: list[str], seeds: int, workers: int) -> str:
    """Return one row per network and question."""
    rows = []
    for name in only:
        found = of_network(name, out, seeds, workers)
        for verdict in found.verdicts[:3]:
            tests = {row.score: row for row in found.tests if (row.a, row.b) == (verdict.a, verdict.b)}
            effects = [f"× {10 ** tests[slug].difference:.2f}" if slug in tests else "–" for slug in PRIMARY]
            rows.append((name, f"{verdict.b} against {verdict.a}", *effects, verdict.verdict))
    return format_table(("network", "question", *PRIMARY, "verdict"), rows, "markdown")


def started(start: int, seed: int = 0) -> nn.Module:
    """Return a small network whose initial weights do not depend on the seed of the run."""
    return mlp((64, 32, 10), seed=start)


def measured(out: Path) -> list[dict[str, Any]]:
    """Return one row per network of the placebo: its start, its order, its scores and what the gates look at."""
    split, recipe = digits(train=150), get_recipe("sgd", lr=0.2, target=0.05)
    identity = ls.store.identity(starts=STARTS, orders=ORDERS, scores=list(PRIMARY), split=split.fingerprint)
    radii = {slug: REGISTRY[slug].radii for slug in PRIMARY}
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ls.Run(out / "order.parts", identity) as run:
        for start in range(STARTS):
            for order in range(ORDERS):
                key = f"{start}-{order}"
                if key not in run.done:
                    # the factory is asked for the seed of the run, which decides the order, and starts from its own
                    factory = partial(started, start)
                    trained = train(recipe, split, factory, seed=order)
                    checkpoint = as_checkpoint(trained, factory)
                    objective = checkpoint.objective()
                    panel = ls.sharpness(objective, list(PRIMARY), seed=start)
                    row: dict[str, Any] = {
                        "reached": trained.reached,
                        **fact_row(facts(objective, checkpoint.init), start),
                    }
                    for slug in PRIMARY:
                        row |= score_columns(slug, panel.all(slug), radii[slug])
                    run.keep(key, row)
                rows.append({"start": start, "order": order, **run.done[key]})
    return rows


def order_only(out: Path) -> str:
    """Return how often the rule called arms different that differ only in the order of their data."""
    table = {(row["start"], row["order"]): row for row in measured(out)}
    grids = {slug: np.array(REGISTRY[slug].radii) for slug in PRIMARY if REGISTRY[slug].radii}
    rng, said = np.random.default_rng(0), Counter[str]()
    for _ in range(COMPARISONS):
        picked = [rng.permutation(ORDERS)[:2] for _ in range(STARTS)]
        rows = [
            {**table[start, int(picked[start][arm])], "recipe": name, "seed": start}
            for arm, name in enumerate(("first", "second"))
            for start in range(STARTS)
        ]
        trials = Trials.of(rows, factors=("recipe", "seed"), coordinates=grids)
        said[judge(trials, scores=PRIMARY).verdicts[0].verdict] += 1
    different = sum(said[word] for word in ("spikier", "flatter", "mixed", "different, negligibly"))
    counted = ", ".join(f"{count} *{word}*" for word, count in said.most_common())
    return (
        f"{STARTS * ORDERS} networks (MLP 64-32-10, 150 digits, cross-entropy 0.05), {STARTS} pairs per comparison: of "
        f"{COMPARISONS} comparisons {different / COMPARISONS:.1%} were called different ({counted}). Comparisons share networks."
    )


def main() -> None:
    """Train what is missing, compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("study/reach"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--order", action="store_true", help="the placebo of data order instead")
    arguments = parser.parse_args()
    if arguments.order:
        text, path = order_only(arguments.out), RESULTS / "order.md"
        head = "# Recipes that differ in nothing but the order of data\n\n`python benchmarks/reach.py --order`"
    else:
        text = networks(arguments.out, arguments.only, arguments.seeds, arguments.workers)
        path = RESULTS / "reach.md"
        about = f"digits, {arguments.seeds} seeds per recipe, cross-entropy {LOSS}."
        head = f"# Five kinds of network\n\n`python benchmarks/reach.py`: {about}"
    path.write_text(f"{head}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
