"""What a loss averages over: its per-example terms and the divisor of its mean, for exact weighting of unequal batches.

A criterion that returns a mean divides by something: examples, elements, counted tokens, or the sum of class weights.
The loss of a data set is the sum of all terms over the sum of all divisors, which is the mean of the batch means only
when every batch has the same divisor.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import batch_of
from landscape.function.forward import accepts, forward, logits
from landscape.function.guard import inside_transform
from landscape.function.large_classes import LARGE, cross_entropy

Criterion = Callable[[Any, Tensor], Tensor]
Count = Callable[[Any, Tensor], float]
Task = Literal["classes", "binary", "other"]

Likelihood = Literal["categorical", "bernoulli", "gaussian"]

# Of each known function: its module, what its targets are, and the likelihood it is the negative logarithm of. The mean of those
# that are no "classes" is over the elements of the target.
_KNOWN: dict[str, tuple[type[nn.Module], Task, Likelihood | None]] = {
    "cross_entropy": (nn.CrossEntropyLoss, "classes", "categorical"),
    "nll_loss": (nn.NLLLoss, "classes", "categorical"),
    "mse_loss": (nn.MSELoss, "other", "gaussian"),
    "l1_loss": (nn.L1Loss, "other", None),
    "smooth_l1_loss": (nn.SmoothL1Loss, "other", None),
    "huber_loss": (nn.HuberLoss, "other", None),
    "binary_cross_entropy": (nn.BCELoss, "other", None),
    "binary_cross_entropy_with_logits": (nn.BCEWithLogitsLoss, "binary", "bernoulli"),
    "poisson_nll_loss": (nn.PoissonNLLLoss, "other", None),
    "soft_margin_loss": (nn.SoftMarginLoss, "other", None),
    "kl_div": (nn.KLDivLoss, "other", None),
}
_MODULES = {module: name for name, (module, _, _) in _KNOWN.items()}


@dataclass(frozen=True)
class BatchLoss:
    """A loss written by the user on the model and a whole batch, for anything a criterion(output, target) cannot say.

    Args:
        fn: ``fn(model, batch) -> scalar``; ``model`` is a module that carries the parameters being studied.
        count: ``count(batch) -> float``, the divisor of the mean in this batch; `None`: the number of examples. Either
            is checked by comparing one batch with its halves.
        outputs: ``outputs(model, batch) -> (n, C)`` logits or predictions, for scores that need them.
        reduction: ``mean``, or ``sum`` when ``fn`` returns a sum.

    >>> import torch.nn as nn
    >>> penalised = BatchLoss(lambda model, batch: F.mse_loss(model(batch[0]), batch[1]) + 1e-3 * model.weight.square().sum())
    """

    fn: Callable[[nn.Module, Any], Tensor]
    count: Callable[[Any], float] | None = None
    outputs: Callable[[nn.Module, Any], Tensor] | None = None
    reduction: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True)
class OfEverything:
    """A criterion of everything that the network returns, as a loss of the model and the batch.

    Attributes:
        criterion: ``criterion(returned, target) -> scalar``.
    """

    criterion: Callable[[Any, Any], Tensor]

    def __call__(self, model: nn.Module, raw: Any) -> Tensor:
        """Return the loss of a batch."""
        batch = batch_of(raw)
        return self.criterion(forward(model, batch.inputs), batch.target)


@dataclass(frozen=True)
class OwnLoss:
    """The loss that a network computes itself, as a loss of the model and the batch.

    It is what ``training_step(batch, 0)`` returns where there is one, as in Lightning, or what the network returns for the whole
    batch with its labels: a scalar, or ``.loss`` or ``["loss"]`` of a structure, as in Hugging Face's networks.
    """

    def __call__(self, model: nn.Module, raw: Any) -> Tensor:
        """Return the loss of a batch."""
        step = getattr(model, "training_step", None)
        inputs = tuple(raw) if isinstance(raw, list) else raw
        if not callable(step) and isinstance(inputs, tuple) and accepts(model, *inputs) is False:
            raise LandscapeError(
                f"loss='model' calls the network with a whole batch, but {type(model).__name__}.forward does not take "
                f"{len(inputs)} inputs; name a loss of its outputs, such as 'cross_entropy', or pass ls.BatchLoss(fn)"
            )
        found = step(raw, 0) if callable(step) else forward(model, inputs)
        if not isinstance(found, Tensor):
            found = found.get("loss") if isinstance(found, Mapping) else getattr(found, "loss", None)
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise LandscapeError(
                "the network returned no loss for a whole batch; for loss='model' it returns a scalar, or .loss or ['loss'] of a "
                "structure, given the batch with its labels"
            )
        return found


def first_output(model: nn.Module, raw: Any) -> Tensor:
    """Return the tensor that matters of what the network returns for a batch, see `logits`."""
    return logits(forward(model, batch_of(raw).inputs))


@dataclass(frozen=True)
class Loss:
    """A criterion with what is known of it.

    Attributes:
        fn: ``fn(output, target) -> scalar``.
        reduction: ``mean`` or ``sum``.
        count: divisor of the mean in a batch; `None` when it is not known and has to be asked for or assumed.
        per_example: ``(output, target) -> (n,)`` terms whose ``count``-weighted mean is the loss; `None` if unknown.
        task: ``classes`` (logits (n, C, …) and class indices), ``binary`` (logits of 0/1 targets) or ``other``.
        description: text stored with results.
        ignore_index: class index that is not counted.
        likelihood: the loss is a negative log-likelihood whose model is known: ``categorical``, ``bernoulli`` or
            ``gaussian``; `None` otherwise.
        elementwise: the loss compares outputs and targets element by element, so that their shapes must agree.
        on_logits: of a loss of log-probabilities, the same loss as a function of any logits: what has its curvature.
    """

    fn: Criterion
    reduction: Literal["mean", "sum"]
    count: Count | None
    per_example: Callable[[Any, Tensor], Tensor] | None
    task: Task
    description: str
    ignore_index: int = -100
    likelihood: Likelihood | None = None
    elementwise: bool = False
    on_logits: Criterion | None = None

    def is_graded(self, target: Tensor) -> bool:
        """Whether a prediction is right or wrong, so that there is an accuracy."""
        return self.task == "binary" or (self.task == "classes" and not target.is_floating_point())

    def graded(self, target: Tensor) -> int:
        """Return how many of the targets count for the accuracy."""
        return int((target != self.ignore_index).sum()) if self.task == "classes" else target.numel()

    def hits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Return which targets are predicted rightly, as their shape; `None` where the task is no classification."""
        if not self.is_graded(target):
            return None
        if self.task == "classes":
            sure = ~output.amax(1).isnan()  # the largest of NaN is the first: right wherever the label is 0
            return sure & (output.argmax(1) == target) & (target != self.ignore_index)
        return ~output.isnan() & ((output > 0) == (target > 0.5))


