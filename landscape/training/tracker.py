"""Curvature while a network trains: when to measure, what it may cost, where it goes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from landscape.arguments import numbers_checked
from landscape.bars import progress
from landscape.errors import LandscapeError
from landscape.function.forward import unwrapped
from landscape.function.objective import Objective
from landscape.results.track import Track
from landscape.store import Run, identity
from landscape.training.optimiser_state import StepRule, step_rule
from landscape.training.tracked import Moment, Values, measure_named

DEFAULT = ("lambda_max", "batch_sharpness", "loss")


class Tracker:
    r"""Measures curvature at some steps of a training run, within a share of its time.

    The training is left as it would have been, bit for bit: what is measured is a copy of the weights, with random draws of
    its own. A measure that fails is said once, as a warning, and training goes on. Eigenvalues are warm-started from the
    vectors of the last measured step, so that most cost four or five products.

    ```python
    tracker = ls.Tracker(model, "cross_entropy", (X[:512], y[:512]), optimizer=optimizer, batch_size=32)
    for x, target in loader:
        …  # forward, backward
        optimizer.step()
        tracker.step()
    track = tracker.close()
    ```

    As a context, ``with ls.Tracker(…) as tracker:``, it notices the optimiser's steps by itself.

    Args:
        model: the network that trains; a wrapped one (compiled, data-parallel) is unwrapped.
        loss: as `Objective` takes it.
        data: what to measure on, as `Objective` takes it; a fixed part of the training data, such as 512 examples.
        optimizer: the one that trains the model; learning rate, momentum and preconditioner are read from it at every
            measured step.
        every: measure at multiples of so many steps only; `None`: whenever the budget allows.
        measure: names in `landscape.training.tracked.MEASURES`, slugs of scores, or functions of an `Objective`.
        budget: the share of the training time that measuring may take; `None`: no limit, then ``every`` decides alone.
            The first step is always measured, and paid for by the steps after it.
        k: eigenvalues per measurement.
        batch_size: examples per step of the training, for batch sharpness.
        relative: other data, for relative critical sharpness.
        parameters: which parameters make up theta, as `Objective` takes it.
        save: ``("run.h5", "name")``: every finished point is kept beside the study as it is measured, and the `Track` is stored
            by `close`. A tracker of the same settings goes on with the points of a run that was killed: say `step` which step
            it is at.
        overwrite: replace a track of that name.
        log: where points go as they are measured: a function ``log(values, step)``, a TensorBoard ``SummaryWriter``, a Weights &
            Biases run, or the ``mlflow`` module.
        seed: of random draws.

    Raises:
        LandscapeError: an unknown measure, ``every`` below 1, neither ``every`` nor ``budget``, or an optimiser that does not
            hold the parameters: before training begins.

    Source: Cohen et al. 2021 (arXiv 2103.00065) for λmax against 2/η; Andreyev and Beneventano 2024 (arXiv 2412.20553) for batch
    sharpness; Kalra et al. 2026 (arXiv 2601.16979) for critical sharpness.

    >>> import torch, landscape as ls
    >>> model, X = torch.nn.Linear(1, 1, bias=False), torch.tensor([[1.0], [2.0]])
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with ls.Tracker(model, "mse_loss", (X, X), optimizer=optimizer, every=2, budget=None, measure=["lambda_max"]) as tracker:
    ...     for _ in range(4):
    ...         optimizer.zero_grad()
    ...         torch.nn.functional.mse_loss(model(X), X).backward()
    ...         _ = optimizer.step()
    >>> tracker.track.step, tracker.track.values["lambda_max"]  # the mean of 2x²
    (array([2, 4]), array([5., 5.]))
    """

    @numbers_checked
    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        data: Any,
        *,
        optimizer: torch.optim.Optimizer,
        every: int | None = None,
        measure: Sequence[str | Callable[[Objective], Any]] = DEFAULT,
        budget: float | None = 0.1,
        k: int = 1,
        batch_size: int | None = None,
        relative: Any = None,
        parameters: Any = None,
        save: tuple[str | Path, str] | None = None,
        overwrite: bool = False,
        log: Any = None,
        seed: int = 0,
    ):
        if every is not None and every < 1:
            raise LandscapeError(f"every={every}; expected at least 1, or None to let the budget decide")
        if every is None and budget is None:
            raise LandscapeError("neither every= nor budget= says when to measure; pass one of them")
        if budget is not None and not budget > 0:
            raise LandscapeError(f"budget={budget}; expected a share of the training time above 0, such as 0.1")
        self.model, self.optimizer = unwrapped(model), getattr(optimizer, "optimizer", optimizer)
        self.every, self.budget, self.k, self.batch_size, self.seed = every, budget, k, batch_size, seed
        wanted = [measure] if isinstance(measure, str) or callable(measure) else list(measure)
        self.measures = dict(map(measure_named, wanted))
        with torch.random.fork_rng(devices=[]):
            self.objective = Objective(self.model, data, loss, parameters=parameters)
            self.other = None if relative is None else self.objective.on(relative)
        self.rule: StepRule = self._rule()
        self.log = None if log is None else logger(log)
        self.steps, self.missed = 0, dict[str, str]()
        self._points: dict[int, Values] = {}
        self._moment = Moment(self.objective, None, self.rule, batch_size, self.other, k, seed)
        self._due = False
        self._spent = self._last = 0.0
        self._hooks = [self.optimizer.register_step_pre_hook(self._before_step)]
        settings = identity(
            model=type(self.model).__qualname__, selection=list(self.objective.names), loss=self.objective.loss_name,
            data=self.objective.batches.fingerprint(), measure=list(self.measures), k=k, batch_size=batch_size, seed=seed,
        )  # fmt: skip
        self._run = Run(save, settings, kind=Track, overwrite=overwrite)
        self._run.__enter__()
        if self._run.result is not None:
            self._run.__exit__(None, None, None)
            raise LandscapeError(f"{save} holds a finished track; choose another name, or pass overwrite=True")
        self._points.update(self._run.done)
        self._began = time.perf_counter()

    # --- along the training -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._hooks.append(self.optimizer.register_step_post_hook(lambda *_: self.step()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self, step: int | None = None) -> None:
        """Say that the optimiser has taken a step; measure when it is time to.

        Args:
            step: its number, where counting from one is not right, as after loading a checkpoint of the training.
        """
        entered = time.perf_counter()
        self.steps = self.steps + 1 if step is None else step
        if self._due or self._is_due(self.steps):
            self._measure(entered)
            self._last = time.perf_counter() - entered
        self._due = False
        self._spent += time.perf_counter() - entered

    def close(self) -> Track:
        """Take the hooks off the optimiser, store the track where ``save`` says, and return it."""
        for hook in self._hooks:
            hook.remove()
        if self._hooks:
            self._hooks = []
            try:
                self._run.finish(self.track)
            except LandscapeError as error:
                self._miss("save", error)
            finally:
                self._run.__exit__(None, None, None)
        return self.track

    @property
    def track(self) -> Track:
        """What was measured so far."""
        steps = sorted(self._points)
        names = list(dict.fromkeys(name for step in steps for name in self._points[step] if not name.startswith("_")))

        def column(name: str) -> np.ndarray:
            return np.array([self._points[step].get(name, np.nan) for step in steps])

        training = self._points[steps[-1]].get("_training", 0.0) if steps else 0.0
        measuring = self._points[steps[-1]].get("_measuring", 0.0) if steps else 0.0
        return Track(
            step=np.array(steps, dtype=np.int64),
            values={name: column(name) for name in names if name != "threshold"},
            threshold=column("threshold"),
            rule=self.rule.rule,
            steps=max(self.steps, *steps, 0),
            training_seconds=max(training, time.perf_counter() - self._began - self._spent),
            measuring_seconds=max(measuring, self._spent),
            budget=float("nan") if self.budget is None else self.budget,
            missed=dict(self.missed),
            provenance=self.objective.provenance(),
            seconds=time.perf_counter() - self._began,
        )

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _before_step(self, *_: Any) -> None:
        """Keep the weights before a step that will be measured."""
        entered = time.perf_counter()
        self._due = self._is_due(self.steps + 1)
        self._moment.before = self._weights() if self._due else None
        self._spent += time.perf_counter() - entered

    def _is_due(self, step: int) -> bool:
        if self.every is not None and step % self.every:
            return False
        if self.budget is None or not self._last:
            return True
        trained = time.perf_counter() - self._began - self._spent
        return self._spent + self._last <= self.budget * trained

    def _measure(self, entered: float) -> None:
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        moment, values = self._moment, Values()
        with torch.no_grad():
            moment.objective = self.objective.at({name: tensor.detach() for name, tensor in state.items()})
        moment.rule = self.rule = self._rule()
        if self.other is not None:
            moment.other = self.other.at({name: tensor.detach() for name, tensor in state.items()})
        values["lr"] = moment.rule.lr
        if moment.rule.threshold is not None:
            values["threshold"] = moment.rule.threshold
        for name, measure in self.measures.items():
            try:
                with progress(False):
                    values.update(measure(moment))
            except Exception as error:  # whatever it is, training goes on
                self._miss(name, error)
        moment.before = None
        if self.log is not None:
            try:
                self.log({name: value for name, value in values.items() if np.isfinite(value)}, self.steps)
            except Exception as error:
                self.log = None
                self._miss("log", error)
        values["_training"] = entered - self._began - self._spent
        values["_measuring"] = self._spent + time.perf_counter() - entered
        self._points[self.steps] = values
        try:
            self._run.keep(self.steps, values)
        except (LandscapeError, OSError) as error:
            self._miss("save", error)

    def _miss(self, name: str, error: BaseException) -> None:
        """Say once what could not be measured."""
        if name not in self.missed:
            self.missed[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"the tracker could not do {name!r}: {self.missed[name]}", stacklevel=4)

    def _rule(self) -> StepRule:
        own = dict(self.model.named_parameters())
        return step_rule(self.optimizer, own, self.objective.names)

    def _weights(self) -> Tensor:
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            return self.objective.space.flatten({name: own[name].detach() for name in self.objective.names}).clone()


def logger(log: Any) -> Callable[[Values, int], None]:
    """Return what writes values at a step to a logging library, told by what it offers.

    Args:
        log: a function ``(values, step)``, a TensorBoard ``SummaryWriter`` (``add_scalar``), the ``mlflow`` module
            (``log_metrics``), or a Weights & Biases run (``log``).

    Raises:
        LandscapeError: it offers none of these.

    >>> logger(print)({"lambda_max": 2.0}, 10)
    {'lambda_max': 2.0} 10
    """
    if hasattr(log, "add_scalar"):

        def scalars(values: Values, step: int) -> None:
            for name, value in values.items():
                log.add_scalar(f"landscape/{name}", value, step)

        return scalars
    if hasattr(log, "log_metrics"):
        return lambda values, step: log.log_metrics({f"landscape/{n}": v for n, v in values.items()}, step=step)
    if hasattr(log, "log"):
        return lambda values, step: log.log({f"landscape/{n}": v for n, v in values.items()}, step=step)
    if callable(log):
        return log
    raise LandscapeError(
        f"log is {type(log).__name__}; expected a function (values, step), a SummaryWriter, a wandb run or the mlflow module"
    )
