"""What every transformation shares: copying the network, measuring what changed, and refusing what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, NumericalError
from landscape.function.forward import forward, logits
from landscape.function.structure import deep_copy
from landscape.graphs.exported import Inputs

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Change of a probability beyond which a transformation that should preserve the function is refused."""


@dataclass(frozen=True, eq=False)
class Transformed:
    """A transformed copy of a network.

    Attributes:
        model: the new network; the original is untouched.
        name: the transformation.
        change: largest change of a predicted probability on the example inputs (of an output, without classes).
        where: the modules whose parameters set what was transformed.
        mapping: for each parameter whose entries moved, the flat positions they came from: entry i of the new tensor is
            entry ``mapping[name][i]`` of the old one. Empty unless units were permuted.
    """

    model: nn.Module
    name: str
    change: float
    where: tuple[str, ...]
    mapping: dict[str, Tensor] = field(default_factory=dict)

    def map_draw(self, draw: Tensor, names: Sequence[str] | None = None) -> Tensor:
        """Move the entries of a flat random draw as the parameters were moved.

        A permuted network needs permuted noise: only then do both networks see the same perturbation.

        Args:
            draw: one or more draws over the parameters (…, P).
            names: the parameters a draw runs over, in order; by default all of the network's.

        Returns:
            The mapped draw (…, P).

        Raises:
            LandscapeError: a draw whose length is not that of the parameters.
        """
        parameters = dict(self.model.named_parameters())
        chosen = list(parameters) if names is None else list(names)
        sizes = [parameters[name].numel() for name in chosen]
        if draw.shape[-1] != sum(sizes):
            raise LandscapeError(
                f"The draw has {draw.shape[-1]} entries for {sum(sizes)} parameters: draw one number per parameter."
            )
        parts = draw.split(sizes, dim=-1)
        return torch.cat([p[..., self.mapping[n]] if n in self.mapping else p for n, p in zip(chosen, parts)], dim=-1)


def duplicate(model: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a deep copy of a network, and its parameters and buffers by name; writing to them changes the copy.

    Raises:
        LandscapeError: a network without parameters.
    """
    clone = deep_copy(model)
    if not any(True for _ in clone.parameters()):
        raise LandscapeError("The network has no parameters to transform: give a network with weights.")
    tensors = {**dict(clone.named_parameters()), **dict(clone.named_buffers())}
    return clone, {name: tensor.detach() for name, tensor in tensors.items()}


def entries(tensor: Tensor, where: Tensor) -> Tensor:
    """Return the entries of a tensor at flat positions, in the positions' shape."""
    return tensor.detach().reshape(-1)[where.to(tensor.device)]


def replaced(tensor: Tensor, where: Tensor, values: Tensor) -> Tensor:
    """Return a copy of a tensor with other values at these flat positions."""
    flat = tensor.detach().reshape(-1).clone()
    flat[where.to(flat.device)] = values.to(flat)
    return flat.reshape(tensor.shape)


def predictions(model: nn.Module, inputs: Inputs, classes: int = 1) -> Tensor:
    """Return the probabilities of a copy of the network in evaluation mode; its outputs where there are no classes."""
    with torch.no_grad():
        first = logits(forward(deep_copy(model).eval(), inputs))
    return torch.softmax(first, dim=classes) if has_classes(first, classes) else first


def has_classes(output: Tensor, classes: int = 1) -> bool:
    """Return whether an output holds logits of two or more classes along a dimension."""
    return output.ndim > 1 and output.shape[classes] > 1


def finish(
    original: nn.Module,
    model: nn.Module,
    name: str,
    example_inputs: Inputs,
    where: Iterable[str],
    *,
    mapping: dict[str, Tensor] | None = None,
    preserves: bool = True,
    classes: int = 1,
) -> Transformed:
    """Measure the change a transformation made; refuse it where it should have made none.

    Raises:
        NumericalError: the network's predictions moved although the transformation should preserve them, or are no numbers.
    """
    before, after = (predictions(network, example_inputs, classes) for network in (original, model))
    if not torch.isfinite(after).all():
        raise NumericalError("The transformed network returns NaN or infinity: use a factor nearer to 1.")
    change = float((before - after).abs().max())
    dtype = next(model.parameters()).dtype
    if preserves and change > TOLERANCE.get(dtype, 0.05):
        raise NumericalError(
            f"{name} changed a prediction by {change:.2g}, where rounding explains {TOLERANCE.get(dtype, 0.05):g}: "
            "convert the network to float64 or use milder factors; if that does not help, this network is not handled."
        )
    return Transformed(model, name, change, tuple(dict.fromkeys(where)), mapping or {})


def positive(alpha: float, name: str = "alpha") -> float:
    """Return `alpha` if it is a positive finite number."""
    if not 0 < alpha < float("inf"):
        raise LandscapeError(f"{name} is {alpha}: expected a positive number, such as 10.")
    return alpha
