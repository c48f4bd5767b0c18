"""How far the verdict reaches: two questions on five kinds of network, and recipes that differ in nothing but the order of data.

Run ``python benchmarks/reach.py``; the table goes to ``benchmarks/results/reach.md``. The questions are random labels against
true labels, and momentum at equal η and at equal η/(1 − β) against SGD, for an MLP, a CNN without norm layers, a ResNet-8 with
batch norm, a patch transformer, and a head that is tuned on a frozen body; and copies by T1 to T7 against the networks
themselves, which must tie. Eight seeds per recipe, at matched loss; that of batch norm with the statistics of each batch, which
is not what training stopped at, is matched by temperature. With
``--order``, the placebo that can fail: small networks from eight initial weights, each trained in six orders of the data; in
each of 200 comparisons both arms draw one order per initial weights, and everything is run through, gates and pairs.

Training and scores resume where they were stopped: runs lie in ``--out``, panels beside its studies.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import numpy as np
from torch import Tensor, nn

import landscape as ls
from landscape.comparison import PRIMARY, facts, judge
from landscape.comparison.judge import fact_row
from landscape.comparison.matching import Match
from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import Recipe, TrainedRun, as_checkpoint, get_recipe, train, train_many
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.models import mlp, resnet, small_cnn, transformer
from landscape.results import Comparison, Trials
from landscape.results.comparison import Test, Verdict
from landscape.results.scores import score_columns
from landscape.scores import REGISTRY
from landscape.scores.audit import APPLY, reindexed
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results"
EXAMPLES, LOSS, FEATURES = 256, 0.01, 1024
STARTS, ORDERS, COMPARISONS = 8, 6, 200


def tuned_head(seed: int = 0) -> nn.Module:
    """Return an MLP whose first layer is frozen; a linear head on random features is what is trained."""
    network = mlp((64, FEATURES, 10), seed=seed)
    first = next(module for module in network.modules() if isinstance(module, nn.Linear))
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    return network


class Kind(NamedTuple):
    """One kind of network.

    Attributes:
        make: the factory.
        rate: learning rate of plain SGD.
        flat: whether it takes flat digits.
        match: how losses that differ are matched.
    """

    make: Callable[..., nn.Module]
    rate: float = 0.1
    flat: bool = False
    match: Match | None = None


NETWORKS = {
    "MLP": Kind(partial(mlp, (64, 64, 64, 10)), rate=0.05, flat=True),
    "CNN without norm": Kind(partial(small_cnn, channels=(8, 32), norm="none")),
    "ResNet-8, batch norm": Kind(partial(resnet, 8, width=4, in_channels=1), rate=0.05, match="temper"),
    "patch transformer": Kind(partial(transformer, patch=4, width=32, heads=2, layers=1)),
    "tuned head": Kind(tuned_head, rate=1.0, flat=True),
}
QUESTIONS = ("random labels", "momentum, equal η", "momentum, equal η/(1 − β)")
"""What is compared with SGD."""


def recipes(name: str) -> dict[str, Recipe]:
    """Return the recipes of one kind of network, by the names of tables; the head is not asked about momentum."""
    rate = NETWORKS[name].rate
    shared: dict[str, Any] = {"target": LOSS, "max_epochs": 5000}
    asked = {
        "SGD": get_recipe("sgd", lr=rate, **shared),
        "random labels": get_recipe("random-labels", lr=rate, **shared),
        "momentum, equal η": get_recipe("momentum", lr=rate, **shared),
        "momentum, equal η/(1 − β)": get_recipe("momentum-matched", lr=rate / 10, **shared),
    }
    return {label: recipe for label, recipe in asked.items() if name != "tuned head" or not recipe.momentum}


def trained(name: str, out: Path, seeds: int, workers: int) -> dict[str, list[TrainedRun]]:
    """Return the runs of one kind of network by the names of tables: trained now, or found."""
    kind, chosen = NETWORKS[name], recipes(name)
    runs = train_many(
        list(chosen.values()),
        digits(flatten=kind.flat, train=EXAMPLES),
        kind.make,
        seeds=range(seeds),
        out=out,
        workers=workers,
    )
    return {label: runs[recipe.name] for label, recipe in chosen.items()}


def compared(arms: dict[str, Any], path: Path, match: Match | None, *, copies: bool = False) -> Comparison:
    """Compare recipes by the scores that decide, or return what was stored; copies are pairs of what they are copies of."""
    if path.exists() and "main" in (study := ls.open_study(path)):
        return cast(Comparison, study["main"])
    pairs: Any = True if copies else "auto"
    found = ls.compare(arms, scores=list(PRIMARY), match=match, audit=not copies, paired=pairs, save=path)
    found.save(path, "main", overwrite=True)
    return found


def copies(runs: list[TrainedRun], make: Callable[..., nn.Module]) -> tuple[list[Objective], str]:
    """Return networks to which all transformations that have a place in them were applied, one after another, and their names.

    Draws move with the units that T4 permutes: a permuted network needs permuted noise.
    """
    made, names = [], dict[str, None]()
    for run in runs:
        network, mapping = run.network(make), dict[str, Tensor]()
        for name, transform in APPLY.items():
            with suppress(LandscapeError):  # it has no place in this network
                moved = transform(network, run.data.X[:2], run.seed)
                network, mapping, names[name] = moved.model, mapping | moved.mapping, None
        data: dict[str, Any] = {"train": (run.data.X, run.data.y), "batch_size": run.recipe.batch_size}
        copy = Checkpoint(network, loss="cross_entropy", name=f"{run.name}-copy", **data).objective("train")
        made.append(reindexed(copy, mapping))
    return made, " ".join(names)


def row(name: str, question: str, found: Comparison, verdict: Verdict) -> tuple[str, ...]:
    """Return one line of the table."""
    tests = {test.score: test for test in found.tests if (test.a, test.b) == (verdict.a, verdict.b)}
    effects = [effect(tests[slug]) if slug in tests else "–" for slug in PRIMARY]
    return (name, question, *effects, verdict.verdict)


def effect(test: Test) -> str:
    """Return a ratio with its interval."""
    middle, low, high = 10 ** np.array([test.difference, test.low, test.high])
    return f"× {middle:.2f} [{low:.2f}, {high:.2f}]"


def networks(out: Path, only: list[str], seeds: int, workers: int) -> str:
    """Return one row per network and question, the words of all verdicts, and what the audits found."""
    rows, words = [], []
    for name in only:
        kind, place = NETWORKS[name], out / name.split(",")[0].replace(" ", "-").lower()
        runs = trained(name, place / "runs", seeds, workers)
        arms = {label: [as_checkpoint(run, kind.make) for run in arm] for label, arm in runs.items()}
        found = compared(arms, place / "recipes.h5", kind.match)
        verdicts = {label: verdict for label, verdict in zip(QUESTIONS, found.verdicts) if label in arms}
        rows += [row(name, label, found, verdict) for label, verdict in verdicts.items()]
        twins, applied = copies(runs["SGD"], kind.make)
        twice = compared({"SGD": arms["SGD"], "copies": twins}, place / "copies.h5", "temper", copies=True)
        rows.append(row(name, f"copies by {applied}", twice, twice.verdicts[0]))
        words += [
            f"### {name}",
            *(verdict.text for verdict in (*verdicts.values(), twice.verdicts[0])),
            f"Audit: {found.audit}.",
        ]
    header = ("network", "against SGD", *PRIMARY, "verdict")
    return "\n\n".join([format_table(header, rows, "markdown"), "## In words", *words])


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
        about = (
            f"{EXAMPLES} digits, {arguments.seeds} seeds per recipe, cross-entropy {LOSS}. Copies went through all "
            "transformations that have a place, one after another; draws are permuted with T4, and T7 is matched by temperature."
        )
        head = f"# Five kinds of network\n\n`python benchmarks/reach.py`: {about}"
    path.write_text(f"{head}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
