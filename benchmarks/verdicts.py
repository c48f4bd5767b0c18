"""Four verdicts with their evidence: random labels, poison, small data, and rescaled copies, against plain SGD on digits.

Run ``python benchmarks/verdicts.py``; the table goes to ``benchmarks/results/verdicts.md``. Finished work in ``--out`` is
used again, so an interrupted run continues. Two recipes are compared on the same inputs always:

- *random labels* against true labels: 1,000 digits, every network on the labels it was trained on;
- *poisoned* against clean data: networks that were trained on 1,000 wrongly labelled points as well, or not, both
  measured on the 1,000 clean digits;
- *small data* against full data: networks trained on 100 digits or on all 1,000, both measured on those 100, for eight
  draws of the 100;
- *rescaled* copies against the networks themselves: layers multiplied by 10 and 1/10, which moves no prediction, but
  λmax as much as wanted (Dinh et al. 2017, arXiv 1703.04933); a score that sees geometry must call it a tie.

All train to cross-entropy 0.01 of the clean digits, 8 seeds per recipe. Losses that still differ by more than the gate
allows, as those of full data do on some draws, are brought together by temperature.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import numpy as np
import torch

import landscape as ls
from landscape.comparison import PRIMARY, placebo
from landscape.comparison.decide import agreement
from landscape.datasets import Split, digits
from landscape.experiments import TrainedRun, as_checkpoint, get_recipe, train_many, training_set
from landscape.models import mlp
from landscape.results import Comparison, Placebo, Result
from landscape.results.comparison import REPORTED, WAIVED
from landscape.scores.fit import class_margins
from landscape.scores.gauges import logit_normalized
from landscape.scores.perturbations import draws
from landscape.scores.register import REGISTRY, select
from landscape.tables import format_table, spread
from landscape.transforms import layer_scale
from landscape.transforms.head import gauge_fixed
from landscape.transforms.logits import normalize_logits

OVER_EXAMPLES = (
    "share of the loss carried by the ten digits with the largest",
    "normalised margin, 10th percentile",
    "rise of the normalised loss at ρ = 0.1, tenth with the smallest margins",
    "the same, half with the largest margins",
    "error at ρ = 0.1",
    "rise of the normalised loss at ρ = 0.4, tenth with the smallest margins",
    "the same, half with the largest margins",
    "error at ρ = 0.4",
)
T = TypeVar("T", bound=Result)
NETWORK = partial(mlp, sizes=(64, 256, 256, 10))
BESIDE = (
    "adaptive-trace",
    "adaptive-lambda-max",
    "fisher-rao",
    "relative-flatness",
    "tic-diagonal",
)
BESIDE += ("kl-radius", "input-jacobian-normalized")
"""Scores measured beside the default panel, so that every family has a say."""
RESAMPLES = 2000
DRAWS = 8
LABELS, POISON, SIZES, COPIES = (
    "Random labels against true labels",
    "Poisoned against clean data",
    "Small data against full data",
    "Rescaled copies against the networks themselves",
)
RESULTS = Path(__file__).parent / "results" / "verdicts.md"


def trained(out: Path, seeds: int, workers: int) -> dict[str, list[TrainedRun]]:
    """Return the runs of all recipes by name; those of small data share one subset, so that all seeds are measured on it."""
    full = digits()
    whole = [get_recipe(name) for name in ("sgd", "random-labels", "poisoned")]
    runs = train_many(whole, full, NETWORK, seeds=range(seeds), out=out, workers=workers)
    for draw in range(DRAWS):
        small = get_recipe("small-data", name=small_data(draw), examples=None)
        runs |= train_many([small], part_of(full, draw), NETWORK, seeds=range(seeds), out=out, workers=workers)
    return runs


def small_data(draw: int) -> str:
    """Return the name of the recipe that sees one draw of 100 digits."""
    return f"small-data-{draw}" if draw else "small-data"


def part_of(full: Split, draw: int) -> Split:
    """Return the split whose training part is the 100 examples that the recipe draws with a seed."""
    part = training_set(get_recipe("small-data"), full, seed=draw)
    return replace(
        full, name=f"digits-part-{draw}" if draw else "digits-part", train=(part.X, part.y), train_indices=None
    )


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


def arms(runs: dict[str, list[TrainedRun]], draw: int) -> dict[str, list[ls.Checkpoint]]:
    """Return full data and small data, both measured on the digits of one draw."""
    part = part_of(digits(), draw)
    return {
        "full data": [on_part(run, part) for run in runs["sgd"]],
        "small data": [as_checkpoint(run) for run in runs[small_data(draw)]],
    }


def copies(runs: list[TrainedRun]) -> dict[str, list[ls.Checkpoint]]:
    """Return the networks of one recipe, and the same functions with rescaled layers."""
    train, test = digits().train, digits().test
    arms: dict[str, list[torch.nn.Module]] = {"as trained": [run.network() for run in runs]}
    arms["rescaled"] = [layer_scale(network, train[0], alpha=10.0).model for network in arms["as trained"]]
    return {
        name: [
            ls.Checkpoint(network, loss="cross_entropy", train=train, test=test, name=f"{name}-{seed}")
            for seed, network in enumerate(networks)
        ]
        for name, networks in arms.items()
    }


def matched(pair: dict[str, list[ls.Checkpoint]], scores: list[str], save: Path | None = None) -> Comparison:
    """Compare two recipes as trained, or tempered where their losses differ by more than the gate allows."""
    result = ls.compare(pair, scores=scores, save=save)
    apart = any(gate.gate == "train loss" and not gate.passed for gate in result.gates)
    return ls.compare(pair, scores=scores, match="temper", save=save) if apart else result


def comparisons(runs: dict[str, list[TrainedRun]], out: Path) -> dict[str, tuple[Comparison, Path]]:
    """Return the four comparisons with their studies, from what is stored in ``out`` as far as it is there."""
    scores = [*(definition.slug for definition in select(None)), *BESIDE]
    whole = {name: [as_checkpoint(run) for run in runs[name]] for name in ("sgd", "random-labels", "poisoned")}
    labels = {"true labels": whole["sgd"], "random labels": whole["random-labels"]}
    poison = {"clean data": whole["sgd"], "poisoned data": whole["poisoned"]}
    made: dict[str, tuple[str, Callable[[Path], Comparison]]] = {
        LABELS: ("labels.h5", lambda path: ls.compare(labels, scores=scores, save=path)),
        POISON: (
            "poison.h5",
            lambda path: ls.compare(poison, scores=scores, save=path),
        ),
        SIZES: ("sizes.h5", lambda path: matched(arms(runs, 0), scores, path)),
        COPIES: ("copies.h5", lambda path: ls.compare(copies(runs["sgd"]), scores=scores, save=path)),
    }
    return {
        title: (kept(out / file, "main", partial(make, out / file)), out / file) for title, (file, make) in made.items()
    }


def over_draws(runs: dict[str, list[TrainedRun]], out: Path) -> list[Comparison]:
    """Return small data against full data for every draw of the 100 digits, on the scores that decide."""
    path = out / "draws.h5"
    return [kept(path, f"draw-{draw}", partial(matched, arms(runs, draw), list(PRIMARY))) for draw in range(DRAWS)]


def eight_draws(runs: dict[str, list[TrainedRun]], out: Path) -> tuple[str, str]:
    """Return what all draws say together, and one row a draw: gradient gate, the three effects, the verdict."""
    results, rows = over_draws(runs, out), []
    for draw, result in enumerate(results):
        gradient = next(gate.value for gate in result.gates if gate.gate == "gradient")
        effects = {test.score: f"× {10**test.difference:.2f} ({test.p_holm:.2g})" for test in result.tests}
        how = "as trained" if result.matched == "as trained" else "tempered"
        rows.append(
            (str(draw), how, f"{gradient:.3f}", *(effects[slug] for slug in PRIMARY), result.verdicts[0].verdict)
        )
    header = ("draw", "losses", "gradient", *(f"{slug} (p, Holm)" for slug in PRIMARY), "verdict")
    said = Counter(result.verdicts[0].verdict for result in results)
    counted = ", ".join(f"{count} *{verdict}*" for verdict, count in said.most_common())
    text = (
        f"One draw is one question asked once, so the comparison was repeated for {len(results)} draws, networks of small "
        f"data trained anew on each: {counted}."
    )
    return text, format_table(header, rows, "markdown")


def by_margin(pair: dict[str, list[ls.Checkpoint]]) -> str:
    """Show over which examples loss, rise and errors are spread: what makes scores of the same networks disagree."""
    cells = {name: np.mean([spread_over_examples(c.objective()) for c in arm], axis=0) for name, arm in pair.items()}
    rows = [(label, *(f"{cells[name][i]:.3g}" for name in pair)) for i, label in enumerate(OVER_EXAMPLES)]
    return (
        "Average case and error disagree because the loss is spread differently over the digits. At equal mean, networks of "
        "full data owe it to a few hard digits, whose margins are small and which are the first to be decided wrongly; "
        "networks of small data have brought all digits equally far, with wider margins, so that their error rises later, "
        "while the loss of a typical digit rises faster (draw 0, mean over seeds):\n\n"
        f"{format_table(('', *pair), rows, 'markdown')}"
    )


def spread_over_examples(objective: ls.Objective) -> np.ndarray:
    """Return the numbers named in `OVER_EXAMPLES`, with the noise of the adaptive average case."""
    objective, _ = gauge_fixed(objective)
    unit, theta, target = logit_normalized(objective), objective.theta, objective.targets
    loss = objective.per_example().double().sort(descending=True).values
    margin = class_margins(normalize_logits(objective.outputs().double()), target)
    hard, easy = margin <= margin.quantile(0.1), margin >= margin.median()
    found = [float(loss[:10].sum() / loss.sum()), float(margin.quantile(0.1))]
    for radius in (0.1, 0.4):
        steps = [
            sign * radius * theta.abs() * z.to(theta) for z in draws(objective.size, 20, seed=0) for sign in (1, -1)
        ]
        rise = torch.stack([unit.per_example(theta + step) for step in steps]).mean(0) - unit.per_example()
        wrong = torch.stack([objective.outputs(theta + step).argmax(1) != target for step in steps]).double().mean(0)
        found += [float(x.mean()) for x in (rise[hard], rise[easy], wrong)]
    return np.array(found)


def section(title: str, result: Comparison, path: Path, remarks: Sequence[str]) -> str:
    """Return one comparison with its evidence: verdict, remarks, gates, tests, audit, placebo."""
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
            *remarks,
            f"Audit: {result.audit}.",
            metrics(result),
            gates(result),
            tests(result, agreement(result.tests, verdict.verdict, margin=margin)),
            "Called different, of 2,000 comparisons of 8 seeds with 8 resampled from one recipe, when all scores of the second "
            "arm are multiplied by the factor, ± standard error for another choice of seeds (at × 1.00 the arms are exchangeable "
            "by construction; the nominal rate is 5 %):",
            power(result, controls),
        ]
    )


def metrics(result: Comparison) -> str:
    """Return losses and accuracies: mean ± standard deviation over seeds."""
    rows = [(name, *map(spread, values)) for name, values in result.metrics.items()]
    return format_table(("", *result.long_names), rows, "markdown")


def gates(result: Comparison) -> str:
    """Return what had to hold before the scores were compared."""
    rows = [
        (
            g.gate,
            f"{g.value:.4g}",
            f"{g.limit:.4g}",
            next((word for word in (WAIVED, REPORTED) if g.note.startswith(word)), "passed" if g.passed else "failed"),
        )
        for g in result.gates
    ]
    return format_table(("gate", "measured", "limit", ""), rows, "markdown")


def tests(result: Comparison, families: dict[str, str]) -> str:
    """Return one row per score: ratio or difference, interval, p values, and what its family says of the verdict."""
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
        moved = f"× {ratio:.3g}" if test.scale == "log10" else f"{ratio:+.3g}"
        effect = (moved, f"{low:.3g} to {high:.3g}")
        rows.append((test.score, known.family, *effect, p_value, corrected, f"{test.superiority:.2f}", role))
    header = ("score", "family", "effect", "95 % interval", "p", "p (Holm)", "P(sharper)", "role or family")
    return format_table(header, rows, "markdown")


def power(result: Comparison, controls: list[Placebo]) -> str:
    """Return the placebo rate and the power curve of the decision rule, by recipe."""
    names = dict(zip(result.recipes, result.long_names, strict=True))
    header = ("seeds of", *(f"× {10**shift:.2f}" for shift in controls[0].shifts))
    return format_table(
        header,
        [(names[c.recipe], *map("{:.1%} ± {:.1%}".format, c.called, c.called_error)) for c in controls],
        "markdown",
    )


def main() -> None:
    """Train what is missing, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("study/verdicts"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    runs = trained(arguments.out / "checkpoints", arguments.seeds, arguments.workers)
    found = comparisons(runs, arguments.out)
    remarks = {
        SIZES: [*eight_draws(runs, arguments.out), by_margin(arms(runs, 0))],
    }
    head = (
        "# Four verdicts with their evidence\n\n`python benchmarks/verdicts.py`: digits, MLP 64-256-256-10, "
        f"{arguments.seeds} seeds per recipe, trained to cross-entropy 0.01. Effects are those of the second recipe over the "
        "first. Runs of one seed are pairs."
    )
    sections = [section(title, *made, remarks.get(title, [])) for title, made in found.items()]
    RESULTS.write_text("\n\n".join([head, *sections]) + "\n")


if __name__ == "__main__":
    main()
