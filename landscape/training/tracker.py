"""Curvature while a network trains: when to measure, what it may cost, where it goes."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, distributed, nn

from landscape.arguments import checked
from landscape.bars import progress
from landscape.errors import LandscapeError
from landscape.function.forward import unwrapped
from landscape.function.norms import Norm
from landscape.function.objective import Objective
from landscape.results.trajectory import Track
from landscape.store import Run, identity
from landscape.training.optimiser_state import StepRule, step_rule
from landscape.training.tracked import Measure, Moment, Values, measure_named

DEFAULT = ("lambda_max", "batch_sharpness", "loss")
RESERVED = ("lr", "threshold")
EXPECTED = 30
"""Gradients of the tracked data that a first measurement of the default quantities takes, about."""


@contextmanager
def undrawn(*data: Any) -> Iterator[None]:
    """Put back every random state that reading data may draw from: the global ones, and the generators of loaders."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - theirs is the legacy state
    samplers = [getattr(one, "sampler", None) for one in data]
    own = [one.generator for one in (*data, *samplers) if isinstance(getattr(one, "generator", None), torch.Generator)]
    states = [generator.get_state() for generator in own]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
        for generator, state in zip(own, states, strict=True):
            generator.set_state(state)


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
    write = getattr(log, "log_metrics", None) or getattr(log, "log", None)
    if write is not None:
        return lambda values, step: write({f"landscape/{name}": value for name, value in values.items()}, step=step)
    if callable(log):
        return log
    raise LandscapeError(
        f"log is {type(log).__name__}; expected a function (values, step), a SummaryWriter, a wandb run or the mlflow module"
    )


def shown(track: Track, display: Any = None) -> Any:
    """Show a track in the notebook, or anew in the place where it stands; return that place, `None` outside notebooks."""
    try:
        from IPython import display as cells
        from IPython import get_ipython
    except ModuleNotFoundError:
        return None
    if get_ipython() is None:
        return None
    if display is None:
        return cells.display(track, display_id=True)
    display.update(track)
    return display


