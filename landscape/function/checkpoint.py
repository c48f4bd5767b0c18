"""A trained solution: weights, loss and data, with what is known of how they were trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.forward import unwrapped
from landscape.function.objective import Objective
from landscape.function.weights import fit_weights, load_weights

Source = str | os.PathLike[str] | Mapping[str, Tensor]


class Checkpoint:
    """A trained network with its data and its history, ready to be scored and compared.

    Args:
        model: the network; it is not changed, and its own weights are used when ``weights`` is `None`.
        weights: a file (safetensors, or a plain state dict that loads without running code) or a state dict.
        loss: the training loss, as `Objective` takes it.
        train: training data without augmentation, as `Objective` takes it.
        test: held-out data.
        init: weights at initialisation, a file or a state dict, for distances from initialisation.
        optimizer: name of the optimiser.
        lr: its learning rate.
        momentum: its momentum.
        batch_size: examples a step (of the training; not the batches of the evaluation).
        step: steps taken.
        name: what to call it.
        options: keyword arguments passed on to `Objective` (``parameters``, ``dtype``, ``device``, ``metrics`` …).

    Raises:
        LandscapeError: the weights do not fit the model, are NaN, or the file would have to run code to be read.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(2, 3)
    >>> data = (torch.ones(5, 2), torch.tensor([0, 1, 2, 0, 1]))
    >>> ckpt = ls.Checkpoint(model, loss="cross_entropy", train=data, lr=0.1)
    >>> ckpt.objective("train").size
    9
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Source | None = None,
        *,
        loss: Any,
        train: Any,
        test: Any = None,
        init: Source | None = None,
        optimizer: str | None = None,
        lr: float | None = None,
        momentum: float | None = None,
        batch_size: int | None = None,
        step: int | None = None,
        name: str | None = None,
        **options: Any,
    ):
        self.model = unwrapped(model)
        # weights are copied at once: the user may go on training the model
        own = self.model.state_dict() if weights is None else fit_weights(self.model, load_weights(weights))
        self.weights = {key: tensor.detach().clone() for key, tensor in own.items()}
        self.init = None if init is None else fit_weights(self.model, load_weights(init))
        self.loss, self.optimizer, self.lr, self.momentum = loss, optimizer, lr, momentum
        self.batch_size, self.step, self.name, self.options = batch_size, step, name, options
        self._data = {"train": train, "test": test}
        self._objectives: dict[tuple[str, bool], Objective] = {}

    def objective(self, on: str = "train", *, recalibrated: bool = True) -> Objective:
        """Return the loss on the training or the test data as a function centred at this solution.

        Running statistics of norm layers are re-estimated over the training data first, so that solutions are compared
        on an equal footing; ``recalibrated=False`` keeps those of the checkpoint. Networks without them are unaffected.

        Args:
            on: ``train`` or ``test``.
            recalibrated: whether norm statistics are re-estimated.

        Raises:
            NotDefinedError: the checkpoint has no test data.
        """
        if on not in self._data:
            raise LandscapeError(f"a checkpoint has 'train' and 'test' data, not {on!r}")
        if self._data[on] is None:
            raise NotDefinedError(f"this checkpoint was given no {on} data; pass {on}=(X, y)")
        if (on, recalibrated) not in self._objectives:
            train = self._objectives.get(("train", False)) or Objective(
                self.model, self._data["train"], self.loss, weights=self.weights, **self.options
            )
            self._objectives["train", False] = train
            if recalibrated:
                self._objectives["train", True] = train.recalibrated()
            if on == "test":
                self._objectives[on, recalibrated] = self._objectives["train", recalibrated].on(self._data["test"])
        return self._objectives[on, recalibrated]

    @property
    def has_test(self) -> bool:
        """Whether there is held-out data."""
        return self._data["test"] is not None

    def distance_from_init(self) -> float:
        """Return ‖θ − θ₀‖₂, the Euclidean distance that training moved the parameters.

        Raises:
            NotDefinedError: the initial weights are not known.
        """
        if self.init is None:
            raise NotDefinedError("the initial weights are not known; pass init= (a file or a state dict)")
        objective = self.objective()
        return float(objective.world.norm((objective.theta - objective.at(self.init).theta).double()))

    def __repr__(self) -> str:
        how = ", ".join(
            f"{key}={value}"
            for key, value in [
                ("optimizer", self.optimizer),
                ("lr", self.lr),
                ("momentum", self.momentum),
                ("batch_size", self.batch_size),
                ("step", self.step),
            ]
            if value is not None
        )
        return f"Checkpoint({self.name or type(self.model).__name__}{': ' + how if how else ''})"
