"""The volume of weights that fit, by drawing weights until some do (Chiang et al. 2023)."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import numbers_checked
from landscape.datasets import Split, kink
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.guess_and_check import GuessAndCheck
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, check_recipe, get_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.vectorised import Stacked, stack, train_stacked

NAME = "guess-and-check"
TEN_UNITS = partial(mlp, (2, 10, 2))
_JOB = 1_000_000
_CHECKED = 8  # examples before the guesses that failed are dropped
_SGD = 1_000_003  # the stream of the trained networks' starts


@numbers_checked
def guess_and_check(
    factory: ModelFactory = TEN_UNITS,
    split: Split | Any = None,
    *,
    guesses: int = 2_000_000,
    span: float = 1.0,
    networks: int = 200,
    recipe: Recipe | None = None,
    epochs: int = 300,
    seed: int = 0,
    together: int = 10_000,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> GuessAndCheck:
    r"""Draw weights at random, keep those that fit every training example, and compare them with trained networks.

    The share kept is the volume of the zero-error set under the prior; the test accuracies of what is kept say how much of
    that volume generalises, and how much less of it fits wrongly labelled further examples as well. Trained networks
    start from the same prior; the two are compared at the same training loss of logits divided by
    :math:`\prod_l \lVert (W_l, b_l) \rVert_F`, because guesses that fit have smaller margins.

    Args:
        factory: called with ``seed=``; only the shapes of its weights are used.
        split: data of two or more classes; `None`: 16 points of `landscape.datasets.kink`.
        guesses: weights to draw.
        span: weights and biases are uniform between −span and span.
        networks: trained networks.
        recipe: of these; `None`: SGD with lr 0.1 and batches of 2, as `train_stacked` uses it.
        epochs: of these, at most: each is taken at the end of the first epoch after which it fits every example, and those
            that never do are counted and left out.
        seed: of everything drawn.
        together: guesses evaluated at once.
        workers: processes.
        save: study file to keep the result in, as ``guess-and-check``; finished guesses survive an interruption.

    Returns:
        A `GuessAndCheck`; if nothing fitted, its volume is zero with an upper limit.

    Raises:
        LandscapeError: data without labels, a factory that does not fit them, values out of range, or a study begun with
            other settings.

    Source: P. Chiang et al., *Loss landscapes are all you need: neural network generalization can be explained without
    the implicit bias of gradient descent*, ICLR 2023, sections 3 and 4.

    >>> found = guess_and_check(partial(mlp, (2, 6, 2)), kink(train=4), guesses=20_000, networks=10, epochs=20)
    >>> found.fits > 100, found.share_with(4) > found.share_with(4, wrong=True)
    (True, True)
    """
    split = kink() if split is None else as_split(split)
    recipe = get_recipe("sgd", lr=0.1, batch_size=2) if recipe is None else recipe
    check_recipe(recipe)
    check_factory(factory, split.train[0][:2], classes=split.classes)
    if any(True for _ in factory(seed=0).buffers()):
        raise LandscapeError("networks with buffers (norm layers) have no weights to guess alone; use one without")
    if min(guesses, networks, epochs, together) < 1 or not (span > 0 and math.isfinite(span)):
        raise LandscapeError(
            f"guesses={guesses}, networks={networks}, epochs={epochs}, together={together}, span={span}; expected "
            "positive numbers"
        )
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "guesses": guesses,
        "span": span,
        "networks": networks,
        "epochs": epochs,
        "seed": seed,
        "together": together,
    }
    sizes = [min(_JOB, guesses - begin) for begin in range(0, guesses, _JOB)]
    data = (split.train, split.test)
    jobs = {f"guesses-{i}": (factory, data, size, span, [seed, i], together) for i, size in enumerate(sizes)}
    with finished_rows(save, NAME, settings) as done:
        run_jobs(_guess, jobs, done, workers=workers, desc="guesses")
        run_jobs(_train, {"sgd": (factory, data, networks, span, [seed, _SGD], recipe, epochs)}, done, desc="trained")
        result = GuessAndCheck(
            guesses=guesses,
            accuracy=np.concatenate([done[key]["accuracy"] for key in jobs]),
            loss=np.concatenate([done[key]["loss"] for key in jobs]),
            sgd_accuracy=done["sgd"]["accuracy"],
            sgd_loss=done["sgd"]["loss"],
            sgd_networks=networks,
            examples=len(split.train[1]),
            parameters=sum(p.numel() for p in factory(seed=0).parameters()),
            span=span,
            seed=seed,
            settings=settings,
        )
        return done.conclude(result)


def _guess(factory: ModelFactory, data: Any, guesses: int, span: float, seed: list[int], together: int) -> Row:
    """Draw guesses and return test accuracy and normalised loss of those that fit."""
    (X, y), test = data
    template, generator = stack(factory, [0]), _generator(seed)
    accuracy, loss = [torch.empty(0)], [torch.empty(0)]
    for begin in range(0, guesses, together):
        fitting = _fitting(drawn(template, min(together, guesses - begin), span, generator), X, y)
        if len(fitting):
            accuracy.append(_accuracy(fitting, *test))
            loss.append(normalised(fitting).losses(X, y))
    return _row(torch.cat(accuracy), torch.cat(loss))


def _train(
    factory: ModelFactory, data: Any, networks: int, span: float, seed: list[int], recipe: Recipe, epochs: int
) -> Row:
    """Train networks from guesses and return test accuracy and normalised loss at the first epoch that each fits.

    Longer training widens the margins, and no guess would be left to compare with.
    """
    (X, y), test = data
    start = drawn(stack(factory, [0]), networks, span, _generator(seed))
    everyone = torch.arange(len(y)).expand(networks, -1)
    first = {name: value.clone() for name, value in start.parameters.items()}
    waiting = torch.ones(networks, dtype=torch.bool)

    def keep(now: Stacked) -> None:
        new = waiting & (now.predictions(X) == y).all(1)
        for name, value in now.parameters.items():
            first[name][new] = value[new]
        waiting[new] = False

    train_stacked(start, X, y, everyone, recipe, epochs=epochs, seeds=range(networks), watch=keep)
    fitting = _selected(Stacked(start.module, first, start.buffers), ~waiting)
    if not len(fitting):
        return _row(torch.empty(0), torch.empty(0))
    return _row(_accuracy(fitting, *test), normalised(fitting).losses(X, y))


def _row(accuracy: Tensor, loss: Tensor) -> Row:
    return {"accuracy": accuracy.double().numpy(), "loss": loss.double().numpy()}


def _generator(seed: list[int]) -> torch.Generator:
    """Return a generator for a stream of its own."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def drawn(template: Stacked, count: int, span: float, generator: torch.Generator) -> Stacked:
    """Return networks whose parameters are uniform between −span and span.

    Args:
        template: gives the shapes; its buffers are shared by all.
        count: number of networks K.
        span: half the width of the distribution.
        generator: on the CPU.
    """
    parameters = {
        name: (2 * torch.rand(count, *value.shape[1:], generator=generator) - 1) * span
        for name, value in template.parameters.items()
    }
    buffers = {name: value[:1].expand(count, *value.shape[1:]).clone() for name, value in template.buffers.items()}
    return Stacked(template.module, parameters, buffers)


