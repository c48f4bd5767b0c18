"""A study sorted for reading: comparisons, checkpoints by recipe, and what stands between several of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from landscape.errors import LandscapeError
from landscape.results import Comparison, Result, Score, Scores
from landscape.store import Study, open_study

R = TypeVar("R", bound=Result)
V = TypeVar("V")


@dataclass(frozen=True)
class Content:
    """What a study holds."""

    name: str  # name of the file
    attributes: Mapping[str, Any]  # what the file says of its making
    results: Mapping[str, Result]  # every result by name
    checkpoints: Mapping[str, Mapping[str, Any]]  # what was recorded of each checkpoint
    unfinished: tuple[str, ...]  # names of results that are still being computed
    # why a result could not be read, by name: of a later kind, or edited elsewhere
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of(self, cls: type[R]) -> dict[str, R]:
        """Return the results of exactly one class by name."""
        return {name: result for name, result in self.results.items() if type(result) is cls}

    @property
    def scored(self) -> dict[str, tuple[Score, set[float]]]:
        """By slug of each score that checkpoints were given, its first row and all its radii."""
        found: dict[str, tuple[Score, set[float]]] = {}
        for row in (row for panel in self.of(Scores).values() for row in panel.rows):
            _, radii = found.setdefault(row.name, (row, set()))
            radii.update(() if row.radius is None else (row.radius,))
        return found

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Comparisons by name."""
        return self.of(Comparison)

    @property
    def recipes(self) -> dict[str, str]:
        """Names in words of all compared recipes by slug."""
        return {
            slug: long_name
            for one in self.comparisons.values()
            for slug, long_name in zip(one.recipes, one.long_names, strict=True)
        }

    def recipe_of(self, owner: str) -> tuple[str, str]:
        """Return (recipe in words, seed) of a checkpoint called ``sgd-0``; without a recipe, (its name, "").

        >>> Content("study.h5", {}, {}, {}, ()).recipe_of("best")
        ('best', '')
        """
        found = re.fullmatch(r"(.+)-(\d+)", owner)
        if found and found[1] in self.recipes:
            return self.recipes[found[1]], found[2]
        return owner, ""

    def label(self, owner: str) -> str:
        """Return what a checkpoint is called in a figure."""
        recipe, seed = self.recipe_of(owner)
        return f"{recipe}, seed {seed}" if seed else recipe

    def by_entry(self, cls: type[R]) -> dict[str, dict[str, R]]:
        """Return {entry: {owner: result}} of the results of a class that belong to checkpoints."""
        grouped: dict[str, dict[str, R]] = {}
        for name, result in self.of(cls).items():
            owner, slash, entry = name.rpartition("/")
            if slash:
                grouped.setdefault(entry, {})[owner] = result
        return {entry: self.in_order(found) for entry, found in grouped.items()}

    def first_of_each(self, found: Mapping[str, V], limit: int = 12) -> dict[str, V]:
        """Return one result per recipe, that of the first seed, by label; at most `limit`."""
        chosen: dict[str, str] = {}
        for owner in found:
            chosen.setdefault(self.recipe_of(owner)[0], owner)
        return {self.label(owner): found[owner] for owner in list(chosen.values())[:limit]}

    def in_order(self, found: Mapping[str, R]) -> dict[str, R]:
        """Sort checkpoints as the recipes are, the reference first, then by seed."""
        order = list(self.recipes.values())

        def place(owner: str) -> tuple[int, str, int]:
            recipe, seed = self.recipe_of(owner)
            return (order.index(recipe) if recipe in order else len(order), recipe, int(seed or 0))

        return {owner: found[owner] for owner in sorted(found, key=place)}


def gather(study: Content | Study | str | os.PathLike[str]) -> Content:
    """Read all of a study, given it or the path of its file, unless it was read already.

    Raises:
        LandscapeError: the file is missing, foreign or damaged.
    """
    if isinstance(study, Content):
        return study
    opened = study if isinstance(study, Study) else open_study(study)
    results: dict[str, Result] = {}
    unreadable: dict[str, str] = {}
    for name in opened.kinds:
        try:
            results[name] = opened[name]
        except LandscapeError as error:  # the others are worth a report
            unreadable[name] = str(error)
    return Content(
        name=Path(opened.path).name,
        attributes=opened.attributes,
        results=results,
        checkpoints=opened.checkpoints,
        unfinished=opened.unfinished,
        unreadable=unreadable,
    )
