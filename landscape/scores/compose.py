"""Scores composed of a gauge, a quantity, a perturbation and a functional."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from landscape.errors import LandscapeError
from landscape.scores.functionals import Composition, Functional
from landscape.scores.gauges import Gauge, none
from landscape.scores.perturbations import Perturbation
from landscape.scores.quantities import Quantity, loss
from landscape.scores.register import Compute, Definition, register


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
    _check(composition)
    options = composition.options
    derived: dict[str, Any] = {
        "needs": needs(composition),
        "unit": functional.unit or quantity.unit,
        "invariant": invariances(composition),
        "formula": title,
    }
    if functional.cost is not None:
        defaults = {name: option.default for name, option in options.items() if name != "radii"}
        cost = functional.cost(len(composition.radii), **defaults)
        derived["cost"] = round(cost) if cost > 2 else cost
    if functional.stacks:
        derived["together"] = composition.together
    definition = Definition(slug, title, **{**derived, **fields})
    return register(
        [definition],
        composition.measure,
        options,
        name=slug.replace("-", "_"),
        module=sys._getframe(1).f_globals.get("__name__", __name__),
        text=f"{title[0].upper()}{title[1:]}.\n\n``{definition.formula}``\n\n{about}",
    )


_OVER = {
    "a set": ("rise", "a box or a ball"),
    "noise": ("steps", "noise"),
    "directions": ("directions", "noise, the sphere or filters"),
}
"""What a perturbation of each kind can do, and which do it."""


def _check(composition: Composition) -> None:
    functional, quantity, slug = composition.functional, composition.quantity, composition.slug
    if functional.of_loss and quantity is not loss:
        raise LandscapeError(
            f"{slug}: its functional follows derivatives of the loss, but the quantity is the {quantity.name}; choose "
            "quantities.loss, or a functional that reads values, such as mean_rise"
        )
    made = getattr(composition.perturbation.make, "func", composition.perturbation.make)
    method, choice = _OVER.get(functional.over, ("", ""))
    if method and not hasattr(made, method):
        raise LandscapeError(
            f"{slug}: its functional is over {functional.over}, but the perturbation is {made.__name__}; choose {choice}"
        )


def needs(composition: Composition) -> tuple[str, ...]:
    """Return what an objective must have for a composed score."""
    logits = ("three classes" if composition.functional.climbs else "classes",) if composition.gauge.normalised else ()
    return tuple(dict.fromkeys((*logits, *composition.quantity.needs)))


def invariances(composition: Composition) -> str:
    """Return the transformations among T1 … T7 that leave a composed score unchanged, as its parts have it."""
    gauge, quantity, scale = composition.gauge, composition.quantity, composition.perturbation.scale
    kept = set(scale.invariant.split())
    if "T2" in kept and gauge.shift_removed:
        kept.add("T5")
    if composition.functional.climbs:
        kept.discard("T3")  # which keeps the function up to the norm's epsilon only, and an ascent may amplify that
    if gauge.factors_fixed:
        kept.add("T6")
    if "T2" in kept and ((gauge.normalised and quantity is loss) or quantity.decisions):
        kept.add("T7")
    if scale.absolute and composition.functional.guesses:
        kept.discard("T5")
    return " ".join(sorted(kept))
