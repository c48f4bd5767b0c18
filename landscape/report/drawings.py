"""Which figures a study gives rise to: checkpoints side by side wherever there are several."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from landscape import plots
from landscape.report.content import Content
from landscape.results import KINDS, Audit, Comparison, Eigenpairs, Line, Path, Plane, Result, SpectralDensity

DRAWN_TOGETHER = {"audit", "comparison", "density", "eigenpairs", "line", "path", "plane"}
"""Kinds with figures that put several checkpoints or directions side by side."""
AS_TABLES = {"directions", "estimate", "scores"}
"""Kinds whose figures say no more than a row of a table."""
MOST = 12
"""Figures of one kind."""


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn."""

    name: str  # slug, for file names and labels
    title: str  # what it shows
    caption: str  # how to read it
    draw: Callable[[], Any]  # draws it and returns axes or the figure


def drawings(content: Content) -> Iterator[Drawing]:
    """Yield the figures of a study in the order of a report; of checkpoints, the first seed of each recipe."""
    named = _literal(content)
    first = named.first_of_each
    for name, comparison in named.comparisons.items():
        yield from _comparison(name, comparison)
    for entry, planes in content.by_entry(Plane).items():
        caption = "The loss around each solution, with levels, colours and window in common; first seed of each recipe."
        yield Drawing(f"planes-{entry}", f"Planes: {entry}", caption, partial(plots.grid, first(planes)))
    for stem, lines in _bands(content).items():
        caption = (
            "Mean over the directions, and the range between the lowest and the highest; first seed of each recipe."
        )
        yield Drawing(f"lines-{stem}", f"Lines: {stem}", caption, partial(plots.lines_grid, first(lines)))
    if paths := list(content.of(Path).items())[:MOST]:
        shown = {name.replace("-to-", " to "): [path] for name, path in paths}
        caption = "The loss between two solutions; 0 is the first, 1 the second."
        yield Drawing("paths", "Paths between solutions", caption, partial(plots.lines_grid, shown))
    for entry, pairs in content.by_entry(Eigenpairs).items():
        recipes: dict[str, list[Eigenpairs]] = {}
        for owner, one in pairs.items():
            recipes.setdefault(named.recipe_of(owner)[0], []).append(one)
        caption = "One marker per seed, with its measured residual as a bar; dashes are medians."
        yield Drawing(f"eigenvalues-{entry}", f"Eigenvalues: {entry}", caption, partial(plots.eigenvalues, recipes))
    for entry, densities in content.by_entry(SpectralDensity).items():
        caption = (
            "Density of eigenvalues with a pointwise 95 % band, all with one smoothing; first seed of each recipe."
        )
        draw = partial(plots.density, first(densities))
        yield Drawing(f"density-{entry}", f"Spectral density: {entry}", caption, draw)
    for name, audit in content.of(Audit).items():
        title = f"Audit: {content.label(name.rpartition('/')[0])}"
        caption = "How much each score changes when the network is transformed without changing its function."
        yield Drawing(f"audit-{name.replace('/', '-')}", title, caption, partial(plots.audit, audit))
    for kind in sorted(plots.KINDS.keys() - DRAWN_TOGETHER - AS_TABLES):
        yield from _others(content, KINDS[kind])


def _literal(content: Content) -> Content:
    """Return the content with names of recipes that Matplotlib draws as they are, not as formulas between dollars."""
    named = {
        name: one.replace(long_names=tuple(word.replace("$", r"\$") for word in one.long_names))
        for name, one in content.comparisons.items()
    }
    return replace(content, results={**content.results, **named})


def _others(content: Content, cls: type[Result]) -> Iterator[Drawing]:
    """Draw results of a kind that has no figure over several checkpoints: the first seed of each recipe."""
    shown = {name: result for name, result in content.of(cls).items() if "/" not in name}
    for entry, found in content.by_entry(cls).items():
        first = content.first_of_each(found)
        names = {id(result): f"{owner}/{entry}" for owner, result in found.items()}
        shown |= {names[id(result)]: result for result in first.values()}
    for name, result in list(shown.items())[:MOST]:
        owner, _, entry = name.rpartition("/")
        title = f"{cls.kind.replace('-', ' ').capitalize()}: {entry}{f' of {content.label(owner)}' if owner else ''}"
        caption = (inspect.getdoc(cls) or "").partition("\n")[0]
        yield Drawing(f"{cls.kind}-{name.replace('/', '-')}", title, caption, partial(plots.plot, result))


def _comparison(name: str, comparison: Comparison) -> Iterator[Drawing]:
    if np.isfinite(comparison.values).any():
        caption = "One marker per seed; the line is the median, the bar reaches from the smallest to the largest."
        yield Drawing(f"{name}-scores", "Scores by recipe", caption, partial(plots.comparison, comparison))
    names = dict(zip(comparison.recipes, comparison.long_names, strict=True))
    named = [replace(row, a=names[row.a], b=names[row.b]) for row in comparison.tests]
    for scale in ("log10", "raw"):
        if any(row.scale == scale and np.isfinite(row.difference) for row in named):
            unit = "ratios" if scale == "log10" else "differences"
            yield Drawing(
                f"{name}-effects-{scale}",
                f"Effects as {unit}",
                "Differences with 95 % bootstrap intervals over seeds; filled markers are primary scores.",
                partial(plots.effects, named, scale=scale),
            )


def _bands(content: Content) -> dict[str, dict[str, list[Line]]]:
    """Gather ``line-0``, ``line-1`` … of each checkpoint into one band, by their stem and the checkpoint."""
    stems: dict[str, dict[str, list[Line]]] = {}
    for entry, found in sorted(content.by_entry(Line).items()):
        for owner, line in found.items():
            members = stems.setdefault(re.sub(r"-\d+$", "", entry), {}).setdefault(owner, [])
            if not members or np.array_equal(members[0].x, line.x):
                members.append(line)
    return stems
