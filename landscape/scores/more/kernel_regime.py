"""The kernel regime: did training move the tangent kernel, and does the network linearised at initialisation learn alike?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp

from landscape.arguments import seeded_generator
from landscape.bars import bar
from landscape.errors import NumericalError
from landscape.function.batches import Batch, pick
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.scores.fit import initial_weights
from landscape.scores.register import Definition, Measurement, UndefinedError, score
from landscape.scores.requirements import class_count
from landscape.scores.single_gradients import gradient_rows


def linearised_outputs(start: Objective, theta: Tensor, batch: Batch) -> Tensor:
    r"""Return :math:`f(w_0) + J(w_0)(w - w_0)` on a batch, (N, C), by one forward-mode product. Use inside the guard."""
    origin = start.theta
    value, change = jvp(lambda at: start.batch_outputs(at, batch), (origin,), (theta.to(origin) - origin,))[:2]
    total: Tensor = value + change
    return total


def train_linearised(
    start: Objective, *, lr: float, momentum: float, batch_size: int, steps: int, seed: int = 0
) -> Tensor:
    r"""Train the linearised network with SGD and return its weights, (P,).

    .. math:: v \leftarrow \beta v + J_B(w_0)^T\,\nabla_f \ell(f_B^{\mathrm{lin}}(w)), \qquad w \leftarrow w - \eta v

    Args:
        start: the training loss at the initial weights.
        lr: η.
        momentum: β, without dampening.
        batch_size: examples per step; every epoch has an order of its own.
        steps: number of steps.
        seed: of the orders.

    Raises:
        NumericalError: the weights became infinite: the linearised network diverges where the network did not.

    Source: Lee et al. 2019 (arXiv 1902.06720), section 2.2.
    """
    everything = start.rebatch(start.n).batches[0]
    theta, speed = start.theta.clone(), torch.zeros_like(start.theta)
    generator, order = seeded_generator(seed), torch.zeros(0, dtype=torch.long)
    with start.guard(second=True):
        for _ in bar(range(steps), desc="linearised training"):
            if not len(order):
                order = torch.randperm(start.n, generator=generator)
            chosen, order = order[:batch_size], order[batch_size:]
            batch = pick(everything, chosen)
            outputs = linearised_outputs(start, theta, batch).detach().requires_grad_()
            assert batch.target is not None
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(start.known.fn(outputs, batch.target), outputs)
            pull = vjp(lambda at, batch=batch: start.batch_outputs(at, batch), start.theta)[1]
            speed = momentum * speed + pull(slope)[0]
            theta = theta - lr * speed
    if not bool(torch.isfinite(theta).all()):
        raise NumericalError(
            f"the linearised network diverges at lr={lr}, where the network did not: it is far from the kernel regime"
        )
    return theta.detach()


@score(
    "linearisation-error",
    "what the linearisation at initialisation misses of the change of the outputs",
    family="function space",
    formula="‖f(w) − f(w₀) − J(w₀)(w − w₀)‖_F / ‖f(w) − f(w₀)‖_F",
    source="Lee et al. 2019, arXiv 1902.06720, eq. 4; Fort et al. 2020, arXiv 2010.15110",
    orientation="control",
    cost=1.33,
    needs=("classes",),
)
def linearisation_error(objective: Objective, *, checkpoint: Any = None) -> Measurement:
    """Measure how far the trained network is from its first-order expansion about the initial weights; small when lazy.

    Raises:
        NotDefinedError: the initial weights are not known, or the outputs never moved.
    """
    start = initial_weights(objective, checkpoint)
    missed = moved = 0.0
    with objective.guard(second=True), torch.no_grad():
        for batch in objective.batches:
            before, after = start.batch_outputs(start.theta, batch), objective.batch_outputs(objective.theta, batch)
            missed += float((after - linearised_outputs(start, objective.theta, batch)).double().square().sum())
            moved += float((after - before).double().square().sum())
    if moved == 0:
        raise UndefinedError("the outputs are those of the initial weights")
    return Measurement((missed / moved) ** 0.5, gradients=1.33)


@score(
    "linearised-agreement",
    "share of equal decisions of the network and of its linearisation, trained alike",
    family="function space",
    formula="share of x with argmax f(x) = argmax f_lin(x), f_lin trained with the same η, β, batch size and steps",
    source="Lee et al. 2019, arXiv 1902.06720; Chizat et al. 2019, arXiv 1812.07956",
    orientation="control",
    cost=1000,
    needs=("classes",),
)
def linearised_agreement(
    objective: Objective, *, checkpoint: Any = None, steps: int | None = None, seed: int = 0
) -> Measurement:
    """Train the network's linearisation at its initial weights with the same schedule and compare the decisions.

    Near 1 in the lazy, or kernel, regime. On the training data two networks that fit all labels agree whatever their regime,
    so give the objective of held-out data, ``checkpoint.objective("test")``: training is on the checkpoint's training data.

    Args:
        objective: where the decisions are compared, at the trained weights.
        checkpoint: a `landscape.Checkpoint` with ``init``, ``lr``, ``batch_size`` and ``step``, trained by SGD.
        steps: steps of the linearised training; `None`: as many as the checkpoint took.
        seed: of the order of examples, which the checkpoint does not know.

    Raises:
        NotDefinedError: how the network was trained is not known, or not by SGD.
        NumericalError: the linearised network diverges at this learning rate.
    """
    start = initial_weights(objective, checkpoint)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.init is not None
    wanted = {"lr": checkpoint.lr, "batch_size": checkpoint.batch_size, "step": steps or checkpoint.step}
    missing = [name for name, value in wanted.items() if value is None]
    if missing:
        raise UndefinedError(f"the checkpoint does not know its {', '.join(missing)}")
    if (checkpoint.optimizer or "sgd").lower() != "sgd":
        raise UndefinedError(f"it trains by SGD, not {checkpoint.optimizer}")
    lr, size, count = float(wanted["lr"] or 0), int(wanted["batch_size"] or 0), int(wanted["step"] or 0)
    trained_on = checkpoint.objective("train", norm="frozen").at(checkpoint.init)
    theta = train_linearised(
        trained_on, lr=lr, momentum=checkpoint.momentum or 0.0, batch_size=size, steps=count, seed=seed
    )
    equal = 0
    with objective.guard(second=True), torch.no_grad():
        for batch in objective.batches:
            ours = objective.batch_outputs(objective.theta, batch).argmax(1)
            same = ours == linearised_outputs(start, theta, batch).argmax(1)
            equal += int((same & (batch.target != objective.known.ignore_index)).sum())
    cost = 3 * count * min(size, trained_on.n) / objective.n
    return Measurement(equal / objective.graded, gradients=cost, note=f"{count} steps of the linearised network")


EXAMPLES = 100


def tangent_kernel(objective: Objective, examples: int = EXAMPLES) -> Tensor:
    r"""Return the neural tangent kernel, averaged over outputs, on the first examples, (m, m) in float64.

    .. math:: \Theta_{ij} = \frac1C \sum_k \langle \nabla_w f_k(x_i), \nabla_w f_k(x_j) \rangle

    Args:
        objective: a classifier, or a network with outputs (N, C).
        examples: m; the first ones are used.

    Raises:
        NotDefinedError: the network cannot be mapped over examples.

    Source: Jacot et al. 2018 (arXiv 1806.07572).
    """
    part = objective.subset(range(min(examples, objective.n)))
    outputs = class_count(part)
    kernel = torch.zeros(part.n, part.n, dtype=torch.float64, device=part.device)
    for k in range(outputs):

        def output(at: Tensor, one: Batch, k: int = k) -> Tensor:
            return part.batch_outputs(at, one).flatten(1)[0, k]

        rows = torch.cat(list(gradient_rows(part, output))).double()
        kernel += rows @ rows.T
    return kernel / outputs


@score(
    "ntk-alignment",
    "alignment of the neural tangent kernel with the labels",
    family="function space",
    formula="⟨Θ, YYᵀ⟩ / (‖Θ‖_F ‖YYᵀ‖_F), Y centred one-hot labels",
    source="Cortes et al. 2012, JMLR 13; Arora et al. 2019, arXiv 1901.08584",
    orientation="control",
    invariant="T4",
    needs=("classes",),
)
def ntk_alignment(objective: Objective, *, examples: int = EXAMPLES) -> Measurement:
    """Return the centred alignment of the tangent kernel with the labels; low for random labels, which are fitted slowly.

    Args:
        examples: the first ones are used.

    Raises:
        NotDefinedError: no class labels, or one class only.
    """
    kernel = tangent_kernel(objective, examples)
    labels = objective.subset(range(len(kernel))).targets.flatten()[: len(kernel)]
    one_hot = torch.nn.functional.one_hot(labels, class_count(objective)).double()
    one_hot = one_hot - one_hot.mean(0)
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    target = one_hot @ one_hot.T
    size = float(centred.norm() * target.norm())
    if size == 0:
        raise UndefinedError("all examples have the same label, or the kernel is zero")
    return Measurement(
        float((centred * target).sum()) / size, gradients=len(kernel) * class_count(objective) / objective.n
    )


@score(
    Definition(
        "ntk-movement",
        "relative change of the neural tangent kernel in training",
        formula="‖Θ − Θ₀‖_F / ‖Θ₀‖_F",
        source="Chizat et al. 2019, arXiv 1812.07956; Fort et al. 2020, arXiv 2010.15110",
        cost=2,
    ),
    Definition(
        "ntk-distance",
        "kernel distance travelled in training",
        formula="1 − ⟨Θ, Θ₀⟩ / (‖Θ‖_F ‖Θ₀‖_F)",
        source="Fort et al. 2020, arXiv 2010.15110, eq. 2",
        cost=0,
        invariant="T4",
    ),
    family="function space",
    orientation="control",
)
def ntk_movement(objective: Objective, *, checkpoint: Any = None, examples: int = EXAMPLES) -> list[Measurement]:
    """Measure how far training moved the tangent kernel: near zero in the lazy, or kernel, regime.

    Args:
        examples: the first ones are used.

    Raises:
        NotDefinedError: the initial weights are not known.
    """
    before = tangent_kernel(initial_weights(objective, checkpoint), examples)
    after = tangent_kernel(objective, examples)
    cost = 2 * len(after) * class_count(objective) / objective.n
    cosine = float((before * after).sum() / (before.norm() * after.norm()))
    return [
        Measurement(float((after - before).norm() / before.norm()), gradients=cost, name="ntk-movement"),
        Measurement(1 - cosine, name="ntk-distance"),
    ]
