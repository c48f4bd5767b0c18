"""The places in a network where a scale may be moved from one layer to the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape.errors import LandscapeError
from landscape.transforms.flow import Analysis, follow
from landscape.transforms.graph import Inputs
from landscape.transforms.spaces import Scale


def scalable(analysis: Analysis) -> list[Scale]:
    """Return the scales set by some parameters and read by others, with nothing but homogeneous operations between."""
    return [s for s in analysis.scales if not s.pinned and s.producers and s.consumers and not s.norms]


def normalised_away(analysis: Analysis) -> list[Scale]:
    """Return the scales set by parameters and read by norm layers alone."""
    return [s for s in analysis.scales if not s.pinned and s.producers and s.norms and not s.consumers]


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
    return list(dict.fromkeys(scale.name for scale in scalable(follow(model, example_inputs))))


def choose(
    found: list[Scale],
    analysis: Analysis,
    layers: Sequence[str] | None,
    what: str,
    nothing: str = "no layer is followed by another",
) -> list[Scale]:
    """Pick the scales that `layers` names, or all; say why there is none, or why a named one may not be scaled.

    Raises:
        LandscapeError: nothing was found, or a name is not among what was found.
    """
    if layers is not None:
        names = list(dict.fromkeys(scale.name for scale in found))
        for name in layers:
            if name not in names:
                reason = _reason(analysis, name)
                offered = ", ".join(names) or "none"
                raise LandscapeError(f"{what} cannot act at {name!r}: {reason}; valid places here: {offered}.")
        return [scale for scale in found if scale.name in layers]
    if not found:
        reasons = "; ".join(dict.fromkeys(_refusals(analysis))) or nothing
        raise LandscapeError(f"{what} has no valid place in this network: {reasons}.")
    return found


def _refusals(analysis: Analysis) -> list[str]:
    """Return why the scale of each layer may not move, the network's own output aside."""
    return [
        f"{scale.name}: {scale.pinned or 'it is divided out by a norm layer' if scale.norms else scale.pinned}"
        for scale in analysis.scales
        if scale.producers and (scale.pinned or scale.norms) and scale.pinned != "it is the network's output"
    ][:4]


def _reason(analysis: Analysis, name: str) -> str:
    of_name = [scale for scale in analysis.scales if scale.producers and scale.name == name]
    if not of_name:
        return "no layer of that name sets a scale"
    return next((s.pinned for s in of_name if s.pinned), None) or (
        "its scale is divided out by a norm layer" if of_name[0].norms else "no layer reads its scale"
    )
