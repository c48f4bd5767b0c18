"""What every experiment asks of the model factory and the data it is given, before anything is trained."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.datasets import Split
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.function.batches import tensors


def check_factory(
    factory: Callable[..., nn.Module], example: Tensor | None = None, *, classes: int | None = None
) -> None:
    """Check that a factory makes a new network in every call, the same for the same seed, that fits the data.

    Args:
        factory: called as ``factory(seed=…)``; bind other arguments with `functools.partial`.
        example: some inputs (N, …) to pass through the network in evaluation mode, or None.
        classes: number of logits C that the network must give for them.

    Raises:
        LandscapeError: no factory, one that takes no seed, makes no network or none that can be trained, hands out the
            same network or the same weights in memory twice, or makes networks that depend on more than the seed or do
            not fit the data.

    >>> from landscape.models import mlp
    >>> check_factory(mlp)
    >>> net = mlp()
    >>> check_factory(lambda seed: net)
    Traceback (most recent call last):
    landscape.errors.LandscapeError: the factory returned the same network twice; build a new one in every call
    """
    _check_function(factory)
    _check_seed(factory)
    with torch.random.fork_rng(devices=[]):
        first, second = factory(seed=0), factory(seed=0)
    if not isinstance(first, nn.Module):
        raise LandscapeError(f"the factory returned a {type(first).__name__}; expected a torch.nn.Module")
    if first is second:
        raise LandscapeError("the factory returned the same network twice; build a new one in every call")
    if not any(parameter.requires_grad for parameter in first.parameters()):
        raise LandscapeError("the network of the factory has no trainable parameters; there is nothing to train")
    mine, other = first.state_dict(), second.state_dict()
    if {tensor.data_ptr() for tensor in mine.values() if tensor.numel()} & {
        tensor.data_ptr() for tensor in other.values() if tensor.numel()
    }:
        raise LandscapeError("two networks of the factory share weights in memory; build a new one in every call")
    if mine.keys() != other.keys() or any(not torch.equal(mine[name], other[name]) for name in mine):
        raise LandscapeError(
            "two networks of the factory with seed=0 differ; draw the initial weights from the seed "
            "(torch.manual_seed(seed) in the factory does) so that a run can be repeated"
        )
    if example is not None:
        _check_output(first, example, classes)


def check_width_factory(factory: Any, widths: Sequence[int], example: Tensor, *, classes: int) -> None:
    """Check a factory that is called as ``factory(width, seed=…)`` at the smallest and the largest width, as `check_factory`."""
    _check_function(factory)
    for width in (widths[0], widths[-1]):
        check_factory(functools.partial(factory, width), example, classes=classes)


def _check_function(factory: Any) -> None:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise LandscapeError(
            f"factory is a {type(factory).__name__}; expected a function that builds a network, called with seed=0, 1, …"
        )


def _check_seed(factory: Callable[..., nn.Module]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(seed=0)
    except TypeError as error:
        raise LandscapeError(
            f"the factory cannot be called as factory(seed=0): {error}; bind other arguments with functools.partial"
        ) from error


def _check_output(module: nn.Module, example: Tensor, classes: int | None) -> None:
    try:
        with torch.no_grad():
            output = module.eval()(example)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise LandscapeError(f"the network does not take inputs of shape {tuple(example.shape)}: {reason}") from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(example):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise LandscapeError(f"the network returned {shape} for {len(example)} inputs; expected logits (N, C)")
    if classes is not None and output.shape[1] != classes:
        raise LandscapeError(f"the network gives {output.shape[1]} logits for {classes} classes; expected as many")


def as_split(data: Any) -> Split:
    """Return data for an experiment as a `Split`, checked to have labels.

    Args:
        data: a `Split`, or a user's own tensors or NumPy arrays ``((X, y), (X_test, y_test))``: inputs (N, …), integer
            labels (N,) in 0 … C−1.

    Raises:
        LandscapeError: anything else, data without labels, labels that are not class indices, or an empty part.

    >>> X, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> as_split(((X[:4], y[:4]), (X[4:], y[4:]))).classes
    3
    """
    if isinstance(data, Split):
        return data
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(p, tuple | list) for p in data)):
        raise LandscapeError(
            "data are neither a Split nor ((X, y), (X_test, y_test)); an experiment needs inputs with labels, "
            "to train and to test on"
        )
    train, test = (_pair(part, name) for part, name in zip(data, ("training", "test"), strict=True))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise LandscapeError(
            f"a training input has shape {tuple(train[0].shape[1:])}, a test input {tuple(test[0].shape[1:])}; "
            "expected the same"
        )
    shape = tuple(train[0].shape[1:])
    image = (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, max(1, train[0][0].numel()))
    return Split(
        name="data",
        train=train,
        test=test,
        classes=int(max(train[1].max(), test[1].max())) + 1,
        image_shape=image,
        mean=torch.zeros(shape),
        std=torch.ones(shape),
        arguments={},
    )


def _pair(part: Any, name: str) -> Pair:
    if len(part) != 2 or not all(isinstance(values, Tensor | np.ndarray) for values in part):
        raise LandscapeError(f"the {name} part has no labels; expected tensors or NumPy arrays (X, y)")
    X, y = tensors(tuple(part))
    if isinstance(part[0], np.ndarray) and X.is_floating_point():  # NumPy's default is float64, networks' is not
        X = X.to(torch.get_default_dtype())
    if y.ndim != 1 or len(X) != len(y) or len(y) == 0:
        raise LandscapeError(
            f"the {name} part has inputs {tuple(X.shape)} and labels {tuple(y.shape)}; expected (N, …) and (N,)"
        )
    if y.is_floating_point() or y.is_complex() or y.min() < 0:
        raise LandscapeError(f"the {name} labels are not class indices; expected integers 0 … C−1")
    return X.detach(), y.detach().long()
