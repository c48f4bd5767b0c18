"""Compare trained checkpoints: score every one, check that they may be compared, test, and say what follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from landscape.arguments import checked
from landscape.bars import bar
from landscape.comparison.audits import worst_over_radii
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
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.hashing import fingerprint
from landscape.results import Comparison, Scores, Trials
from landscape.results.scores import radii_in, score_columns
from landscape.scores import REGISTRY
from landscape.scores.panel import Radii
from landscape.scores.register import deciding, primary, select
from landscape.scores.requirements import require
from landscape.store.names import slugify
from landscape.workers import Workers

One = Checkpoint | Objective
Arm = Sequence[One | Sequence[One]] | One
Members = dict[str, list[list[One]]]
"""Recipe → runs, one per seed → the checkpoints saved of the run, one unless it is interpolated."""


@checked
def compare(
    recipes: Mapping[str, Arm] | Trials,
    *,
    scores: Sequence[str] | str | None = None,
    radii: Radii = None,
    seed: int = 0,
    level: float = 0.05,
    margin: float = 0.05,
    loss_tolerance: float = 0.1,
    fewest: int = 6,
    waive: str | Sequence[str] = (),
    match: Match | None = None,
    audit: bool = True,
    paired: bool | Literal["auto"] = "auto",
    save: str | Path | None = None,
    by: str = "recipe",
    workers: Workers = 1,
) -> Comparison:
    """Compare recipes over seeds: gates, scores, exact tests, and a verdict for every pair of recipes.

    The gates come first: where no two recipes may be compared, nothing is scored. Every checkpoint is then scored on its
    training data with `sharpness`; random draws differ by seed, so that the intervals contain their error. The seeds are the
    units of the tests: differences of mean log10 score, exact two-sided p, Holm over the scores that decide. Runs that started
    from the same weights are tested as pairs.

    Args:
        recipes: name → checkpoints (or objectives), one per seed; the first is the reference. With ``match="interpolate"``
            each seed is a list of the checkpoints saved of its run, in the order of training. Or trials that were measured
            before, with the factors `by` and ``seed``: nothing is measured again.
        scores: as in `sharpness`; the primary ones are needed for a verdict. By default, where those are not defined, the
            scores that stand in for them are measured as well.
        radii: as in `sharpness`.
        seed: of the scores' random draws for the first seed of every recipe, one more for each further seed.
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
        paired: whether the runs of two recipes belong together, first with first. ``auto``: those that started from the same
            weights do, where ``init`` of all checkpoints is known. Pairs are tested by flipping signs, and seven are needed.
        save: a study file. Each checkpoint's scores are kept beside it as they finish, and found again when the same call
            is repeated after an interruption; at the end all are stored, as ``RECIPE-INDEX/scores``. Scores that you saved
            under such a name are kept, and those of the comparison stand beside them as ``RECIPE-INDEX/scores-compared``.
        by: the factor of trials that is compared, its first level the reference.
        workers: processes among which the panels of the checkpoints are dealt out, or a `concurrent.futures.Executor`.

    Returns:
        A `Comparison`: ``.table()``, ``.verdict``, ``.plot()``, ``.save("study.h5", "main")``.

    Raises:
        LandscapeError: fewer than two recipes, an empty one, names that are the same as slugs, an unknown ``match``, or
            losses that cannot be matched in that way; different losses; a network that is there twice; an unknown gate to
            waive; runs that do not pair up.

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
        "level": level, "margin": margin, "fewest": fewest, "loss_tolerance": loss_tolerance, "waive": waive, "paired": paired,
    }  # fmt: skip
    if isinstance(recipes, Trials):
        if radii is not None:
            raise LandscapeError("these trials are measured already; choose radii when they are")
        wanted = [scores] if isinstance(scores, str) else scores
        return _with_origin(judge(recipes, by=by, scores=wanted, **options), recipes.provenance, seed, options, started)
    if paired not in (True, False, "auto"):
        raise LandscapeError(f"paired={paired!r}, expected 'auto', True or False")
    members = _members(recipes)
    arms, matched = _matched(members, match)
    seats = [(slug, index, one) for slug, arm in arms.items() for index, one in enumerate(arm)]
    _require_comparable(seats)
    rows: list[dict[str, Any]] = []
    for slug, index, one in seats:
        run = members[slug][index]
        started_from = [run[which].init if isinstance(run[which], Checkpoint) else None for which in one.which]  # type: ignore[union-attr]
        known = blend_facts([facts(at, init) for at, init in zip(one.at, started_from, strict=True)], one.share)
        rows.append({"recipe": slug, "seed": index, **_metrics(run, one, match), **fact_row(known, seed + index)})
    about: dict[str, Any] = {"factors": ("recipe", "seed"), "words": dict(zip(arms, recipes, strict=True))}
    objective = seats[0][2].at[0]
    origin, asked = objective.provenance(), _asked(scores, objective)
    refused = judge(Trials.of(rows, **about), scores=asked.all, matched=matched, **options)
    if all(row.verdict == "not comparable" for row in refused.verdicts):
        hint = "No score was measured; waive= measures them all the same."
        verdicts = tuple(replace(row, text=f"{row.text} {hint}") for row in refused.verdicts)
        return _with_origin(refused.replace(verdicts=verdicts), origin, seed, options, started)
    owned = [_owned(*seat) for seat in seats]
    seeds = {owner: seed + seat[1] for seat, found in zip(seats, owned, strict=True) for owner, _ in found}
    scored: list[Scores] = []
    with (
        Panels({owner: at for found in owned for owner, at in found}, asked.named, seeds, radii, save) as panels,
        bar(total=len(seats), desc="checkpoints", unit="checkpoint") as progress,
    ):
        if workers != 1:
            panels.measure(workers)
        for found, (_, _, one) in zip(owned, seats, strict=True):
            scored.append(blend_scores([panels[owner] for owner, _ in found], one.share))
            progress.update()
        grids = radii_in(scored)
        fit = [
            name for name in grids if all(name in p and all(row.status == "ok" for row in p.all(name)) for p in scored)
        ]
        audited = [name for name in deciding(asked.all, fit).values() if name in fit] if audit else []
        firsts = {slug: found[-1][0] for (slug, index, _), found in zip(seats, owned, strict=True) if index == 0}
        audits = {slug: panels.audit(owner, audited, seed) for slug, owner in firsts.items()} if audited else {}
    for row, panel in zip(rows, scored, strict=True):
        for name in panel.names:
            row |= score_columns(name, panel.all(name), grids[name])
    trials = Trials.of(
        rows,
        coordinates={name: np.array(grid) for name, grid in grids.items() if grid},
        audited=tuple(row for slug, found in audits.items() for row in worst_over_radii(slug, found)),
        **about,
    )
    doubtful = {row.name for panel in scored for row in panel.rows if row.status == "not converged"}
    names = [*grids, *(name for name in asked.lacking if name not in grids)]
    result = judge(trials, scores=names, matched=matched, unconverged=doubtful, **options)
    return _with_origin(result, scored[0].provenance, seed, options, started)


