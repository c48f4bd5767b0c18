"""The result of training many networks on random subsets: which examples are memorised, and which influence which."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, printed, rows
from landscape.tables import duration

MEMORISED, INFLUENTIAL = 0.25, 0.15
"""From where an example counts as memorised and a pair as influential (Feldman and Zhang 2020, section 3)."""


@dataclass(frozen=True, kw_only=True)
class MemorisedExample:
    """One training example that networks get right only when they have seen it.

    Attributes:
        index: its position in the training part of the split.
        label: the label it was trained with.
        elsewhere: the class that most networks give to it that were trained without it.
        memorisation: accuracy on it of networks trained with it minus that of networks trained without it.
        standard_error: of that difference, over networks.
        held_in: accuracy of networks trained with it.
        held_out: accuracy of networks trained without it.
        changed: its label was redrawn and differs from the true one.
    """

    index: int
    label: int
    elsewhere: int
    memorisation: float = field(metadata=printed(error="standard_error"))
    standard_error: float
    held_in: float
    held_out: float
    changed: bool


@dataclass(frozen=True, kw_only=True)
class InfluentialPair:
    """A memorised training example and a test example that it helps to get right.

    Attributes:
        train: position in the training part.
        test: position in the test part.
        train_label: label of the training example, as trained with.
        test_label: label of the test example.
        memorisation: of the training example.
        influence: accuracy on the test example of networks trained with the training example minus that without.
    """

    train: int
    test: int
    train_label: int
    test_label: int
    memorisation: float
    influence: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Memorisation(Result):
    r"""Predictions of T networks, each trained on a random subset; memorisation and influence follow from them.

    .. math:: \mathrm{mem}(i) = P[h(x_i) = y_i \mid i \in S] - P[h(x_i) = y_i \mid i \notin S]

    Attributes:
        included: (T, N) 1 where the network was trained on the example.
        predictions: (T, N) class given to each training example.
        test_predictions: (T, J) class given to each test example.
        labels: (N,) labels trained with.
        true_labels: (N,) labels before any were redrawn.
        test_labels: (J,) labels of the test examples.
        memorised: the most memorised examples, first the most memorised.
        pairs: the most influential pairs with memorisation of at least 0.25 and influence of at least 0.15.
        pictures: (shown, channels, height, width) intensities of `memorised`.
        pair_pictures: (pairs, 2, channels, height, width) intensities of training and test example of `pairs`.
        pair_count: number of pairs above both thresholds, of which `pairs` holds the first.
        ratio: share of the examples in a subset.
        label_noise: probability with which a label was redrawn.
        epochs: passes of each network over its subset.
        seed: of subsets, initialisations and orders.
        settings: network, recipe and data.
    """

    kind: ClassVar[str] = "memorisation"
    location: ClassVar[str] = "experiments/{entry}"

    included: np.ndarray = array("network", "example", long_name="1 where trained on")
    predictions: np.ndarray = array("network", "example", long_name="class given to a training example")
    test_predictions: np.ndarray = array("network", "test", long_name="class given to a test example")
    labels: np.ndarray = array("example", long_name="label trained with")
    true_labels: np.ndarray = array("example", long_name="true label")
    test_labels: np.ndarray = array("test", long_name="label of a test example")
    memorised: tuple[MemorisedExample, ...] = rows(MemorisedExample, dim="shown")
    pairs: tuple[InfluentialPair, ...] = rows(InfluentialPair, dim="pair")
    pictures: np.ndarray = array("picture", "channel", "height", "width", long_name="intensity")
    pair_pictures: np.ndarray = array("pair_picture", "side", "channel", "height", "width", long_name="intensity")
    pair_count: int
    ratio: float
    label_noise: float
    epochs: int
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def correct(self) -> np.ndarray:
        """(T, N) 1 where a network gives the label trained with, float64."""
        return (self.predictions == self.labels).astype(np.float64)

    @cached_property
    def test_correct(self) -> np.ndarray:
        """(T, J) 1 where a network gives the test label, float64."""
        return (self.test_predictions == self.test_labels).astype(np.float64)

    @cached_property
    def held_in(self) -> np.ndarray:
        """(N,) accuracy on each example of the networks trained on it; NaN if there are none."""
        return _mean(self.correct, self.included.astype(bool))

    @cached_property
    def held_out(self) -> np.ndarray:
        """(N,) accuracy on each example of the networks not trained on it; NaN if there are none."""
        return _mean(self.correct, ~self.included.astype(bool))

    @property
    def memorisation(self) -> np.ndarray:
        """(N,) mem(i), from −1 to 1."""
        return self.held_in - self.held_out

    @property
    def standard_error(self) -> np.ndarray:
        """(N,) of `memorisation`, over networks (binomial)."""
        inside = self.included.sum(0, dtype=np.float64)
        outside = len(self.included) - inside
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.held_in * (1 - self.held_in) / inside + self.held_out * (1 - self.held_out) / outside)

    @cached_property
    def influence(self) -> np.ndarray:
        """(N, J) infl(i, j): accuracy on test example j with training example i minus that without."""
        included = self.included.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = included.T @ self.test_correct / included.sum(0)[:, None]
            outside = (1 - included).T @ self.test_correct / (1 - included).sum(0)[:, None]
        return inside - outside

    @property
    def train_accuracy(self) -> float:
        """Mean accuracy of the networks on what they were trained on."""
        return float(self.correct[self.included.astype(bool)].mean())

    @property
    def test_accuracy(self) -> float:
        """Mean accuracy of the networks on the test examples."""
        return float(self.test_correct.mean())

    @property
    def gap(self) -> float:
        """The generalisation gap: accuracy on what was trained on minus accuracy on the test examples.

        With redrawn labels the test labels are redrawn in expectation as well: a share p of them would be uniform.
        """
        classes = int(max(self.labels.max(), self.test_labels.max(), self.true_labels.max())) + 1
        expected = (1 - self.label_noise) * self.test_accuracy + self.label_noise / classes
        return self.train_accuracy - expected

    @property
    def gap_error(self) -> float:
        """Monte-Carlo standard error of mean memorisation minus `gap`: training and test part are finite samples."""
        test = self.test_correct.mean(0)
        out = self.held_out[np.isfinite(self.held_out)]
        if min(len(out), len(test)) < 2:
            return math.nan
        kept = 1 - self.label_noise
        return math.sqrt(out.var(ddof=1) / len(out) + kept**2 * test.var(ddof=1) / len(test))

    @property
    def error_bound(self) -> float:
        """Bound on the root mean square error of `memorisation` over draws of the subsets."""
        return error_bound(len(self.included), self.ratio)

    @property
    def changed(self) -> np.ndarray:
        """(N,) whether a label was redrawn and differs from the true one."""
        return self.labels != self.true_labels

    @property
    def detection(self) -> float:
        """Chance that a changed label is memorised more than an unchanged one (area under the ROC curve)."""
        scores = self.memorisation
        wrong, right = scores[self.changed], scores[~self.changed]
        if not len(wrong) or not len(right):
            return math.nan
        from scipy import stats  # takes half a second to load, and every result is loaded with this one

        return float(stats.mannwhitneyu(wrong, right, nan_policy="omit").statistic / (len(wrong) * len(right)))

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the identity of memorisation and gap, then how much is memorised."""
        scores = self.memorisation
        mean, difference = float(np.nanmean(scores)), float(np.nanmean(scores)) - self.gap
        yield (
            "networks",
            f"{len(self.included)}, each trained on {self.ratio:.0%} of {len(self.labels)} examples for {self.epochs} "
            f"epochs (error of a score at most {self.error_bound:.3f} in the mean square)",
        )
        yield (
            "accuracy",
            f"{self.train_accuracy:.2%} trained on, {np.nanmean(self.held_out):.2%} left out, {self.test_accuracy:.2%} test",
        )
        yield "mean memorisation", f"{mean:.4f}"
        yield (
            "generalisation gap",
            f"{self.gap:.4f}: differs by {difference:+.4f} ± {self.gap_error:.4f} "
            f"({'agrees' if abs(difference) <= 2 * self.gap_error else 'does not agree'} within two standard errors)",
        )
        yield "memorised", f"{int((scores >= MEMORISED).sum())} examples with a score of at least {MEMORISED}"
        yield (
            "influential",
            f"{self.pair_count} pairs with an influence of at least {INFLUENTIAL} of a memorised example",
        )
        if self.changed.any():
            yield (
                "changed labels",
                f"{int(self.changed.sum())}, memorisation {np.nanmean(scores[self.changed]):.3f} against "
                f"{np.nanmean(scores[~self.changed]):.3f} of the others; found by memorisation with AUROC {self.detection:.3f}",
            )
        yield "time", duration(self.seconds)


def error_bound(networks: int, ratio: float) -> float:
    r"""Bound the root mean square error of a memorisation score estimated from random subsets.

    .. math:: \sqrt{\frac{1}{qt} + \frac{1}{(1 - q)t} + \tfrac12 e^{-qt/16}}, \qquad q = \min(r, 1 - r)

    Args:
        networks: t.
        ratio: r, share of the examples in a subset.

    Source: Feldman and Zhang 2020 (arXiv 2008.03703), lemma 2.1.

    >>> [round(error_bound(t, 0.7), 3) for t in (500, 2000)]
    [0.098, 0.049]
    """
    q = min(ratio, 1 - ratio)
    return math.sqrt(1 / (q * networks) + 1 / ((1 - q) * networks) + 0.5 * math.exp(-q * networks / 16))


def _mean(correct: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return column means over the marked rows, NaN where none is."""
    count = where.sum(0)
    total = np.where(where, correct, 0.0).sum(0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
