"""The register of scores: what each one is, what it needs, what it costs and what it is invariant to."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from landscape.arguments import check_numbers
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.objective import Objective
from landscape.results.scores import Score
from landscape.results.tables import format_table
from landscape.scores.requirements import check_objective, require

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
"""The transformations that invariances are declared for. T1 to T6 keep the predicted probabilities, T7 the decisions."""


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
)
"""Groups of scores that measure the same thing, in the order of tables; the primary scores come before all others."""


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
    """A score as the registry knows it.

    Attributes:
        slug: its name in tables and files.
        title: the score in words.
        family: group of scores that measure the same thing.
        formula: plain-text formula.
        source: paper and equation or section.
        orientation: ``higher is sharper``, ``lower is sharper`` or ``control`` (accompanies the scores, is none).
        stochastic: the value depends on random draws.
        cost: gradients over the data at the default settings, roughly (forward pass ⅓, Hessian product 2).
        invariant: the transformations among T1 … T7 that leave the value unchanged, separated by spaces.
        needs: what the objective must have, see `landscape.scores.requirements`.
        unit: unit of the value.
        panel: part of the primary panel.
        primary: one of the scores the verdict is decided on.
        radii: default grid of radii.
        reference: the radius that stands for the score where one number is wanted.
        remark: what a reader of the table must know.
        compared: how two values are compared: by their ``ratio``, or by their ``difference``: logarithms and entropies,
            whose zero is a matter of unit. Scores that may be negative but have a zero of their own, such as λmin or a
            margin, are compared by their ratio; a negative one says that the sign changed.
        compute: the function; one function may measure several scores.
    """

    slug: str
    title: str
    family: str
    formula: str
    source: str
    orientation: Orientation = "higher is sharper"
    stochastic: bool = False
    cost: float = 1.0
    invariant: str = ""
    needs: tuple[str, ...] = ()
    unit: str = "1"
    panel: bool = False
    primary: bool = False
    radii: tuple[float, ...] = ()
    reference: float | None = None
    remark: str = ""
    compared: Literal["ratio", "difference"] = "ratio"
    compute: Callable[..., tuple[Score, ...]] | None = None

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

Measure = Callable[..., Iterable[Measurement] | Measurement]


def score(*definitions: Definition) -> Callable[[Measure], Callable[..., tuple[Score, ...]]]:
    """Enter a function into the registry as the one that measures these scores.

    The function takes an `Objective` and keyword-only options and returns one or several `Measurement`; with several
    definitions each measurement names its score. The registered function checks what the scores need first and
    returns rows.

    Args:
        definitions: the scores it measures.

    Raises:
        LandscapeError: a slug is taken, a family is unknown, or an invariance is not one of T1 … T7.

    >>> REGISTRY["gradient-norm"].family
    'gradient'
    """
    for definition in definitions:
        if definition.slug in REGISTRY:
            raise LandscapeError(f"a score named {definition.slug!r} exists already; choose another slug")
        if definition.family not in FAMILIES:
            raise LandscapeError(f"{definition.slug}: unknown family {definition.family!r}, expected one of {FAMILIES}")
        unknown = set(definition.invariant.split()) - set(TRANSFORMATIONS)
        if unknown:
            raise LandscapeError(f"{definition.slug}: unknown transformations {sorted(unknown)}, expected T1 … T7")

    def register(measure: Measure) -> Callable[..., tuple[Score, ...]]:
        @functools.wraps(measure)
        def compute(objective: Objective, **options: Any) -> tuple[Score, ...]:
            check_numbers(options_of(REGISTRY[definitions[0].slug]), options)
            check_objective(objective, definitions[0].slug)
            for definition in definitions:
                require(objective, definition.needs, definition.slug)
            found = measure(objective, **options)
            seed = int(options.get("seed", 0))
            measured = [found] if isinstance(found, Measurement) else list(found)
            names = [item.name or definitions[0].slug for item in measured]
            return tuple(
                row
                for definition in definitions
                for row in definition.rows(
                    [item for item, name in zip(measured, names, strict=True) if name == definition.slug], seed
                )
            )

        for definition in definitions:
            REGISTRY[definition.slug] = _with_function(definition, compute)
        return compute

    return register


def _with_function(definition: Definition, compute: Callable[..., tuple[Score, ...]]) -> Definition:
    return Definition(**{**definition.__dict__, "compute": compute})


def options_of(definition: Definition) -> dict[str, str]:
    """Return the options that a score's function takes, such as ``radii``, with their annotations."""
    assert definition.compute is not None
    parameters = inspect.signature(definition.compute).parameters.values()
    return {option.name: str(option.annotation) for option in parameters if option.kind is option.KEYWORD_ONLY}


def ordered() -> list[Definition]:
    """Return all scores in the order of tables: the primary ones, then family by family."""
    return sorted(REGISTRY.values(), key=lambda d: (not d.primary, FAMILIES.index(d.family)))


def primary() -> tuple[str, ...]:
    """Return the slugs of the scores that a verdict is decided on, in the order of tables.

    >>> primary()
    ('adaptive-worst-linf', 'adaptive-average', 'inverse-sigma-mag')
    """
    return tuple(definition.slug for definition in ordered() if definition.primary)


def select(scores: str | Sequence[str] | None) -> list[Definition]:
    """Return the definitions asked for: `None` for the primary panel, ``"all"``, a family, a slug, or several of these.

    Raises:
        LandscapeError: a name is neither a slug nor a family; close names are proposed.
    """
    if scores is None:
        return [definition for definition in ordered() if definition.panel]
    wanted = [scores] if isinstance(scores, str) else list(scores)
    if wanted == ["all"]:
        return ordered()
    chosen: dict[str, Definition] = {}
    for name in wanted:
        found = [d for d in ordered() if name in (d.slug, d.family)]
        if not found:
            close = difflib.get_close_matches(name, [*REGISTRY, *FAMILIES], cutoff=0.5)
            known = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(REGISTRY)}"
            raise LandscapeError(f"unknown score {name!r}; {known}")
        chosen.update({definition.slug: definition for definition in found})
    return list(chosen.values())


def describe(style: str = "text") -> str:
    """Return the registry as a table: score, family, formula, cost in gradients, how it is compared, invariances, source.

    Args:
        style: ``text`` or ``markdown``.

    >>> "adaptive-average" in describe()
    True
    """
    header = (
        "score",
        "family",
        "formula",
        "orientation",
        "random",
        "gradients",
        "compared by",
        "invariant to",
        "source",
    )
    body: list[tuple[str, ...]] = [
        (
            d.slug,
            d.family,
            d.formula,
            d.orientation,
            "yes" if d.stochastic else "no",
            f"{d.cost:.3g}",
            d.compared,
            d.invariant,
            d.source,
        )
        for d in ordered()
    ]
    return format_table(header, body, style)
