"""The share every batch has in the loss of a data set, and the trial that the data and the loss mean what they seem to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.errors import LandscapeError, NumericalError
from landscape.function.batches import Batch, few, pick, versions
from landscape.function.data import Data
from landscape.function.forward import forward, logits
from landscape.function.function import Function
from landscape.function.structure import Watch
from landscape.function.world import World

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_NO_ROWS = "the network cannot be called with some of their rows"

CHECKED = 64
"""Examples of a batch on which the loss is tried out, at most."""
CONSTANT = (
    "the loss does not depend on the parameters: the network or the loss detaches (detach, item, argmax), runs under "
    "torch.no_grad(), or does not use the parameters selected"
)
"""What is wrong where nothing can be differentiated."""


def weighted(function: Function, theta: Tensor, data: Data, world: World) -> Data:
    """Return the batches with their shares: the divisor of each batch's mean over the sum of all, or 1 for a sum.

    Of fixed batches each has the same share, unless the user's own rule says otherwise.

    Raises:
        LandscapeError: nothing counts.
    """
    if function.reduction == "sum":
        return data.with_scales([1.0] * len(data))
    if data.fixed and not function.counts_itself:
        counts = [1.0] * len(data)
    else:
        counts = [function.batch_count(theta, batch) for batch in data]
    total = world.sum(sum(counts))
    if not total > 0:
        raise LandscapeError("no target counts towards the loss; are all of them ignored, or all class weights zero?")
    return data.with_scales([count / total for count in counts])


def in_batches(data: Data) -> Data:
    """Return data whose batches stay as they are, because their statistics are part of the function.

    Raises:
        LandscapeError: a batch has one example.
    """
    if any(batch.rows and batch.size < 2 for batch in data.stored):
        raise LandscapeError(
            "a batch of one example has no statistics of its own; choose a batch_size that leaves none, or norm='frozen'"
        )
    return data.as_they_are(
        "norm layers use the statistics of each batch, so no example has a loss of its own; .with_norm('frozen') has"
    )


def check(function: Function, theta: Tensor, data: Data, *, coupled: bool = False) -> Data:
    """Try the loss on a few examples, and look at all labels. Use inside the function's guard, without gradients.

    Args:
        function: network and loss; what is found out about them is written there.
        theta: where they are tried.
        data: the batches.
        coupled: whether the examples of a batch may depend on one another.

    Returns:
        The data; batches that cannot be cut after all are marked so.

    Raises:
        LandscapeError: a batch has no target, a label is out of range, the loss is not a scalar or does not depend on theta, the
            rule for its divisor does not hold, or the data is changed in place.
        NumericalError: the loss of the same examples differs from one evaluation to the next.
    """
    trial, some = _Trial(function, theta), _few(data)
    try:
        outputs, rows = trial.outputs_and_loss(some), True
    except LandscapeError:
        raise
    except Exception as error:  # the user's network or loss, called with fewer rows, raises whatever it likes
        if data.uncut or data.largest <= some.size:
            trial.name_outputs(error, some)
            raise
        rows = False
    if not rows:  # what has the lengths of rows may be something else, as a graph with the matrix of its edges
        return check(function, theta, data.as_they_are(_NO_ROWS), coupled=coupled)
    if function.count is not None and outputs is not None:
        trial.check_divisor(some, outputs)
    if function.task == "classes":
        assert outputs is not None
        for batch in data.stored:
            check_labels(batch, outputs.shape[1], function.known.ignore_index)
    rule_is_known = function.counts_itself or function.knows_count
    if data.uncut:
        if len(data) > 1 and function.reduction == "mean" and not (rule_is_known or data.fixed):
            raise LandscapeError(
                f"what the loss of a batch is the mean over cannot be tried, since {data.uncut}; pass count= (the divisor of "
                "its mean), or batches='fixed' for the mean over the batches"
            )
        return data
    if function.mode == "eval" and not rule_is_known and function.reduction == "mean":
        trial.check_ignored(data)
    if outputs is not None and function.mode == "eval" and some.size > 1 and not coupled:
        return trial.in_rows(data, some, outputs)
    return data


def separable(function: Function, theta: Tensor, batch: Batch) -> bool:
    """Return whether the loss of a batch is that of its parts. Use inside the function's guard."""
    trial = _Trial(function, theta)
    with torch.no_grad():
        return trial.agrees(function.batch_value(theta, batch), trial.of_parts(batch))


