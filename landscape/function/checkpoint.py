"""A trained solution: weights, loss and data, with what is known of how they were trained."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.arguments import checked
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.fitting import read_weights
from landscape.function.forward import unwrapped
from landscape.function.norms import Norm
from landscape.function.objective import Objective
from landscape.function.weights import Weights

Source = str | os.PathLike[str] | Mapping[str, Tensor]
_OPTIONS = inspect.signature(Objective).parameters.keys() - {"model", "data", "loss", "weights"}
_HISTORY = ("optimizer", "lr", "momentum", "batch_size", "step")


class Checkpoint:
    """A trained network with its data and its history, ready to be scored and compared.

    Args:
        model: the network; it is not changed, and its own weights are used when ``weights`` is `None`.
        weights: a file or folder, as `landscape.function.weights.load_weights` reads them, or a state dict.
        loss: the training loss, as `Objective` takes it.
        train: training data without augmentation, as `Objective` takes it.
        test: held-out data.
        init: weights at initialisation, a file or a state dict, for distances from initialisation.
        optimizer: name of the optimiser.
        lr: its learning rate.
        momentum: its momentum.
        batch_size: examples per step (of the training; not the batches of the evaluation).
        step: steps taken.
        name: what to call it; `None`: the file with its folder, ``a/best`` for ``runs/a/best.pt``.
        key: the entry to read where a file holds several state dicts, such as ``"state_dict_ema"``.
        prefix: what comes before the network's names where several parts of the file fit it, such as ``"student."``.
        options: keyword arguments passed on to `Objective` (``parameters``, ``dtype``, ``device``, ``metrics`` …).

    Attributes:
        notes: what was read, and what the file also holds that was left out, which is warned of as well.

    Raises:
        LandscapeError: the weights do not fit the model or are NaN, the file is damaged or made to do harm, or several parts
            of it fit.
        TypeError: a keyword that is neither one of these nor one of `Objective`.

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
        key: str | None = None,
        prefix: str | None = None,
        **options: Any,
    ):
        unknown = next((option for option in options if option not in _OPTIONS), None)
        if unknown is not None:
            raise TypeError(
                f"Checkpoint() got an unexpected keyword argument {unknown!r}; those of Objective are taken too"
            )
        if not isinstance(model, nn.Module):
            raise LandscapeError(
                f"the model is {type(model).__name__}, expected a torch.nn.Module before the weights: "
                'ls.Checkpoint(model, "weights.pt", loss=…, train=…)'
            )
        self.model = unwrapped(model)
        if weights is None:  # copied at once: the user may go on training the model
            own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
            self.weights = Weights({name: tensor.detach().clone() for name, tensor in own.items()})
            self.weights.fits = self.model
        else:
            self.weights = read_weights(self.model, weights, key=key, prefix=prefix)
        self.notes = tuple(note for note in (self.weights.source, *self.weights.left_out) if note)
        if self.weights.left_out:
            warnings.warn("; ".join((f"read {self.notes[0]}", *self.notes[1:])), stacklevel=2)
        if name is None and isinstance(weights, str | os.PathLike):
            path = Path(weights).absolute()
            name = f"{path.parent.name}/{path.stem}".lstrip("/")
        self.init = None if init is None else read_weights(self.model, init)
        self.loss, self.optimizer, self.lr, self.momentum = loss, optimizer, lr, momentum
        self.batch_size, self.step, self.name, self.options = batch_size, step, name, options
        self._data = {"train": train, "test": test}
        self._objectives: dict[tuple[str, bool], Objective] = {}

    @checked
    def objective(self, on: str = "train", *, recalibrated: bool = True, norm: Norm | None = None) -> Objective:
        """Return the loss on the training or the test data as a function centred at this solution.

        A network with batch norm was trained on the loss in which the statistics are those of each batch. That is the
        function on the training data where ``batch_size`` is known, in batches of this size that are drawn once. Elsewhere
        statistics are frozen, re-estimated over the training data so that solutions are compared on an equal footing.
        Networks without norm statistics are unaffected.

        Args:
            on: ``train`` or ``test``.
            recalibrated: whether frozen norm statistics are re-estimated; with `False` those of the checkpoint are kept.
            norm: ``frozen`` or ``batch``, as in `Objective`; `None`: ``batch`` on the training data where the batch size is
                known and statistics are not to be kept.

        Raises:
            LandscapeError: ``norm="batch"`` and no ``batch_size``; an unknown ``on`` or ``norm``.
            NotDefinedError: the checkpoint has no test data.
        """
        if norm not in ("frozen", "batch", None):
            raise LandscapeError(f"norm is {norm!r}, expected 'frozen', 'batch' or None")
        if not isinstance(on, str) or on not in self._data:
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
        frozen = self._objectives[on, recalibrated]
        if norm is None:
            known = self.batch_size is not None and not frozen.batches.uncut and frozen.mode == "eval"
            norm = "batch" if known and on == "train" and recalibrated else frozen.norm
        return frozen if norm == "frozen" else self._in_batches(on, recalibrated, frozen)

    def _in_batches(self, on: str, recalibrated: bool, frozen: Objective) -> Objective:
        key = f"{on} in batches", recalibrated
        if key not in self._objectives:
            if not (frozen.norm_layers or frozen.norm == "batch"):
                self._objectives[key] = frozen
            elif self.batch_size is None and not frozen.batches.uncut:
                raise LandscapeError(
                    "norm='batch' needs the batch size of the training: pass batch_size= to the checkpoint"
                )
            else:
                size = None if frozen.batches.uncut else self.batch_size
                self._objectives[key] = frozen.with_norm("batch", batch_size=size)
        return self._objectives[key]

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
        about = [f"P={sum(tensor.numel() for tensor in self.model.parameters()):,}"]
        about += [f"{key}={value}" for key in _HISTORY if (value := getattr(self, key)) is not None]
        if any(name.endswith("running_mean") for name in self.weights):
            about.append("norm statistics re-estimated")
        read = f", read from {self.weights.source}" if self.weights.source else ""
        return f"Checkpoint({self.name or type(self.model).__name__}: {', '.join(about)}{read})"
