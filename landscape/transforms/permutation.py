"""T4: another order of the hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.graphs.exported import Inputs
from landscape.graphs.units.flow import follow
from landscape.graphs.units.spaces import module_of
from landscape.transforms.apply import Transformed, duplicate, finish


def permutation(model: nn.Module, example_inputs: Inputs, *, seed: int = 0) -> Transformed:
    r"""Put the hidden units in another order, consistently in every parameter and buffer that knows of them.

    $W_l \to \Pi W_l$, $b_l \to \Pi b_l$, $W_{l+1} \to W_{l+1} \Pi^\top$, through batch norm's statistics, through
    flattening after a convolution, and along residual trunks, where one permutation serves the whole trunk. Any
    activation will do. `Transformed.map_draw` puts random draws in the same order.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
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
        tensor = tensors[name]
        tensor.copy_(tensor.reshape(-1)[source.to(tensor.device)].reshape(tensor.shape))
    parameters = {name for name, _ in clone.named_parameters()}
    mapping = {name: source for name, source in moved.items() if name in parameters}
    where = (module_of(units.uses[0].view.name) for units in chosen)
    return finish(model, clone, "permutation", example_inputs, where, mapping=mapping)


def _another_order(size: int, generator: torch.Generator) -> Tensor:
    """Draw an order other than the present one, which few units would often keep by chance."""
    order = torch.randperm(size, generator=generator)
    while torch.equal(order, torch.arange(size)):
        order = torch.randperm(size, generator=generator)
    return order
