"""The one call that measures a panel of scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from landscape.arguments import check_numbers, numbers_checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results.scores import Score, Scores
from landscape.scores.keeping import keeping, panel_identity
from landscape.scores.register import REGISTRY, Definition, options_of, select
from landscape.scores.requirements import check_objective
from landscape.store import Run


@numbers_checked
def sharpness(
    objective: Objective,
    scores: str | Sequence[str] | None = None,
    seed: int = 0,
    *,
    radii: Mapping[str, Sequence[float]] | Sequence[float] | None = None,
    checkpoint: Any = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    audit: bool = False,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Scores:
    """Measure sharpness scores of one trained network, with standard errors, costs and declared invariances.

    Without ``scores`` this is the primary panel: the three scores that survive rescaling and temperature, the usual
    curvature numbers, and the controls that must be seen beside them. The values do not depend on the objective's batch
    size or device beyond rounding.

    Args:
        objective: the function, at the trained weights.
        scores: `None` for the primary panel, ``"all"``, a slug, a family, or a list of slugs and families.
        seed: of every random draw.
        radii: a grid for all scores that have radii, or ``{slug: grid}``.
        checkpoint: an `landscape.Checkpoint`, for scores that need to know how the network was trained.
        options: further keyword arguments by slug, e.g. ``{"trace": {"matvecs": 100}}``.
        audit: also put the network through the transformations T1 … T7, on 256 examples in float64, and show beside every
            score what they did to it. This costs the panel once more for each transformation that applies, on that part.
        save: ``("study.h5", "sgd-0/scores")``: store the result; each score is on disk when it is finished, and a panel that
            was interrupted resumes.
        overwrite: replace a different result of that name.

    Returns:
        `Scores`; a score without meaning for the objective is a row marked ``not defined``, one that met an error a row
        marked ``failed``.

    Raises:
        LandscapeError: no objective, an unknown score, options for one that is not measured, or a study that holds
            another result of that name.
        NotDefinedError: a score named in ``scores`` by its slug has no meaning for the objective.

    >>> import torch, landscape as ls
    >>> X, y = torch.eye(3), torch.arange(3)
    >>> objective = ls.Objective(ls.models.mlp((3, 8, 3)), (X, y), "cross_entropy")
    >>> panel = sharpness(objective, ["margin", "gradient-norm"])
    >>> panel.names
    ('margin', 'gradient-norm')
    """
    check_objective(objective, "sharpness")
    started = time.perf_counter()
    definitions = select(scores)
    named = {scores} if isinstance(scores, str) else set(scores or ())
    _check_options(definitions, radii, options or {})
    run: Run[Scores] = Run(
        save,
        lambda: panel_identity(objective, seed, radii, options, checkpoint, audit),
        kind=Scores,
        overwrite=overwrite,
    )
    with (
        keeping(run, [definition.slug for definition in definitions]) as finished,
        bar(total=round(sum(d.cost for d in definitions)), desc="sharpness", unit="gradient") as progress,
    ):
        if run.result is not None:
            return run.result
        for definition in definitions:
            if definition.slug not in finished:
                together = [d for d in definitions if d.compute is definition.compute]
                progress.set_postfix_str(definition.slug)
                begin = time.perf_counter()
                found = _measure(together, objective, seed, radii, checkpoint, options or {}, named)
                each = (time.perf_counter() - begin) / len(together)
                for member in together:
                    finished[member.slug] = tuple(row for row in found if row.name == member.slug), each
            progress.update(round(definition.cost))
        listed = tuple(row for definition in definitions for row in finished[definition.slug][0])
        if audit:
            listed = _audited(listed, objective, scores, seed, radii, options)
        panel = Scores(
            rows=listed,
            timings={definition.slug: finished[definition.slug][1] for definition in definitions},
            examples=objective.n,
            seed=seed,
            settings={**({"radii": radii} if radii is not None else {}), **(options or {})},
            provenance=objective.provenance(),
            seconds=time.perf_counter() - started,
        )
        return run.finish(panel)


def _audited(
    rows: tuple[Score, ...],
    objective: Objective,
    scores: str | Sequence[str] | None,
    seed: int,
    radii: Mapping[str, Sequence[float]] | Sequence[float] | None,
    options: Mapping[str, Mapping[str, Any]] | None,
) -> tuple[Score, ...]:
    """Write into every row what the transformations of the network did to it."""
    from landscape.scores.audit import audit as run  # the audit measures panels itself

    found = run(objective, scores, seed, radii=radii, options=options)
    return tuple(replace(row, audited=found.measured(row.name, row.radius)) for row in rows)


def _measure(
    together: list[Definition],
    objective: Objective,
    seed: int,
    radii: Mapping[str, Sequence[float]] | Sequence[float] | None,
    checkpoint: Any,
    options: Mapping[str, Mapping[str, Any]],
    named: set[str],
) -> tuple[Score, ...]:
    """Run one function for all the scores that it measures."""
    arguments: dict[str, Any] = {}
    first = together[0]
    assert first.compute is not None
    taken = options_of(first)
    if "seed" in taken:
        arguments["seed"] = seed
    if "checkpoint" in taken:
        arguments["checkpoint"] = checkpoint
    if "radii" in taken and radii is not None:
        grid = radii.get(first.slug) if isinstance(radii, Mapping) else radii
        arguments["radii"] = grid
    for member in together:
        arguments.update(options.get(member.slug, {}))
    try:
        return first.compute(objective, **arguments)
    except LandscapeError as error:
        if named & {member.slug for member in together}:
            raise
        return tuple(member.missing(error, seed) for member in together)


def _check_options(
    definitions: list[Definition],
    radii: Mapping[str, Sequence[float]] | Sequence[float] | None,
    options: Mapping[str, Mapping[str, Any]],
) -> None:
    measured = {definition.slug for definition in definitions}
    for slug in [*options, *(radii if isinstance(radii, Mapping) else ())]:
        if slug not in REGISTRY:
            raise LandscapeError(f"options for an unknown score {slug!r}; known are {', '.join(REGISTRY)}")
        if slug not in measured:
            raise LandscapeError(f"options for {slug!r}, which is not measured; add it to scores=")
    for slug, given in options.items():
        taken = options_of(REGISTRY[slug])
        if unknown := sorted(set(given) - set(taken)):
            raise LandscapeError(f"{slug} has no option {', '.join(unknown)}; it has {', '.join(taken) or 'none'}")
        check_numbers(taken, given)
    grids = radii.values() if isinstance(radii, Mapping) else [radii] if radii is not None else []
    for grid in grids:
        if not len(grid) or not all(isinstance(radius, Real) and radius > 0 for radius in grid):
            raise LandscapeError(f"radii are {grid!r}; expected one or more positive numbers")
