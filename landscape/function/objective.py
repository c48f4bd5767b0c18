"""The objective L(theta): a function and its data, exactly weighted, centred at one parameter vector."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.arguments import checked
from landscape.errors import LandscapeError, NotDefinedError, NumericalError
from landscape.function.batches import Batch
from landscape.function.data import Data, Examples, read
from landscape.function.fitting import fit_weights
from landscape.function.function import Function, Metric
from landscape.function.group import world_of
from landscape.function.losses import BatchLoss
from landscape.function.norms import Norm, reestimated
from landscape.function.parameters import ParameterSpace, Selection
from landscape.function.stream import Stream
from landscape.function.weighting import check, in_batches, weighted
from landscape.function.world import ALONE, World
from landscape.hashing import environment

Weights = Tensor | Mapping[str, Tensor]


class Objective(Function):
    r"""The loss of a network on a data set as a function of its flat parameter vector.

    .. math:: L(\theta) = \frac{\sum_b c_b\,\ell_b(\theta)}{\sum_b c_b}

    with batch losses :math:`\ell_b` and the divisors :math:`c_b` of their means (examples, elements, counted tokens, or
    the sum of class weights), so that the result does not depend on how the data is cut into batches. A loss with
    ``reduction="sum"`` is summed over the data instead.

    The objective holds its own copies of parameters and buffers. The model is evaluated in eval mode (frozen norm
    statistics, no dropout) unless ``mode="train"``; the model and the random state are as before after every call.

    Args:
        model: the network; of a function f(params, x), ``ls.Functional(f, params)``.
        data: tensors or NumPy arrays, as (X, y), (X1, X2, y), ((X1, X2), y), ({"name": X}, y) or {"name": X, "labels": y};
            a data set; a DataLoader, a list or another iterable of batches of any kind, which are taken as they are. Read
            once, in order.
        loss: a function or module ``criterion(output, target)``, a name in `torch.nn.functional`, a `BatchLoss`, or ``model``
            for a network that computes its loss itself, see `OwnLoss`; ``count`` is then one of the batch. Of several outputs a
            criterion gets one tensor, see `Function.batch_outputs`, or all that the network returns if it wants them.
        count: ``count(output, target) -> float``, the divisor of a mean loss in a batch; known losses need none. Without it
            an unknown loss is taken to be a mean over examples, which is checked on a batch and its halves.
        parameters: which parameters make up theta: `None` (all trainable), glob patterns, or a predicate ``(name, tensor)``.
        batch_size: examples per batch for tensors and data sets (default 1,024); changes memory and speed, not the result.
        device: where to compute; `None`: where the model is.
        dtype: floating-point type to compute in; `None`: the model's own.
        mode: ``eval`` or ``train`` (batch statistics and dropout active: not a deterministic function).
        metrics: further quantities ``{"name": f(output, target) -> scalar mean or (n,)}``, averaged over examples.
        resident: keep all data on the device; `None` decides by the memory that is free.
        stream: read the loader again in every pass instead of keeping its batches, which are compared with those of the first.
        weights: a state dict to be centred at; `None`: the model's own weights.
        examples: the number of examples of a batch where it cannot be told: a number, one for each batch, or a function of
            the batch. Else it is the length of the target, or that of all tensors of the batch.
        batches: ``fixed``: the function is the mean over the batches as they are, as for losses that couple the examples of
            a batch; whatever would cut or join them refuses.
        group: a process group of `torch.distributed`, or True for all processes, under ``torchrun``: every process has a part of
            the data and gets the same numbers. Data that all were given alike are divided by rule; others are taken as parts.
        norm: where norm layers take their statistics from. ``frozen``: from the network, so that the loss is one of single
            examples. ``batch``: from each batch, as in training, differentiated with respect to theta; dropout is off, and
            nothing is written. The batches of training are then part of the function: pass them, or ``batch_size``.

    Raises:
        LandscapeError: empty data, labels out of range, NaN weights, unknown parameter pattern, a loss that is not a
            scalar, or a loss that is not a mean over examples when no count is given.

    >>> import torch, landscape as ls
    >>> X, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [4.0], [6.0]])
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(model, (X, y), "mse_loss", dtype=torch.float64)
    >>> objective.loss(torch.tensor([1.0], dtype=torch.float64))  # mean of 1, 4, 9
    4.666666666666667
    >>> objective.gradient(torch.tensor([1.0], dtype=torch.float64))
    tensor([-9.3333], dtype=torch.float64)
    """

    world: World = ALONE
    """How sums over batches and inner products over theta are taken."""
    n: int
    """Number of examples, those of all processes."""

    @checked
    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: Any,
        *,
        count: Callable[[Any, Tensor], float] | None = None,
        parameters: Selection = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        mode: str = "eval",
        metrics: Mapping[str, Metric] | None = None,
        resident: bool | None = None,
        stream: bool = False,
        weights: Mapping[str, Tensor] | None = None,
        examples: Examples = None,
        batches: Literal["fixed"] | None = None,
        norm: Norm = "frozen",
        group: Any = None,
    ):
        if batches not in (None, "fixed"):
            raise LandscapeError(f"batches is {batches!r}, expected 'fixed', or None for any that the data is cut into")
        settings: dict[str, Any] = {"device": device, "dtype": dtype, "mode": mode, "metrics": metrics, "norm": norm}
        super().__init__(model, loss, count=count, parameters=parameters, **settings)
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        if weights is not None:
            fitted = fit_weights(self.model, weights)
            own |= {name: fitted[name] for name in own if name in fitted}
        self._theta = self._take_tensors(own)
        self.world = self.shards or world_of(group)
        with torch.random.fork_rng(devices=[]):  # loaders draw a seed from the global generator
            how: dict[str, Any] = {"fixed": batches == "fixed"}
            if stream:
                data = Stream(data, self.device, self.data_dtype, **how)
            else:
                how |= {"examples": examples, "sized": self.norm == "batch"}
                data = read(data, batch_size, self.device, self.data_dtype, resident, **how)
        self._examples = examples if callable(examples) else None
        self.world.agree(models=str(self.whole_space), weights=self.weights_sha256(self._theta), losses=self.loss_name)
        self._take_data(self.world.divided(data), tried=False)

    def _take_data(self, data: Data, *, tried: bool) -> None:
        """Give every batch its share in L; data of which no part was tried yet is tried first."""
        self.__dict__.pop("graded", None)
        if not tried:
            frozen = self._with(norm="frozen")  # there examples do not depend on one another: their loss can be tried
            with frozen.guard(), torch.no_grad():
                data = self.world.attempt(lambda: check(frozen, self._theta, data, coupled=self.norm == "batch"))
            self.nested, self.classes_last = frozen.nested, frozen.classes_last
            if frozen.given_loss is not self.given_loss:
                self.take_everything()
        if self.norm == "batch":
            data = in_batches(data)
        with self.guard(), torch.no_grad():
            self.batches = weighted(self, self._theta, data, self.world)
        self.n = self.world.sum(self.batches.n)

    # --- the function -------------------------------------------------------------------------------------------------

    @property
    def theta(self) -> Tensor:
        """A copy of the parameter vector (P,) the objective is centred at."""
        return self._theta.clone()

    @property
    def coupled(self) -> bool:
        """Whether what an example gives may depend on its batch, so that quantities of single examples are not defined."""
        return self.batches.fixed or self.norm == "batch"

    def batch_metrics(self, theta: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return a batch's shares of the loss, the accuracy and the user's metrics, in float64 on the device, unsynchronised."""
        if isinstance(self.given_loss, BatchLoss):
            return {"loss": self.batch_loss(theta, batch).double()}
        return self.metrics_of(self.batch_outputs(theta, batch), batch)

    @property
    def metric_names(self) -> list[str]:
        """The names of what `batch_metrics` returns, in order."""
        if self._criterion is None:
            return ["loss"]
        target = self.batches[0].target
        graded = target is not None and self.known.is_graded(target)
        return ["loss", *(["accuracy"] if graded else []), *self.metrics]

    def metrics_of(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return what `batch_metrics` does, from the network's outputs on the batch, computed elsewhere.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs.
        """
        out = {"loss": self.criterion(output, batch).double()}
        assert batch.target is not None
        if (hits := self.hits(output, batch.target)) is not None:
            out["accuracy"] = hits.sum(dtype=torch.float64) / self.graded
        for name, metric in self.metrics.items():
            out[name] = metric(output, batch.target).double().mean() * (batch.size / self.n)
        return out

    @cached_property
    def graded(self) -> int:
        """Number of targets that accuracy is the share of: all but those with the loss's ``ignore_index``."""
        targets = [batch.target for batch in self.batches.stored]
        return self.world.sum(sum(self.known.graded(target) for target in targets if target is not None))

    def evaluate(self, theta: Weights | None = None) -> dict[str, float]:
        """Return the loss, the accuracy (classification only) and the user's metrics at theta."""
        at = self._vector(theta)
        total: dict[str, Tensor] = {}
        with self.guard(), torch.no_grad():
            for batch in self.batches:
                for name, value in self.batch_metrics(at, batch).items():
                    total[name] = total[name] + value if name in total else value
        return {name: float(self.world.sum(value)) for name, value in total.items()}

    def loss(self, theta: Weights | None = None) -> float:
        """Return L(theta), summed over batches in float64.

        Raises:
            NumericalError: it is NaN at the objective's own theta; the message names the batch.
        """
        at = self._vector(theta)
        with self.guard(), torch.no_grad():
            zero = torch.zeros((), dtype=torch.float64, device=self.device)
            value = float(self.world.sum(sum((self.batch_loss(at, batch).double() for batch in self.batches), zero)))
        return self._number(value, theta)

    def gradient(self, theta: Weights | None = None) -> Tensor:
        """Return ∇L(theta), (P,), summed over batches in float64 and rounded once to the objective's dtype."""
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Weights | None = None) -> tuple[float, Tensor]:
        """Return L(theta) and ∇L(theta) from one pass."""
        at = self._vector(theta).detach().clone().requires_grad_()
        total = torch.zeros_like(at, dtype=torch.float64)

        def accumulate(_: nn.Module) -> float:
            value = 0.0
            for batch in self.batches:
                loss = self.batch_loss(at, batch)
                if loss.requires_grad:
                    total.add_(torch.autograd.grad(loss, at)[0])
                value += float(loss.detach().double())
            return value

        with self.guard(), torch.enable_grad():
            # a checkpointed block runs its forward pass again during the backward one, and must find theta there
            value = self.call(at, accumulate)
        return self._number(self.world.sum(value), theta), self.world.sum_vectors(total).to(self.dtype)

    def _number(self, value: float, theta: Weights | None) -> float:
        """Return the loss; raise where it is NaN at the weights themselves, where nothing else could be measured."""
        if theta is None and math.isnan(value):
            with self.guard(), torch.no_grad():
                wrong = [f" on {self.named(b)}" for b in self.batches if self.batch_loss(self._theta, b).isnan()]
            raise NumericalError(f"the loss is NaN{''.join(wrong[:1])}; check the data, or use dtype=torch.float64")
        return value

    def outputs(self, theta: Weights | None = None) -> Tensor:
        """Return the outputs on all examples, (N, …)."""
        at = self._vector(theta)
        with self.guard(), torch.no_grad():
            return self.world.join(torch.cat([self.batch_outputs(at, batch) for batch in self.batches]))

    @property
    def targets(self) -> Tensor:
        """The targets of all examples, (N, …).

        Raises:
            NotDefinedError: the data has no targets.
        """
        targets = [batch.target for batch in self.batches]
        if any(target is None for target in targets):
            raise NotDefinedError("the data has no targets that the objective knows of")
        return self.world.join(torch.cat([target for target in targets if target is not None]))

    def per_example(self, theta: Weights | None = None) -> Tensor:
        """Return the loss of every example, (N,); their (counted) mean is L.

        Raises:
            NotDefinedError: the loss does not split into terms of single examples.
        """
        if self._criterion is None or self.known.per_example is None or self.coupled:
            self.batches.require_rows("the loss of every example")
        at = self._vector(theta)
        with self.guard(), torch.no_grad():
            return self.world.join(torch.cat([self.example_losses(at, batch) for batch in self.batches]))

    # --- other objectives ---------------------------------------------------------------------------------------------

    def at(self, weights: Weights) -> Objective:
        """Return the same function centred elsewhere; a state dict brings its buffers.

        Raises:
            LandscapeError: a vector of the wrong size, or a state dict that does not fit (the names are listed).
        """
        if not isinstance(weights, Tensor | Mapping):
            raise LandscapeError(f"the weights are {type(weights).__name__}, expected a tensor (P,) or a state dict")
        if isinstance(weights, Tensor):
            return self._with(_theta=self._vector(weights).detach().clone())
        fresh, weights = copy.copy(self), fit_weights(self.model, weights)
        here = {**self._fixed, **self.space.unflatten(self._theta)}
        fresh._theta = fresh._take_tensors({name: weights.get(name, tensor) for name, tensor in here.items()})
        return fresh

    def whole_tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return some of the parameters in theta by name; of a sharded network each put together in every process."""
        own, wanted = self.space.unflatten(self._theta), set(names)
        found = {name: tensor for name, tensor in own.items() if name in wanted}
        return found if self.shards is None else {name: self.shards.joined(name, part) for name, part in found.items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Objective:
        """Return the same function with other values of some of the parameters in theta, each whole."""
        parts = self.space.unflatten(self._theta)
        for name, tensor in tensors.items():
            if name in parts:
                parts[name] = tensor if self.shards is None else self.shards.part_of(name, tensor)
        return self.at(self.space.flatten(parts))

    def with_fixed(self, fixed: Mapping[str, Tensor]) -> Objective:
        """Return the same function with other buffers and unselected parameters, as `fixed` gives them."""
        return self._with(_fixed=dict(fixed))

    def with_space(self, space: ParameterSpace) -> Objective:
        """Return the same function of a vector theta that is laid out in another way."""
        return self._with(space=space, _theta=space.flatten(self.space.unflatten(self._theta)))

    def with_loss(self, loss: Any, *, count: Callable[[Any, Tensor], float] | None = None) -> Objective:
        """Return an objective with another loss on the same network, data and theta."""
        fresh = copy.copy(self)
        fresh._take_loss(loss, count)
        fresh._take_data(self._data(), tried=False)
        return fresh

    @checked
    def with_norm(self, norm: Norm, *, batch_size: int | None = None, seed: int = 0) -> Objective:
        """Return the loss with norm layers that take their statistics from the network or from each batch.

        Args:
            norm: ``frozen`` or ``batch``; the same function in a network without batch norm.
            batch_size: with ``batch``, examples per batch, drawn once without replacement; a rest of one joins the batch before
                it. `None`: the batches as they are.
            seed: of that draw.

        Raises:
            LandscapeError: a batch has one example.
            NotDefinedError: a batch size is given, but the data cannot be cut.
        """
        fresh, data = self._with(norm=self._norm(norm)), self._data()
        if batch_size is not None and batch_size < 1:
            raise LandscapeError(f"batch_size is {batch_size}, expected at least 1")
        if batch_size is not None:
            data = self.world.everything(data)
        if fresh.norm == "frozen" and self.norm == "frozen":
            return fresh
        if fresh.norm == "batch" and batch_size is not None:
            order = torch.randperm(data.n, generator=torch.Generator().manual_seed(seed)).tolist()
            sizes = [len(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
            if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
                sizes[-2:] = [batch_size + 1]
            data = self.world.divided(in_batches(data.regrouped(order, sizes)))
        fresh._take_data(data, tried=self.norm == "frozen")
        return fresh

    def _with(self, **changes: Any) -> Objective:
        fresh = copy.copy(self)
        vars(fresh).update(changes)
        return fresh

    def _data(self) -> Data:
        """Return the data as it was read, before its batches became part of the function."""
        if self.norm == "frozen" or isinstance(self.batches, Stream):
            return self.batches
        return read(self.batches, None, self.device, self.data_dtype, self.batches.resident)

    def subset(self, indices: Sequence[int] | Tensor) -> Objective:
        """Return the objective on some of the examples, in the order given."""
        chosen = indices.tolist() if isinstance(indices, Tensor) else indices
        if not isinstance(chosen, Iterable):
            raise LandscapeError(f"the examples are {chosen!r}, expected their indices: [{chosen!r}]")
        chosen = list(chosen)
        if self.batches.uncut and chosen == list(range(self.n)):
            return copy.copy(self)
        fresh = self._on(
            self.everything.batches.regrouped(chosen, self.batches.largest), tried=True, world=self.world.undivided
        )
        return fresh if len(chosen) < self.world.count else fresh.divided(self.world)

    @checked
    def rebatch(self, size: int) -> Objective:
        """Return the same function with batches of another size."""
        if size < 1:
            raise LandscapeError(f"a batch size of {size}, expected at least 1")
        if self.batches.uncut and len(self.batches) == 1 and size >= self.n:
            return copy.copy(self)
        return self._on(self.batches.regrouped(None, size), tried=True)

    def on(self, data: Any, *, batch_size: int | None = None, examples: Examples = None) -> Objective:
        """Return the objective of the same network, loss and theta on other data, read as its own was."""
        examples, fixed = examples or self._examples, self.batches.fixed
        if self.norm == "batch":
            batch_size = batch_size or self.batches.stored[0].size
        fresh = read(data, batch_size, self.device, self.data_dtype, None, examples=examples, fixed=fixed)
        return self._on(self.world.divided(fresh), tried=False)

    def _on(self, data: Data, *, tried: bool, world: World | None = None) -> Objective:
        fresh = self._with(world=world or self.world)
        if isinstance(fresh.world, type(self.shards)):
            fresh.shards = fresh.world
        fresh._take_data(data, tried=tried)
        return fresh

    @property
    def everything(self) -> Objective:
        """The same function with all data in every process: for what is no sum over batches."""
        if self.world is ALONE:
            return self
        return self._on(self.world.everything(self.batches), tried=True, world=self.world.undivided)

    def divided(self, world: World) -> Objective:
        """Return the same function with this process's part of the data, all of which every process has now."""
        return self if world is ALONE else self._on(world.divided(self.batches), tried=True, world=world)

    @property
    def mine(self) -> Objective:
        """The mean over this process's own data, as one process has it: for checks that need no other."""
        return self if self.world is ALONE else self._on(self.batches, tried=True, world=ALONE)

    def recalibrated(self, train: Objective | None = None) -> Objective:
        """Return the objective with the statistics of its norm layers re-estimated over a data set.

        Every layer's mean and variance become those over all examples of ``train`` (its own data by default), whatever the
        batches: those of one training pass over all of them at once. Frozen layers, and networks without running statistics,
        come back unchanged.
        """
        return self._with(_fixed=reestimated(self, self._theta, (train or self).everything.batches))

    # --- identity -----------------------------------------------------------------------------------------------------

    def provenance(self) -> dict[str, Any]:
        """Return what identifies function and machine: versions, device, dtype, fingerprints of weights and data."""
        count = sum(1 for _ in self.model.parameters())
        return {
            **environment(),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            "model": type(self.model).__qualname__,
            "parameters": self.size,
            "selection": "all" if len(self.names) == count else list(self.names),
            "weights_sha256": self.weights_sha256(self._theta),
            "data_sha256": self.batches.fingerprint(self.world.relayed),
            "examples": self.n,
            "loss": self.loss_name,
            "mode": self.mode,
            **({"batches": "fixed"} if self.batches.fixed else {}),
            **({"norm": "batch"} if self.norm == "batch" else {}),
        }

    def __repr__(self) -> str:
        norm = " with their own norm statistics" if self.norm == "batch" else ""
        return (
            f"Objective({type(self.model).__name__}, P={self.size:,}, N={self.n:,} in {len(self.batches)} batches{norm}, "
            f"{self.loss_name}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    def named(self, batch: Batch) -> str:
        """Return a batch in words: which it is, its examples, shapes and types."""
        return (self.batches.place(batch) if "batches" in vars(self) else "") + super().named(batch)

    def _vector(self, theta: Weights | None) -> Tensor:
        if theta is None:
            return self._theta
        if not isinstance(theta, Tensor):
            return self.at(theta)._theta
        if theta.shape != (self.space.size,):
            raise LandscapeError(f"theta has shape {tuple(theta.shape)}, expected ({self.space.size},)")
        return theta.to(self.device, self.dtype)
