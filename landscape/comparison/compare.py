"""Compare trained checkpoints: score every one, check that they may be compared, test, and say what follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked
from landscape.bars import bar
from landscape.comparison.audits import audit_recipes
from landscape.comparison.gates import facts, gates_named
from landscape.comparison.judge import fact_row, judge
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
from landscape.results import Comparison, Scores, Trials
from landscape.results.scores import radii_in, score_columns
from landscape.scores.register import primary
from landscape.store.names import slugify

One = Checkpoint | Objective
Arm = Sequence[One | Sequence[One]] | One
Members = dict[str, list[list[One]]]
"""Recipe → runs, one per seed → the checkpoints saved of the run, one unless it is interpolated."""


@numbers_checked
def compare(
    recipes: Mapping[str, Arm] | Trials,
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
    by: str = "recipe",
) -> Comparison:
    """Compare recipes over seeds: scores, gates, exact tests, and a verdict for every pair with the first recipe.

    Every checkpoint is scored on its training data with `sharpness`, the same random draws for all. The seeds are the
    units of the tests: differences of mean log10 score, exact two-sided permutation p, Holm over the primary scores.

    Args:
        recipes: name → checkpoints (or objectives), one per seed; the first is the reference. With ``match="interpolate"``
            each seed is a list of the checkpoints saved of its run, in the order of training. Or trials that were measured
            before, with the factors `by` and ``seed``: nothing is measured again.
        scores: as in `sharpness`; the primary ones are needed for a verdict.
        seed: seed of the scores' random draws.
        level: level of the tests.
        margin: half-width of equivalence in log10 S, declared beforehand; 0.05 is a factor 1.12.
        loss_tolerance: how far apart mean training losses may be, relative to the smaller.
        fewest: seeds per recipe below which significance is not defined.
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
        by: the factor of trials that is compared, its first level the reference.

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
    options: dict[str, Any] = {
        "level": level, "margin": margin, "fewest": fewest, "loss_tolerance": loss_tolerance, "waive": waive,
    }  # fmt: skip
    if isinstance(recipes, Trials):
        wanted = [scores] if isinstance(scores, str) else scores
        return _with_origin(judge(recipes, by=by, scores=wanted, **options), recipes.provenance, seed, options, started)
    members = _members(recipes)
    arms, matched = _matched(members, match)
    scored: list[Scores] = []
    rows: list[dict[str, Any]] = []
    owned = {owner: at for slug, arm in arms.items() for i, one in enumerate(arm) for owner, at in _owned(slug, i, one)}
    total = sum(map(len, arms.values()))
    with (
        Panels(owned, scores, seed, save) as panels,
        bar(total=total, desc="checkpoints", unit="checkpoint") as progress,
    ):
        for slug, arm in arms.items():
            for index, one in enumerate(arm):
                found = [panels[owner] for owner, _ in _owned(slug, index, one)]
                scored.append(blend_scores(found, one.share))
                known = blend_facts([facts(objective) for objective in one.at], one.share)
                measured = _metrics(members[slug][index], one, match)
                rows.append({"recipe": slug, "seed": index, **measured, **fact_row(known)})
                progress.update()
    radii = radii_in(scored)
    for row, panel in zip(rows, scored, strict=True):
        for name in panel.names:
            row |= score_columns(name, panel.all(name), radii[name])
    deciding = [
        name for name in primary() if all(name in p and all(row.status == "ok" for row in p.all(name)) for p in scored)
    ]
    audited = audit and deciding
    trials = Trials.of(
        rows,
        factors=("recipe", "seed"),
        coordinates={name: np.array(grid) for name, grid in radii.items() if grid},
        words=dict(zip(arms, recipes, strict=True)),
        audited=tuple(audit_recipes({slug: arm[0].at[-1] for slug, arm in arms.items()}, deciding, seed))
        if audited
        else (),
    )
    judged = _with_notes(judge(trials, scores=list(radii), matched=matched, **options), scored)
    return _with_origin(judged, scored[0].provenance, seed, options, started)


def _with_notes(found: Comparison, scored: Sequence[Scores]) -> Comparison:
    """Return a comparison whose verdicts say what could not be taken out of the networks before a deciding score."""
    notes = (row.note for panel in scored for row in panel.rows if row.name in primary() and "left in" in row.note)
    words = "".join(f" In the deciding scores, {note}." for note in dict.fromkeys(notes))
    return found.replace(verdicts=tuple(replace(one, text=one.text + words) for one in found.verdicts))


def _with_origin(
    found: Comparison, origin: Mapping[str, Any], seed: int, options: Mapping[str, Any], started: float
) -> Comparison:
    """Return a comparison with where its numbers come from: what its runs share, and the options of the rules."""
    shared = ("package", "torch", "python", "device", "dtype", "model", "parameters", "loss")
    known = {key: origin[key] for key in shared if key in origin}
    return found.replace(provenance={**known, "score_seed": seed, **options}, seconds=time.perf_counter() - started)


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
