"""The register of scores: what each one is, what it needs, what it costs and what it is invariant to."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from landscape.arguments import check_numbers, expect_objective, keyword_options
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.objective import Objective
from landscape.results.scores import Score
from landscape.scores.gauges import Gauged
from landscape.scores.requirements import NEEDS, require
from landscape.tables import format_table

Orientation = Literal["higher is sharper", "lower is sharper", "control"]

TRANSFORMATIONS = {
    "T1": "layer scale",
    "T2": "node scale",
    "T3": "norm-layer scale",
    "T4": "permutation",
    "T5": "softmax shift",
    "T6": "GL(h) on attention",
    "T7": "temperature",
}
"""The transformations that invariances are declared for."""
OF_PROBABILITIES, OF_DECISIONS = "T1 T2 T3 T4 T5 T6", "T1 T2 T3 T4 T5 T6 T7"
"""What keeps the predicted probabilities, and what keeps the decisions."""

FAMILIES = (
    "worst case",
    "average case",
    "error based",
    "curvature",
    "function distribution",
    "relative flatness",
    "noise",
    "volume",
    "information",
    "slice",
    "optimiser",
    "compressibility",
    "gradient",
    "function space",
    "fit",
    "own",
)
"""Groups of scores that measure the same thing, in the order of tables; the primary scores come before all others."""

OPTIONS = {
    "objective": "the function at the trained weights.",
    "radii": "radii or levels to measure at; `None`: those of the register.",
    "radius": "radius or level to measure at.",
    "gauge": "first remove the shift of all logits that softmax does not see, so that the score does not depend on it.",
    "checkpoint": "a `landscape.Checkpoint` that knows how the network was trained, and from which weights (``init``).",
    "seed": "of the random draws, which are the same on every device and for every batch size.",
    "pairs": "pairs of draws with opposite signs; the standard error is over pairs.",
    "samples": "number of draws, the same at every level.",
    "noise": "``normal`` for z ~ N(0, I), or ``uniform`` for z between −1 and 1.",
    "subset": "examples per sub-batch, cut by index; `None`: all examples at once.",
    "iterations": "steps of the ascent, each one gradient.",
    "directions": "number of random directions; the standard error is over them.",
    "eta": "added to every |w|; the 0.01 of published code breaks the invariance.",
    "offset": "added to every |w|; the published 1 breaks the invariance to rescaling, 0 restores it.",
    "rise": "rise of the mean error that is looked for.",
    "guess": "first radius tried, in units of the perturbation; the published values rest on the default.",
    "tol": "relative residual asked for.",
    "max_matvecs": "products with the matrix to spend at most; from P on all eigenvalues are computed.",
    "matvecs": "products with the matrix; from P on the value is exact.",
    "probes": "random probes of stochastic Lanczos quadrature.",
    "steps": "Lanczos steps per probe.",
}
"""What options of scores mean, in the docs of every score that has one and does not say more of it."""


class UndefinedError(NotDefinedError):
    """What a score finds missing, in words; the register puts before it which score is not defined."""


@dataclass(frozen=True)
class Measurement:
    """What a score's function hands back: a number, and the facts about this one measurement."""

    value: float
    standard_error: float | None = None
    radius: float | None = None
    gradients: float = 0.0
    status: str = "ok"
    note: str = ""
    name: str = ""


