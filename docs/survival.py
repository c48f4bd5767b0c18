"""What each transformation does to the deciding scores, measured on five kinds of network; used by ``docs/make_tables.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.results import Audit
from landscape.scores.register import TRANSFORMATIONS, primary
from landscape.tables import format_table

MOVED = 0.01
"""Relative change from which a score counts as moved, as in a verdict."""


def fine_tuned() -> nn.Module:
    """Return an MLP of which only the last layer is trained."""
    model = ls.models.mlp((64, 16, 10))
    model.linear1.requires_grad_(False)
    return model


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP": partial(ls.models.mlp, (64, 16, 10)),
    "CNN without norm layers": partial(ls.models.small_cnn, channels=(3, 4), norm="none"),
    "ResNet-8 with batch norm": partial(ls.models.resnet, 8, width=2, in_channels=1),
    "patch transformer, pre-norm": partial(ls.models.transformer, patch=4, width=8, heads=2, layers=1),
    "fine-tuned head on a frozen body": fine_tuned,
}
FLAT = (NETWORKS["MLP"], fine_tuned)
"""Those that read images as vectors."""


def trained(make: Callable[[], nn.Module], *, examples: int = 128, steps: int = 150) -> ls.Objective:
    """Train a small network on digits in float64, by Adam on all examples, and return its loss."""
    model = make().double().train()
    images, labels = ls.datasets.digits(flatten=make in FLAT).train
    X, y = images[:examples].double(), labels[:examples]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), y).backward()
        optimizer.step()
    return ls.Objective(model.eval(), (X, y), "cross_entropy")


def audits(names: Iterable[str] = tuple(NETWORKS)) -> dict[str, Audit]:
    """Return the audit of the deciding scores of every network."""
    return {name: ls.audit(trained(NETWORKS[name]), list(primary()), examples=64) for name in names}


def largest(report: Audit, transformation: str, score: str | None = None) -> float | None:
    """Return the largest |S(T(w)) / S(w) − 1| over radii, and over scores unless one is named; `None`: not applicable."""
    rows = [row for row in report.rows if row.transformation == transformation and score in (None, row.score)]
    changes = [abs(row.ratio - 1) for row in rows if row.verdict != "not applicable"]
    return max(changes, default=None)


def cell(change: float | None) -> str:
    """Return a change in words: rounding, a percentage, or a dash where the transformation has no place."""
    if change is None:
        return "—"
    if change < 1e-6:
        return "="
    return f"{100 * change:.1g} %" if change < MOVED else f"**{100 * change:.2g} %**"


def table(reports: dict[str, Audit]) -> str:
    """Return one row per network: the largest change of any deciding score."""
    rows = [(name, *(cell(largest(report, t)) for t in TRANSFORMATIONS)) for name, report in reports.items()]
    return format_table(("largest change of a deciding score", *TRANSFORMATIONS), rows, "markdown")


def page(reports: dict[str, Audit]) -> str:
    """Return the page: the same by score."""
    rows = [
        (name, score, *(cell(largest(report, t, score)) for t in TRANSFORMATIONS))
        for name, report in reports.items()
        for score in primary()
    ]
    names = "; ".join(f"{name} {words}" for name, words in TRANSFORMATIONS.items())
    return (
        "# What the deciding scores survive\n\nThe largest |S(T(w)) / S(w) − 1| over radii, measured on five kinds of small "
        "network, trained for 150 steps on 128 digits, in float64 on 64 examples with the same draws before and after. = is "
        f"below 1e-6, bold 1 % and more, — a transformation that has no place in the network. {names}.\n\n"
        f"{format_table(('network', 'score', *TRANSFORMATIONS), rows, 'markdown')}\n"
    )