def _require_comparable(seats: Sequence[tuple[str, int, Matched]]) -> None:
    """Raise unless all are measured by one loss, and every seed of a recipe is another network."""
    names = sorted({objective.loss_name for _, _, one in seats for objective in one.at})
    if len(names) > 1:
        raise LandscapeError(
            f"the recipes are measured by different losses, {', '.join(names)}; pass checkpoints with one loss"
        )
    seen: dict[tuple[str, str], int] = {}
    for slug, index, one in seats:
        same = seen.setdefault((slug, fingerprint(one.at[0].theta)), index)
        if same != index:
            raise LandscapeError(f"runs {same} and {index} of {slug} are one network; a seed counts once")


@dataclass(frozen=True)
class _Asked:
    """Which scores a comparison measures.

    Attributes:
        named: for `sharpness`.
        all: their slugs, with those that are not defined.
        lacking: primary scores that are not defined on the objective.
    """

    named: Sequence[str] | str | None
    all: list[str]
    lacking: tuple[str, ...] = ()


def _asked(scores: Sequence[str] | str | None, objective: Objective) -> _Asked:
    """Return the scores to measure: by default the panel, with what stands in for primary scores that are not defined."""
    every = [definition.slug for definition in select(scores)]
    lacking = tuple(slug for slug in primary() if not _defined_on(objective, slug))
    if scores is not None or not lacking:
        standing = any(REGISTRY[slug].stands_in in lacking for slug in every)
        missed = tuple(slug for slug in lacking if standing or slug in every)
        return _Asked(scores, [*dict.fromkeys((*missed, *every))], missed)
    others = [slug for slug, known in REGISTRY.items() if known.stands_in in lacking and _defined_on(objective, slug)]
    named = [*(slug for slug in every if _defined_on(objective, slug)), *others]
    return _Asked(named, [*lacking, *named], lacking)


def _defined_on(objective: Objective, slug: str) -> bool:
    try:
        require(objective, REGISTRY[slug].needs, slug)
    except NotDefinedError:
        return False
    return True


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
        if not isinstance(name, str):
            raise LandscapeError(f"a recipe is called {name!r}, expected text such as 'sgd'")
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
