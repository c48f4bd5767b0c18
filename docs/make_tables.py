"""Write the published tables of scores into ``docs/tables``: the register, invariance, survival, temperature.

What the deciding scores survive is also written into the README and the page on invariance, between two marks. Run ``python
docs/make_tables.py``, or with ``scores`` for the register alone; two networks are trained on the digits for the last
section, which takes a minute. A test compares what is committed with what this makes.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scores"))

import survival
from invariance_table import LOGARITHMS, TABLE, TEMPERATURE, load

import landscape as ls
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.scores import REGISTRY, describe
from landscape.scores.network import in_double
from landscape.scores.register import TRANSFORMATIONS
from landscape.tables import format_table

TABLES = Path(__file__).parent / "tables"
PRINTED = (TABLES.parents[1] / "README.md", TABLES.parent / "concepts" / "sharpness-and-invariance.md")
TOLERANCE = 1e-6
DIGITS = "## Digits at cross-entropy 0.01"
ON_DIGITS = (
    "lambda-max",
    "trace",
    "adaptive-trace",
    "adaptive-lambda-max",
    "fisher-rao",
    "relative-flatness",
    "adaptive-worst-symmetric",
    "adaptive-average",
    "inverse-sigma-mag",
)


def scores() -> str:
    """Return the register of scores."""
    names = "; ".join(f"{name} {words}" for name, words in TRANSFORMATIONS.items())
    return (
        f"# Scores\n\nThe {len(REGISTRY)} scores of the register, the primary ones first. Cost is in gradients over the data "
        "at the default settings (a forward pass counts ⅓, a product with the Hessian 2); scores that come with another "
        "one's work count 0. Random: the value depends on seeded draws and has a standard error. Compared by: the ratio of "
        "two values, or the difference of scores that are logarithms or entropies. Invariances are those "
        f"declared, which a test confirms by transforming a network: {names}.\n\n{describe('markdown')}\n"
    )


def invariance() -> str:
    """Return S(T(w)) / S(w) of the shipped network by score and transformation."""
    objective, moved = load("learning")
    names = ("T1", "T2", "T5", "T4")
    rows = []
    for label, (value, _) in TABLE.items():
        before, after = value(objective), [value(moved[name]) for name in names]
        if label in LOGARITHMS:
            cells, moves = [difference_cell(x - before) for x in after], [abs(x - before) for x in after]
        else:
            cells, moves = [ratio_cell(x / before) for x in after], [abs(x / before - 1) for x in after]
        broken = [name for name, change in zip(names, moves, strict=True) if change >= TOLERANCE]
        rows.append((label, *cells, f"moved by {', '.join(sorted(broken))}" if broken else "invariant"))
    header = ("score", "T1 a = 5", "T2 node", "T5 shift", "T4 permutation", "verdict")
    return (
        "# Invariance\n\nS(T(w)) / S(w) for transformations that leave every predicted probability unchanged to 1e-10. ReLU "
        f"MLP 6-5-4-3 with biases (74 parameters), {objective.n} examples, cross-entropy {objective.loss():.3g}, float64; the "
        "same random draws before and after, permuted where units were permuted. A 1 without decimals is equality to 1e-6. "
        "Numbers with a sign are differences S(T(w)) − S(w): an entropy is a logarithm, whose ratio means nothing.\n\n"
        f"{format_table(header, rows, 'markdown')}\n"
    )


def ratio_cell(ratio: float) -> str:
    """Return a ratio, as a bare 1 when nothing moved."""
    return "1" if abs(ratio - 1) < TOLERANCE else f"{ratio:#.3g}"


def difference_cell(difference: float) -> str:
    """Return a difference with its sign, as a bare 0 when nothing moved."""
    return "0" if abs(difference) < TOLERANCE else f"{difference:+#.3g}".replace("-", "−")


def temperature() -> str:
    """Return S(tf) / S(f) of the shipped networks, at two cross-entropies."""
    nets = [load(which) for which in ("interpolating", "learning")]
    rows = []
    for label, (value, *_) in TEMPERATURE.items():
        cells = []
        for objective, moved in nets:
            before = value(objective)
            cells += [ratio_cell(value(moved[t]) / before) for t in ("t=2", "t=4")]
        rows.append((label, *cells))
    header = ["score"]
    for objective, _ in nets:
        header += [f"CE {objective.loss():.2g}, t = {t}" for t in (2, 4)]
    sure, moved = nets[0]
    fall = doubt(sure) / doubt(moved["t=2"])
    accuracies = ", ".join(f"{objective.evaluate()['accuracy']:.0%}" for objective, _ in nets)
    return (
        "# Temperature\n\nS(tf) / S(f): the last layer times t keeps every decision and changes every confidence. Once a "
        "network fits its data, softer or harder logits move nearly every score by orders of magnitude, the more the smaller "
        "its cross-entropy (CE); before that they move it the other way. So a ratio means nothing without its cross-entropy. "
        f"Shipped networks 6-5-4-3, training accuracies {accuracies}.\n\n"
        f"How much is a matter of the margins: the sum of 1 − p over the examples falls by {fall:.0f} when the logits of the "
        "network that fits are doubled, and squared gradients of the layers before the last rise fourfold, so that λmax is "
        f"expected to fall by about {fall / 4:.0f} to {fall:.0f}, the less the more of its eigenvector lies before the "
        "last layer.\n\n"
        f"{format_table(tuple(header), rows, 'markdown')}\n"
    )


def doubt(objective: ls.Objective) -> float:
    """Return the sum of 1 − p, the probability of the wrong classes, over the examples."""
    return float((1 - (-objective.per_example().double()).exp()).sum())


def digits() -> str:
    """Return the same for two networks trained on the digits to cross-entropy 0.01, on true and on random labels."""
    split, columns, header = ls.datasets.digits(), [], ["score"]
    for name, label in (("sgd", "true labels"), ("random-labels", "random labels")):
        run = train(get_recipe(name), split, partial(ls.models.mlp, sizes=(64, 256, 256, 10)))
        objective = in_double(as_checkpoint(run).objective())
        before = ls.sharpness(objective, list(ON_DIGITS))
        for t in (2, 4):
            moved = ls.transforms.temperature(objective.model, objective.batches[0].inputs, t=float(t))
            after = ls.sharpness(objective.at(moved.model.state_dict()), list(ON_DIGITS))
            columns.append([f"{after[slug].value / before[slug].value:#.3g}" for slug in ON_DIGITS])
            header.append(f"{label}, t = {t}")
    rows = [(slug, *(column[i] for column in columns)) for i, slug in enumerate(ON_DIGITS)]
    return (
        f"{DIGITS}\n\nMLP 64-256-256-10 on 1,000 digits, trained by SGD to cross-entropy 0.01 and accuracy 1, seed "
        f"0, measured in float64.\n\n{format_table(tuple(header), rows, 'markdown')}\n"
    )


def survived() -> str:
    """Return the page of what the deciding scores survive, and write its short form where it is printed besides."""
    reports = survival.audits()
    short = survival.table(reports)
    for place in PRINTED:
        text = place.read_text()
        place.write_text(
            re.sub(r"(<!-- survival -->\n).*?(\n<!-- end -->)", rf"\1\n{short}\n\2", text, flags=re.DOTALL)
        )
    return survival.page(reports)


def main(*wanted: str) -> None:
    """Write the tables that are named, or all."""
    TABLES.mkdir(exist_ok=True)
    pages = {
        "scores": scores,
        "invariance": invariance,
        "survival": survived,
        "temperature": lambda: f"{temperature()}\n{digits()}",
    }
    for name in wanted or pages:
        (TABLES / f"{name}.md").write_text(pages[name]())


if __name__ == "__main__":
    main(*sys.argv[1:])