def resolve(loss: Any, count: Count | None = None) -> Loss:
    """Recognise a criterion: a name in `torch.nn.functional`, one of its functions, a loss module, or any callable.

    Args:
        loss: the criterion.
        count: the divisor of its mean, when it is not one of the known losses.

    Raises:
        LandscapeError: the name is unknown, or the object is not callable.

    >>> import torch
    >>> known = resolve("cross_entropy")
    >>> known.task, known.count(torch.zeros(4, 3), torch.tensor([0, 2, -100, 1]))
    ('classes', 3.0)
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            raise LandscapeError(f"unknown loss {loss!r}; known names are {known}; or pass a function (output, target)")
        return _known(loss, {}, count)
    if type(loss) in _MODULES:
        name = _MODULES[type(loss)]
        accepted = inspect.signature(getattr(F, name)).parameters  # a module keeps its options as attributes
        return _known(name, {key: getattr(loss, key) for key in accepted if hasattr(loss, key)}, count)
    function, options = loss, {}
    if isinstance(loss, functools.partial) and not loss.args:
        function, options = loss.func, dict(loss.keywords)
    name = getattr(function, "__name__", "")
    if name in _KNOWN and getattr(F, name) is function:
        return _known(name, options, count)
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise LandscapeError(f"the loss is the class {loss.__name__}, expected a module: {loss.__name__}()")
    if not callable(loss):
        raise LandscapeError(
            f"the loss is {type(loss).__name__}, expected a function (output, target), a loss module or a name"
        )
    return Loss(loss, _reduction(getattr(loss, "reduction", "mean")), count, None, "other", describe(loss))


def _reduction(name: str) -> Literal["mean", "sum"]:
    if name in ("mean", "none"):  # unreduced terms are averaged as the functional's own mean would
        return "mean"
    if name == "sum":
        return "sum"
    raise LandscapeError(f"the loss has reduction={name!r}; expected 'mean', 'sum' or 'none'")


def _known(name: str, options: dict[str, Any], count: Count | None) -> Loss:
    function, (_, task, likelihood) = getattr(F, name), _KNOWN[name]
    asked = options.pop("reduction", "mean")
    by_example = name == "kl_div" and asked == "batchmean"  # the sum over elements, divided by the number of examples
    reduction = "mean" if by_example else _reduction(asked)
    options = {key: value for key, value in options.items() if key not in ("size_average", "reduce")}
    weight, smoothed = options.get("weight"), bool(options.get("label_smoothing"))
    ignore = int(options.get("ignore_index", -100))
    terms = _moved_to_output(function, options, "none")

    def divisor(output: Any, target: Tensor) -> float:
        if task != "classes":
            return float(len(target) if by_example else target.numel())
        if target.is_floating_point():  # class probabilities: the mean is over positions, whatever the weights
            return float(target.numel() / target.shape[1 if target.ndim > 1 else 0])
        return float(_class_weights(target, ignore, weight).sum())

    def per_example(output: Tensor, target: Tensor) -> Tensor:
        values = terms(output, target)
        if task == "classes" and not target.is_floating_point():
            weights = _class_weights(target, ignore, weight).to(values.dtype)
            if smoothed and bool(((weights == 0) & (target != ignore)).any()):
                raise NotDefinedError(
                    "with label smoothing an example of a class of weight 0 has a loss and no share in the mean, so that L is no "
                    "mean of single examples' losses; give the class a small weight"
                )
            if values.ndim == 1:
                # the functional's unreduced terms already carry the class weight; divide it out again
                return torch.where(weights != 0, values / weights.clamp_min(torch.finfo(values.dtype).tiny), 0)
            return values.flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(torch.finfo(values.dtype).tiny)
        if values.ndim == 1:
            return values
        return values.flatten(1).sum(1) if by_example else values.flatten(1).mean(1)

    plain = weight is None and options.get("pos_weight") is None and not smoothed
    return Loss(
        _moved_to_output(function, options, asked if by_example else reduction),
        reduction,
        count or divisor,
        per_example,
        task,
        _describe_known(name, options | {"reduction": "batchmean"} if by_example else options),
        ignore,
        likelihood if plain else None,
        task != "classes",
        _moved_to_output(F.cross_entropy, options, reduction) if name == "nll_loss" else None,
    )


def _moved_to_output(function: Callable[..., Tensor], options: dict[str, Any], reduction: str) -> Criterion:
    """Bind a functional's options; tensors among them (class weights) follow the output's device and dtype."""

    def criterion(output: Tensor, target: Tensor) -> Tensor:
        moved = {k: v.to(output.device, output.dtype) if isinstance(v, Tensor) else v for k, v in options.items()}
        if function is F.cross_entropy and reduction != "none" and _is_large(output, target, options):
            return cross_entropy(
                output, target, moved.get("weight"), int(options.get("ignore_index", -100)), mean=reduction == "mean"
            )
        return function(output, target, **moved, reduction=reduction)

    return criterion


def _is_large(output: Tensor, target: Tensor, options: dict[str, Any]) -> bool:
    """Whether logits are so many that copies of them matter, inside no transform and on a single process."""
    if output.numel() < LARGE or target.is_floating_point() or options.get("label_smoothing"):
        return False
    return output.ndim > 1 and type(output) is Tensor and not inside_transform()


def _class_weights(target: Tensor, ignore: int, weight: Tensor | None) -> Tensor:
    counted = target != ignore
    if weight is None:
        return counted.double()
    weight = weight.to(target.device, torch.float64)
    return torch.where(counted, weight[target.clamp(0, len(weight) - 1)], 0.0)


def _describe_known(name: str, options: dict[str, Any]) -> str:
    default = {key: p.default for key, p in inspect.signature(getattr(F, name)).parameters.items()}
    shown = []
    for key, value in sorted(options.items()):
        if isinstance(value, Tensor):
            shown.append(f"{key}={[round(v, 6) for v in value.flatten().tolist()[:20]]}")
        elif value != default.get(key):
            shown.append(f"{key}={value!r}")
    return f"{name}({', '.join(shown)})"


def describe(loss: Any) -> str:
    """Return a loss of the user's in words, as stored with results."""
    if isinstance(loss, BatchLoss):
        return f"BatchLoss({describe(loss.fn)})"
    loss = loss.criterion if isinstance(loss, OfEverything) else loss
    function = loss.func if isinstance(loss, functools.partial) else loss
    return str(getattr(function, "__qualname__", type(function).__qualname__))
