"""Compare trained checkpoints: score every one, check that they may be compared, test, and say what follows."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked
from landscape.bars import bar
from landscape.comparison.audits import audit_recipes
from landscape.comparison.decide import PRIMARY
from landscape.comparison.gates import Facts, facts, gates_named
from landscape.comparison.judge import judge
from landscape.comparison.matching import (
    Match,
    Matched,
    between_checkpoints,
    blend_facts,
    blend_scores,
    blended,
    tempered,
)
from landscape.comparison.panels import Panels
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results import Comparison, Scores
from landscape.results.comparison import Audited

One = Checkpoint | Objective
Arm = Sequence[One | Sequence[One]] | One
Members = dict[str, list[list[One]]]
"""Recipe → runs, one a seed → the checkpoints saved of the run, one unless it is interpolated."""


@numbers_checked
def compare(
    recipes: Mapping[str, Arm],
    *,
    scores: Sequence[str] | str | None = None,
    seed: int = 0,
    level: float = 0.05,
    margin: float = 0.05,
    loss_tolerance: float = 0.1,
    fewest: int = 6,
    waive: str | Sequence[str] = (),
    match: Match | None = None,
    audit: bool = True,
    save: str | Path | None = None,
) -> Comparison:
    """Compare recipes over seeds: scores, gates, exact tests, and a verdict for every pair with the first recipe.

    Every checkpoint is scored on its training data with `sharpness`, the same random draws for all. The seeds are the
    units of the tests: differences of mean log10 score, exact two-sided permutation p, Holm over the primary scores.

    Args:
        recipes: name → checkpoints (or objectives), one a seed; the first is the reference. With ``match="interpolate"``
            each seed is a list of the checkpoints saved of its run, in the order of training.
        scores: as in `sharpness`; the primary ones are needed for a verdict.
        seed: seed of the scores' random draws.
        level: level of the tests.
        margin: half-width of equivalence in log10 S, declared beforehand; 0.05 is a factor 1.12.
        loss_tolerance: how far apart mean training losses may be, relative to the smaller.
        fewest: seeds a recipe below which significance is not defined.
        waive: gates you take responsibility for (recorded): ``network``, ``inputs``, ``seeds``, ``train accuracy``,
            ``train loss``, ``gradient``, ``collapse``.
        match: what to do when training losses differ. `None`: nothing, a gate refuses; ``temper``: multiply the last
            layer of every network by the factor that brings it to the largest loss among all; ``interpolate``: score the
            checkpoints before and after the smallest loss that all runs passed, and interpolate. The verdict says so.
        audit: put the first checkpoint of every recipe through the transformations that keep its function; a primary
            score that moves by more than 1 % is descriptive only, and the verdict says so.
        save: a study file. Each checkpoint's scores are kept beside it as they finish, and found again when the same call
            is repeated after an interruption; at the end all are stored, as ``RECIPE-INDEX/scores``. Scores that you saved
            under such a name are kept, and those of the comparison stand beside them as ``RECIPE-INDEX/scores-compared``.

    Returns:
        A `Comparison`: ``.table()``, ``.verdict``, ``.plot()``, ``.save("study.h5", "main")``.

    Raises:
        LandscapeError: fewer than two recipes, an empty one, names that are the same as slugs, an unknown ``match``, or
            losses that cannot be matched in that way; an unknown gate to waive.

    Source: the protocol combines Jiang et al. 2020 (arXiv 1912.02178), Dziugaite et al. 2020 (arXiv 2010.11924) and
    Andriushchenko et al. 2023 (arXiv 2302.07011); it claims geometry only.

    >>> import torch, landscape as ls
    >>> X, y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    >>> nets = [ls.models.mlp((4, 8, 3), seed=s) for s in range(4)]
    >>> ckpts = [ls.Checkpoint(net, loss="cross_entropy", train=(X, y)) for net in nets]
    >>> with ls.progress(False):
    ...     result = ls.compare({"first": ckpts[:2], "second": ckpts[2:]}, scores=["weight-norm"])
    >>> result.verdicts[0].verdict  # untrained networks are at no critical point, and nowhere near a common loss
    'not comparable'
    """
    started = time.perf_counter()
    waive = gates_named(waive)
    if not (0 < level < 1 and margin >= 0 and loss_tolerance >= 0 and fewest >= 2):
        raise LandscapeError(
            f"level={level}, margin={margin}, loss_tolerance={loss_tolerance}, fewest={fewest}: expected a level between 0 and "
            "1, no negative margin or tolerance, and at least 2 seeds"
        )
    if save is not None and not isinstance(save, str | Path):
        raise LandscapeError(
            f"save is {save!r}, expected the path of a study file; name the result with result.save(path, name)"
        )
    members = _members(recipes)
    arms, matched = _matched(members, match)
    results: dict[str, list[Scores]] = {}
    measured: dict[str, list[Facts]] = {}
    metrics: dict[str, list[dict[str, float]]] = {}
    owned = {owner: at for slug, arm in arms.items() for i, one in enumerate(arm) for owner, at in _owned(slug, i, one)}
    total = sum(map(len, arms.values()))
    with (
        Panels(owned, scores, seed, save) as panels,
        bar(total=total, desc="checkpoints", unit="checkpoint") as progress,
    ):
        for slug, arm in arms.items():
            results[slug], measured[slug], metrics[slug] = [], [], []
            for index, one in enumerate(arm):
                found = [panels[owner] for owner, _ in _owned(slug, index, one)]
                results[slug].append(blend_scores(found, one.share))
                measured[slug].append(blend_facts([facts(objective) for objective in one.at], one.share))
                metrics[slug].append(_metrics(members[slug][index], one, match))
                progress.update()
    audited: list[Audited] = []
    scored = [panel for arm in results.values() for panel in arm]
    primary = [
        name for name in PRIMARY if all(name in p and all(row.status == "ok" for row in p.all(name)) for p in scored)
    ]
    if audit and primary:
        audited = audit_recipes({slug: arm[0].at[-1] for slug, arm in arms.items()}, primary, seed)
    return _assemble(
        dict(zip(arms, recipes, strict=True)), results, measured, metrics,
        options={"level": level, "margin": margin, "fewest": fewest, "loss_tolerance": loss_tolerance, "waive": waive},
        audited=audited, matched=matched, seed=seed, started=started,
    )  # fmt: skip


def _members(recipes: Mapping[str, Arm]) -> Members:
    if not isinstance(recipes, Mapping):
        raise LandscapeError(
            f"recipes are {type(recipes).__name__}, expected a mapping {{'sgd': [checkpoint, …], 'other': […]}}"
        )
    if len(recipes) < 2:
        raise LandscapeError(
            f"{len(recipes)} recipe to compare, expected at least two: compare({{'sgd': […], 'other': […]}})"
        )
    arms: Members = {}
    for name, arm in recipes.items():
        runs = [
            [run] if isinstance(run, One) or not isinstance(run, Sequence) else list(run)
            for run in ([arm] if isinstance(arm, One) else list(arm))
        ]
        if not runs or not all(runs):
            raise LandscapeError(f"the recipe {name!r} has no checkpoints; pass at least one, better eight")
        wrong = next((one for run in runs for one in run if not isinstance(one, One)), None)
        if wrong is not None:
            raise LandscapeError(
                f"the recipe {name!r} holds a {type(wrong).__name__}, expected checkpoints or objectives"
            )
        if slugify(name) in arms:
            raise LandscapeError(f"the recipe {name!r} has the same slug {slugify(name)!r} as another; rename one")
        arms[slugify(name)] = runs
    return arms


def _matched(members: Members, match: Match | None) -> tuple[dict[str, list[Matched]], str]:
    """Return what stands for every seed at the common loss, and how it was brought there."""
    objectives = {slug: [[_train(one) for one in run] for run in runs] for slug, runs in members.items()}
    if match is None:
        several = next((slug for slug, runs in members.items() if any(len(run) > 1 for run in runs)), None)
        if several is not None:
            raise LandscapeError(
                f"the recipe {several!r} holds runs of several checkpoints: pass match='interpolate', or one checkpoint a seed"
            )
        return {slug: [Matched((run[0],)) for run in runs] for slug, runs in objectives.items()}, ""
    if match == "temper":
        return tempered(objectives)
    if match == "interpolate":
        return between_checkpoints(objectives)
    raise LandscapeError(f"match={match!r}, expected 'temper', 'interpolate' or None")


def _train(member: Checkpoint | Objective) -> Objective:
    return member.objective("train") if isinstance(member, Checkpoint) else member


def slugify(name: str) -> str:
    """Return a name fit for a study file: lower case, words joined by hyphens.

    >>> slugify("Random labels (p = 1)")
    'random-labels-p-1'
    """
    slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")
    if not slug:
        raise LandscapeError(f"the name {name!r} has no letters or digits; expected a name such as 'random labels'")
    return slug


def _owned(slug: str, index: int, one: Matched) -> list[tuple[str, Objective]]:
    """Return what is scored of a seed, by name: two checkpoints where its losses were interpolated."""
    ends = [""] if len(one.at) == 1 else ["-before", "-after"]
    return [(f"{slug}-{index}{end}", objective) for end, objective in zip(ends, one.at, strict=True)]


def _metrics(run: Sequence[One], one: Matched, match: Match | None) -> dict[str, float]:
    """Return losses and accuracies at the common loss, with the loss before and the factor of a tempered network."""

    def measure(objective: Objective, which: int) -> dict[str, float]:
        out = {f"train/{key}": value for key, value in objective.evaluate().items()}
        member = run[which]
        if isinstance(member, Checkpoint) and member.has_test:
            there = member.objective("test").at(objective.theta)
            out |= {f"test/{key}": value for key, value in there.evaluate().items()}
        return out

    found = blended(measure, one)
    if match == "temper":
        found |= {"train/loss as trained": _train(run[0]).loss(), "temperature": one.temperature}
    return found


def _assemble(
    names: dict[str, str],
    results: dict[str, list[Scores]],
    measured: dict[str, list[Facts]],
    metrics: dict[str, list[dict[str, float]]],
    *,
    options: dict[str, Any],
    audited: list[Audited],
    matched: str,
    seed: int,
    started: float,
) -> Comparison:
    slugs = list(names)
    scores, radii = _axes([s for arm in results.values() for s in arm])
    seeds = max(map(len, results.values()))
    values = np.full((len(slugs), seeds, len(scores), radii.shape[1]), np.nan)
    errors = np.full_like(values, np.nan)
    for i, slug in enumerate(slugs):
        for j, panel in enumerate(results[slug]):
            for row in panel.rows:
                k = scores.index(row.name)
                r = 0 if row.radius is None else int(np.flatnonzero(radii[k] == row.radius)[0])
                values[i, j, k, r] = row.value
                errors[i, j, k, r] = np.nan if row.standard_error is None else row.standard_error
    keys = list(dict.fromkeys(key for arm in metrics.values() for one in arm for key in one))
    table = {key: np.full((len(slugs), seeds), np.nan) for key in keys}
    for i, slug in enumerate(slugs):
        for j, one in enumerate(metrics[slug]):
            for key, value in one.items():
                table[key][i, j] = value
    first = dict(results[slugs[0]][0].provenance)
    shared = {
        key: first[key] for key in ("package", "torch", "python", "device", "dtype", "model", "parameters", "loss")
    }
    judged = judge(
        names,
        scores,
        radii,
        values,
        errors,
        list(measured.values()),
        table,
        audited=audited,
        matched=matched,
        **options,
    )
    return judged.replace(provenance={**shared, "score_seed": seed, **options}, seconds=time.perf_counter() - started)


def _axes(panels: Sequence[Scores]) -> tuple[list[str], np.ndarray]:
    """Return the slugs in their first order and the (score, radius) grid, padded with NaN."""
    grid: dict[str, list[float]] = {}
    for panel in panels:
        for row in panel.rows:
            known = grid.setdefault(row.name, [])
            if row.radius is not None and row.radius not in known:
                known.append(row.radius)
    widest = max([1, *(len(r) for r in grid.values())])
    radii = np.full((len(grid), widest), np.nan)
    for i, values in enumerate(grid.values()):
        radii[i, : len(values)] = values
    return list(grid), radii
