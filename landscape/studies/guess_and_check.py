"""The volume of weights that fit, by drawing weights until some do (Chiang et al. 2023)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from landscape.datasets import Split, kink
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results import Finding, Trials
from landscape.studies.grid import JobsRun, Row, protocol, run_jobs
from landscape.studies.registry import Experiment, published
from landscape.training import ModelFactory, Recipe, get_recipe
from landscape.training.vectorised import Stacked, stack, train_stacked
from landscape.workers import Workers

TEN_UNITS = partial(mlp, (2, 10, 2))
RECIPE = get_recipe("sgd", lr=0.1, batch_size=2)
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
    recipe: Recipe = RECIPE,
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
        recipe: of these, as `train_stacked` uses it.
        epochs: of these, at most: each is taken at the end of the first epoch after which it fits every example, and those
            that never do are counted and left out.
        seed: of everything drawn.
        together: guesses evaluated at once; as the draws come in such groups, another number is another sample.

    Returns:
        `Trials` of two rows, ``guessing`` and ``SGD``, with the ``accuracy`` and the normalised ``loss`` of every network
        that fits beside them: see `volume_interval`, `share_with`, `poisoned_ratio` and `matched`.

    Source: P. Chiang et al., *Loss landscapes are all you need: neural network generalization can be explained without
    the implicit bias of gradient descent*, ICLR 2023, sections 3 and 4.

    >>> found = guess_and_check(partial(mlp, (2, 6, 2)), kink(train=4), guesses=20_000, networks=10, epochs=20)
    >>> found["fit"][0] > 100, share_with(found, 4) > share_with(found, 4, wrong=True)
    (np.True_, True)
    """
    split = kink() if split is None else split
    if min(guesses, networks, epochs, together) < 1 or not (span > 0 and math.isfinite(span)):
        raise LandscapeError(
            f"guesses={guesses}, networks={networks}, epochs={epochs}, together={together}, span={span}; expected "
            "positive numbers"
        )
    settings = protocol(
        factory, split, recipe=recipe, guesses=guesses, span=span, networks=networks, epochs=epochs, seed=seed,
        together=together,
    )  # fmt: skip
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
    """Return the row of one way to find networks that fit; NaN of none."""
    count, fits = len(accuracy), accuracy if len(accuracy) else np.array([np.nan])
    low, median, high = np.quantile(fits, (0.05, 0.5, 0.95))
    return {
        "found by": found_by,
        "networks": tried,
        "fit": count,
        "test/accuracy": float(fits.mean()),
        "test/accuracy ±": float(fits.std(ddof=1) / math.sqrt(count)) if count > 1 else np.nan,
        "5 %": low,
        "median": median,
        "95 %": high,
        "normalised loss": float(np.median(loss)) if count else np.nan,
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
    accuracy of a guess that fits; with wrong labels, of two classes, :math:`E[(1 - a)^m]`.
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
    against it, and groups without a guess are left out: the last number is the share of trained networks compared.
    """
    (loss, accuracy), (sgd_loss, sgd_accuracy) = (
        (fitting(trials, "loss", found_by), fitting(trials, "accuracy", found_by)) for found_by in ("guessing", "SGD")
    )
    if not len(sgd_loss):
        return math.nan, math.nan, 0.0
    edges = np.quantile(sgd_loss, np.linspace(0, 1, BINS + 1))
    edges[-1] = np.nextafter(edges[-1], np.inf)
    groups = [
        (mine.mean(), theirs.mean(), len(mine))
        for low, high in pairwise(edges)
        if len(mine := sgd_accuracy[(sgd_loss >= low) & (sgd_loss < high)])
        and len(theirs := accuracy[(loss >= low) & (loss < high)])
    ]
    if not groups:
        return math.nan, math.nan, 0.0
    trained, guessed, weights = zip(*groups)
    share = sum(weights) / len(sgd_loss)
    return float(np.average(trained, weights=weights)), float(np.average(guessed, weights=weights)), share


def _findings(trials: Trials, task: str) -> Iterator[Finding]:
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
    """Draw guesses; return test accuracy and normalised loss of those that give every example its label."""
    (X, y), test = data
    template, generator = stack(factory, [0]), _generator(seed)
    rows = []
    for begin in range(0, guesses, together):
        left = drawn(template, min(together, guesses - begin), span, generator)
        for inputs, labels in zip(X.split(_CHECKED), y.split(_CHECKED), strict=True):
            left = left[(left.predictions(inputs) == labels).all(1)] if len(left) else left
        rows.append(_row(left, (X, y), test))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _train(
    factory: ModelFactory, data: Any, networks: int, span: float, seed: list[int], recipe: Recipe, epochs: int
) -> Row:
    """Train networks from guesses; return test accuracy and normalised loss at the first epoch that each fits.

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
    return _row(replace(start, parameters=first)[~waiting], (X, y), test)


def _row(found: Stacked, train: Pair, test: Pair) -> Row:
    if not len(found):
        return {"accuracy": np.zeros(0), "loss": np.zeros(0)}
    return {"accuracy": found.accuracy(*test).numpy(), "loss": normalised(found).losses(*train).numpy()}


def _generator(seed: list[int]) -> torch.Generator:
    (state,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def drawn(template: Stacked, count: int, span: float, generator: torch.Generator) -> Stacked:
    """Return networks of the template's shapes (K of them) whose parameters are uniform between −span and span."""
    parameters = {
        name: (2 * torch.rand(count, *value.shape[1:], generator=generator) - 1) * span
        for name, value in template.parameters.items()
    }
    return replace(template, parameters=parameters)


def normalised(stacked: Stacked) -> Stacked:
    """Divide the last layer, which is linear, of each network by the product of the norms ‖(W_l, b_l)‖_F of all layers.

    The logits shrink by that product, as those of a network whose every layer has norm one, but for biases of inner
    layers, which are left as they are.
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
    return replace(stacked, parameters=parameters)


STUDY = Experiment(
    name="guess-and-check",
    question="How much of the volume of weights that fit generalises, and how much less also fits wrong labels?",
    function=guess_and_check,
    full={"guesses": 100_000_000, "networks": 1000},
    quick={"guesses": 500_000, "networks": 50, "epochs": 50},
)
