"""Results of randomising labels and inputs: can it fit noise, how fast, how sharp, and how bad on test data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.comparison import over_radii
from landscape.results.schema import array, arrays, nested, rows
from landscape.tables import Measured, duration, format_table, number_text, spread

TIME_TO_FIT = "steps to accuracy 1"


@dataclass(frozen=True)
class Condition:
    """How the training data were treated.

    Attributes:
        name: slug.
        long_name: in words.
        inputs: ``true``, ``shuffled-pixels``, ``random-pixels`` or ``gaussian``.
        noise: probability with which a label was redrawn.
    """

    name: str
    long_name: str
    inputs: str
    noise: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Randomisation(Result):
    """Networks trained on true, corrupted and random labels and on shuffled, random and Gaussian inputs.

    Attributes:
        conditions: how the data were treated, one row a condition; true labels first.
        seeds: (seed,) seeds.
        epochs: (epoch,) numbers of epochs of the learning curves.
        metrics: (condition, seed) fit and test error; ``reached`` is 0 where training did not get to the target.
        lengths: (condition, seed) optimiser steps to an accuracy or a loss, at the end of an epoch; NaN where never.
        curves: (condition, seed, epoch) training loss and accuracy; NaN after the last epoch.
        scores: (condition, seed, radius) by ``evaluation/score``; NaN where not measured or the target was not reached.
        errors: their Monte-Carlo standard errors.
        radii: (radius,) by score; NaN where a score has fewer or none.
        target: training cross-entropy at which all were measured, in nats.
        recipe: slug of the recipe.
        classes: number of classes C.
    """

    kind: ClassVar[str] = "randomisation"
    location: ClassVar[str] = "experiments/{entry}"

    conditions: tuple[Condition, ...] = rows(Condition, dim="condition")
    seeds: np.ndarray = array("seed", long_name="seed")
    epochs: np.ndarray = array("epoch", long_name="epochs finished")
    metrics: Mapping[str, np.ndarray] = arrays("condition", "seed", long_name="fit and test error")
    lengths: Mapping[str, np.ndarray] = arrays("condition", "seed", long_name="optimiser steps", units="step")
    curves: Mapping[str, np.ndarray] = arrays("condition", "seed", "epoch", long_name="learning curve")
    scores: Mapping[str, np.ndarray] = arrays("condition", "seed", "radius", long_name="score")
    errors: Mapping[str, np.ndarray] = arrays("condition", "seed", "radius", long_name="Monte-Carlo standard error")
    radii: Mapping[str, np.ndarray] = arrays("radius", long_name="radius of the score")
    target: float
    recipe: str
    classes: int

    def place(self, condition: str) -> int:
        """Return the index of a condition.

        Raises:
            KeyError: there is none of that name.
        """
        names = [row.name for row in self.conditions]
        if condition not in names:
            raise KeyError(f"no condition {condition!r}; there are {', '.join(names)}")
        return names.index(condition)

    def values(self, name: str) -> np.ndarray:
        """Return one score, (condition, seed): the geometric mean over its radii, or the value itself.

        Raises:
            KeyError: there is no such score.
        """
        if name not in self.scores:
            raise KeyError(f"no score {name!r}; there are {', '.join(self.scores)}")
        return np.stack([over_radii(block) for block in self.scores[name]])

    @property
    def noise_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Noise levels, ascending, and the indices of their conditions: those with true inputs."""
        chosen = [i for i, row in enumerate(self.conditions) if row.inputs == "true"]
        chosen.sort(key=lambda i: self.conditions[i].noise)
        return np.array([self.conditions[i].noise for i in chosen]), np.array(chosen)

    def table(self, style: str = "text") -> str:
        """Return one column a condition: fit and test error as means over seeds, steps with their standard deviation over
        the seeds that got there, and the geometric mean of every score.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("", *(row.long_name for row in self.conditions))
        body = [("train accuracy", *(f"{mean:.1%}" for mean in self.metrics["train/accuracy"].mean(axis=1)))]
        body.append(("test error", *(f"{mean:.1%}" for mean in self.metrics["test/error"].mean(axis=1))))
        body += [(name, *map(spread, values)) for name, values in self.lengths.items()]
        body += [(name, *map(_mean, self.values(name))) for name in self.scores]
        reached = self.metrics["reached"].sum(axis=1)
        body.append(("runs at the target", *(f"{count:.0f} of {len(self.seeds)}" for count in reached)))
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what the field wants to know: does it fit, how much slower, how bad on test data, how sharp."""
        accuracy, error = self.metrics["train/accuracy"], self.metrics["test/error"]
        worst = int(accuracy.mean(axis=1).argmin())
        yield (
            "fits",
            f"training accuracy {accuracy.min():.2%} or more in all {len(self.conditions)} conditions"
            if accuracy.min() == 1
            else f"training accuracy {accuracy[worst].mean():.2%} on {self.conditions[worst].long_name}",
        )
        missed = int(self.metrics["reached"].size - self.metrics["reached"].sum())
        if missed:
            yield "target not reached", f"by {missed} of {self.metrics['reached'].size} runs, whose scores are left out"
        noise, chosen = self.noise_grid
        if len(noise) > 1:
            errors = error[chosen].mean(axis=1)
            rise = "grows at every step" if (np.diff(errors) > 0).all() else "does not grow at every step"
            yield "test error", f"{rise} of p, from {errors[0]:.1%} to {errors[-1]:.1%} at p = {noise[-1]:g}"
            for length in (TIME_TO_FIT, "steps to loss 0.1"):
                yield length, self._slower(noise, self.lengths[length][chosen].mean(axis=1))
            yield from self._inputs(int(chosen[-1]))
            yield "sharpness", self._sharpness(int(chosen[0]), int(chosen[-1]))
        yield "time", duration(self.seconds)

    @staticmethod
    def _slower(noise: np.ndarray, steps: np.ndarray) -> str:
        each = ", ".join(f"p = {p:g}: {step:.0f}" for p, step in zip(noise, steps, strict=True) if np.isfinite(step))
        never = [f"{p:g}" for p, step in zip(noise, steps, strict=True) if not np.isfinite(step)]
        if never:
            return f"not reached by every seed at p = {', '.join(never)}" + (f" ({each})" if each else "")
        grows = "grow at every step of p" if (np.diff(steps) > 0).all() else "do not grow at every step of p"
        return f"× {steps[-1] / steps[0]:.2f} from least to most noise; they {grows} ({each})"

    def _inputs(self, hardest: int) -> Iterator[tuple[str, str]]:
        """Whether each treatment of the inputs is fitted before the labels of the most noise are."""
        times = self.lengths[TIME_TO_FIT].mean(axis=1)
        for i, row in enumerate(self.conditions):
            if row.inputs != "true":
                error = f"test error {self.metrics['test/error'][i].mean():.1%}"
                yield row.long_name, f"{self._against(times[i], times[hardest], hardest)}; {error}"

    def _against(self, steps: float, most: float, hardest: int) -> str:
        """Put the steps of a treatment of the inputs beside those of the most noise; NaN is a seed that never fitted."""
        other = self.conditions[hardest].long_name
        if not np.isfinite(steps):
            return "not fitted by every seed"
        if not np.isfinite(most):
            return f"fitted in {steps:.0f} steps; {other} not by every seed"
        word = "faster" if steps < most else "not faster"
        return f"fitted in {steps:.0f} steps, {word} than {other} ({most:.0f})"

    def _sharpness(self, low: int, high: int) -> str:
        ratios = []
        for name in self.scores:
            values = self.values(name)[[low, high]]
            if (
                name.startswith(("own/adaptive", "own/inverse", "own/trace", "own/lambda-max", "label-free"))
                and (values > 0).all()
            ):
                a, b = np.log(values).mean(axis=1)
                ratios.append(f"{name} × {np.exp(b - a):.3g}")
        return f"most noise over none, at cross-entropy {self.target:g}: {', '.join(ratios) or 'not measured'}"


