"""The methods paragraph of a paper, generated from what the results say of themselves, and set as HTML, LaTeX or plain text.

A citation is ``[@key]`` or ``[@one;@other]``, where keys are those of the bibliography.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from landscape import bibliography
from landscape.report.content import Content
from landscape.results import (
    Audit,
    Comparison,
    Directions,
    Eigenpairs,
    Estimate,
    Line,
    Path,
    Plane,
    Result,
    Smoothness,
    SpectralDensity,
    Topology,
    Trajectory,
)
from landscape.tables import escape

_CITATION = re.compile(r" ?\[@([^\]]+)\]")
NORMALISATIONS = {
    "filter": "scaled filter by filter to the norms of the weights",
    "layer": "scaled layer by layer to the norms of the weights",
    "model": "scaled to the norm of the weights",
    "element": "scaled element by element to the weights",
}
DIRECTIONS = {
    "gaussian": "random Gaussian directions",
    "eigenvector": "eigenvectors",
    "between": "the difference of two solutions",
    "points": "the plane through three solutions",
    "pca": "principal components of the training run",
    "gradient": "the gradient",
}


READINGS: dict[type[Result], str] = {
    Topology: "Minima and merge trees of slices were found by sublevel-set persistence",
    Trajectory: "Runs of training were projected onto the plane of their principal components",
    Smoothness: "Loss variation, gradient predictiveness and effective smoothness were measured along the gradient",
}
"""What was read off slices and runs, by kind of result."""


def methods(content: Content) -> str:
    """Return the paragraph, with its citations."""
    return " ".join(_sentences(content))


def papers_of(slug: str) -> tuple[str, ...]:
    """Return the keys of the papers behind a score, as the registry names them.

    >>> papers_of("keskar"), papers_of("my-own")
    (('keskar2017large',), ())
    """
    from landscape.scores.register import REGISTRY

    known = REGISTRY.get(slug)
    named = bibliography.cited_in(known.source) if known is not None else ()
    return tuple(dict.fromkeys((*named, *bibliography.cited_for(slug))))


def listed(items: Iterable[str]) -> str:
    """Join words as a sentence does.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    words = list(items)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _sentences(content: Content) -> Iterator[str]:
    for comparison in content.comparisons.values():
        yield f"We compared {listed(_arms(comparison))}."
    yield from _network(content)
    yield from _scores(content)
    yield from _spectra(content)
    yield from _slices(content)
    for cls, sentence in READINGS.items():
        if content.of(cls):
            yield f"{sentence}{_for(cls.kind)}."
    yield from _audits(content)
    for comparison in content.comparisons.values():
        yield from _statistics(comparison)
    known = {"landscape": "landscape_version", "PyTorch": "torch_version"}
    about = content.attributes
    if versions := [f"{name} {about[key]}" for name, key in known.items() if key in about]:
        yield f"All results were computed with {listed(versions)}."


def _arms(comparison: Comparison) -> Iterator[str]:
    for i, name in enumerate(comparison.long_names):
        # where gates failed, more have metrics than scores
        known = [
            np.isfinite(comparison.values[i]).any(axis=(1, 2)),
            *(np.isfinite(m[i]) for m in comparison.metrics.values()),
        ]
        count = int(np.any(known, axis=0).sum())
        yield f"{name} ({count} seed{'' if count == 1 else 's'})"


def _network(content: Content) -> Iterator[str]:
    every = [result.provenance for result in content.results.values()]
    about = next((one for one in every if {"parameters", "loss", "model"} <= one.keys()), None)
    if about is None:
        return
    examples = next((one["examples"] for one in every if "examples" in one), None)
    on = "" if examples is None else f" on {examples:,} examples"
    modes = {"eval": "evaluation", "train": "training"}
    mode = f", norm layers and dropout in {modes[about['mode']]} mode" if about.get("mode") in modes else ""
    where = f" in {about['dtype']} on {about['device']}" if {"dtype", "device"} <= about.keys() else ""
    loss = str(about["loss"]).removesuffix("()")
    yield (
        f"The network ({about['model']}, {about['parameters']:,} parameters) was measured{on} with the loss {loss}"
        f"{where}{mode}."
    )


