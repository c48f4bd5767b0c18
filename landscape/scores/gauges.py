"""Gauges: which of all networks with the same predictions a score reads, and which of their logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.scores.requirements import require
from landscape.transforms.factors import factors_fixed
from landscape.transforms.head import gauge_fixed
from landscape.transforms.logits import normalize_logits

if TYPE_CHECKING:
    from landscape.scores.register import Definition


@dataclass(frozen=True)
class Gauge:
    """What is taken out of a network before it is scored.

    Attributes:
        shift_removed: the shift of all logits that softmax does not see, so that a score that reads |w| survives T5; the
            user can leave it in with ``gauge=False``.
        normalised: the length of the logits, so that a score survives T7.
        factors_fixed: the basis inside attention heads and other products of weights, so that a score survives T6; left in
            with ``gauge=False``, too.
    """

    shift_removed: bool = False
    normalised: bool = False
    factors_fixed: bool = False


none = Gauge()
shift_removed = Gauge(shift_removed=True, factors_fixed=True)
normalised = Gauge(shift_removed=True, normalised=True, factors_fixed=True)


class Gauged:
    """A network in the gauges that scores ask for; each is made once, for all scores of a panel.

    Args:
        objective: the function at the trained weights.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self._whole: Gauged | None = None
        self._made: dict[Gauge, tuple[Objective, tuple[str, ...]]] = {none: (objective, ())}

    def at(self, gauge: Gauge, *, fix: bool = True) -> Objective:
        """Return the objective in a gauge; without ``fix`` the shift of all logits and the basis of products stay."""
        return self._at(gauge if fix else Gauge(normalised=gauge.normalised))[0]

    def suited(self, score: Definition) -> Gauged:
        """Return what a score is measured on: in several processes their sums, or all data in each where it is no sum.

        Raises:
            NotDefinedError: it takes norms of all of theta, of which a process has a part.
        """
        world = self.objective.world
        if world.sharded and not score.shards:
            raise NotDefinedError(
                f"{score.slug} is not defined for a sharded model: it needs all weights in one process"
            )
        if world.count == 1 or score.sums:
            return self
        if self._whole is None:
            self._whole = Gauged(self.objective.everything)
        return self._whole

    def left(self, gauge: Gauge) -> str:
        """Say what a gauge could not take out, and why; empty where nothing is left."""
        return "; ".join(self._at(gauge)[1])

    def _at(self, gauge: Gauge) -> tuple[Objective, tuple[str, ...]]:
        if gauge not in self._made:
            # the shift first: the mean of the last layer's rows is not in the basis of a product that it is part of
            for name, take in (
                ("normalised", lambda objective: (logit_normalized(objective), ())),
                ("factors_fixed", factors_fixed),
                ("shift_removed", gauge_fixed),
            ):
                if getattr(gauge, name):
                    before, said = self._at(replace(gauge, **{name: False}))
                    after, more = take(before)
                    self._made[gauge] = after, (*said, *more)
                    break
        return self._made[gauge]


def logit_normalized(objective: Objective) -> Objective:
    r"""Return the objective whose loss reads normalised logits: its band is fixed, and temperature has no effect.

    The cross-entropy of unit logits lies between :math:`\log(1 + (C-1)e^{-\sqrt{C/(C-1)}})`, which is 1.41987 for C = 10, and
    a few units above log C.

    Raises:
        NotDefinedError: the objective has no class logits.
    """
    require(objective, ("classes",), "logit normalisation")
    known = objective.known

    def prepared(output: Tensor) -> Tensor:
        # in float64, because scores are differences of nearly equal losses; log-softmax leaves cross_entropy unchanged
        # and gives nll_loss the log-probabilities it expects
        return F.log_softmax(normalize_logits(output.double()), 1)

    terms = known.per_example
    return objective.with_loss(
        replace(
            known,
            fn=lambda output, target: known.fn(prepared(output), target),
            per_example=None if terms is None else lambda output, target: terms(prepared(output), target),
            description=f"{known.description} on normalised logits",
            likelihood=None,
        )
    )
