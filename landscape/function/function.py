"""A network and its loss as a function of one flat parameter vector and a batch; which data, it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from landscape.arguments import device_named
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import Batch, leaves, pick
from landscape.function.forward import forward, logits, takes_keywords, unwrapped
from landscape.function.group import shards_of
from landscape.function.guard import Guard
from landscape.function.losses import BatchLoss, Loss, OfEverything, OwnLoss, describe, first_output, resolve
from landscape.function.norms import Norm, couples, following
from landscape.function.parameters import ParameterSpace, Selection, cast
from landscape.function.structure import Structure
from landscape.hashing import fingerprint, fingerprint_of_parts

Metric = Callable[[Tensor, Tensor], Tensor]
"""``f(output, target)``: a mean over the examples, or one value each."""


class Function:
    """(θ, batch) ↦ loss, outputs: network, loss and parameter space, without data. Made of what an `Objective` is given.

    Attributes:
        model: the user's network, without wrappers.
        space: the layout of theta.
        norm: where norm layers take their statistics from; ``frozen`` in a network without layers that could follow the batch.
        given_loss: the loss as it was given.
        count: the divisor of its mean as it was given.
        metrics: the user's metrics by name.
        data_dtype: what floating-point tensors of the data are cast to.
        nested: whether the network or the loss takes derivatives itself, as physics-informed losses do; found out when the
            loss is tried.
        classes_last: whether the network puts classes on the last axis, (n, T, C), where PyTorch's losses want (n, C, T); found
            out when the loss is tried. Outputs are then handed out as PyTorch wants them.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        *,
        count: Callable[[Any, Tensor], float] | None,
        parameters: Selection,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        mode: str,
        metrics: Mapping[str, Metric] | None,
        norm: Norm,
    ):
        if not isinstance(model, nn.Module):
            remedy = "; of a function f(params, x), pass ls.Functional(f, params)" if callable(model) else ""
            raise LandscapeError(f"the model is {type(model).__name__}, expected a torch.nn.Module{remedy}")
        if mode not in ("eval", "train"):
            raise LandscapeError(f"mode is {mode!r}, expected 'eval' or 'train'")
        self.model = unwrapped(model)
        if metrics is not None and not isinstance(metrics, Mapping):
            raise LandscapeError(
                f"metrics are {metrics!r}, expected functions (output, target) by name: {{'name': function}}"
            )
        self.mode, self.metrics = mode, dict(metrics or {})
        for name, metric in self.metrics.items():
            if name in ("loss", "accuracy"):
                raise LandscapeError(
                    f"a metric is called {name!r}, which the objective computes itself; choose another name"
                )
            if not callable(metric):
                found = type(metric).__name__
                raise LandscapeError(f"the metric {name!r} is {found}, expected a function (output, target)")
        self.shards = shards_of(self.model)
        self.space = ParameterSpace.select(self.model, parameters, dtype)
        if self.shards is not None:
            self.space = self.shards.localised(self.space)
        own = dict(self.model.named_parameters())
        self.device = device_named(own[self.space.names[0]].device if device is None else device)
        self._requested_dtype, self.data_dtype = dtype, dtype or self.space.dtype
        self._take_structure()
        self.norm: Norm = self._norm(norm)
        self._fixed: dict[str, Tensor] = {}
        self.nested = self.classes_last = False
        self._take_loss(loss, count)

    def _take_structure(self) -> None:
        self._structure = Structure(self.model)
        self.norm_layers = following(self.network)

    def _norm(self, norm: Norm) -> Norm:
        """Return where statistics come from: ``frozen``, too, where no layer of the network can take those of the batch."""
        if norm not in ("frozen", "batch"):
            raise LandscapeError(f"norm is {norm!r}, expected 'frozen' or 'batch'")
        if norm == "frozen" or not (self.norm_layers or couples(self.network)):
            return "frozen"
        if self.mode != "eval":
            raise LandscapeError(
                "norm='batch' goes with mode='eval'; mode='train' also draws dropout and writes statistics"
            )
        synchronised = any(isinstance(layer, nn.SyncBatchNorm) for layer in self.norm_layers)
        if synchronised and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise LandscapeError(
                "SyncBatchNorm takes its statistics over all processes, whose batches norm='batch' cannot fix"
            )
        return norm

    def _take_loss(self, loss: Any, count: Callable[..., float] | None) -> None:
        if isinstance(loss, str) and loss == "model":
            loss, count = BatchLoss(OwnLoss(), count, first_output), None
        self.given_loss, self.count = loss, count
        self._criterion: Loss | None = None if isinstance(loss, BatchLoss) else resolve(loss, count)
        self._batch_loss = loss if isinstance(loss, BatchLoss) else None
        if self._batch_loss is not None:  # one that was written over the model itself is to meet theta there
            fn, outputs = (f and self._structure.adopted(f) for f in (loss.fn, loss.outputs))
            self._batch_loss = replace(loss, fn=fn, outputs=outputs)

    def take_everything(self) -> None:
        """Give the criterion whatever the network returns, not one tensor of it; the loss is then one of the whole batch.

        Raises:
            LandscapeError: its divisor was given as a function of one tensor.
        """
        known = self.known
        if self.count is not None:
            raise LandscapeError(
                "the loss takes everything that the network returns, but count= is given one tensor of it; pass "
                "ls.BatchLoss(lambda model, batch: loss(model(batch[0]), batch[1]), count=lambda batch: …)"
            )
        whole = BatchLoss(OfEverything(known.fn), outputs=first_output, reduction=known.reduction)
        self._take_loss(whole, None)

    def _take_tensors(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Copy parameters and buffers by name; return theta, and hold the rest fixed."""
        copies = {}
        for name, tensor in tensors.items():
            part = tensor.detach() if self.shards is None else self.shards.part_of(name, tensor.detach())
            copies[name] = part.clone().to(self.device, cast(tensor.dtype, self._requested_dtype))
        theta = self.space.flatten(copies)
        self._fixed = {name: tensor for name, tensor in copies.items() if name not in self.space.slices}
        if not torch.isfinite(theta).all():
            bad = [name for name, where in self.space.slices.items() if not torch.isfinite(theta[where]).all()]
            raise LandscapeError(
                f"the weights of {', '.join(bad[:3])} are NaN or infinite; load a checkpoint that is sound"
            )
        return theta

    def __copy__(self) -> Self:
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__)
        return fresh

    def __getstate__(self) -> dict[str, Any]:
        made_again = ("_structure", "norm_layers", "_criterion", "_batch_loss")
        return {key: value for key, value in self.__dict__.items() if key not in made_again}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_structure()
        self._take_loss(self.given_loss, self.count)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def known(self) -> Loss:
        """The criterion with what is known of it.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs and targets.
        """
        if self._criterion is None:
            raise NotDefinedError(
                "the loss is not a function of outputs and targets; use a criterion(output, target) of one tensor of outputs"
            )
        return self._criterion

    @property
    def has_criterion(self) -> bool:
        """Whether the loss is a function of outputs and targets, which a `BatchLoss` is not."""
        return self._criterion is not None

    @property
    def counts_itself(self) -> bool:
        """Whether the user gave the divisor of the mean in a batch."""
        return self.count is not None or (self._batch_loss is not None and self._batch_loss.count is not None)

    @property
    def knows_count(self) -> bool:
        """Whether the divisor of the mean in a batch is known of the loss itself."""
        return self._criterion is not None and self._criterion.count is not None and self.count is None

    @property
    def reduction(self) -> str:
        """How the loss combines its terms: ``mean`` or ``sum``."""
        return self.given_loss.reduction if self._criterion is None else self._criterion.reduction

    @property
    def task(self) -> str:
        """What the targets are: ``classes``, ``binary`` or ``other``."""
        return self._criterion.task if self._criterion is not None else "other"

    @property
    def likelihood(self) -> str | None:
        """The likelihood the loss is the negative logarithm of: ``categorical``, ``bernoulli``, ``gaussian`` or `None`."""
        return self._criterion.likelihood if self._criterion is not None else None

    @property
    def loss_name(self) -> str:
        """The loss in words, as stored with results."""
        if self._criterion is not None:
            return self._criterion.description
        return describe(self.given_loss)

    @property
    def network(self) -> nn.Module:
        """The private copy of the model's structure that is evaluated; inside `call` it holds theta."""
        return self._structure.model

    @property
    def size(self) -> int:
        """P, the number of parameters, those of all processes."""
        return self.whole_space.size

    @property
    def whole_space(self) -> ParameterSpace:
        """The layout of all of theta, of which a process of a sharded network holds a part laid out as `space`."""
        return self.space if self.shards is None else self.shards.space

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that make up theta, in order."""
        return self.space.names

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of theta."""
        return self.space.dtype

    @property
    def fixed(self) -> Mapping[str, Tensor]:
        """What the network holds besides theta, by name: buffers and parameters that are not selected. Not to be changed."""
        return MappingProxyType(self._fixed)

    # --- its values ---------------------------------------------------------------------------------------------------

    def guard(self, *, second: bool = False, tf32: bool = False) -> Guard:
        """Evaluation mode, isolated random state; with ``second=True`` also kernels that have a second derivative."""
        return Guard(
            self.network,
            mode=self.mode,
            device=self.device,
            norms=self.norm_layers if self.mode == "eval" else (),
            batch_statistics=self.norm == "batch",
            second=second or self.nested,
            tf32=tf32,
        )

    def call(self, theta: Tensor, compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)`` with the parameters theta (P,); differentiable in theta. Use inside `guard`."""
        fixed = self._fixed
        if self.mode == "train":  # norm layers write their statistics: onto copies
            fixed = {name: tensor.clone() for name, tensor in fixed.items()}
        if self.nested and not theta.requires_grad:  # a penalty may differentiate with respect to the parameters
            theta = theta.detach().requires_grad_()
        with torch.set_grad_enabled(self.nested or torch.is_grad_enabled()):
            tensors = self.space.unflatten(theta)
            if self.shards is not None:
                tensors = self.shards.placed(tensors)
        return self.call_with({**fixed, **tensors}, compute)

    def call_with(self, tensors: Mapping[str, Tensor], compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)`` with parameters and buffers given by name. Use inside `guard`."""
        if not self.nested or torch.is_grad_enabled():
            with nullcontext() if self.shards is None else self.shards.twice():
                return self._structure.call(tensors, compute)
        with torch.enable_grad():
            return tree_map_only(Tensor, Tensor.detach, self._structure.call(tensors, compute))

    def batch_outputs(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the network's outputs on a batch: a tensor, the first item of a tuple, or ``.logits`` of a structure.

        Raises:
            NotDefinedError: the loss is a `BatchLoss` without ``outputs``.
        """
        return self._called(theta, batch, lambda model: self._outputs(model, batch))

    def _outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        if self._batch_loss is None:
            output = logits(forward(model, batch.inputs))
            return output.movedim(-1, 1) if self.classes_last else output
        if self._batch_loss.outputs is None:
            raise NotDefinedError("this loss does not say what the outputs are; pass ls.BatchLoss(fn, outputs=…)")
        return self._batch_loss.outputs(model, batch.raw)

    def batch_value(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch as the user's function gives it, without its share. Use inside `guard`."""
        return self._called(theta, batch, lambda model: self._loss(model, batch))

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if self._batch_loss is not None:
            return self._batch_loss.fn(model, batch.raw)
        assert batch.target is not None
        return self.known.fn(self._outputs(model, batch), batch.target)

    def _called(self, theta: Tensor, batch: Batch, compute: Callable[[nn.Module], Tensor]) -> Tensor:
        """Return what `call` does; to whatever the user's network or loss raises, add what it was called with."""
        try:
            return self.call(theta, compute)
        except LandscapeError:
            raise
        except Exception as error:
            note = f"raised in the network or the loss, called with {self.named(batch)}"
            if isinstance(batch.inputs, Mapping) and not takes_keywords(self.network, batch.inputs):
                names = ", ".join(map(str, batch.inputs))
                note += f"; the network takes none of the names {names} and was given the mapping"
            error.add_note(note)
            raise

    def criterion(self, output: Tensor, batch: Batch) -> Tensor:
        """Return a batch's share of L as a function of its outputs; the shares add up to L.

        Raises:
            NotDefinedError: the loss is a `BatchLoss`, which is not a function of outputs.
        """
        known = self.known
        assert batch.target is not None
        return known.fn(output, batch.target) * batch.scale

    def named(self, batch: Batch) -> str:
        """Return a batch in words: its examples, shapes and types."""
        shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in leaves(batch.raw))
        return f"{batch.size} examples of the data: {shapes}"

    def batch_loss(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return a batch's share of L (a scalar, differentiable in theta); the shares add up to L. Use inside `guard`."""
        if batch.scale == 0 and self.shards is None:  # whose processes put parameters together in every call
            return theta.sum() * 0.0
        return self.batch_value(theta, batch).reshape(()) * batch.scale

    def example_losses(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the loss of every example of a batch, (n,). Use inside `guard`."""
        if self._criterion is None or self.known.per_example is None:
            alone = (pick(batch, torch.tensor([i], device="cpu")) for i in range(batch.size))
            return torch.cat([self.batch_value(theta, one).reshape(1) for one in alone])
        assert batch.target is not None
        return self.known.per_example(self.batch_outputs(theta, batch), batch.target)

    def batch_count(self, theta: Tensor, batch: Batch) -> float:
        """Return c, what the mean loss of a batch divides by. Use inside `guard`."""
        if self._batch_loss is not None:
            return float(self._batch_loss.count(batch.raw)) if self._batch_loss.count else float(batch.size)
        if self.known.count is None:
            return float(batch.size)
        assert batch.target is not None
        # only a rule of the user's own looks at the outputs
        output = self.batch_outputs(theta, batch) if self.count is not None else None
        return float(self.known.count(output, batch.target))

    def hits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Return which targets are predicted rightly, as their shape; `None` where the task is no classification."""
        return None if self._criterion is None else self._criterion.hits(output, target)

    def weights_sha256(self, theta: Tensor) -> str:
        """Hash theta (P,) and what the network holds besides; of a sharded network one parameter at a time."""
        if self.shards is None:
            return fingerprint(theta, *self._fixed.values())
        return fingerprint_of_parts(theta.dtype, self.size, self.shards.one_by_one(theta), *self._fixed.values())