def check_labels(batch: Batch, classes: int, ignore: int) -> None:
    """Raise LandscapeError when a class index lies outside 0 … classes − 1 (on CUDA it would end the process)."""
    target = batch.target
    if target is None or target.is_floating_point():
        return
    counted = target[target != ignore]
    if counted.numel() and not (int(counted.min()) >= 0 and int(counted.max()) < classes):
        worst = int(counted.min()) if int(counted.min()) < 0 else int(counted.max())
        raise LandscapeError(
            f"label {worst} is out of range: the network has {classes} outputs, expected labels 0 … {classes - 1}"
        )


def culprit(function: Function) -> str:
    """Name the usual cause of a function that is not deterministic, and the remedy."""
    names = [name or type(m).__name__ for name, m in function.model.named_modules() if isinstance(m, _DROPOUT)]
    if function.mode == "train" and names:
        return f"dropout is active ({', '.join(names[:3])}); use mode='eval'"
    if function.mode == "train":
        return "the network is in train mode, where layers may draw random numbers; use mode='eval'"
    return (
        "the forward pass or the loss draws random numbers (random augmentation, functional dropout without "
        "training=self.training, sampling); fix them, or move them into the data"
    )


class _NestedError(Exception):
    """The network or the loss takes a derivative."""


class _Watching(TorchFunctionMode):
    """Inside this block, a call for derivatives ends it: it is to run where gradients are enabled."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward):
            raise _NestedError
        return func(*args, **(kwargs or {}))


def _few(data: Data) -> Batch:
    """Return some examples to try the loss on: from the first batch that has several, or else the first two joined."""
    first = next((i for i, batch in enumerate(data.stored) if batch.size > 1), None)
    if data.uncut or first is not None:
        return few(data[first or 0], CHECKED)
    if len(data) > 1:
        with suppress(LandscapeError):  # of different shapes
            return data.regrouped([0, 1], 2)[0]
    return data[0]


def _slack(dtype: torch.dtype) -> float:
    return float(10 * torch.finfo(dtype).eps ** 0.8)


@dataclass
class _Trial:
    """A function tried out at one theta."""

    function: Function
    theta: Tensor

    def outputs_and_loss(self, few: Batch) -> Tensor | None:
        """Try the loss, and find out whether it takes derivatives itself; return the outputs, `None` of a `BatchLoss`."""
        self.function.nested = False
        try:
            with _Watching():
                return self._outputs_and_loss(few)
        except _NestedError:
            self.function.nested = True
        return self._outputs_and_loss(few)

    def _outputs_and_loss(self, few: Batch) -> Tensor | None:
        outputs = self._outputs(few) if self.function.has_criterion else None
        self._check_loss(few)
        return outputs

    def _outputs(self, few: Batch) -> Tensor | None:
        """Return the outputs as the criterion wants them, and refuse targets that do not go with them."""
        function = self.function
        if few.target is None:
            raise LandscapeError(
                "the first batch has no target; expected (inputs, target), a mapping with 'labels', or a loss ls.BatchLoss(fn)"
            )
        known, target, classes = function.known, few.target, function.task == "classes"
        function.classes_last = False
        outputs = function.batch_outputs(self.theta, few)
        if classes and _has_classes_last(outputs, target):
            function.classes_last = True
            outputs = outputs.movedim(-1, 1)
        if not function.knows_count and self._takes_everything(few, outputs):
            function.take_everything()
            return None
        if outputs.is_complex():
            try:
                known.fn(outputs, target)
            except RuntimeError as error:
                raise LandscapeError(
                    f"the outputs of the network are {outputs.dtype}, and {known.description} is a function of real ones; return "
                    "their modulus or their real part, or torch.view_as_real(z)"
                ) from error
        if classes:
            _check_classes(outputs, target)
            check_labels(few, outputs.shape[1], known.ignore_index)
        if known.elementwise and outputs.shape != target.shape:
            raise LandscapeError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(target.shape)} differ in shape, so the loss would compare "
                "every output with every target; reshape one, for example y[:, None]"
            )
        return outputs

    def _takes_everything(self, few: Batch, output: Tensor) -> bool:
        """Whether a criterion of the user's own makes another number of what the network returned than of one tensor of it."""
        whole = self.function.call(self.theta, lambda model: forward(model, few.inputs))
        if isinstance(whole, Tensor):
            return False
        meant = single = None
        with suppress(Exception):  # one that wants a tensor raises whatever it likes
            meant = self.function.known.fn(whole, few.target)  # type: ignore[arg-type]
        with suppress(Exception):
            single = self.function.known.fn(output, few.target)  # type: ignore[arg-type]
        if not isinstance(meant, Tensor) or meant.numel() != 1:
            return False
        return not (
            isinstance(single, Tensor) and single.numel() == 1 and bool(single.reshape(()) == meant.reshape(()))
        )

    def _check_loss(self, few: Batch) -> None:
        """Refuse a loss that is no real number, does not depend on theta or not on it alone, or is no mean over what counts."""
        function, theta = self.function, self.theta
        own = dict(function.model.named_parameters())
        watched = () if function.shards else function.names  # whose own tensors are never called with
        with Watch({name: own[name] for name in watched}) as watch:
            value = function.batch_value(theta, few)
        if watch.read:
            raise LandscapeError(
                f"parameters reached other than by name ({', '.join(watch.read[:3])}: through a list, a closure, a view or a "
                "global variable), where theta cannot stand; use them as attributes of their modules, or of the model given to "
                "ls.BatchLoss"
            )
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            found = type(value).__name__
            if isinstance(value, Tensor):
                found = str(value.dtype if value.numel() == 1 else tuple(value.shape))
            raise LandscapeError(
                f"the loss of a batch is {found}, expected a real scalar tensor; return the mean (or the sum) of its terms"
            )
        before = versions(few)
        with torch.enable_grad():
            # with the random state where the first evaluation left it
            again = function.batch_value(theta.detach().requires_grad_(), few)
        if not again.requires_grad:
            raise LandscapeError(CONSTANT)
        again = again.detach()
        if function.mode == "eval":
            if versions(few) != before:
                raise LandscapeError(
                    "the network or the loss changes its data in place, so the next evaluation would see other data; change a "
                    "copy there: x = x.clone()"
                )
            # scatter operations on CUDA add in any order
            if float((again - value).abs()) > 1e3 * torch.finfo(function.dtype).eps * max(1.0, float(value.abs())):
                raise NumericalError(
                    f"the loss of the same {few.size} examples is {float(value):.6g} and then {float(again):.6g}: "
                    f"{culprit(function)}"
                )
            if not function.knows_count and few.rows and few.size > 1:
                self._check_parts(few, value)

    def _check_parts(self, batch: Batch, value: Tensor) -> None:
        """Raise unless the loss of a batch is that of its parts, under the rule for the divisor that was assumed or given."""
        expected = self.of_parts(batch)
        if torch.isfinite(value) and not self.agrees(value, expected):
            given = f"{float(expected):.6g}" if torch.isfinite(expected) else "nothing to count"
            raise LandscapeError(
                f"the loss of {batch.size} examples is {float(value):.6g} but its parts give {given}: it is not a "
                f"{self.function.reduction} over what is counted; pass count= (the divisor of its mean), reduction='sum', or, "
                "where the loss couples the examples of a batch, batches='fixed'"
            )

    def of_parts(self, batch: Batch) -> Tensor:
        """Return the loss of a batch put together from a third of it and the rest."""
        function, theta = self.function, self.theta
        third = torch.arange(batch.size, device="cpu") % 3 == 0
        parts = [pick(batch, torch.nonzero(keep).flatten()) for keep in (third, ~third)]
        values = torch.stack([function.batch_value(theta, part).double().reshape(()) for part in parts])
        if function.reduction == "sum":
            return values.sum()
        counts = [function.batch_count(theta, part) for part in parts]
        divisors = torch.tensor(counts, dtype=torch.float64, device=values.device)
        counted = divisors > 0  # the mean of nothing is no number, and weighs nothing
        return (values * divisors)[counted].sum() / divisors.sum()

    def agrees(self, value: Tensor, expected: Tensor) -> bool:
        """Whether a loss is, up to rounding, what it should be."""
        # float32 reaches about 1e-6, bfloat16 about 1e-2; a wrong divisor is off by tens of percent. Language models compute
        # their loss in float32 whatever they are
        slack = max(_slack(self.function.dtype), _slack(value.dtype))
        return bool(abs(expected - value) <= slack * max(1.0, float(abs(value))))

    def check_ignored(self, data: Data) -> None:
        """Try examples with negative labels beside others: such labels, as −100, may not count in the mean."""
        for batch in data.stored:
            if batch.target is None or batch.target.is_floating_point() or not batch.rows:
                return
            ignored = (batch.target < 0).reshape(batch.size, -1).any(1)
            if ignored.any():
                with_some, without = (torch.nonzero(which).flatten()[: CHECKED // 2] for which in (ignored, ~ignored))
                chosen = torch.cat([with_some, without]).cpu()
                # the third that is tried by itself has them first: in equal shares of both parts they would not show
                places = (torch.arange(len(chosen), device="cpu") % 3 != 0).int().argsort(stable=True)
                tried = pick(batch, torch.empty_like(chosen).scatter_(0, places, chosen))
                if tried.size > 1:
                    self._check_parts(tried, self.function.batch_value(self.theta, tried))
                return

    def check_divisor(self, few: Batch, outputs: Tensor) -> None:
        """Refuse a divisor of the user's that depends on the outputs, so that it would be another at another theta."""
        count, target = self.function.count, few.target
        assert count is not None
        assert target is not None
        found = [float(count(other, target)) for other in (outputs, -outputs, torch.zeros_like(outputs))]
        if len(set(found)) > 1:
            raise LandscapeError(
                f"count= is {found[0]:g} for the outputs of the network and {min(found[1:]):g} for others: the divisor moves "
                "with theta; leave it out and pass batches='fixed', for the mean over the batches"
            )

    def in_rows(self, data: Data, few: Batch, outputs: Tensor) -> Data:
        """Compare the outputs on a third of the examples with those on all, and mark data whose outputs are no rows.

        Raises:
            LandscapeError: they differ, as with batch statistics: an example's are not its own.
        """
        third = torch.arange(0, few.size, 3, device="cpu")
        try:
            alone = self.function.batch_outputs(self.theta, pick(few, third))
        except Exception:  # a network of other things than rows raises whatever it likes when it is given fewer
            return data.as_they_are(_NO_ROWS)
        if len(outputs) != few.size or alone.shape[1:] != outputs.shape[1:] or len(alone) != len(third):
            return data.as_they_are("the network's outputs are not one row per example")
        difference = float((alone - outputs[third]).abs().max()) if alone.numel() else 0.0
        if difference > 10 * _slack(self.function.dtype) * max(1.0, float(outputs.abs().max())):
            raise LandscapeError(
                f"the outputs for an example depend on what else is in its batch (by {difference:.1g}), as with statistics of "
                "the batch; pass batches='fixed' for the function that is the mean over the batches as they are"
            )
        return data

    def name_outputs(self, error: Exception, batch: Batch) -> None:
        """Add to what a loss raised that the network returned several things, of which it was given one tensor."""
        output = None
        if self.function.has_criterion:
            with suppress(Exception):
                output = self.function.call(self.theta, lambda model: forward(model, batch.inputs))
        if output is not None and not isinstance(output, Tensor):
            error.add_note(
                f"the network returned {type(output).__name__}, of which a loss is given one tensor, "
                f"{tuple(logits(output).shape)}; for a loss of several outputs pass ls.BatchLoss(fn)"
            )


def _has_classes_last(output: Tensor, target: Tensor) -> bool:
    """Whether outputs are (n, …, C) for class indices (n, …).

    Raises:
        LandscapeError: they are (n, C, …) as well.
    """
    if output.ndim < 3 or target.is_floating_point() or target.shape != output.shape[:-1]:
        return False
    if target.shape == (output.shape[0], *output.shape[2:]):
        raise LandscapeError(
            f"outputs {tuple(output.shape)} for labels {tuple(target.shape)} may hold their classes on axis 1 or on the last; "
            "pass the loss as a function that says which: lambda output, target: F.cross_entropy(output.flatten(0, -2), "
            "target.flatten()) for the last, F.cross_entropy(output, target) for axis 1"
        )
    return True


def _check_classes(output: Tensor, target: Tensor) -> None:
    """Refuse targets that are neither one class index an output row nor probabilities of the outputs' shape."""
    if target.shape == output.shape:
        return
    wanted = (output.shape[0], *output.shape[2:])
    if target.is_floating_point():
        raise LandscapeError(f"labels are {target.dtype}, expected integers 0 … {output.shape[1] - 1}; pass y.long()")
    if target.shape != wanted:
        raise LandscapeError(
            f"labels have shape {tuple(target.shape)}, expected {wanted} for outputs {tuple(output.shape)}; squeeze or "
            "reshape them"
        )
