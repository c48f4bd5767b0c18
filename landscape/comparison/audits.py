"""The invariance audit of the scores a verdict rests on, on one checkpoint of every recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from landscape.function.objective import Objective
from landscape.results import Audit, AuditRow
from landscape.results.comparison import Audited
from landscape.scores import audit

TOLERANCE = 0.01
"""How far S(T(w))/S(w) may lie from 1 before a score is descriptive only."""
AUDIT = "audit/"
"""In the row of a run, what the names of the columns of `Audited` begin with."""


def audit_columns(recipe: str, objective: Objective, scores: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Audit one network and return the columns of `Audited` under `AUDIT`, to be kept with its row of a study."""
    rows = worst_over_radii(recipe, audit(objective, list(scores), seed)) if scores else []
    return {AUDIT + field.name: np.array([getattr(row, field.name) for row in rows]) for field in fields(Audited)}


def audited_in(row: Mapping[str, Any]) -> list[Audited]:
    """Return what `audit_columns` has put into the row of a run; nothing where it was not audited."""
    columns = [row.get(AUDIT + field.name, np.zeros(0)).tolist() for field in fields(Audited)]
    return [Audited(*values) for values in zip(*columns, strict=True)]


def failed(rows: Sequence[Audited]) -> set[str]:
    """Return the scores that some transformation moved by more than 1 %.

    Every weight meets the draw it met before the transformation, so that no Monte-Carlo error excuses a ratio.

    >>> failed([Audited("sgd", "trace", "T1", 1.2, "within error"), Audited("sgd", "keskar", "T3", 1.005, "not invariant")])
    {'trace'}
    """
    moved = ("within error", "not invariant")
    return {row.score for row in rows if row.verdict in moved and abs(row.ratio - 1) > TOLERANCE}


def in_words(rows: Sequence[Audited]) -> str:
    """Say what the audit found.

    >>> in_words([Audited("sgd", "trace", "T1", 4.0, "not invariant"), Audited("sgd", "margin", "T1", 1.0, "invariant")])
    'margin survives T1; trace is descriptive only (T1 moves it by × 4)'
    """
    if not rows:
        return "not run"
    broken, parts = failed(rows), []
    for score in dict.fromkeys(row.score for row in rows):
        mine = [row for row in rows if row.score == score and row.verdict != "not applicable"]
        worst = max(mine, key=lambda row: abs(row.ratio - 1), default=None)
        if worst is None:
            parts.append(f"no transformation applies to {score}")
        elif score in broken:
            parts.append(f"{score} is descriptive only ({worst.transformation} moves it by × {worst.ratio:.3g})")
        else:
            parts.append(f"{score} survives {', '.join(dict.fromkeys(row.transformation for row in mine))}")
    return "; ".join(sorted(parts))


def worst_over_radii(recipe: str, found: Audit) -> list[Audited]:
    """Say how each score took each transformation of a network, at the radius where it took it worst."""
    order = ("not applicable", "invariant", "within error", "not invariant")
    radii: dict[tuple[str, str], list[AuditRow]] = {}
    for row in found.rows:
        radii.setdefault((row.score, row.transformation), []).append(row)
    worst = {key: max(rows, key=lambda r: (order.index(r.verdict), abs(r.ratio - 1))) for key, rows in radii.items()}
    return [Audited(recipe, *key, row.ratio, row.verdict) for key, row in worst.items()]
