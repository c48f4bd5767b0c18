"""The objective L(theta): a network, a loss and a data set as one exactly weighted function of one flat vector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from landscape.arguments import device_named, numbers_checked
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function import batches as _batches
from landscape.function import metrics as _metrics
from landscape.function.batches import Batch, Batches, pick
from landscape.function.forward import Bound, forward, logits, unwrapped
from landscape.function.guard import guard, second_order
from landscape.function.losses import BatchLoss, Loss, resolve
from landscape.function.metrics import Metric
from landscape.function.norm_statistics import reestimated
from landscape.function.parameters import ParameterSpace, Selection, require_fit
from landscape.function.provenance import provenance
from landscape.function.weighting import weighted

Weights = Tensor | Mapping[str, Tensor]


class Objective:
    r"""The loss of a network on a data set as a function of its flat parameter vector.

    .. math:: L(\theta) = \frac{\sum_b c_b\,\ell_b(\theta)}{\sum_b c_b}

    with batch losses :math:`\ell_b` and the divisors :math:`c_b` of their means (examples, elements, counted tokens, or
    the sum of class weights), so that the result does not depend on how the data is cut into batches. A loss with
    ``reduction="sum"`` is summed over the data instead.

    The objective holds its own copies of parameters and buffers. The model is evaluated in eval mode (frozen norm
    statistics, no dropout) unless ``mode="train"``; the model and the random state are as before after every call.

    Args:
        model: the network.
        data: tensors or NumPy arrays (X, y), a Dataset, a DataLoader or a list of batches; read once, in order.
        loss: a function or module ``criterion(output, target)``, a name in `torch.nn.functional`, or a `BatchLoss`.
        count: ``count(output, target) -> float``, the divisor of a mean loss in a batch; known losses need none. Without it
            an unknown loss is taken to be a mean over examples, which is checked on a batch and its halves.
        parameters: which parameters make up theta: `None` (all trainable), glob patterns, or a predicate ``(name, tensor)``.
        batch_size: examples a batch for tensors and data sets (default 1,024); changes memory and speed, not the result.
        device: where to compute; `None`: where the model is.
        dtype: floating-point type to compute in; `None`: the model's own.
        mode: ``eval`` or ``train`` (batch statistics and dropout active: not a deterministic function).
        metrics: further quantities ``{"name": f(output, target) -> scalar mean or (n,)}``, averaged over examples.
        resident: keep all data on the device; `None` decides by the memory that is free.

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

    @numbers_checked
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
    ):
        if not isinstance(model, nn.Module):
            raise LandscapeError(f"the model is {type(model).__name__}, expected a torch.nn.Module")
        if mode not in ("eval", "train"):
            raise LandscapeError(f"mode is {mode!r}, expected 'eval' or 'train'")
        self.model = unwrapped(model)
        self.mode, self.metrics, self._count = mode, _metrics.checked(metrics), count
        self.space = ParameterSpace.select(self.model, parameters, dtype)
        own = {name: tensor.detach() for name, tensor in self.model.named_parameters()}
        self.device = own[self.space.names[0]].device if device is None else device_named(device)
        self._requested_dtype, self._data_dtype = dtype, dtype or self.space.dtype
        self._loss = loss
        self._criterion: Loss | None = None if isinstance(loss, BatchLoss) else resolve(loss, count)
        self._bind({**own, **dict(self.model.named_buffers())})
        with torch.random.fork_rng(devices=[]):  # loaders draw a seed from the global generator
            read = _batches.read(data, batch_size, self.device, self._data_dtype, resident)
        self.batches = weighted(self, read)

    # --- construction -------------------------------------------------------------------------------------------------

    def _bind(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy parameters and buffers; theta is one flat vector, the rest is fixed."""
        fixed = {}
        for name, tensor in tensors.items():
            copy = tensor.detach().clone().to(self.device)
            if self._requested_dtype is not None and copy.is_floating_point():
                copy = copy.to(self._requested_dtype)
            fixed[name] = copy
        self._theta = self.space.flatten(fixed)
        self._fixed = {name: tensor for name, tensor in fixed.items() if name not in set(self.space.names)}
        self._bound = Bound(self.model)
        if not torch.isfinite(self._theta).all():
            bad = [name for name, where in self.space.slices.items() if not torch.isfinite(self._theta[where]).all()]
            raise LandscapeError(
                f"the weights of {', '.join(bad[:3])} are NaN or infinite; load a checkpoint that is sound"
            )

    @property
    def reduction(self) -> str:
        """How the loss combines its terms: ``mean`` or ``sum``."""
        return self._loss.reduction if isinstance(self._loss, BatchLoss) else self.known.reduction

    @property
    def known(self) -> Loss:
        """The criterion with what is known of it.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs and targets.
        """
        if self._criterion is None:
            raise NotDefinedError(
                "a BatchLoss is not a function of outputs and targets; use a criterion(output, target)"
            )
        return self._criterion

    @property
    def has_criterion(self) -> bool:
        """Whether the loss is a function of outputs and targets, which a `BatchLoss` is not."""
        return self._criterion is not None

    @property
    def fixed(self) -> Mapping[str, Tensor]:
        """What the network holds besides theta, by name: buffers and parameters that are not selected. Not to be changed."""
        return MappingProxyType(self._fixed)

    # --- the function -------------------------------------------------------------------------------------------------

    @property
    def theta(self) -> Tensor:
        """A copy of the parameter vector (P,) the objective is centred at."""
        return self._theta.clone()

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return self.space.size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that make up theta, in order."""
        return self.space.names

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of theta."""
        return self.space.dtype

    @property
    def n(self) -> int:
        """Number of examples."""
        return sum(batch.size for batch in self.batches.stored)

    @property
    def task(self) -> str:
        """What the targets are: ``classes``, ``binary`` or ``other``."""
        return self._criterion.task if self._criterion is not None else "other"

    @property
    def likelihood(self) -> str | None:
        """The likelihood the loss is the negative logarithm of: ``categorical``, ``bernoulli``, ``gaussian`` or `None`."""
        return self._criterion.likelihood if self._criterion is not None else None

    @contextmanager
    def guard(self, *, second: bool = False, tf32: bool = False) -> Iterator[None]:
        """Evaluation mode, isolated random state; with ``second=True`` also kernels that have a second derivative."""
        with ExitStack() as stack:
            stack.enter_context(guard(self.model, mode=self.mode, device=self.device))
            if second:
                stack.enter_context(second_order(self.model, self.device, tf32=tf32))
            yield

    def call(self, theta: Tensor, compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)`` with the parameters theta (P,); differentiable in theta. Use inside `guard`."""
        fixed = self._fixed
        if self.mode == "train":  # norm layers write their statistics: onto copies
            fixed = {name: tensor.clone() for name, tensor in fixed.items()}
        return self._bound.call({**fixed, **self.space.unflatten(theta)}, compute)

    def batch_outputs(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the network's outputs on a batch: a tensor, the first item of a tuple, or ``.logits`` of a structure.

        Raises:
            NotDefinedError: the loss is a `BatchLoss` without ``outputs``.
        """
        if isinstance(self._loss, BatchLoss):
            if self._loss.outputs is None:
                raise NotDefinedError("this loss does not say what the outputs are; pass ls.BatchLoss(fn, outputs=…)")
            reader = self._loss.outputs
            return self.call(theta, lambda model: reader(model, batch.raw))
        return self.call(theta, lambda model: logits(forward(model, batch.inputs)))

    def criterion(self, output: Tensor, batch: Batch) -> Tensor:
        """Return a batch's share of L as a function of its outputs; the shares add up to L.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs.
        """
        known = self.known
        assert batch.target is not None
        return known.fn(output, batch.target) * batch.scale

    def batch_value(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch as the user's function gives it, without its share. Use inside `guard`."""
        if isinstance(self._loss, BatchLoss):
            loss = self._loss.fn
            return self.call(theta, lambda model: loss(model, batch.raw))
        assert batch.target is not None
        return self.known.fn(self.batch_outputs(theta, batch), batch.target)

    def batch_loss(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return a batch's share of L (a scalar, differentiable in theta); the shares add up to L. Use inside `guard`."""
        if batch.scale == 0:
            return theta.sum() * 0.0
        return self.batch_value(theta, batch).reshape(()) * batch.scale

    def batch_metrics(self, theta: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return a batch's shares of the loss, the accuracy and the user's metrics, in float64 on the device, unsynchronised."""
        if isinstance(self._loss, BatchLoss):
            return {"loss": self.batch_loss(theta, batch).double()}
        return self.metrics_of(self.batch_outputs(theta, batch), batch)

    def metrics_of(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return what `batch_metrics` does, from the network's outputs on the batch, computed elsewhere.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs.
        """
        out = {"loss": self.criterion(output, batch).double()}
        assert batch.target is not None
        hits = self.hits(output, batch.target)
        if hits is not None:
            out["accuracy"] = hits.sum(dtype=torch.float64) / self.graded
        for name, metric in self.metrics.items():
            value = metric(output, batch.target)
            out[name] = value.double().mean() * (batch.size / self.n)
        return out

    def hits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Return which targets are predicted rightly, as their shape; `None` where the task is no classification."""
        return None if self._criterion is None else _metrics.hits(self._criterion, output, target)

    @cached_property
    def graded(self) -> int:
        """Number of targets that accuracy is the share of: all but those with the loss's ``ignore_index``."""
        targets = [batch.target for batch in self.batches.stored]
        return sum(_metrics.graded(self.known, target) for target in targets if target is not None)

    def evaluate(self, theta: Weights | None = None) -> dict[str, float]:
        """Return the loss, the accuracy (classification only) and the user's metrics at theta."""
        at = self._vector(theta)
        total: dict[str, Tensor] = {}
        with self.guard(), torch.no_grad():
            for batch in self.batches:
                for name, value in self.batch_metrics(at, batch).items():
                    total[name] = total[name] + value if name in total else value
        return {name: float(value) for name, value in total.items()}

    def loss(self, theta: Weights | None = None) -> float:
        """Return L(theta), summed over batches in float64."""
        at = self._vector(theta)
        with self.guard(), torch.no_grad():
            return float(sum(self.batch_loss(at, batch).double() for batch in self.batches))

    def gradient(self, theta: Weights | None = None) -> Tensor:
        """Return ∇L(theta), (P,), summed over batches in float64 and rounded once to the objective's dtype."""
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Weights | None = None) -> tuple[float, Tensor]:
        """Return L(theta) and ∇L(theta) from one pass."""
        at = self._vector(theta).detach().clone().requires_grad_()
        total = torch.zeros(self.size, dtype=torch.float64, device=self.device)

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
        return value, total.to(self.dtype)

    def outputs(self, theta: Weights | None = None) -> Tensor:
        """Return the outputs on all examples, (N, …)."""
        at = self._vector(theta)
        with self.guard(), torch.no_grad():
            return torch.cat([self.batch_outputs(at, batch) for batch in self.batches])

    @property
    def targets(self) -> Tensor:
        """The targets of all examples, (N, …).

        Raises:
            NotDefinedError: the data has no targets.
        """
        targets = [batch.target for batch in self.batches]
        if any(target is None for target in targets):
            raise NotDefinedError("the data has no targets that the objective knows of")
        return torch.cat([target for target in targets if target is not None])

    def per_example(self, theta: Weights | None = None) -> Tensor:
        """Return the loss of every example, (N,); their (counted) mean is L.

        Raises:
            NotDefinedError: the loss does not split into terms of single examples.
        """
        at, out = self._vector(theta), []
        with self.guard(), torch.no_grad():
            for batch in self.batches:
                if self._criterion is None or self.known.per_example is None:
                    parts = [self.batch_value(at, pick(batch, torch.tensor([i]))).reshape(1) for i in range(batch.size)]
                    out.append(torch.cat(parts))
                else:
                    assert batch.target is not None
                    out.append(self.known.per_example(self.batch_outputs(at, batch), batch.target))
        return torch.cat(out)

    # --- other objectives ---------------------------------------------------------------------------------------------

    def at(self, weights: Weights) -> Objective:
        """Return the same function centred elsewhere; a state dict brings its buffers.

        Raises:
            LandscapeError: a vector of the wrong size, or a state dict that does not fit (the names are listed).
        """
        fresh = copy.copy(self)
        if not isinstance(weights, Tensor | Mapping):
            raise LandscapeError(f"the weights are {type(weights).__name__}, expected a tensor (P,) or a state dict")
        if isinstance(weights, Tensor):
            fresh._theta = self._vector(weights).detach().clone()
            return fresh
        require_fit(self.model, weights)
        fresh._bind({**self._fixed, **self.space.unflatten(self._theta), **weights})
        fresh._fixed = {name: tensor for name, tensor in fresh._fixed.items() if name in self._fixed}
        return fresh

    def with_fixed(self, fixed: Mapping[str, Tensor]) -> Objective:
        """Return the same function with other buffers and unselected parameters, as `fixed` gives them."""
        fresh = copy.copy(self)
        fresh._fixed = dict(fixed)
        return fresh

    def with_space(self, space: ParameterSpace) -> Objective:
        """Return the same function of a vector theta that is laid out in another way."""
        fresh = copy.copy(self)
        fresh.space, fresh._theta = space, space.flatten(self.space.unflatten(self._theta))
        return fresh

    def with_loss(self, loss: Any, *, count: Callable[[Any, Tensor], float] | None = None) -> Objective:
        """Return an objective with another loss on the same network, data and theta."""
        fresh = copy.copy(self)
        fresh._loss, fresh._count = loss, count
        fresh._criterion = None if isinstance(loss, BatchLoss) else resolve(loss, count)
        return fresh._on(self.batches)

    def subset(self, indices: Sequence[int] | Tensor) -> Objective:
        """Return the objective on some of the examples, in the order given."""
        chosen = indices.tolist() if isinstance(indices, Tensor) else list(indices)
        return self._on(self.batches.regrouped(chosen, max(batch.size for batch in self.batches.stored)))

    @numbers_checked
    def rebatch(self, size: int) -> Objective:
        """Return the same function with batches of another size."""
        if size < 1:
            raise LandscapeError(f"a batch size of {size}, expected at least 1")
        return self._on(self.batches.regrouped(None, size))

    def on(self, data: Any, *, batch_size: int | None = None) -> Objective:
        """Return the objective of the same network, loss and theta on other data."""
        return self._on(_batches.read(data, batch_size, self.device, self._data_dtype, None))

    def _on(self, data: Batches) -> Objective:
        fresh = copy.copy(self)
        fresh.__dict__.pop("graded", None)
        fresh.batches = weighted(fresh, data)
        return fresh

    def recalibrated(self, train: Objective | None = None) -> Objective:
        """Return the objective with the statistics of its norm layers re-estimated over a data set.

        Every layer's mean and variance become the average over the batches of ``train`` (its own data by default), as in
        `torch.optim.swa_utils.update_bn`; batches are first regrouped to 1,024 examples. Networks without running
        statistics come back unchanged.
        """
        fresh = copy.copy(self)
        fresh._fixed = reestimated(self, train or self)
        return fresh

    # --- identity -----------------------------------------------------------------------------------------------------

    @property
    def loss_name(self) -> str:
        """The loss in words, as stored with results."""
        if self._criterion is not None:
            return self._criterion.description
        return f"BatchLoss({getattr(self._loss.fn, '__qualname__', type(self._loss.fn).__name__)})"

    def provenance(self) -> dict[str, Any]:
        """Return what identifies function and machine: versions, device, dtype, fingerprints of weights and data."""
        return provenance(self)

    def __repr__(self) -> str:
        return (
            f"Objective({type(self.model).__name__}, P={self.size:,}, N={self.n:,} in {len(self.batches)} batches, "
            f"{self.loss_name}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    def _vector(self, theta: Weights | None) -> Tensor:
        if theta is None:
            return self._theta
        if not isinstance(theta, Tensor):
            return self.at(theta)._theta
        if theta.shape != (self.size,):
            raise LandscapeError(f"theta has shape {tuple(theta.shape)}, expected ({self.size},)")
        return theta.to(self.device, self.dtype)
