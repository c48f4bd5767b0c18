"""What code that records a graph has to know of where it runs."""

from __future__ import annotations

import torch


def saving_is_hooked() -> bool:
    """Return whether saved tensors pass through hooks here: inside a checkpointed block, or when they are moved to the CPU.

    >>> with torch.autograd.graph.save_on_cpu():
    ...     inside = saving_is_hooked()
    >>> inside, saving_is_hooked()
    (True, False)
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def inside_transform() -> bool:
    """Return whether a functional transform (`torch.func`) is under way here.

    >>> torch.func.grad(lambda x: x * inside_transform())(torch.tensor(1.0)), inside_transform()
    (tensor(1.), False)
    """
    return torch._C._functorch.peek_interpreter_stack() is not None
