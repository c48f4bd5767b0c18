"""Compare trained checkpoints: score every one, check that they may be compared, test, and say what follows."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.bars import bar
from landscape.checkpoint import Checkpoint
from landscape.comparison.audits import audit_recipes, failed, in_words
from landscape.comparison.decide import PRIMARY, compare_scores, decide
from landscape.comparison.gates import Facts, check, facts
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.results import Comparison, Scores
from landscape.results.comparison import Audited
from landscape.scores import sharpness

Arm = Sequence[Checkpoint | Objective] | Checkpoint | Objective


def compare(
    recipes: Mapping[str, Arm],
    *,
    scores: Sequence[str] | str | None = None,
    seed: int = 0,
    level: float = 0.05,
    margin: float = 0.05,
    loss_tolerance: float = 0.1,
    fewest: int = 6,
    waive: Sequence[str] = (),
    audit: bool = True,
    save: str | Path | None = None,
) -> Comparison:
    """Compare recipes over seeds: scores, gates, exact tests, and a verdict for every pair with the first recipe.

    Every checkpoint is scored on its training data with `sharpness`, the same random draws for all. The seeds are the
    units of the tests: differences of mean log10 score, exact two-sided permutation p, Holm over the primary scores.

    Args:
        recipes: name → checkpoints (or objectives), one a seed; the first is the reference.
        scores: as in `sharpness`; the primary ones are needed for a verdict.
        seed: seed of the scores' random draws.
        level: level of the tests.
        margin: half-width of equivalence in log10 S, declared beforehand; 0.05 is a factor 1.12.
        loss_tolerance: how far apart mean training losses may be, relative to the smaller.
        fewest: seeds a recipe below which significance is not defined.
        waive: gates you take responsibility for (recorded): ``network``, ``inputs``, ``seeds``, ``train accuracy``,
            ``train loss``, ``gradient``, ``collapse``.
        audit: put the first checkpoint of every recipe through the transformations that keep its function; a primary
            score that moves by more than 1 % is descriptive only, and the verdict says so.
        save: a study file. Each checkpoint's scores are stored as they finish, and found again when the same call is
            repeated after an interruption.

    Returns:
        A `Comparison`: ``.table()``, ``.verdict``, ``.plot()``, ``.save("study.h5", "main")``.

    Raises:
        LandscapeError: fewer than two recipes, an empty one, or names that are the same as slugs.

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
    arms = _arms(recipes)
    results: dict[str, list[Scores]] = {}
    measured: dict[str, list[Facts]] = {}
    metrics: dict[str, list[dict[str, float]]] = {}
    with bar(total=sum(map(len, arms.values())), desc="checkpoints", unit="checkpoint") as progress:
        for slug, members in arms.items():
            results[slug], measured[slug], metrics[slug] = [], [], []
            for index, member in enumerate(members):
                train = _train(member)
                results[slug].append(_scored(train, scores, seed, save, f"{slug}-{index}"))
                measured[slug].append(facts(train))
                metrics[slug].append(_metrics(member, train))
                progress.update()
    audited: list[Audited] = []
    panels = [panel for arm in results.values() for panel in arm]
    primary = [
        name for name in PRIMARY if all(name in p and all(row.status == "ok" for row in p.all(name)) for p in panels)
    ]
    if audit and primary:
        audited = audit_recipes({slug: _train(members[0]) for slug, members in arms.items()}, primary, seed)
    return _assemble(
        dict(zip(arms, recipes, strict=True)), results, measured, metrics,
        options={"level": level, "margin": margin, "fewest": fewest, "loss_tolerance": loss_tolerance, "waive": tuple(waive)},
        audited=audited, seed=seed, started=started,
    )  # fmt: skip


