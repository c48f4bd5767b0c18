"""The setting in which products run: every operation has the derivatives that a product needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from landscape.guard import second_order
from landscape.objective import Objective
from landscape.operators.failures import explained


@contextmanager
def setting(objective: Objective, name: str, *, tf32: bool = False) -> Iterator[None]:
    """Guard the objective, choose kernels with derivatives, and explain what has none.

    Attention runs as matrix products, transformer layers off their fused inference path, recurrent layers without cuDNN or
    oneDNN kernels, which know no forward mode and no double backward.

    Args:
        objective: The function.
        name: The operator in messages.
        tf32: Allow TF32 on CUDA.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    recurrent = any(isinstance(module, nn.RNNBase) for module in objective.model.modules())
    with ExitStack() as stack:
        stack.enter_context(explained(name))
        stack.enter_context(objective.guard())
        stack.enter_context(second_order(objective.device, tf32=tf32))
        if recurrent:
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False, allow_tf32=tf32))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