def _scores(content: Content) -> Iterator[str]:
    long_names = {slug: row.long_name or slug for slug, (row, _) in content.scored.items()}
    radii = {slug: set(found) for slug, (_, found) in content.scored.items()}
    for comparison in content.comparisons.values():
        measured = np.isfinite(comparison.values).any(axis=(0, 1, 3))
        for slug, found in zip(np.array(comparison.scores)[measured].tolist(), comparison.radii[measured], strict=True):
            radii.setdefault(slug, set()).update(found[np.isfinite(found)].tolist())
    if not radii:
        return
    named = []
    for slug, found in radii.items():
        at = f" (radius {', '.join(f'{radius:g}' for radius in sorted(found))})" if found else ""
        named.append(f"{long_names.get(slug, slug)}{at}{cite(papers_of(slug))}")
    yield f"Sharpness was measured by {listed(named)}; higher is sharper unless a score says otherwise."


def _spectra(content: Content) -> Iterator[str]:
    pairs = list(content.of(Eigenpairs).values())
    if pairs:
        operators = sorted({pair.operator for pair in pairs})
        tolerance = ", ".join(f"{tol:g}" for tol in sorted({pair.tol for pair in pairs}))
        yield (
            f"Extreme eigenvalues of the {listed(operators)} were computed by thick-restart Lanczos iteration"
            f"{_for('eigenpairs')} with exact matrix-vector products{_for(*operators)} to relative residuals "
            f"of {tolerance}; the residual of every pair was measured."
        )
    if searched := [pair for pair in pairs if pair.certificate not in ("residuals", "complete")]:
        bound, margin = max(pair.missed_probability for pair in searched), max(pair.margin for pair in searched)
        yield (
            f"What the pairs of {len(searched)} of {len(pairs)} runs leave of the space was searched from a fresh random start: "
            f"an eigenvalue more than {margin:.0%} beyond the last was missed with probability ≤ "
            f"{f'{bound:.1g}' if bound < 0.995 else '1'}{_for('certificate')}."
        )
    if densities := list(content.of(SpectralDensity).values()):
        probes, steps = densities[0].nodes.shape
        yield (
            f"Spectral densities come from stochastic Lanczos quadrature{_for('density')} with "
            f"{probes} probes of {steps} steps."
        )
    for quantity, method in sorted({(one.quantity, one.method) for one in content.of(Estimate).values()}):
        yield f"The {quantity} was estimated by {method}{_for(method)}."


def _slices(content: Content) -> Iterator[str]:
    planes, lines = content.of(Plane), content.of(Line)
    shapes = [f"planes of {nx} × {ny} points" for nx, ny in sorted({(len(p.x), len(p.y)) for p in planes.values()})]
    shapes += [f"lines of {n} points" for n in sorted({len(line.x) for line in lines.values()})]
    slices: list[Plane | Line] = [*planes.values(), *lines.values()]
    directions = [one.directions for one in slices if one.directions is not None]
    if shapes:
        yield f"The loss was evaluated on {listed(shapes)}{_along(directions)}."
    paths = content.of(Path)
    for kind in sorted({path.path_kind for path in paths.values()}):
        yield f"Solutions were joined by {kind} paths{_for(kind)}."


def _along(directions: Sequence[Directions]) -> str:
    parts = []
    for kind, normalize in sorted({(one.direction_kind, one.normalize) for one in directions}):
        scaled = f", {NORMALISATIONS[normalize]}" if normalize in NORMALISATIONS else ""
        parts.append(f"{DIRECTIONS.get(kind, f'{kind} directions')}{scaled}{_for(kind, normalize)}")
    return f" along {listed(parts)}" if parts else ""


