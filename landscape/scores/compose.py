"""Scores composed of a gauge, a quantity, a perturbation and a functional."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from landscape.arguments import keyword_options
from landscape.scores.functionals import Case, Functional
from landscape.scores.gauges import Gauge, Gauged, none
from landscape.scores.perturbations import Perturbation
from landscape.scores.quantities import Quantity
from landscape.scores.register import Compute, Definition, Measurement, register

_RADII = inspect.Parameter("radii", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Sequence[float] | None")
_GAUGE = inspect.Parameter("gauge", inspect.Parameter.KEYWORD_ONLY, default=True, annotation="bool")


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
    otherwise; T1 and T2 come from units proportional to each weight, T5 from the gauge, T7 from normalised logits or from
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
        LandscapeError: the slug is taken, or a family or transformation is unknown.

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
    own, moved = keyword_options(functional.measure), perturbation.options
    has_radii = "radii" in inspect.signature(functional.measure).parameters
    options = {
        **({"radii": _RADII} if has_radii else {}),
        **moved,
        **own,
        **({"gauge": _GAUGE} if gauge.shift_removed else {}),
    }
    defaults = {name: option.default for name, option in options.items()}
    radii: Sequence[float] = fields.get("radii", ())
    derived: dict[str, Any] = {
        "needs": tuple(_needs(gauge, quantity, functional)),
        "unit": functional.unit or quantity.unit,
        "invariant": invariances(gauge, quantity, perturbation, functional),
        "formula": title,
    }
    if functional.cost is not None:
        cost = functional.cost(len(radii), **{k: v for k, v in defaults.items() if k != "radii"})
        derived["cost"] = round(cost) if cost > 2 else cost
    definition = Definition(slug, title, **{**derived, **fields})

    def measure(network: Gauged, **given: Any) -> list[Measurement]:
        at = network.at(gauge, remove_shift=given.pop("gauge", True))
        case = Case(at, perturbation.about(at, **{k: v for k, v in given.items() if k in moved}), quantity, slug)
        grid = given.get("radii")
        grids = [tuple(radii if grid is None else grid)] if has_radii else []
        return functional(case, *grids, **{k: v for k, v in given.items() if k in own})

    return register(
        [definition],
        measure,
        options,
        name=slug.replace("-", "_"),
        module=sys._getframe(1).f_globals.get("__name__", __name__),
        text=f"{title[0].upper()}{title[1:]}.\n\n{definition.formula}\n\n{about}",
    )


def _needs(gauge: Gauge, quantity: Quantity, functional: Functional) -> list[str]:
    logits = ["three classes" if functional.climbs else "classes"] if gauge.normalised else []
    return [*logits, *quantity.needs]


def invariances(gauge: Gauge, quantity: Quantity, perturbation: Perturbation, functional: Functional) -> str:
    """Return the transformations among T1 … T7 that leave a composed score unchanged, as its parts have it."""
    scale = perturbation.scale
    kept = set(scale.invariant.split())
    if "T2" in kept and gauge.shift_removed:
        kept.add("T5")
    if "T2" in kept and (gauge.normalised or quantity.decisions):
        kept.add("T7")
    if scale.absolute and functional.guesses:
        kept.discard("T5")
    return " ".join(sorted(kept))
