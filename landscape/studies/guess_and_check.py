"""The volume of weights that fit, by drawing weights until some do (Chiang et al. 2023)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from landscape.datasets import Split, kink
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.effects import Finding
from landscape.results.trials import Trials
from landscape.studies.grid import protocol
from landscape.studies.registry import Experiment, published
from landscape.training.factories import as_split
from landscape.training.jobs import JobsRun, Row, run_jobs
from landscape.training.recipes import Recipe, get_recipe
from landscape.training.runs import ModelFactory
from landscape.training.vectorised import Stacked, stack, train_stacked
from landscape.workers import Workers

TEN_UNITS = partial(mlp, (2, 10, 2))
BINS = 10
"""Groups of trained networks by their loss, within which guesses are compared with them."""
_JOB = 1_000_000
_CHECKED = 8  # examples before the guesses that failed are dropped
_SGD = 1_000_003  # the stream of the trained networks' starts


@published
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
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
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

    Returns:
        `Trials` of two rows, ``guessing`` and ``SGD``, with the ``accuracy`` and the normalised ``loss`` of every network
        that fits beside them: see `volume_interval`, `share_with`, `poisoned_ratio` and `matched`.

    Source: P. Chiang et al., *Loss landscapes are all you need: neural network generalization can be explained without
    the implicit bias of gradient descent*, ICLR 2023, sections 3 and 4.

    >>> found = guess_and_check(partial(mlp, (2, 6, 2)), kink(train=4), guesses=20_000, networks=10, epochs=20)
    >>> found["fit"][0] > 100, share_with(found, 4) > share_with(found, 4, wrong=True)
    (np.True_, True)
    """
    split = kink() if split is None else as_split(split)
    recipe = get_recipe("sgd", lr=0.1, batch_size=2) if recipe is None else recipe
    if min(guesses, networks, epochs, together) < 1 or not (span > 0 and math.isfinite(span)):
        raise LandscapeError(
            f"guesses={guesses}, networks={networks}, epochs={epochs}, together={together}, span={span}; expected "
            "positive numbers"
        )
    settings = {
        **protocol(factory, split, recipe),
        "guesses": guesses,
        "span": span,
        "networks": networks,
        "epochs": epochs,
        "seed": seed,
        "together": together,
    }
    if any(True for _ in factory(seed=0).buffers()):
        raise LandscapeError("networks with buffers (norm layers) have no weights to guess alone; use one without")
    sizes = [min(_JOB, guesses - begin) for begin in range(0, guesses, _JOB)]
    data = (split.train, split.test)
    jobs = {f"guesses-{i}": (factory, data, size, span, [seed, i], together) for i, size in enumerate(sizes)}
    with JobsRun(save, STUDY.name, settings) as run:
        if isinstance(run.result, Trials):
            return run.result
        run_jobs(_guess, jobs, run, workers=workers, desc="guesses")
        run_jobs(_train, {"sgd": (factory, data, networks, span, [seed, _SGD], recipe, epochs)}, run, desc="trained")
        guessed = {name: np.concatenate([run.done[key][name] for key in jobs]) for name in ("accuracy", "loss")}
        result = Trials.of(
            [_arm("guessing", guesses, **guessed), _arm("SGD", networks, **run.done["sgd"])],
            factors=("found by",),
            arrays=("accuracy", "loss"),
            study=STUDY.name,
            settings=settings,
        )
        weights = sum(p.numel() for p in factory(seed=0).parameters())
        task = f"{len(split.train[1])} examples, {weights} weights uniform in ±{span:g}"
        return run.conclude(result.replace(findings=tuple(_findings(result, task))))


def _arm(found_by: str, tried: int, accuracy: np.ndarray, loss: np.ndarray) -> dict[str, Any]:
    """Return the row of one way to find networks that fit."""
    count, nothing = len(accuracy), float("nan")
    low, median, high = np.quantile(accuracy, (0.05, 0.5, 0.95)) if count else (nothing,) * 3
    return {
        "found by": found_by,
        "networks": tried,
        "fit": count,
        "test/accuracy": float(accuracy.mean()) if count else nothing,
        "test/accuracy ±": float(accuracy.std(ddof=1) / math.sqrt(count)) if count > 1 else nothing,
        "5 %": low,
        "median": median,
        "95 %": high,
        "normalised loss": float(np.median(loss)) if count else nothing,
        "accuracy": accuracy,
        "loss": loss,
    }


def fitting(trials: Trials, name: str, found_by: str = "guessing") -> np.ndarray:
    """Return ``accuracy`` or ``loss`` of the networks that fit, found by ``guessing`` or ``SGD``."""
    values = trials.where(**{"found by": found_by}).arrays[name][0]
    return values[np.isfinite(values)]


