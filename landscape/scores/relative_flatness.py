"""Relative flatness: the Hessian of one layer against the Gram matrix of its own weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Definition, Measurement, UndefinedError, score
from landscape.transforms.head import head_of, observed


def softmax_layer_flatness(features: Tensor, weights: Tensor, probabilities: Tensor) -> float:
    r"""Return the relative flatness of a softmax layer in closed form.

    .. math:: \kappa = \frac1n \sum_i \lVert a_i\rVert^2 \Big( \sum_s p_{is} \lVert w_s\rVert^2
        - \big\lVert \sum_s p_{is} w_s\big\rVert^2 \Big)

    Args:
        features: a, (N, d).
        weights: w, (C, d).
        probabilities: p, (N, C).
    """
    spread = probabilities @ weights.square().sum(1) - (probabilities @ weights).square().sum(1)
    return float((features.square().sum(1) * spread).mean())


def feature_scale(features: Tensor) -> Tensor:
    """Return each feature's standard deviation over the data, (d,).

    A feature that never varies is a bias: its scale is its size. That of a dead feature is zero, which takes its weights out.
    """
    deviation, size = features.std(0, correction=0), features.abs().amax(0)
    return torch.where(deviation > 1e-12 * size, deviation, size)


def normalized(features: Tensor, scale: Tensor) -> Tensor:
    """Divide features (N, d) by their scales (d,); dead features stay zero."""
    return features / torch.where(scale > 0, scale, 1.0)


@score(
    Definition(
        "relative-flatness",
        "relative flatness of the last layer, features normalised",
        formula="Σ_{s,s′} ⟨w_s, w_s′⟩ Tr H_{s,s′}, features at unit standard deviation",
        cost=FORWARD,
        invariant="T1 T2 T4 T5",
    ),
    Definition(
        "relative-flatness-raw",
        "relative flatness of the last layer",
        formula="Σ_{s,s′} ⟨w_s, w_s′⟩ Tr H_{s,s′}",
        cost=0,
        invariant="T1 T4 T5",
    ),
    Definition(
        "relative-flatness-max",
        "relative flatness of the last layer, largest eigenvalues",
        formula="Σ_s ‖w_s‖² λmax(H_{s,s}), features at unit standard deviation",
        cost=0,
        invariant="T1 T2 T4",
    ),
    family="relative flatness",
    source="Petzka et al. 2021, arXiv 2001.00939, definition 3",
    needs=("classes", "likelihood"),
)
def relative_flatness(objective: Objective) -> list[Measurement]:
    r"""Measure the relative flatness of the softmax layer in closed form, from one forward pass.

    .. math:: \kappa = \sum_{s,s'} \langle w_s, w_{s'}\rangle\,\mathrm{Tr} H_{s,s'}, \qquad
        \kappa_{max} = \sum_s \lVert w_s\rVert^2 \lambda_{max}(H_{s,s})

    Dividing every feature by its standard deviation over the data (and multiplying its weights) makes it invariant to the
    scale of single nodes; the raw form is invariant to the scale of layers only.

    Args:
        objective: a classifier with cross-entropy whose logits come straight from one linear layer.

    Raises:
        NotDefinedError: no class likelihood, or no such layer.

    >>> import torch, landscape as ls
    >>> X, y = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    >>> objective = ls.Objective(ls.models.mlp((4, 6, 3)), (X, y), "cross_entropy")
    >>> relative_flatness(objective)[0].value > 0
    True
    """
    head = head_of(objective)
    modules = dict(objective.model.named_modules())
    if head is None or head.weight.name not in objective.names or not isinstance(modules.get(head.name), nn.Linear):
        raise UndefinedError("no linear layer of its own computes the logits")
    features = _inputs_of(objective, head.name).double()
    if features.ndim != 2:
        raise UndefinedError(f"the inputs of {head.name!r} have shape {tuple(features.shape)}, expected (N, d)")
    tensors = {**objective.fixed, **objective.space.unflatten(objective.theta)}
    weights, outputs = tensors[head.weight.name].double(), objective.outputs().double()
    logits = features @ weights.T + (0.0 if head.bias is None else tensors[head.bias.name].double())
    if not bool(((logits - outputs).abs() <= 1e-2 * outputs.abs().max()).all()):  # scaled or pooled on their way
        raise UndefinedError(f"the logits are not the outputs of {head.name!r} as they are")
    p = outputs.softmax(1)
    scale = feature_scale(features)
    scaled_features, scaled_weights = normalized(features, scale), weights * scale
    sizes = scaled_weights.square().sum(1).tolist()
    largest = sum(
        size * float(torch.linalg.eigvalsh(_block(scaled_features, p[:, s]))[-1]) for s, size in enumerate(sizes)
    )
    normalised = softmax_layer_flatness(scaled_features, scaled_weights, p)
    return [
        Measurement(normalised, gradients=2 * FORWARD, name="relative-flatness"),
        Measurement(softmax_layer_flatness(features, weights, p), name="relative-flatness-raw"),
        Measurement(largest, name="relative-flatness-max"),
    ]


def _block(features: Tensor, p: Tensor) -> Tensor:
    """Return H_{s,s} = (1/n) Σ_i p_is (1 − p_is) a_i a_iᵀ, (d, d)."""
    return features.T @ (features * (p * (1 - p))[:, None]) / len(features)


def _inputs_of(objective: Objective, module: str) -> Tensor:
    """Return what enters a layer on all examples, (N, …, d)."""
    found: list[Tensor] = []
    keep = {module: lambda _, inputs, __: found.append(inputs[0])}
    with objective.guard(), torch.no_grad(), observed(objective.network, keep):
        for batch in objective.batches:
            objective.batch_outputs(objective.theta, batch)
    return torch.cat(found)