@dataclass(frozen=True)
class Contrast:
    """One quantity of networks trained on random against those trained on true labels.

    Attributes:
        quantity: what is compared.
        true: mean over seeds on true labels; geometric where compared by ratio.
        random: the same on random labels.
        ratio: random over true.
        low: lower end of the 95 % bootstrap interval of the ratio over seeds.
        high: upper end.
        p_value: exact two-sided permutation p; `None` with fewer than six seeds.
    """

    quantity: str
    true: float
    random: float
    ratio: float
    low: float
    high: float
    p_value: float | None

    @property
    def interval(self) -> str:
        """The interval in brackets, or a dash with a single seed."""
        return "—" if np.isnan(self.low) else f"[{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MemorisationTest(Result):
    """What a network that can fit random labels does when it does.

    Attributes:
        fits: share of the seeds that fitted random labels to the target.
        contrasts: time to fit, test error and sharpness on random against true labels.
        says: what that says.
        does_not_say: what it does not.
        runs: the runs themselves.
    """

    kind: ClassVar[str] = "memorisation-test"
    location: ClassVar[str] = "experiments/{entry}"

    fits: float
    contrasts: tuple[Contrast, ...] = rows(Contrast, dim="contrast")
    says: str
    does_not_say: str
    runs: Randomisation = nested(Randomisation)

    def contrast(self, quantity: str) -> Contrast:
        """Return the row of one quantity.

        Raises:
            KeyError: there is none of that name.
        """
        for row in self.contrasts:
            if row.quantity == quantity:
                return row
        raise KeyError(f"no contrast {quantity!r}; there are {', '.join(row.quantity for row in self.contrasts)}")

    def table(self, style: str = "text") -> str:
        """Return one row a quantity.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("quantity", "true labels", "random labels", "ratio", "95 % interval", "p")
        body = [
            (
                row.quantity,
                f"{row.true:.4g}",
                f"{row.random:.4g}",
                f"× {row.ratio:.3g}",
                row.interval,
                "—" if row.p_value is None else f"{row.p_value:.2g}",
            )
            for row in self.contrasts
        ]
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what the test says, what it does not, and the contrasts."""
        yield "says", self.says
        yield "does not say", self.does_not_say
        for row in self.contrasts:
            yield row.quantity, f"× {row.ratio:.3g} {row.interval} on random labels"
        yield "time", duration(self.seconds)


def _mean(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "—"
    mean = np.exp(np.log(finite).mean()) if (finite > 0).all() else finite.mean()
    return number_text(Measured(float(mean)))
