"""The one call that measures a panel of scores, keeps every score as it finishes, and audits it where asked to."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results import Score, Scores
from landscape.scores.audit import audit as audited
from landscape.scores.panel import Measured, Panel
from landscape.store import Run, identity

_TRAINED = ("optimizer", "lr", "momentum", "batch_size", "step")


class Finished(dict[str, Measured]):
    """The scores measured so far, by slug, each kept by a run when it is set."""

    def __init__(self, run: Run[Scores]):
        super().__init__((slug, (tuple(Score(**row) for row in rows), s)) for slug, (rows, s) in run.done.items())
        self.run = run

    def __setitem__(self, slug: str, measured: Measured) -> None:
        rows, seconds = measured
        self.run.keep(slug, ([dataclasses.asdict(row) for row in rows], seconds))
        super().__setitem__(slug, measured)


def panel_identity(
    objective: Objective, seed: int, radii: Any, options: Mapping[str, Any] | None, checkpoint: Any, audit: bool
) -> dict[str, Any]:
    """Return what decides the values of scores, besides which scores are asked for."""
    settings = {**(options or {}), **({} if radii is None else {"radii": radii})}
    given: dict[str, Any] = {"seed": seed, "settings": settings, "audit": audit}
    if isinstance(checkpoint, Checkpoint):
        given["trained"] = {name: getattr(checkpoint, name) for name in _TRAINED}
        given["init"] = None if checkpoint.init is None else objective.at(checkpoint.init).theta
    return identity(objective, **given)


@checked
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
    started = time.perf_counter()
    panel = Panel(scores, seed, radii, checkpoint, options or {})
    run: Run[Scores] = Run(
        save,
        lambda: panel_identity(objective, seed, radii, options, checkpoint, audit),
        kind=Scores,
        overwrite=overwrite,
        world=objective.world,
    )
    with run:
        if run.result is not None:
            if (held := set(run.result.names)) != {definition.slug for definition in panel.definitions}:
                raise LandscapeError(
                    f"that name already holds a panel of other scores ({', '.join(sorted(held))}); choose another name, "
                    "or replace it with overwrite=True"
                )
            return run.result
        result = measured(objective, panel, Finished(run))
        if audit:
            report = audited(objective, scores, seed, radii=radii, options=options)
            rows = tuple(replace(row, audited=report.measured(row.name, row.radius)) for row in result.rows)
            result = result.replace(rows=rows)
        return run.finish(result.replace(seconds=time.perf_counter() - started))


def measured(objective: Objective, panel: Panel, finished: MutableMapping[str, Measured] | None = None) -> Scores:
    """Return the scores of a panel as a result; those finished, as by `Panel.together`, are kept and the others added."""
    finished, radii = {} if finished is None else finished, panel.radii
    rows = panel.rows(objective, finished)
    return Scores(
        rows=rows,
        timings={definition.slug: finished[definition.slug][1] for definition in panel.definitions},
        examples=objective.n,
        seed=panel.seed,
        settings={**({"radii": radii} if radii is not None else {}), **panel.options},
        provenance=objective.provenance(),
        seconds=sum(seconds for _, seconds in finished.values()),
    )