def _arms(recipes: Mapping[str, Arm]) -> dict[str, list[Checkpoint | Objective]]:
    if not isinstance(recipes, Mapping):
        raise LandscapeError(
            f"recipes are {type(recipes).__name__}, expected a mapping {{'sgd': [checkpoint, …], 'other': […]}}"
        )
    if len(recipes) < 2:
        raise LandscapeError(
            f"{len(recipes)} recipe to compare, expected at least two: compare({{'sgd': […], 'other': […]}})"
        )
    arms: dict[str, list[Checkpoint | Objective]] = {}
    for name, arm in recipes.items():
        members = [arm] if isinstance(arm, Checkpoint | Objective) else list(arm)
        if not members:
            raise LandscapeError(f"the recipe {name!r} has no checkpoints; pass at least one, better eight")
        wrong = next((m for m in members if not isinstance(m, Checkpoint | Objective)), None)
        if wrong is not None:
            raise LandscapeError(
                f"the recipe {name!r} holds a {type(wrong).__name__}, expected checkpoints or objectives"
            )
        if slugify(name) in arms:
            raise LandscapeError(f"the recipe {name!r} has the same slug {slugify(name)!r} as another; rename one")
        arms[slugify(name)] = members
    return arms


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


def _scored(objective: Objective, scores: Any, seed: int, save: str | Path | None, owner: str) -> Scores:
    """Score one objective, or find its scores in the study when they were computed for the same function and seed."""
    from landscape import study

    name, wanted = f"{owner}/scores", [scores] if isinstance(scores, str) else scores
    asked = {"asked": "default" if wanted is None else list(wanted), "score_seed": seed}
    expected = {**objective.provenance(), **asked}
    if save is not None and Path(save).exists():
        opened = study.open_study(save)
        if name in opened and dict(opened[name].provenance) == expected:
            stored = opened[name]
            assert isinstance(stored, Scores)
            return stored
    result = sharpness(objective, scores, seed=seed).replace(provenance=expected)
    if save is not None:
        result.save(save, name, overwrite=True)
    return result


def _metrics(member: Checkpoint | Objective, train: Objective) -> dict[str, float]:
    out = {f"train/{key}": value for key, value in train.evaluate().items()}
    if isinstance(member, Checkpoint) and member.has_test:
        out |= {f"test/{key}": value for key, value in member.objective("test").evaluate().items()}
    return out


def _assemble(
    names: dict[str, str],
    results: dict[str, list[Scores]],
    measured: dict[str, list[Facts]],
    metrics: dict[str, list[dict[str, float]]],
    *,
    options: dict[str, Any],
    audited: list[Audited],
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
    gates, tests, verdicts = [], [], []
    reference = slugs[0]
    for slug in slugs[1:]:
        mine = check(
            reference, slug, measured[reference], measured[slug],
            loss_tolerance=options["loss_tolerance"], fewest=options["fewest"], waive=options["waive"],
        )  # fmt: skip
        found = compare_scores(
            reference, slug, scores, values[0], values[slugs.index(slug)],
            margin=options["margin"], level=options["level"], fewest=options["fewest"],
        )  # fmt: skip
        gates += mine
        tests += found
        verdicts.append(
            decide(reference, slug, mine, found, level=options["level"], names=names, descriptive=failed(audited))
        )
    keys = list(dict.fromkeys(key for arm in metrics.values() for one in arm for key in one))
    table = {key: np.full((len(slugs), seeds), np.nan) for key in keys}
    for i, slug in enumerate(slugs):
        for j, one in enumerate(metrics[slug]):
            for key, value in one.items():
                table[key][i, j] = value
    first = dict(results[reference][0].provenance)
    shared = {
        key: first[key] for key in ("package", "torch", "python", "device", "dtype", "model", "parameters", "loss")
    }
    return Comparison(
        recipes=tuple(slugs),
        long_names=tuple(names.values()),
        scores=tuple(scores),
        radii=radii,
        values=values,
        standard_errors=errors,
        metrics=table,
        gates=tuple(gates),
        tests=tuple(tests),
        verdicts=tuple(verdicts),
        audited=tuple(audited),
        audit=in_words(audited),
        provenance={**shared, "score_seed": seed, **options},
        seconds=time.perf_counter() - started,
    )


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