@dataclass(frozen=True)
class Definition:
    """A score as the register knows it.

    Attributes:
        slug: its name in tables and files.
        title: the score in words.
        family: group of scores that measure the same thing.
        formula: plain-text formula.
        source: paper and equation or section.
        orientation: ``higher is sharper``, ``lower is sharper`` or ``control`` (accompanies the scores, is none).
        stochastic: the value depends on random draws; `None`: when the function takes a ``seed``.
        cost: gradients over the data at the default settings, roughly (forward pass ⅓, Hessian product 2).
        invariant: the transformations among T1 … T7 that leave the value unchanged, separated by spaces.
        needs: what the objective must have, see `landscape.scores.requirements`.
        unit: unit of the value.
        panel: part of the primary panel.
        primary: one of the scores the verdict is decided on.
        sums: it is a sum over batches, so that processes that share the data measure it together; of others each sees all data.
        shards: it is defined for a sharded model, too: norms and inner products are taken through the objective's world.
        stands_in: the primary score that it stands in for where that one is not defined, or was not measured.
        radii: default grid of radii.
        reference: the radius that stands for the score where one number is wanted; `None`: the only one there is.
        remark: what a reader of the table must know.
        compared: how two values are compared: by their ``ratio``, or by their ``difference``: logarithms and entropies,
            whose zero is a matter of unit. Scores that may be negative but have a zero of their own, such as λmin or a
            margin, are compared by their ratio; a negative one says that the sign changed.
        compute: the function; one function may measure several scores.
        together: ``(networks, seeds, **options) -> measurements of each`` for networks that can be stacked, or `None`.
    """

    slug: str
    title: str
    family: str = "own"
    formula: str = ""
    source: str = ""
    orientation: Orientation = "higher is sharper"
    stochastic: bool | None = None
    cost: float = 1.0
    invariant: str = ""
    needs: tuple[str, ...] = ()
    unit: str = "1"
    panel: bool = False
    primary: bool = False
    sums: bool = False
    shards: bool = False
    stands_in: str = ""
    radii: tuple[float, ...] = ()
    reference: float | None = None
    remark: str = ""
    compared: Literal["ratio", "difference"] = "ratio"
    compute: Callable[..., tuple[Score, ...]] | None = None
    together: Callable[..., list[list[Measurement]]] | None = None

    def rows(self, measured: Sequence[Measurement], seed: int) -> tuple[Score, ...]:
        """Return measurements as rows of the results; one radius, the declared one or else the first, is the reference."""
        radii = [item.radius for item in measured]
        chosen = radii.index(self.reference) if self.reference in radii else 0
        return tuple(self._row(item, seed, i == chosen) for i, item in enumerate(measured))

    def _row(self, measured: Measurement, seed: int, reference: bool) -> Score:
        status, note = measured.status, measured.note or self.remark
        if not math.isfinite(measured.value) and status == "ok":
            status, note = "invalid", f"the value is {measured.value}"
        return Score(
            name=self.slug,
            value=float(measured.value),
            standard_error=None if measured.standard_error is None else float(measured.standard_error),
            radius=measured.radius,
            reference=reference,
            status=status,
            note=note,
            family=self.family,
            orientation=self.orientation,
            unit=self.unit,
            gradients=float(measured.gradients),
            seed=seed,
            invariant_to=self.invariant,
            long_name=self.title,
        )

    def missing(self, error: LandscapeError, seed: int) -> Score:
        """Return the marked row of a score that has no meaning for an objective, or that failed there."""
        if not isinstance(error, NotDefinedError):
            return self._row(Measurement(math.nan, status="failed", note=str(error)), seed, True)
        reason = str(error).partition(": ")[2] or str(error)
        return self._row(Measurement(math.nan, status="not defined", note=reason), seed, True)


REGISTRY: dict[str, Definition] = {}
"""Every score by its slug."""

Found = Measurement | float | tuple[float, float] | Iterable[Measurement]
"""What a function may hand back: a number, a number with its standard error, or measurements."""
Compute = Callable[..., tuple[Score, ...]]


def score(*definitions: Definition | str, **fields: Any) -> Callable[[Callable[..., Found]], Compute]:
    """Enter a function into the register as the one that measures these scores.

    The function takes an `Objective` and keyword-only options, and returns a number, a number with its standard error, or one
    or several `Measurement`; with several definitions each measurement names its score. One that takes a ``radius`` is called
    for every radius of the grid, one that takes ``radii`` gets the grid. The registered function checks what the scores need
    first, and returns rows.

    Args:
        definitions: the scores it measures; or slug and title of a single one.
        fields: further fields of the `Definition`, of all where there are several.

    Raises:
        LandscapeError: a slug is taken, a family is unknown, or an invariance is not one of T1 … T7.

    >>> REGISTRY["gradient-norm"].family
    'gradient'
    """
    rows = [replace(row, **fields) for row in definitions if isinstance(row, Definition)]
    rows = rows or [Definition(*definitions, **fields)]  # type: ignore[arg-type]

    def decorate(measure: Callable[..., Found]) -> Compute:
        options = keyword_options(measure)
        one_radius = "radius" in options
        grid = options.pop("radius", None) or options.pop("radii", None)
        if grid is not None:
            options = {
                "radii": grid.replace(name="radii", default=None, annotation="Sequence[float] | None"),
                **options,
            }

        def measured(network: Gauged, *, radii: Sequence[float] | None = None, **given: Any) -> list[Measurement]:
            at, chosen = network.objective, tuple(rows[0].radii if radii is None else radii)
            if not one_radius:
                given |= {} if grid is None else {"radii": chosen}
                return measurements(measure(at, **given), rows[0].cost)
            each = rows[0].cost / max(len(rows[0].radii), 1)
            found = [(radius, measurements(measure(at, radius=radius, **given), each)) for radius in chosen]
            return [replace(item, radius=radius) for radius, items in found for item in items]

        text = measure.__doc__ or rows[0].title
        return register(rows, measured, options, name=measure.__name__, module=measure.__module__, text=text)

    return decorate


