"""What follows hidden units: T1–T4, another scale or order, which the layers around undo; and folding norms into layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.graphs.exported import Inputs
from landscape.graphs.units.flow import Analysis, follow
from landscape.graphs.units.spaces import Scale, Use, module_of
from landscape.transforms.apply import Transformed, duplicate, entries, finish, positive, replaced


def layer_scale(
    model: nn.Module, example_inputs: Inputs, *, alpha: float = 5.0, layers: Sequence[str] | None = None
) -> Transformed:
    r"""Multiply a layer by alpha and divide the next one by it: predictions stay, Euclidean curvatures move.

    $(W_l, b_l) \to \alpha (W_l, b_l)$, $W_{l+1} \to W_{l+1} / \alpha$, $b_{l+1}$ unchanged, where only positively
    homogeneous operations (ReLU, leaky ReLU, pooling, none) lie between. After a norm layer its own weight and bias are
    what is scaled. Inside a residual network this acts within the branches: a trunk cannot be rescaled.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        alpha: the factor, positive.
        layers: names of the layers to multiply, from `places`; by default the first valid one.

    Raises:
        LandscapeError: no valid place, for instance because the activation is not homogeneous.
        NumericalError: the factor is so extreme that rounding moved the predictions.

    Source: Dinh, Pascanu, Bengio and Bengio 2017, *Sharp minima can generalize for deep nets* (arXiv 1703.04933),
    definition 5 and theorem 4.

    >>> from landscape.models import mlp
    >>> scaled = layer_scale(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double(), alpha=100.0)
    >>> scaled.where, scaled.change < 1e-10
    (('linear1',), True)
    """
    positive(alpha)
    analysis = follow(model, example_inputs)
    found = _choose(_scalable(analysis), analysis, layers, "Layer scaling")
    chosen = found if layers is not None else [scale for scale in found if scale.name == found[0].name]
    clone, tensors = duplicate(model)
    for scale in chosen:
        _rescale(tensors, scale.producers, alpha)
        _rescale(tensors, scale.consumers, 1 / alpha)
    return finish(model, clone, "layer scaling", example_inputs, (scale.name for scale in chosen))


def node_scale(
    model: nn.Module, example_inputs: Inputs, *, spread: float = 1.5, layers: Sequence[str] | None = None, seed: int = 0
) -> Transformed:
    r"""Multiply what enters each hidden unit by a factor of its own and divide what leaves it.

    Row i of $(W_l, b_l)$ times $s_i$, column i of $W_{l+1}$ divided by $s_i$, $\log s_i \sim U(-r, r)$; channels of a
    convolution keep one factor through pooling and flattening.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        spread: r > 0, in units of the natural logarithm.
        layers: names of the layers whose units are scaled, from `places`; by default every valid one.
        seed: of the factors.

    Raises:
        LandscapeError: no valid place, for instance because the activation is not homogeneous.

    Source: Dinh et al. 2017 (arXiv 1703.04933); Neyshabur, Salakhutdinov and Srebro 2015, *Path-SGD* (arXiv
    1506.02617), §2, for the rescaling of nodes.

    >>> from landscape.models import mlp
    >>> scaled = node_scale(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double())
    >>> scaled.where, scaled.change < 1e-10
    (('linear1', 'linear2'), True)
    """
    positive(spread, "spread")
    analysis = follow(model, example_inputs)
    chosen = _choose(_scalable(analysis), analysis, layers, "Node scaling")
    generator = seeded_generator(seed)
    clone, tensors = duplicate(model)
    for scale in chosen:
        sizes = {use.size for use in (*scale.producers, *scale.consumers)}
        if len(sizes) > 1:
            raise LandscapeError(f"Node scaling cannot act at {scale.name!r}: its units differ in number ({sizes}).")
        factors = torch.exp(spread * (2 * torch.rand(sizes.pop(), generator=generator, dtype=torch.float64) - 1))
        _rescale(tensors, scale.producers, factors)
        _rescale(tensors, scale.consumers, 1 / factors)
    return finish(model, clone, "node scaling", example_inputs, (scale.name for scale in chosen))


def norm_layer_scale(
    model: nn.Module, example_inputs: Inputs, *, alpha: float = 5.0, layers: Sequence[str] | None = None
) -> Transformed:
    r"""Multiply the weights and biases that feed norm layers by alpha: the norm divides the factor out again.

    The running statistics of a batch norm are multiplied as its input was, $\mu \to \alpha\mu$,
    $\sigma^2 \to \alpha^2\sigma^2$, as re-estimating them would find, and so is $\epsilon \to \alpha^2\epsilon$, which the
    layer adds to the variance: a setting of the copy's layers, in no state dict. Where it cannot be set, because another layer
    shares it or it is no setting, the function changes by the order of $\epsilon / \sigma^2$, which `change` reports.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        alpha: the factor, positive.
        layers: names of the layers to multiply; by default every one that feeds norm layers alone.

    Raises:
        LandscapeError: no layer feeds norm layers alone.

    Source: van Laarhoven 2017, *L2 regularization versus batch and weight normalization* (arXiv 1706.05350), §2.

    >>> from landscape.models import small_cnn
    >>> scaled = norm_layer_scale(small_cnn().double(), torch.ones(2, 1, 8, 8).double(), alpha=2.0)
    >>> scaled.where, scaled.change < 1e-10
    (('conv1', 'conv2'), True)
    """
    positive(alpha)
    analysis = follow(model, example_inputs)
    divided_out = [s for s in analysis.scales if not s.pinned and s.producers and s.norms and not s.consumers]
    chosen = _choose(divided_out, analysis, layers, "Norm-layer scaling", "it has no norm layers")
    clone, tensors = duplicate(model)
    for scale in chosen:
        _rescale(tensors, scale.producers, alpha)
        _rescale(tensors, [norm.mean for norm in scale.norms], alpha)
        _rescale(tensors, [norm.variance for norm in scale.norms], alpha**2)
    for layer in _norm_layers(clone, analysis, chosen):
        layer.eps *= alpha**2
    where = (scale.name for scale in chosen)
    return finish(model, clone, "norm-layer scaling", example_inputs, where, preserves=False)


def _norm_layers(model: nn.Module, analysis: Analysis, chosen: Sequence[Scale]) -> list[Any]:
    """Return the norm layers that divide out the chosen scales and no others, and that have an ε to set."""
    mine, others = (
        {norm.module for scale in analysis.scales if (scale in chosen) is inside for norm in scale.norms}
        for inside in (True, False)
    )
    layers = [model.get_submodule(name) for name in sorted(mine - others)]
    return [layer for layer in layers if isinstance(getattr(layer, "eps", None), float)]


def permutation(model: nn.Module, example_inputs: Inputs, *, seed: int = 0) -> Transformed:
    r"""Put the hidden units in another order, consistently in every parameter and buffer that knows of them.

    $W_l \to \Pi W_l$, $b_l \to \Pi b_l$, $W_{l+1} \to W_{l+1} \Pi^\top$, through batch norm's statistics, through
    flattening after a convolution, and along residual trunks, where one permutation serves the whole trunk. Any
    activation will do. `Transformed.map_draw` puts random draws in the same order.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        seed: of the permutations.

    Returns:
        The new network, the largest change of its predicted probabilities, and the mapping of its parameters.

    Raises:
        LandscapeError: no hidden units may be permuted.

    Source: Hecht-Nielsen 1990, *On the algebraic structure of feedforward network weight spaces*.

    >>> from landscape.models import mlp
    >>> permuted = permutation(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double())
    >>> permuted.where, permuted.change < 1e-10
    (('linear1', 'linear2'), True)
    """
    analysis = follow(model, example_inputs)
    chosen = [units for units in analysis.units if not units.pinned and units.uses and units.size > 1]
    if not chosen:
        reasons = "; ".join(
            dict.fromkeys(
                f"{module_of(u.uses[0].view.name)}: {u.pinned}" for u in analysis.units if u.pinned and u.uses
            )
        )
        raise LandscapeError(f"Permutation has no valid place in this network: {reasons or 'it has no hidden units'}.")
    clone, tensors = duplicate(model)
    generator = seeded_generator(seed)
    moved: dict[str, Tensor] = {}
    for units in chosen:
        order = _another_order(units.size, generator)
        for use in units.distinct:
            name = use.view.name
            source = moved.setdefault(name, torch.arange(tensors[name].numel()))
            positions = use.positions()
            source[positions] = source[positions[order]]
    for name, source in moved.items():
        tensors[name].copy_(entries(tensors[name], source).reshape(tensors[name].shape))
    parameters = {name for name, _ in clone.named_parameters()}
    mapping = {name: source for name, source in moved.items() if name in parameters}
    where = (module_of(units.uses[0].view.name) for units in chosen)
    return finish(model, clone, "permutation", example_inputs, where, mapping=mapping)


def fold_batch_norm(model: nn.Module, example_inputs: Inputs) -> Transformed:
    r"""Fold every batch norm that follows a linear or convolutional layer into that layer, as norm-based scores need.

    $W \to \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} W$ per output channel,
    $b \to \beta + \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} (b - \mu)$; the norm becomes the identity, and the
    layer gains a bias if it had none. In evaluation mode nothing changes; the new network is not for training.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.

    Returns:
        The new network and the largest change of its predicted probabilities; `where` lists the layers.

    Raises:
        LandscapeError: no batch norm follows a layer directly.

    Source: Dziugaite et al. 2020 (arXiv 2010.11924), appendix; computed by `torch.nn.utils.fusion`.

    >>> from landscape.models import small_cnn
    >>> folded = fold_batch_norm(small_cnn().double(), torch.ones(2, 1, 8, 8).double())
    >>> folded.where, type(folded.model.norm1).__name__, folded.change < 1e-10
    (('conv1', 'conv2'), 'Identity', True)
    """
    pairs = [(layer.name, norm) for layer, norm in follow(model, example_inputs).folds]
    clone, _ = duplicate(model)
    done = [layer for layer, norm in pairs if _fold(clone, layer, norm)]
    if not done:
        raise LandscapeError(
            "No batch norm follows a linear or convolutional layer directly: there is nothing to fold."
        )
    return finish(model, clone, "batch-norm folding", example_inputs, done)


def _fold(model: nn.Module, layer_name: str, norm_name: str) -> bool:
    layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    trainable = layer.weight.requires_grad
    fuse: Callable[..., tuple[nn.Parameter, nn.Parameter]]
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    beta = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    weight, bias = fuse(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, gamma, beta)
    layer.weight = nn.Parameter(weight.detach(), requires_grad=trainable)
    layer.bias = nn.Parameter(bias.detach(), requires_grad=trainable)
    model.set_submodule(norm_name, nn.Identity())
    return True


def places(model: nn.Module, example_inputs: Inputs) -> list[str]:
    """List the modules whose outputs can be rescaled while the next layers undo it.

    Args:
        model: the network.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.

    Returns:
        Names that `layer_scale` and `node_scale` take as `layers`.

    Raises:
        LandscapeError: the network cannot be traced.

    Source: Dinh et al. 2017 (arXiv 1703.04933), §5.

    >>> import torch
    >>> from landscape.models import mlp
    >>> places(mlp((6, 5, 4, 3)), torch.zeros(2, 6))
    ['linear1', 'linear2']
    """
    return list(dict.fromkeys(scale.name for scale in _scalable(follow(model, example_inputs))))


def _scalable(analysis: Analysis) -> list[Scale]:
    """Return the scales set by some parameters and read by others, with nothing but homogeneous operations between."""
    return [s for s in analysis.scales if not s.pinned and s.producers and s.consumers and not s.norms]


def _rescale(tensors: dict[str, Tensor], uses: Iterable[Use | None], factors: Tensor | float) -> None:
    """Multiply, in place, the entries of each unit by its factor (size,), or all by one."""
    for use in filter(None, uses):
        tensor, where = tensors[use.view.name], use.positions()
        by = factors.to(tensor)[:, None] if isinstance(factors, Tensor) else factors
        tensor.copy_(replaced(tensor, where, entries(tensor, where) * by))


def _choose(
    found: list[Scale],
    analysis: Analysis,
    layers: Sequence[str] | None,
    what: str,
    nothing: str = "no layer is followed by another",
) -> list[Scale]:
    """Pick the scales that `layers` names, or all; say why there is none, or why a named one may not be scaled."""
    if layers is not None:
        names = list(dict.fromkeys(scale.name for scale in found))
        for name in layers:
            if name not in names:
                reason = _reason(analysis, name)
                offered = ", ".join(names) or "none"
                raise LandscapeError(f"{what} cannot act at {name!r}: {reason}; valid places here: {offered}.")
        return [scale for scale in found if scale.name in layers]
    if not found:
        refusals = [  # why the scale of each layer may not move, the network's own output aside
            f"{scale.name}: {scale.pinned or 'it is divided out by a norm layer'}"
            for scale in analysis.scales
            if scale.producers and (scale.pinned or scale.norms) and scale.pinned != "it is the network's output"
        ]
        raise LandscapeError(
            f"{what} has no valid place in this network: {'; '.join(dict.fromkeys(refusals[:4])) or nothing}."
        )
    return found


def _reason(analysis: Analysis, name: str) -> str:
    of_name = [scale for scale in analysis.scales if scale.producers and scale.name == name]
    if not of_name:
        return "no layer of that name sets a scale"
    return next((s.pinned for s in of_name if s.pinned), None) or (
        "its scale is divided out by a norm layer" if of_name[0].norms else "no layer reads its scale"
    )


def _another_order(size: int, generator: torch.Generator) -> Tensor:
    """Draw an order other than the present one, which few units would often keep by chance."""
    order = torch.randperm(size, generator=generator)
    while torch.equal(order, torch.arange(size)):
        order = torch.randperm(size, generator=generator)
    return order
