"""What a comparison measures, panels of scores and audits: kept one by one, found again, stored in the study together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from landscape.function.objective import Objective
from landscape.results import Audit, Scores
from landscape.scores import audit
from landscape.scores.panel import Measured, Panel, Radii
from landscape.scores.sharpness import measured
from landscape.store import Run, Study, batch, identity, open_study
from landscape.store.identity import canonical
from landscape.workers import Workers, completed


class Panels:
    """The panels of many objectives with the same scores; use it in a `with` block.

    With a study, a panel is on the disk when it is measured. The study is written once, at the end of the block: a panel
    goes under ``OWNER/scores``, or under ``OWNER/scores-compared`` where somebody saved other numbers under the first name,
    an audit under ``OWNER/audit-compared``.

    Args:
        objectives: by owner, as the study names them.
        scores: as in `sharpness`.
        seeds: of the scores' random draws, by owner.
        radii: as in `sharpness`.
        save: the study file, or `None`.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        scores: Sequence[str] | str | None,
        seeds: Mapping[str, int],
        radii: Radii,
        save: str | Path | None,
    ):
        self._objectives, self._scores, self._radii = objectives, scores, radii
        wanted = [scores] if isinstance(scores, str) else scores
        asked = {"asked": "default" if wanted is None else list(wanted), **({} if radii is None else {"radii": radii})}
        self._seeds, self._asked = seeds, {owner: {**asked, "score_seed": seed} for owner, seed in seeds.items()}
        self._study = None if save is None else Path(save).expanduser().resolve()
        self._identities: dict[str, dict[str, Any]] = {}
        self._kept: dict[str, Scores] = {}
        self._stacked: dict[str, dict[str, Measured]] | None = None
        place = None
        if self._study is not None:
            self._identities = {owner: identity(one, **self._asked[owner]) for owner, one in objectives.items()}
            # three parts, which no result has: parts of several comparisons may lie beside one study
            place = (
                self._study,
                f"compare/panels/{hashlib.sha256(canonical(self._identities).encode()).hexdigest()[:8]}",
            )
        self._opened: Study | None = None
        self._audits: dict[str, tuple[Audit, dict[str, Any]]] = {}
        self._world = next(iter(objectives.values())).world
        self._run: Run[Scores] = Run(place, self._identities, world=self._world)

    def __getitem__(self, owner: str) -> Scores:
        """Return the panel of one objective: measured now, or found."""
        if owner in self._kept:
            return self._kept[owner]
        if owner not in self._run.done:
            objective = self._objectives[owner]
            panel = Panel(self._scores, self._seeds[owner], self._radii)
            found = measured(objective, panel, self._together(panel).get(owner))
            self._keep(owner, found)
        kept: Scores = self._run.done[owner]
        return kept

    def _together(self, panel: Panel) -> dict[str, dict[str, Measured]]:
        """Measure at once what small networks can be measured by at once, of all that are missing when the first is."""
        if self._stacked is None:
            missing = [owner for owner in self._objectives if owner not in self._kept and owner not in self._run.done]
            objectives, seeds = [self._objectives[one] for one in missing], [self._seeds[one] for one in missing]
            self._stacked = dict(zip(missing, panel.together(objectives, seeds), strict=True))
        return self._stacked

    def measure(self, workers: Workers) -> None:
        """Measure the panels that are missing, by several processes."""
        known = {*self._kept, *self._run.done}
        jobs = {
            owner: (objective, self._scores, self._seeds[owner], self._radii)
            for owner, objective in self._objectives.items()
            if owner not in known
        }
        for owner, panel in completed(_panel, jobs, workers=workers):
            self._keep(owner, panel)

    def _keep(self, owner: str, panel: Scores) -> None:
        provenance = {**self._objectives[owner].provenance(), **self._asked[owner]}
        self._run.keep(owner, panel.replace(provenance=provenance))

    def audit(self, owner: str, scores: Sequence[str], seed: int) -> Audit:
        """Return how scores of one objective take the transformations of its network: measured now, or found."""
        objective, radii = self._objectives[owner], self._radii
        grids = {slug: grid for slug, grid in radii.items() if slug in scores} if isinstance(radii, Mapping) else radii
        same: dict[str, Any] = {}
        if self._study is not None:
            same = identity(objective, audited=list(scores), score_seed=seed, radii=grids)
            found = self._stored(f"{owner}/audit-compared", same)
            if isinstance(found, Audit):
                return found
        key = (owner, "audit", canonical(same))
        if key not in self._run.done:
            self._run.keep(key, audit(objective, list(scores), seed, radii=grids))
        self._audits[owner] = self._run.done[key], same
        return self._audits[owner][0]

    def __enter__(self) -> Self:
        self._run.__enter__()
        self._opened = open_study(self._study) if self._study is not None and self._study.exists() else None
        for owner, wanted in self._identities.items():
            for name in _names(owner):
                if isinstance(found := self._stored(name, wanted), Scores):
                    self._kept.setdefault(owner, found)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None and self._study is not None and self._world.rank == 0:
                self._store(self._study)
        finally:
            self._run.__exit__(kind, error, trace)

    def _stored(self, name: str, wanted: Mapping[str, Any]) -> Any:
        """Return the result that the study has under a name, if it is of this identity."""
        if self._opened is None or self._opened.identity(name) != wanted:
            return None
        return self._opened[name]

    def _store(self, study: Path) -> None:
        opened = open_study(study) if study.exists() else {}
        with batch(study) as writer:
            for owner, (found, same) in self._audits.items():
                writer.save(found, f"{owner}/audit-compared", overwrite=True, identity=same)
            for owner in self._objectives:
                if (panel := self._run.done.get(owner)) is None:
                    continue
                first, second = _names(owner)
                name = second if first in opened and _others(opened[first], panel) else first
                writer.save(panel, name, overwrite=True, identity=self._identities[owner])
            writer.afterwards(self._run.finish)


def _panel(objective: Objective, scores: Sequence[str] | str | None, seed: int, radii: Radii) -> Scores:
    return measured(objective, Panel(scores, seed, radii))


def _names(owner: str) -> tuple[str, str]:
    return f"{owner}/scores", f"{owner}/scores-compared"


def _others(stored: Any, panel: Scores) -> bool:
    """Whether an entry was saved by another call than `compare` and has other numbers, so that it must be kept."""
    if "asked" in stored.provenance:
        return False
    numbers = [[(row.name, row.radius, repr(row.value)) for row in one.rows] for one in (stored, panel)]
    return numbers[0] != numbers[1]