def normalised(stacked: Stacked) -> Stacked:
    """Divide the last layer of each network by the product of the Frobenius norms (W_l, b_l) of all layers.

    The logits shrink by that product, as those of a network whose every layer has norm one, but for biases of inner
    layers, which are left as they are.

    Args:
        stacked: networks whose last layer is linear.
    """
    layers: dict[str, Tensor] = {}
    for name, value in stacked.parameters.items():
        layer = name.rpartition(".")[0]
        layers[layer] = layers.get(layer, torch.zeros(())) + value.flatten(1).double().square().sum(1)
    product = torch.stack(list(layers.values())).sqrt().prod(0)
    last = list(layers)[-1]
    parameters = {
        name: value / product.view(-1, *[1] * (value.ndim - 1)).to(value) if name.rpartition(".")[0] == last else value
        for name, value in stacked.parameters.items()
    }
    return Stacked(stacked.module, parameters, stacked.buffers)


def _fitting(stacked: Stacked, X: Tensor, y: Tensor) -> Stacked:
    """Return the networks that give every example its label."""
    for inputs, labels in zip(X.split(_CHECKED), y.split(_CHECKED), strict=True):
        right = (stacked.predictions(inputs) == labels).all(1)
        stacked = _selected(stacked, right)
        if not len(stacked):
            break
    return stacked


def _selected(stacked: Stacked, which: Tensor) -> Stacked:
    parts: Iterator[Mapping[str, Tensor]] = (
        {name: value[which] for name, value in part.items()} for part in (stacked.parameters, stacked.buffers)
    )
    return Stacked(stacked.module, *parts)


def _accuracy(stacked: Stacked, X: Tensor, y: Tensor) -> Tensor:
    return (stacked.predictions(X) == y).double().mean(1)