def volume_interval(trials: Trials) -> tuple[float, float]:
    """Return the exact 95 % interval of the share of the prior that fits (Clopper and Pearson 1934)."""
    found = stats.binomtest(int(trials["fit"][0]), int(trials["networks"][0])).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def share_with(trials: Trials, m: int, *, wrong: bool = False) -> float:
    r"""Return the share of the fitting volume that also fits m further examples, averaged over their draw.

    Networks that fit m further examples of the task as well are a part of the set that fits: :math:`E[a^m]` with a the test
    accuracy of a guess that fits; with wrong labels, :math:`E[(1 - a)^m]`.

    Args:
        trials: of this study.
        m: number of further examples.
        wrong: with the wrong label each; two classes.
    """
    accuracy = fitting(trials, "accuracy")
    return float(((1 - accuracy if wrong else accuracy) ** m).mean()) if len(accuracy) else math.nan


def poisoned_ratio(trials: Trials, m: int) -> tuple[float, float]:
    """Return the volume that fits m wrongly labelled further examples over that with true labels, and its error.

    The standard error is the delta method's, over guesses.
    """
    accuracy = fitting(trials, "accuracy")
    right, wrong = accuracy**m, (1 - accuracy) ** m
    if len(accuracy) < 2 or right.mean() == 0:
        return math.nan, math.nan
    ratio = wrong.mean() / right.mean()
    error = (wrong - ratio * right).std(ddof=1) / right.mean() / math.sqrt(len(accuracy))
    return float(ratio), float(error)


def matched(trials: Trials) -> tuple[float, float, float]:
    """Return mean test accuracy of trained networks and of guesses at the same normalised loss.

    The trained networks are cut into ten groups of equal size by their loss; guesses within the range of a group stand
    against it, and groups without a guess are left out.

    Returns:
        Accuracy of trained networks, of guesses, and the share of trained networks compared.
    """
    (loss, accuracy), (sgd_loss, sgd_accuracy) = (
        (fitting(trials, "loss", found_by), fitting(trials, "accuracy", found_by)) for found_by in ("guessing", "SGD")
    )
    if not len(sgd_loss) or not len(loss):
        return math.nan, math.nan, 0.0
    edges = np.quantile(sgd_loss, np.linspace(0, 1, BINS + 1))
    edges[-1] = np.nextafter(edges[-1], np.inf)
    groups = [
        (sgd_accuracy[(sgd_loss >= low) & (sgd_loss < high)], accuracy[(loss >= low) & (loss < high)])
        for low, high in pairwise(edges)
    ]
    groups = [(mine, theirs) for mine, theirs in groups if len(mine) and len(theirs)]
    if not groups:
        return math.nan, math.nan, 0.0
    weights = [len(mine) for mine, _ in groups]
    trained, guessed = ([arms[i].mean() for arms in groups] for i in (0, 1))
    share = sum(weights) / len(sgd_loss)
    return float(np.average(trained, weights=weights)), float(np.average(guessed, weights=weights)), share


def _findings(trials: Trials, task: str) -> Iterator[Finding]:
    """Say how large the volume that fits is, and how it splits."""
    (low, high), (fit, tried) = volume_interval(trials), (int(trials[name][0]) for name in ("fit", "networks"))
    yield Finding("task", task)
    yield Finding("volume that fits", f"{fit / tried:.3g} ({low:.3g} to {high:.3g}): {fit} of {tried} guesses")
    if fit:
        yield Finding("test accuracy of what fits", _nine_in_ten(fitting(trials, "accuracy")))
        for m in (1, 2, 4, 8):
            ratio, error = poisoned_ratio(trials, m)
            yield Finding(
                f"with {m} more",
                f"{share_with(trials, m):.3g} of the volume fits true labels, {share_with(trials, m, wrong=True):.3g} wrong "
                f"ones: {ratio:.2g} ± {error:.1g} of it",
            )
    if trials["fit"][1]:
        trained, guessed, share = matched(trials)
        yield Finding("test accuracy after SGD", _nine_in_ten(fitting(trials, "accuracy", "SGD")))
        compared = f"{trained:.3f} SGD against {guessed:.3f} guessing ({share:.0%} of the trained networks compared)"
        nothing = "no guess has the loss of a trained network: not compared"
        yield Finding("at matched normalised loss", compared if share else nothing)


def _nine_in_ten(values: np.ndarray) -> str:
    low, high = np.quantile(values, (0.05, 0.95))
    return f"{values.mean():.3f} (nine in ten between {low:.3f} and {high:.3f})"


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


STUDY = Experiment(
    name="guess-and-check",
    question="How much of the volume of weights that fit generalises, and how much less also fits wrong labels?",
    function=guess_and_check,
    full={"guesses": 100_000_000, "networks": 1000},
    quick={"guesses": 500_000, "networks": 50, "epochs": 50},
)