def _audits(content: Content) -> Iterator[str]:
    audits: list[Audit] = list(content.of(Audit).values())
    names = dict.fromkeys(name for audit in audits for name in audit.transformations)
    names |= dict.fromkeys(row.transformation for one in content.comparisons.values() for row in one.audited)
    if names:
        from landscape.scores.register import TRANSFORMATIONS

        told = [f"{TRANSFORMATIONS.get(name, name)} ({name}){_for(name)}" for name in names]
        yield f"Scores were measured again, in float64, after transformations of the network itself: {listed(told)}."


def _statistics(comparison: Comparison) -> Iterator[str]:
    about = comparison.provenance
    if gates := dict.fromkeys(gate.gate for gate in comparison.gates):
        yield f"Two recipes were called comparable where the gates on {listed(gates)} held."
    if waived := about.get("waive", ()):
        yield f"The gates on {listed(waived)} were waived."
    if tested := [row for row in comparison.tests if row.p_value is not None]:
        kinds = {"permutation": not all(row.paired for row in tested), "sign-flip": any(row.paired for row in tested)}
        tests = listed(f"{kind} tests" for kind, used in kinds.items() if used)
        yield (
            "Recipes were compared over seeds, positive scores on their common logarithms, by exact two-sided "
            f"{tests}{_for('permutation')} at the level {about.get('level', 0.05):g} with Holm's correction over the "
            f"scores that decide{_for('holm')}; intervals are Student's, and a tie needs equivalence"
            f"{_for('equivalence')} within ± {about.get('margin', 0.05):g}. The protocol follows published studies"
            f"{_for('comparison')}."
        )
    elif comparison.tests:
        yield (
            f"With fewer than {about.get('fewest', 6)} seeds in a recipe no significance is claimed; differences are given "
            f"with bootstrap intervals{_for('bootstrap')}."
        )


def _for(*topics: str) -> str:
    """Return the citation of everything cited for some topics."""
    return cite(key for topic in topics for key in bibliography.cited_for(topic))


def cite(keys: Iterable[str]) -> str:
    """Return the citation of some keys, with a space before; empty for none.

    >>> cite(["dinh2017sharp", "holm1979simple"]), cite([])
    (' [@dinh2017sharp;@holm1979simple]', '')
    """
    chosen = list(dict.fromkeys(keys))
    return f" [@{';@'.join(chosen)}]" if chosen else ""


def cited(text: str) -> tuple[str, ...]:
    """Return the keys that a text cites, in their order.

    >>> cited("A [@holm1979simple] and B [@dinh2017sharp;@holm1979simple].")
    ('holm1979simple', 'dinh2017sharp')
    """
    return tuple(dict.fromkeys(key for found in _CITATION.findall(text) for key in _keys(found)))


def to_latex(text: str) -> str:
    r"""Return a text as LaTeX.

    >>> print(to_latex("50 % of it [@dinh2017sharp;@holm1979simple]."))
    50 \% of it~\cite{dinh2017sharp,holm1979simple}.
    """
    return _set(text, escape, lambda keys: rf"~\cite{{{','.join(keys)}}}")


def to_html(text: str, numbers: dict[str, int]) -> str:
    """Return a text as HTML whose citations are linked numbers, as given for each key."""
    return _set(text, html.escape, lambda keys: " [" + ", ".join(_link(key, numbers[key]) for key in keys) + "]")


def to_text(text: str) -> str:
    """Return a text whose citations are names and years.

    >>> to_text("As before [@dinh2017sharp].")
    'As before (Dinh et al. 2017).'
    """
    entries = bibliography.entries()
    return _set(
        text, str, lambda keys: " (" + "; ".join(f"{entries[key].authors} {entries[key]['year']}" for key in keys) + ")"
    )


def _set(text: str, plain: Callable[[str], str], citation: Callable[[list[str]], str]) -> str:
    parts = _CITATION.split(text)
    return "".join(plain(part) if i % 2 == 0 else citation(_keys(part)) for i, part in enumerate(parts))


def _keys(found: str) -> list[str]:
    return [key.strip().removeprefix("@") for key in found.split(";")]


def _link(key: str, number: int) -> str:
    return f'<a href="#ref-{html.escape(key)}">{number}</a>'