def measurements(found: Found, cost: float) -> list[Measurement]:
    """Return what a function handed back as measurements; a bare number is said to have cost what the register says."""
    if isinstance(found, Measurement):
        return [found]
    if isinstance(found, tuple) and len(found) == 2 and not isinstance(found[0], Measurement):
        return [Measurement(float(found[0]), float(found[1]), gradients=cost)]
    return list(found) if isinstance(found, Iterable) else [Measurement(float(found), gradients=cost)]


def register(
    definitions: Sequence[Definition],
    measure: Callable[..., list[Measurement]],
    options: Mapping[str, inspect.Parameter],
    *,
    name: str,
    module: str,
    text: str,
) -> Compute:
    """Enter scores into the register and return the function that measures them and returns rows, in their order.

    ``measure`` takes a `Gauged` network and the options; ``name``, ``module`` and ``text`` are those of the function returned.
    """
    own = inspect.Parameter("objective", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Objective")
    signature = inspect.Signature([own, *options.values()])
    kinds = _kinds(options.values())
    entered = [_checked(definition, options, module) for definition in definitions]

    def compute(objective: Objective | Gauged, **given: Any) -> tuple[Score, ...]:
        signature.bind(objective, **given)
        check_numbers(kinds, given)
        if not isinstance(objective, Gauged):
            expect_objective(objective, entered[0].slug)
            objective = Gauged(objective)
        objective = objective.suited(entered[0])
        for definition in entered:
            require(objective.objective, definition.needs, definition.slug)
        seed = int(given.get("seed", 0))
        try:
            measured = measure(objective, **given)
        except UndefinedError as lack:
            raise NotDefinedError(f"{entered[0].slug} is not defined here: {lack}") from None
        return tuple(
            row
            for definition in entered
            for row in definition.rows([m for m in measured if (m.name or entered[0].slug) == definition.slug], seed)
        )

    compute.__name__ = compute.__qualname__ = name
    compute.__module__, compute.__doc__ = module, documented(text, options, entered[0])
    compute.__signature__ = signature  # type: ignore[attr-defined]
    for definition in entered:
        REGISTRY[definition.slug] = replace(definition, compute=compute)
    return compute


def _checked(definition: Definition, options: Mapping[str, inspect.Parameter], module: str) -> Definition:
    """Return a definition with what follows from the function's options; a module of the user's may define its own anew."""
    taken = REGISTRY.get(definition.slug)
    if taken is not None and (taken.compute.__module__ != module or module.startswith("landscape.")):
        raise LandscapeError(f"a score named {definition.slug!r} exists already; choose another slug")
    if definition.family not in FAMILIES:
        raise LandscapeError(f"{definition.slug}: unknown family {definition.family!r}, expected one of {FAMILIES}")
    unknown = set(definition.invariant.split()) - set(TRANSFORMATIONS)
    if unknown:
        raise LandscapeError(f"{definition.slug}: unknown transformations {sorted(unknown)}, expected T1 … T7")
    return replace(
        definition,
        stochastic="seed" in options if definition.stochastic is None else definition.stochastic,
        reference=definition.radii[0] if len(definition.radii) == 1 else definition.reference,
    )


def _kinds(options: Iterable[inspect.Parameter]) -> dict[str, str]:
    return {option.name: inspect.formatannotation(option.annotation).strip("'") for option in options}


def options_of(definition: Definition) -> dict[str, str]:
    """Return the options that a score's function takes, such as ``radii``, with their annotations."""
    assert definition.compute is not None
    return _kinds(keyword_options(definition.compute).values())


def documented(text: str, options: Iterable[str], definition: Definition) -> str:
    """Return a docstring with what it leaves unsaid of arguments, refusals and source, as register and definition have it."""
    text, example, rest = inspect.cleandoc(text).partition("\n>>> ")
    head, *parts = re.split(r"^(?=(?:Args|Returns|Raises|Source):)", text, flags=re.MULTILINE)
    sections = {part.partition(":")[0]: part.strip() for part in parts}
    said = sections.get("Args", "").partition("\n")[2]
    shared = [
        f"    {name}: {OPTIONS[name]}"
        for name in ("objective", *options)
        if name in OPTIONS and not re.search(rf"^    {name}: ", said, re.MULTILINE)
    ]
    sections["Args"] = "\n".join(filter(None, ("Args:", *shared, said)))
    if definition.needs:
        lacks = ", ".join(NEEDS[need].lack for need in definition.needs)
        sections.setdefault("Raises", f"Raises:\n    NotDefinedError: {lacks}.")
    if definition.source:
        sections.setdefault("Source", f"Source: {definition.source}.")
    page = "\n\n".join(
        [head.rstrip(), *(sections[key] for key in ("Args", "Returns", "Raises", "Source") if key in sections)]
    )
    return f"{page}\n\n>>> {rest}" if example else page


def ordered() -> list[Definition]:
    """Return all scores in the order of tables: the primary ones, then family by family."""
    return sorted(REGISTRY.values(), key=lambda d: (not d.primary, FAMILIES.index(d.family)))


def primary() -> tuple[str, ...]:
    """Return the slugs of the scores that a verdict is decided on, in the order of tables.

    >>> primary()
    ('adaptive-worst-symmetric', 'adaptive-average', 'inverse-sigma-mag')
    """
    return tuple(definition.slug for definition in ordered() if definition.primary)


def deciding(measured: Sequence[str], defined: Collection[str]) -> dict[str, str]:
    """Return which score decides in the place of each primary one, itself where it is defined.

    A primary score that was measured and is not defined anywhere is left out when no other stands in for it; one that was not
    measured stays, so that nobody chooses the scores that decide by measuring two of them.

    Args:
        measured: slugs of the scores that were asked for.
        defined: those with a value somewhere.

    >>> deciding(primary(), ["adaptive-average", "inverse-sigma-mag"])
    {'adaptive-average': 'adaptive-average', 'inverse-sigma-mag': 'inverse-sigma-mag'}
    """
    found = {}
    for slug in primary():
        others = [d.slug for d in ordered() if d.stands_in == slug and d.slug in defined]
        if slug in defined or slug not in measured or others:
            found[slug] = slug if slug in defined or not others else others[0]
    return found


def select(scores: str | Sequence[str] | None) -> list[Definition]:
    """Return the definitions asked for: `None` for the primary panel, ``"all"``, a family, a slug, or several of these.

    Raises:
        LandscapeError: a name is neither a slug nor a family; close names are proposed.
    """
    if scores is None:
        return [definition for definition in ordered() if definition.panel]
    if not isinstance(scores, Iterable) or not (scores := [scores] if isinstance(scores, str) else list(scores)):
        raise LandscapeError(f"scores are {scores!r}, expected names such as 'lambda-max', or None for the usual ones")
    wanted = scores
    if wanted == ["all"]:
        return ordered()
    chosen: dict[str, Definition] = {}
    for name in wanted:
        found = {d.slug: d for d in ordered() if name in (d.slug, d.family)}
        if not found:
            close = difflib.get_close_matches(str(name), [*REGISTRY, *FAMILIES], cutoff=0.5)
            known = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(REGISTRY)}"
            raise LandscapeError(f"unknown score {name!r}; {known}")
        chosen |= found
    return list(chosen.values())


def describe(style: str = "text") -> str:
    """Return the registry as a table: score, family, formula, cost in gradients, how it is compared, invariances, source.

    Args:
        style: ``text`` or ``markdown``.

    >>> "adaptive-average" in describe()
    True
    """
    columns: dict[str, Callable[[Definition], str]] = {
        "score": lambda d: d.slug,
        "family": lambda d: d.family,
        "formula": lambda d: d.formula,
        "orientation": lambda d: d.orientation,
        "random": lambda d: "yes" if d.stochastic else "no",
        "gradients": lambda d: f"{d.cost:.3g}",
        "compared by": lambda d: d.compared,
        "invariant to": lambda d: d.invariant,
        "source": lambda d: d.source,
    }
    body = [tuple(cell(definition) for cell in columns.values()) for definition in ordered()]
    return format_table(tuple(columns), body, style)
