"""One-step worst cases: SAM, m-sharpness and ASAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.ascent import SUBSET, increase_from, unit
from landscape.scores.evaluation import FORWARD, Meter
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

Step = Callable[[Tensor], Tensor]


def one_step_increase(objective: Objective, step: Step, radius: float, meter: Meter) -> float:
    """Return the mean over batches of L_B(w + ρ·step(∇L_B)) − L_B(w).

    Args:
        objective: the function; every batch is maximised by itself.
        step: turns a gradient (P,) into a perturbation of unit size.
        radius: ρ.
        meter: counts one gradient and one forward pass.
    """
    theta = objective.theta
    total = torch.zeros((), dtype=torch.float64, device=objective.device)
    with objective.guard(), torch.no_grad():
        for batch in objective.batches:
            before, gradient = increase_from(objective, batch)(torch.zeros_like(theta))
            after = objective.batch_value(theta + radius * step(gradient), batch).double().reshape(())
            total += (after - before) * batch.scale
    meter.gradient()
    meter.forward()
    return float(total)


def adaptive_unit(scale: Tensor) -> Step:
    """Return g ↦ T²g / ‖Tg‖₂ with T = diag(scale): Kwon et al. 2021, equation 7."""

    def step(gradient: Tensor) -> Tensor:
        return scale * unit(scale * gradient)

    return step


def _over_radii(objective: Objective, step: Step, radii: Sequence[float]) -> list[Measurement]:
    found = []
    for radius in radii:
        meter = Meter()
        value = one_step_increase(objective, step, radius, meter)
        found.append(Measurement(value, None, radius, meter.gradients))
    return found


@score(
    Definition(
        "sam",
        "SAM sharpness, one step on all data",
        family="worst case",
        formula="L(w + ρg/‖g‖₂) − L(w)",
        source="Foret et al. 2021, arXiv 2010.01412, eq. 2",
        cost=1 + FORWARD,
        invariant="T4 T5",
        unit="loss",
        radii=(0.05,),
        reference=0.05,
    )
)
def sam(objective: Objective, *, radii: Sequence[float] | None = None) -> list[Measurement]:
    r"""Measure the rise of the loss after one step of length ρ along the gradient.

    .. math:: L(w + \rho\,g / \lVert g\rVert_2) - L(w)

    Near an interpolating minimum this is the direction of a vanishing gradient; see ``adaptive-worst-linf`` for ascent in many
    steps.

    Args:
        objective: the function.
        radii: step lengths ρ.

    Source: Foret et al. 2021 (arXiv 2010.01412), equation 2 with p = 2 and their default ρ = 0.05.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.zeros(1, 1)), "mse_loss").at(torch.tensor([1.0]))
    >>> round(sam(objective, radii=[0.5])[0].value, 6)  # 1.5² − 1²
    1.25
    """
    whole = objective.rebatch(objective.n)
    return _over_radii(whole, unit, tuple(radii or (0.05,)))


@score(
    Definition(
        "m-sharpness",
        "SAM sharpness, one step on every batch of 128",
        family="worst case",
        formula="E_B L_B(w + ρg_B/‖g_B‖₂) − L_B(w), |B| = m",
        source="Foret et al. 2021, arXiv 2010.01412, section 4.1",
        cost=1 + FORWARD,
        invariant="T4 T5",
        unit="loss",
        radii=(0.05,),
        reference=0.05,
    )
)
def m_sharpness(
    objective: Objective, *, radii: Sequence[float] | None = None, subset: int = SUBSET
) -> list[Measurement]:
    """Average the one-step rise over disjoint batches of m examples, cut by index; smaller batches give larger values.

    Args:
        objective: the function.
        radii: step lengths ρ.
        subset: m, examples a batch.

    Source: Foret et al. 2021 (arXiv 2010.01412), section 4.1.
    """
    return _over_radii(objective.rebatch(subset), unit, tuple(radii or (0.05,)))


@score(
    Definition(
        "asam",
        "ASAM sharpness, one step in units of the weights",
        family="worst case",
        formula="E_B L_B(w + ρT²g_B/‖Tg_B‖₂) − L_B(w), T = diag(|w|)",
        source="Kwon et al. 2021, arXiv 2102.11600, eq. 7 with η = 0",
        cost=1 + FORWARD,
        invariant="T1 T2 T4 T5",
        unit="loss",
        radii=(0.5,),
        reference=0.5,
    )
)
def asam(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    subset: int = SUBSET,
    eta: float = 0.0,
    gauge: bool = True,
) -> list[Measurement]:
    """Average the rise after one step of relative length ρ along the gradient in units of the weights.

    All tensors are scaled, biases included, and η = 0; published training code adds η = 0.01 and leaves biases alone,
    which breaks the invariance to rescaling.

    Args:
        objective: the function.
        radii: relative step lengths ρ.
        subset: examples a batch.
        eta: added to every |w|.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.

    Source: Kwon et al. 2021 (arXiv 2102.11600), equation 7.
    """
    objective = gauge_fixed(objective) if gauge else objective
    step = adaptive_unit(objective.theta.abs() + eta)
    return _over_radii(objective.rebatch(subset), step, tuple(radii or (0.5,)))
