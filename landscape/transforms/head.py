"""The layer whose outputs are the network's logits."""

from __future__ import annotations

from torch import nn

from landscape.errors import LandscapeError
from landscape.transforms.apply import require_classes
from landscape.transforms.flow import follow
from landscape.transforms.graph import Inputs
from landscape.transforms.spaces import Layer, Units


def find_head(model: nn.Module, example_inputs: Inputs, what: str) -> Layer:
    """Return the linear or convolutional layer that computes the logits.

    Args:
        model: the network.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        what: the transformation, for messages.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: the logits do not come straight from one layer, or its weight is used elsewhere too.
    """
    require_classes(model, example_inputs, what)
    analysis = follow(model, example_inputs)
    axis = analysis.output.axes[1]
    layer = axis[0].layer if axis and len(axis) == 1 and axis[0].inner == axis[0].outer == 1 else None
    if layer is None:
        raise LandscapeError(f"{what} needs logits that come straight from one layer: end the network with that layer.")
    if _shared(analysis.units, layer):
        raise LandscapeError(
            f"{what} cannot act at {layer.name!r}: its weight is used elsewhere too, as tied weights are."
        )
    return layer


def _shared(all_units: list[Units], layer: Layer) -> bool:
    nodes = {use.node for units in all_units for use in units.uses if use.view.name == layer.weight.name}
    return len(nodes) > 1
