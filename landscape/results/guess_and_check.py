"""The result of drawing weights at random until some fit the training examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from landscape.results.base import Result
from landscape.results.schema import array
from landscape.tables import duration, format_table

BINS = 10


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GuessAndCheck(Result):
    r"""How much of a prior fits the training examples, and how well what fits generalises.

    The share of guesses that fit is the volume of the zero-error set in the measure of the prior. Networks that fit m
    further examples of the task as well, with true or with wrong labels, are parts of that set; averaged over the draw of
    these examples, their shares are :math:`E[a^m]` and :math:`E[(1 - a)^m]` with a the test accuracy of a guess that fits.

    Attributes:
        guesses: weights drawn.
        accuracy: (F,) test accuracy of the guesses that give every training example its label.
        loss: (F,) their training loss after division of the logits by the product of the layers' norms, in nats.
        sgd_accuracy: (S,) test accuracy of networks trained from such guesses, of those that fit.
        sgd_loss: (S,) their training loss, normalised likewise.
        sgd_networks: networks trained.
        examples: training examples.
        parameters: P.
        span: weights are uniform between −span and span.
        seed: of everything drawn.
        settings: network, recipe and data.
    """

    kind: ClassVar[str] = "guess-and-check"
    location: ClassVar[str] = "experiments/{entry}"

    guesses: int
    accuracy: np.ndarray = array("guess", long_name="test accuracy of a guess that fits")
    loss: np.ndarray = array("guess", long_name="normalised training loss of a guess that fits", units="nat")
    sgd_accuracy: np.ndarray = array("network", long_name="test accuracy of a trained network that fits")
    sgd_loss: np.ndarray = array("network", long_name="normalised training loss of a trained network", units="nat")
    sgd_networks: int
    examples: int
    parameters: int
    span: float
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> int:
        """Guesses that fit every training example."""
        return len(self.accuracy)

    @property
    def volume(self) -> float:
        """Share of the prior that fits the training examples."""
        return self.fits / self.guesses

    @property
    def volume_interval(self) -> tuple[float, float]:
        """The exact 95 % interval of `volume` (Clopper and Pearson 1934)."""
        found = stats.binomtest(self.fits, self.guesses).proportion_ci(method="exact")
        return float(found.low), float(found.high)

    def share_with(self, m: int, *, wrong: bool = False) -> float:
        """Return the share of the fitting volume that also fits m further examples, averaged over their draw.

        Args:
            m: number of further examples.
            wrong: with the wrong label each; two classes.
        """
        right = 1 - self.accuracy if wrong else self.accuracy
        return float((right**m).mean()) if self.fits else math.nan

    def poisoned_ratio(self, m: int) -> tuple[float, float]:
        """Return the volume that fits m wrongly labelled further examples over that with true labels, and its error.

        The standard error is the delta method's, over guesses.
        """
        right, wrong = self.accuracy**m, (1 - self.accuracy) ** m
        if self.fits < 2 or right.mean() == 0:
            return math.nan, math.nan
        ratio = wrong.mean() / right.mean()
        error = (wrong - ratio * right).std(ddof=1) / right.mean() / math.sqrt(self.fits)
        return float(ratio), float(error)

    def matched(self) -> tuple[float, float, float]:
        """Return mean test accuracy of trained networks and of guesses at the same normalised loss.

        The trained networks are cut into ten groups of equal size by their loss; guesses within the range of a group
        stand against it, and groups without a guess are left out.

        Returns:
            Accuracy of trained networks, of guesses, and the share of trained networks compared.
        """
        if not len(self.sgd_loss) or not self.fits:
            return math.nan, math.nan, 0.0
        edges = np.quantile(self.sgd_loss, np.linspace(0, 1, BINS + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
        trained, guessed, weights = [], [], []
        for low, high in pairwise(edges):
            mine = self.sgd_accuracy[(self.sgd_loss >= low) & (self.sgd_loss < high)]
            theirs = self.accuracy[(self.loss >= low) & (self.loss < high)]
            if len(mine) and len(theirs):
                trained.append(mine.mean())
                guessed.append(theirs.mean())
                weights.append(len(mine))
        if not weights:
            return math.nan, math.nan, 0.0
        share = sum(weights) / len(self.sgd_loss)
        return float(np.average(trained, weights=weights)), float(np.average(guessed, weights=weights)), share

    def table(self, style: str = "text") -> str:
        """Return what fits by how it was found.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("found by", "tried", "fit", "test accuracy", "± s.e.", "5 %", "median", "95 %", "normalised loss")
        arms = (
            ("guessing", self.guesses, self.accuracy, self.loss),
            ("SGD", self.sgd_networks, self.sgd_accuracy, self.sgd_loss),
        )
        return format_table(header, [_line(*arm) for arm in arms], style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the volume, then how it splits."""
        low, high = self.volume_interval
        yield "task", f"{self.examples} examples, {self.parameters} weights uniform in ±{self.span:g}"
        yield "volume that fits", f"{self.volume:.3g} ({low:.3g} to {high:.3g}): {self.fits} of {self.guesses} guesses"
        if self.fits:
            yield "test accuracy of what fits", _nine_in_ten(self.accuracy)
            for m in (1, 2, 4, 8):
                ratio, error = self.poisoned_ratio(m)
                yield (
                    f"with {m} more",
                    f"{self.share_with(m):.3g} of the volume fits true labels, {self.share_with(m, wrong=True):.3g} wrong "
                    f"ones: {ratio:.2g} ± {error:.1g} of it",
                )
        if len(self.sgd_accuracy):
            trained, guessed, share = self.matched()
            yield "test accuracy after SGD", _nine_in_ten(self.sgd_accuracy)
            yield (
                "at matched normalised loss",
                f"{trained:.3f} SGD against {guessed:.3f} guessing ({share:.0%} of the trained networks compared)"
                if share
                else "no guess has the loss of a trained network: not compared",
            )
        yield "time", duration(self.seconds)


def _line(name: str, tried: int, accuracy: np.ndarray, loss: np.ndarray) -> tuple[str, ...]:
    if not len(accuracy):
        return (name, str(tried), "0", *["—"] * 6)
    error = accuracy.std(ddof=1) / math.sqrt(len(accuracy)) if len(accuracy) > 1 else math.nan
    quantiles = [f"{q:.3f}" for q in np.quantile(accuracy, (0.05, 0.5, 0.95))]
    values = (f"{accuracy.mean():.3f}", f"{error:.3f}", *quantiles, f"{np.median(loss):.3f}")
    return (name, str(tried), str(len(accuracy)), *values)


def _nine_in_ten(values: np.ndarray) -> str:
    low, high = np.quantile(values, (0.05, 0.95))
    return f"{values.mean():.3f} (nine in ten between {low:.3f} and {high:.3f})"
