"""A panel of scores: each measured once, what fails marked."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from landscape.arguments import check_numbers
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.function.stack import stacks
from landscape.results.scores import Score
from landscape.scores.gauges import Gauged
from landscape.scores.register import REGISTRY, Definition, options_of, select
from landscape.scores.requirements import require

Measured = tuple[tuple[Score, ...], float]
"""The rows of a score and the seconds that they took."""
Radii = Mapping[str, Sequence[float]] | Sequence[float] | None
"""A grid for all scores that have radii, or a grid by slug."""


@dataclass(frozen=True)
class Panel:
    """Which scores are measured, and how: the arguments of `landscape.sharpness`, checked."""

    scores: str | Sequence[str] | None = None
    seed: int = 0
    radii: Radii = None
    checkpoint: Any = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.options, Mapping):
            raise LandscapeError(f"options are {self.options!r}, expected a mapping {{score: {{option: value}}}}")
        slugs = [definition.slug for definition in self.definitions]
        for slug in [*self.options, *(self.radii if isinstance(self.radii, Mapping) else ())]:
            if slug not in REGISTRY:
                raise LandscapeError(f"options for an unknown score {slug!r}; known are {', '.join(REGISTRY)}")
            if slug not in slugs:
                raise LandscapeError(f"options for {slug!r}, which is not measured; add it to scores=")
        for slug, given in self.options.items():
            taken = options_of(REGISTRY[slug])
            if not isinstance(given, Mapping):
                raise LandscapeError(f"the options of {slug} are {given!r}, expected a mapping {{option: value}}")
            if unknown := sorted(set(given) - set(taken)):
                raise LandscapeError(f"{slug} has no option {', '.join(unknown)}; it has {', '.join(taken) or 'none'}")
            check_numbers(taken, given)
        radii = self.radii
        grids = radii.values() if isinstance(radii, Mapping) else [radii] if radii is not None else []
        for grid in grids:
            if (
                not hasattr(grid, "__len__")
                or not len(grid)
                or not all(isinstance(radius, Real) and radius > 0 for radius in grid)
            ):
                raise LandscapeError(f"radii are {grid!r}; expected one or more positive numbers")

    @property
    def definitions(self) -> list[Definition]:
        """The scores, in the order of tables."""
        return select(self.scores)

    def together(self, objectives: Sequence[Objective], seeds: Sequence[int]) -> list[dict[str, Measured]]:
        """Measure what small networks of one architecture can be measured by at once: for each, scores with rows and seconds.

        Networks that no other one can be stacked with come back without a score; seeds stand in the place of the panel's own.
        """
        found: list[dict[str, Measured]] = [{} for _ in objectives]
        alone = all(objective.world.count == 1 for objective in objectives)
        wanted = [definition for definition in self.definitions if alone and definition.together is not None]
        for chosen in stacks(objectives) if wanted else ():
            networks, own = [Gauged(objectives[i]) for i in chosen], [seeds[i] for i in chosen]
            for definition in wanted:
                begin = time.perf_counter()
                rows = self._stacked(definition, networks, own)
                each = (time.perf_counter() - begin) / len(chosen)
                for i, one in zip(chosen, rows):
                    found[i][definition.slug] = one, each
        return found

    def _stacked(
        self, definition: Definition, networks: Sequence[Gauged], seeds: Sequence[int]
    ) -> list[tuple[Score, ...]]:
        """Return the rows of each network; none where the score has no meaning, which each is told by itself."""
        assert definition.together is not None
        try:
            for network in networks:
                require(network.objective, definition.needs, definition.slug)
            measured = definition.together(networks, seeds, **self._arguments([definition]))
        except (LandscapeError, RuntimeError):
            return []  # each by itself then: the same numbers, or the error with its own network
        return [definition.rows(one, seed) for one, seed in zip(measured, seeds, strict=True)]

    def rows(self, objective: Objective, finished: MutableMapping[str, Measured] | None = None) -> tuple[Score, ...]:
        """Return the rows of all scores.

        Args:
            objective: the function at the trained weights.
            finished: scores that are known already; those measured are added, with their seconds.

        Raises:
            NotDefinedError: the only score asked for has no meaning for the objective; among others it is a row without value.
        """
        finished = {} if finished is None else finished
        network, definitions = Gauged(objective), self.definitions
        with bar(total=round(sum(d.cost for d in definitions)), desc="sharpness", unit="gradient") as progress:
            for definition in definitions:
                if definition.slug not in finished:
                    progress.set_postfix_str(definition.slug)
                    begin = time.perf_counter()
                    together = [d for d in definitions if d.compute is definition.compute]
                    found = self._measure(together, network)
                    each = (time.perf_counter() - begin) / len(together)
                    for member in together:
                        finished[member.slug] = tuple(row for row in found if row.name == member.slug), each
                progress.update(round(definition.cost))
        return tuple(row for definition in definitions for row in finished[definition.slug][0])

    def _arguments(self, together: list[Definition], **shared: Any) -> dict[str, Any]:
        """Return what a function is called with: of what all scores share, what it takes, and its own options."""
        first, taken = together[0], options_of(together[0])
        grid = self.radii.get(first.slug) if isinstance(self.radii, Mapping) else self.radii
        shared |= {} if grid is None else {"radii": grid}
        arguments = {name: value for name, value in shared.items() if name in taken}
        for member in together:
            arguments |= self.options.get(member.slug, {})
        return arguments

    def _measure(self, together: list[Definition], network: Gauged) -> tuple[Score, ...]:
        """Run one function for all the scores that it measures."""
        compute = together[0].compute
        assert compute is not None
        try:
            return compute(network, **self._arguments(together, seed=self.seed, checkpoint=self.checkpoint))
        except Exception as error:  # one score that meets what nobody foresaw is one row, not the end of the others
            if len(self.definitions) == len(together):
                raise  # nothing else was asked for, and the user's own line says more than a row
            if not isinstance(error, LandscapeError):
                error = LandscapeError(f"{type(error).__name__}: {error}".partition("\n")[0])
            return tuple(member.missing(error, self.seed) for member in together)