class Tracker:
    r"""Measures curvature at some steps of a training run, within a share of its time.

    The training is left as it would have been, bit for bit: what is measured is a copy of the weights, with random draws of
    its own. Nothing ends the run: what cannot be measured, wrong arguments included, is said once, as a warning of one line, and
    stands in ``track.missed``. Eigenvalues are warm-started from the vectors of the last measured step, so that most cost four
    or five products. Of processes that train together (`torch.distributed`), the first measures.

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
            The first measurement waits until the training before it has paid for it.
        k: eigenvalues per measurement.
        batch_size: examples per step of the training, for batch sharpness.
        relative: other data, for relative critical sharpness.
        parameters: which parameters make up theta, as `Objective` takes it.
        norm: ``frozen``, or ``batch``: batch norm takes the statistics of batches of ``batch_size``, as in training; to that
            function Adam has adapted, and with frozen statistics its preconditioned Hessian can be 10⁴ times too sharp.
        save: ``("run.h5", "owner/track")``: every finished point is kept beside the study as it is measured, and the `Track` is
            stored by `close`. A tracker of the same settings goes on with the points of a run that was killed: say `step` which
            step it is at.
        overwrite: replace a track of that name.
        log: where points go as they are measured: a function ``log(values, step)``, a TensorBoard ``SummaryWriter``, a Weights &
            Biases run, or the ``mlflow`` module.
        live: show the track in the notebook, and show it anew with every point.
        seed: of random draws.

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

    @checked
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
        norm: Norm = "frozen",
        save: tuple[str | Path, str] | None = None,
        overwrite: bool = False,
        log: Any = None,
        live: bool = False,
        seed: int = 0,
    ):
        self.model, self.optimizer = unwrapped(model), getattr(optimizer, "optimizer", optimizer)
        self.every, self.budget, self.live = every, budget, live
        self.steps, self.missed, self.measures = 0, dict[str, str](), dict[str, Measure]()
        self.log: Callable[[Values, int], None] | None = None
        self._points: dict[int, Values] = {}
        self._hooks: list[Any] = []
        self._moment: Moment | None = None
        self._run: Run | None = None
        self._shown: Any = None
        self._due = False
        self._spent = self._next = 0.0
        self._ended = 0.0
        self._began = entered = time.perf_counter()
        if distributed.is_available() and distributed.is_initialized() and distributed.get_rank():
            return  # the first process measures
        with self._trying("track"):
            wanted = [measure] if isinstance(measure, str) or callable(measure) else list(measure)
            self._check(wanted)
            self.log = None if log is None else logger(log)
            with undrawn(data, relative):
                objective = Objective(self.model, data, loss, parameters=parameters)
                objective = objective.with_norm(norm, batch_size=batch_size)
                other = None if relative is None else objective.on(relative)
            moment = Moment(objective, None, self._rule(objective), batch_size, other, k, seed)
            self._open(moment, save, overwrite)
            self._hooks.append(self.optimizer.register_step_pre_hook(self._before_step))
            self._moment = moment
            if budget is not None:  # estimates the first measurement
                objective.gradient()  # loads what loads once
                began = time.perf_counter()
                objective.gradient()
                self._next = EXPECTED * (time.perf_counter() - began)
        self._spent += time.perf_counter() - entered

    def _check(self, wanted: Sequence[str | Callable[[Objective], Any]]) -> None:
        if self.every is not None and self.every < 1:
            raise LandscapeError(f"every={self.every}; expected at least 1, or None to let the budget decide")
        if self.every is None and self.budget is None:
            raise LandscapeError("neither every= nor budget= says when to measure; pass one of them")
        if self.budget is not None and not self.budget > 0:
            raise LandscapeError(f"budget={self.budget}; expected a share of the training time above 0, such as 0.1")
        named = list(map(measure_named, wanted))
        taken = [name for name, _ in named]
        clash = next((name for name in taken if taken.count(name) > 1 or name in RESERVED), None)
        if clash is not None:
            raise LandscapeError(
                f"two measures are called {clash!r}, or the track keeps that name for itself; rename a function"
            )
        self.measures = dict(named)

    def _open(self, moment: Moment, save: tuple[str | Path, str] | None, overwrite: bool) -> None:
        """Open the place where points are kept, and go on with those that a killed run has left there."""
        objective = moment.objective
        settings = identity(
            model=type(self.model).__qualname__, selection=list(objective.names), loss=objective.loss_name,
            data=objective.provenance()["data_sha256"], measure=list(self.measures), k=moment.k, batch_size=moment.batch_size,
            seed=moment.seed, norm=objective.norm, optimizer=type(self.optimizer).__name__, every=self.every,
        )  # fmt: skip
        run = Run(save, settings, kind=Track, overwrite=overwrite)
        run.__enter__()
        if run.result is not None:
            run.__exit__(None, None, None)
            raise LandscapeError(f"{save} holds a finished track; choose another name, or pass overwrite=True")
        self._run = run
        self._points.update(run.done)
        if self._points:
            last = self._points[max(self._points)]
            self._spent = last["_measuring"]
            self._began -= last["_measuring"] + last["_training"]

    def __enter__(self) -> Self:
        if self._moment is not None:
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
        if self._moment is None or self._ended:
            return
        if self._due or self._is_due(self.steps):
            self._measure(self._moment, entered)
            took = time.perf_counter() - entered
            self._next = max(took, (took + self._next) / 2)
        self._due = False
        self._spent += time.perf_counter() - entered

    def close(self) -> Track:
        """Take the hooks off the optimiser, store the track where ``save`` says, and return it."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._ended = [], self._ended or time.perf_counter()
        if self._moment is not None and not self._points and (self.every is None or self.steps):
            with self._trying("budget"):
                raise LandscapeError(self._too_little())
        run, self._run = self._run, None
        if run is not None:
            with self._trying("save"):
                run.finish(self.track)
            run.__exit__(None, None, None)
        return self.track

    @property
    def track(self) -> Track:
        """What was measured so far."""
        steps, now = sorted(self._points), self._ended or time.perf_counter()
        names = list(dict.fromkeys(name for step in steps for name in self._points[step] if not name.startswith("_")))

        def column(name: str) -> np.ndarray:
            return np.array([self._points[step].get(name, np.nan) for step in steps])

        return Track(
            step=np.array(steps, dtype=np.int64),
            values={name: column(name) for name in names if name != "threshold"},
            threshold=column("threshold"),
            rule="" if self._moment is None else self._moment.rule.rule,
            steps=max(self.steps, *steps, 0),
            training_seconds=now - self._began - self._spent,
            measuring_seconds=self._spent,
            budget=float("nan") if self.budget is None else self.budget,
            missed=dict(self.missed),
            provenance={} if self._moment is None else self._moment.objective.provenance(),
            seconds=now - self._began,
        )

    def _before_step(self, *_: Any) -> None:
        """Keep the weights before a step that will be measured."""
        entered, moment = time.perf_counter(), self._moment
        if moment is not None:
            self._due = self._is_due(self.steps + 1)
            moment.before = self._weights(moment.objective) if self._due else None
            self._spent += time.perf_counter() - entered

    def _is_due(self, step: int) -> bool:
        if self.every is not None and step % self.every:
            return False
        trained = time.perf_counter() - self._began - self._spent
        return self.budget is None or self._spent + self._next <= self.budget * trained

    def _too_little(self) -> str:
        trained = self._ended - self._began - self._spent
        if self.budget is None or (self.every is not None and self.steps < self.every):
            return f"none of {self.steps} steps was a multiple of every={self.every}"
        return (
            f"{self.budget:.1%} of {trained:.3g} s of training paid for no measurement, which takes about {self._next:.2g} s; "
            "raise budget=, pass every= with budget=None, or track fewer examples"
        )

    def _measure(self, moment: Moment, entered: float) -> None:
        values = Values()
        with self._trying("optimizer"):
            self._centre(moment)
            values["lr"] = moment.rule.lr
        if not values:
            return
        if moment.rule.threshold is not None:
            values["threshold"] = moment.rule.threshold
        for name, measure in self.measures.items():
            autocast = torch.autocast(moment.objective.device.type, enabled=False)
            with self._trying(name), progress(False), autocast:
                values.update(measure(moment))
        moment.before = None
        self._publish(values, entered)

    def _centre(self, moment: Moment) -> None:
        """Take the weights, the norm statistics and the optimiser's state as they are now."""
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        now = {name: tensor.detach() for name, tensor in state.items()}
        moment.objective = moment.objective.at(now)
        moment.other = None if moment.other is None else moment.other.at(now)
        moment.rule = self._rule(moment.objective)

    def _publish(self, values: Values, entered: float) -> None:
        """Log, keep and show a finished point; a log or a cell that fails is not tried again."""
        if self.log is not None and "log" not in self.missed:
            with self._trying("log"):
                self.log({name: value for name, value in values.items() if np.isfinite(value)}, self.steps)
        values["_training"] = entered - self._began - self._spent
        values["_measuring"] = self._spent + time.perf_counter() - entered
        self._points[self.steps] = values
        if self._run is not None:
            with self._trying("save"):
                self._run.keep(self.steps, values)
        if self.live and "live" not in self.missed:
            with self._trying("live"):
                self._shown = shown(self.track, self._shown)

    @contextmanager
    def _trying(self, name: str) -> Iterator[None]:
        """Say once what cannot be done, whatever it is; the training goes on."""
        try:
            yield
        except Exception as error:
            if name not in self.missed:
                self.missed[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
                doing = "measure here" if name == "track" else f"do {name!r}"
                warnings.warn(f"the tracker could not {doing}: {self.missed[name]}", stacklevel=5)

    def _rule(self, objective: Objective) -> StepRule:
        return step_rule(self.optimizer, dict(self.model.named_parameters()), objective.names)

    def _weights(self, objective: Objective) -> Tensor:
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            return objective.space.flatten({name: own[name].detach() for name in objective.names}).clone()
