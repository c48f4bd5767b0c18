"""Scores composed of a gauge, a quantity, a perturbation and a functional."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from landscape.arguments import keyword_options
from landscape.errors import LandscapeError
from landscape.function.stack import Stack
from landscape.scores.functionals import Case, Functional
from landscape.scores.gauges import Gauge, Gauged, none
from landscape.scores.perturbations import Perturbation
from landscape.scores.quantities import Quantity, loss
from landscape.scores.register import Compute, Definition, Measurement, register

_OVER = {
    "a set": ("rise", "a box or a ball"),
    "noise": ("steps", "noise"),
    "directions": ("directions", "noise, the sphere or filters"),
}
"""What a perturbation of each kind can do, and which do it."""


@dataclass(frozen=True)
class Composition:
    """A functional of a quantity under a perturbation, in a gauge, as `compose` takes them; they must fit each other."""

    slug: str
    quantity: Quantity
    perturbation: Perturbation
    functional: Functional
    gauge: Gauge = none
    radii: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        functional, quantity = self.functional, self.quantity
        if functional.of_loss and quantity is not loss:
            raise LandscapeError(
                f"{self.slug}: its functional follows derivatives of the loss, but the quantity is the {quantity.name}; "
                "choose quantities.loss, or a functional that reads values, such as mean_rise"
            )
        made = self._made
        method, choice = _OVER.get(functional.over, ("", ""))
        if method and not hasattr(made, method):
            raise LandscapeError(
                f"{self.slug}: its functional is over {functional.over}, but the perturbation is {made.__name__}; "
                f"choose {choice}"
            )

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only options of all parts, by name."""
        option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
        radii = {"radii": option("radii", default=None, annotation="Sequence[float] | None")} if self._has_radii else {}
        gauge = {"gauge": option("gauge", default=True, annotation="bool")} if self.gauge.shift_removed else {}
        return radii | self.perturbation.options | keyword_options(self.functional.measure) | gauge

    @property
    def _made(self) -> Any:
        """The kind of the perturbation."""
        return getattr(self.perturbation.make, "func", self.perturbation.make)

    @property
    def _has_radii(self) -> bool:
        return "radii" in inspect.signature(self.functional.measure).parameters

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `Definition` that follow from the parts."""
        functional, quantity, options = self.functional, self.quantity, self.options
        logits = ("three classes" if functional.climbs else "classes",) if self.gauge.normalised else ()
        found: dict[str, Any] = {
            "needs": tuple(dict.fromkeys((*logits, *quantity.needs))),
            "unit": functional.unit or quantity.unit,
            "invariant": self._invariances(),
            "sums": functional.sums and quantity.sums,
            "shards": functional.shards and self._made.shards,
            "together": self.together if functional.stacks else None,
        }
        if functional.cost is not None:
            defaults = {name: option.default for name, option in options.items() if name != "radii"}
            cost = functional.cost(len(self.radii), **defaults)
            found["cost"] = round(cost) if cost > 2 else cost
        return found

    def _invariances(self) -> str:
        gauge, quantity, scale = self.gauge, self.quantity, self.perturbation.scale
        kept = set(scale.invariant.split())
        if "T2" in kept and gauge.shift_removed:
            kept.add("T5")
        if self.functional.climbs:
            kept.discard("T3")  # which keeps the function up to the norm's epsilon only, and an ascent may amplify that
        if gauge.factors_fixed:
            kept.add("T6")
        if "T2" in kept and ((gauge.normalised and quantity is loss) or quantity.decisions):
            kept.add("T7")
        if scale.absolute and self.functional.guesses:
            kept.discard("T5")
        return " ".join(sorted(kept))

    def measure(self, network: Gauged, **given: Any) -> list[Measurement]:
        """Measure a network; an option that two parts have goes to both."""
        fix = given.get("gauge", True)
        measured = self._measured(network.at(self.gauge, fix=fix), **given)
        return _noted(measured, network.left(self.gauge) if fix else "")

    def together(self, networks: Sequence[Gauged], seeds: Sequence[int], **given: Any) -> list[list[Measurement]]:
        """Measure networks that can be stacked, each with a seed of its own: the measurements of every one."""
        fix = given.get("gauge", True)
        stack = Stack([network.at(self.gauge, fix=fix) for network in networks])
        measured = self._measured(stack, **given, seed=tuple(seeds))
        left = [network.left(self.gauge) if fix else "" for network in networks]
        return [_noted([_of(row, k) for row in measured], note) for k, note in enumerate(left)]

    def _measured(self, at: Any, **given: Any) -> list[Measurement]:
        moved, own = self.perturbation.options, keyword_options(self.functional.measure)
        bound = self.perturbation.about(at, **{name: given[name] for name in moved if name in given})
        grid = given.get("radii")
        grids = [tuple(self.radii if grid is None else grid)] if self._has_radii else []
        case = Case(at, bound, self.quantity, self.slug)
        return self.functional(case, *grids, **{name: given[name] for name in own if name in given})


def _noted(rows: list[Measurement], left: str) -> list[Measurement]:
    return [replace(row, note="; ".join(filter(None, (row.note, left)))) for row in rows] if left else rows


def _of(row: Measurement, k: int) -> Measurement:
    """Return what was measured of network k of a stack."""
    own = {name: value.tolist()[k] for name, value in vars(row).items() if isinstance(value, np.ndarray)}
    return replace(row, **own)


def compose(
    slug: str,
    title: str,
    quantity: Quantity,
    perturbation: Perturbation,
    functional: Functional | Callable[..., Any],
    *,
    gauge: Gauge = none,
    about: str = "",
    **fields: Any,
) -> Compute:
    r"""Enter a score into the register that is a functional of a quantity under a perturbation, in a gauge.

    .. math:: S = (\text{functional} \circ \text{quantity} \circ \text{perturbation} \circ \text{gauge})(w)

    Its options are those of the parts. Needs, unit, cost and invariances follow from the parts and may be declared
    otherwise; T1 to T3 come from units proportional to each weight, T5 and T6 from the gauge, T7 from normalised logits or from
    decisions.

    Args:
        slug: its name in tables and files.
        title: the score in words.
        quantity: what is read at the moved weights, from `landscape.scores.quantities`.
        perturbation: how they are moved, from `landscape.scores.perturbations`.
        functional: what is made of it, from `landscape.scores.functionals`, or a function
            ``(case, radii, **options) -> measurements``.
        gauge: what is taken out first, from `landscape.scores.gauges`.
        about: what its docstring says besides.
        fields: further fields of its `Definition`, such as ``radii``, ``formula`` or ``source``.

    Returns:
        The function ``(objective, **options) -> rows``. `landscape.sharpness` knows the score by its slug.

    Raises:
        LandscapeError: the slug is taken, a family or transformation is unknown, or the parts do not fit.

    >>> import torch, landscape as ls
    >>> from landscape.scores import functionals, perturbations, quantities
    >>> parts = quantities.loss, perturbations.noise(perturbations.ones, "uniform"), functionals.mean_rise
    >>> shaken = ls.scores.compose("shaken", "mean rise under uniform noise", *parts, radii=(0.1,))
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.zeros(1, 1)), "mse_loss").at(torch.tensor([1.0]))
    >>> shaken(objective, pairs=2000)[0].value, ls.scores.REGISTRY["shaken"].invariant  # ρ²/3
    (0.0033..., 'T4 T5')
    >>> del ls.scores.REGISTRY["shaken"]
    """
    functional = functional if isinstance(functional, Functional) else Functional(functional)
    composition = Composition(slug, quantity, perturbation, functional, gauge, tuple(fields.get("radii", ())))
    definition = Definition(slug, title, **{"formula": title, **composition.fields(), **fields})
    return register(
        [definition],
        composition.measure,
        composition.options,
        name=slug.replace("-", "_"),
        module=sys._getframe(1).f_globals.get("__name__", __name__),
        text=f"{title[0].upper()}{title[1:]}.\n\n``{definition.formula}``\n\n{about}",
    )
