"""What one gradient takes: bytes and operations, measured on a few examples and never by a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from landscape.function.batches import Batch
from landscape.function.batches import few as first
from landscape.function.objective import Objective

FEW = 4
# fixed rates, not measured ones: a choice must not change from run to run
_OPERATIONS_PER_SECOND = {"cpu": 5e10, "cuda": 2e13}
_TRACE_SECONDS_PER_MODULE = 0.1


@dataclass(frozen=True)
class Costs:
    """Costs of a gradient of an objective.

    Attributes:
        fixed_bytes: Bytes a forward pass saves for its backward pass, whatever the batch.
        example_bytes: Further bytes for every example.
        operations: Floating-point operations of the gradient of one example, in matrix products and convolutions.
        convolutional: Share of them in convolutions.
        trace_seconds: Estimated time to trace and check a product.
        rate: Operations a second that this kind of device is taken to do.
    """

    fixed_bytes: float
    example_bytes: float
    operations: float
    convolutional: float
    trace_seconds: float
    rate: float

    def saved(self, examples: int) -> int:
        """Bytes that the forward pass of a batch saves."""
        return int(self.fixed_bytes + examples * self.example_bytes)

    def graph(self, examples: int) -> int:
        """Bytes of a kept graph: the forward pass and the first backward pass save about the same (measured 1.9–2.4)."""
        return 2 * self.saved(examples)

    def split(self, examples: int) -> int:
        """Bytes the split program keeps (measured 0.6–0.75 of a graph)."""
        return int(1.5 * self.saved(examples))

    def gradient_seconds(self, examples: int) -> float:
        """Time of a gradient over so many examples, at the fixed rate."""
        return examples * self.operations / self.rate


def measure(objective: Objective, batch: Batch) -> Costs:
    """Measure a forward pass on two small parts of a batch, or on one that cannot be cut. Use inside the objective's guard."""
    many = min(batch.size, FEW) if batch.rows else batch.size
    few = max(1, many // 2) if batch.rows else batch.size
    counter = _Counted()
    with nullcontext() if objective.nested else counter:
        saved = {few: _saved_bytes(objective, first(batch, few))}
    if many > few:
        saved[many] = _saved_bytes(objective, first(batch, many))
    slope = (saved[many] - saved[few]) / (many - few) if many > few else saved[many] / many
    slope = max(slope, 0.0)
    counts = counter.operations
    operations, convolutions = counts.total(), sum(n for kind, n in counts.items() if "convolution" in kind)
    leaves = sum(1 for module in objective.model.modules() if not any(True for _ in module.children()))
    return Costs(
        fixed_bytes=max(saved[many] - many * slope, 0.0),
        example_bytes=slope,
        operations=3 * operations / few,  # forward 1, backward 2
        convolutional=convolutions / operations if operations else 0.0,
        trace_seconds=_TRACE_SECONDS_PER_MODULE * leaves,
        rate=_OPERATIONS_PER_SECOND.get(objective.device.type, 1e12),
    )


def _saved_bytes(objective: Objective, batch: Batch) -> int:
    """Bytes of the storages that a forward pass saves for its backward pass, theta's own left out; at most what it makes.

    The latter where the loss is transformed by `torch.func`, which does not bear hooks on what is saved.
    """
    theta = objective.theta.requires_grad_()
    storages: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.detach()
        return tensor.detach()

    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            objective.batch_loss(theta, batch)
    except RuntimeError:
        with torch.enable_grad(), _Counted() as counted:
            objective.batch_loss(theta, batch)
        return counted.bytes
    storages.pop(theta.untyped_storage().data_ptr(), None)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


class _Counted(TorchDispatchMode):
    """Inside this block, counts the bytes that operations return, and floating-point operations by kind.

    PyTorch's own counter has the compiler imported, which takes seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.operations: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, then count."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.operations[str(func.overloadpacket)] += formula(*args, **(kwargs or {}), out_val=result)
        self.bytes += sum(
            leaf.numel() * leaf.element_size() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)
        )
        return result
