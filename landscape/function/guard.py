"""Evaluation without traces: sets modes, random state and kernels for a while, and puts back exactly what was there."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from landscape.errors import LandscapeError
from landscape.function.norm_layers import Layers, take_statistics

_EVALUATING = threading.RLock()
_SIGINT = int(signal.SIGINT)


@contextmanager
def guard(
    model: nn.Module,
    *,
    mode: str = "eval",
    device: torch.device | None = None,
    norms: Layers = (),
    batch_statistics: bool = False,
) -> Iterator[None]:
    """Run a block with a network in a mode of its own and the global random state set aside.

    On leaving, also through an exception, every module's ``training`` flag and the random state are as before. Transformer
    layers stay off their fused inference path, which has no derivatives and, given a padding mask, returns zeros for the
    padded tokens: the loss would be another function than the one that is differentiated.
    An autocast block around the call has no effect, because the dtype of theta decides; one inside the network has.
    Threads wait for one another: the random state, kernels and the tensors that stand in the network are the same for all.

    Args:
        model: the module whose flags are set; an objective's is a copy of its own.
        mode: ``eval`` (norm statistics frozen, dropout off) or ``train``.
        device: where it runs; of a CUDA device the generator is also set aside.
        norms: norm layers with running statistics, which are not written in any case.
        batch_statistics: whether those layers take the statistics of each batch.

    Raises:
        LandscapeError: inference mode is on.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    kind = "cpu" if device is None else device.type
    if torch.is_inference_mode_enabled():
        raise LandscapeError(
            "nothing can be differentiated under torch.inference_mode(); use torch.no_grad(), or neither"
        )
    stack, interrupts = ExitStack(), _Interrupts()
    hold, note = interrupts.hold, interrupts.note
    before = hold(_SIGINT, note)
    try:
        stack.enter_context(_EVALUATING)
        stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())  # an interrupt in `torch.no_grad` leaves it off
        stack.enter_context(torch.random.fork_rng(devices=devices))
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_plain_checkpoints())
        stack.enter_context(_plain_embeddings())
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        for module in model.modules():
            stack.callback(setattr, module, "training", module.training)
        model.train(mode == "train")
        for layer in norms:
            stack.callback(take_statistics(layer, of_batch=batch_statistics))
        interrupts.release(before)
        yield
    finally:
        # nothing is called before this, so that no interrupt comes between
        now = hold(_SIGINT, note)
        stack.close()
        interrupts.release(before if now is note else now)


class _Interrupts:
    """Ctrl-C that waits while settings are made or put back, so that none stays half made."""

    def __init__(self) -> None:
        in_charge = threading.current_thread() is threading.main_thread() and callable(_signal.getsignal(_SIGINT))
        # the handler in C, since one written in Python can be interrupted itself
        self.hold: Callable[[int, Any], Any] = _signal.signal if in_charge else lambda number, handler: None
        self.note = lambda number, frame: self.pressed.append((number, frame))
        self.pressed: list[tuple[int, FrameType | None]] = []

    def release(self, before: Any) -> None:
        """Put a handler back, and let it handle what was pressed meanwhile."""
        self.hold(_SIGINT, before)
        if self.pressed:
            pressed, self.pressed = self.pressed, []
            before(*pressed[0])


class _Direct:
    """A reentrant checkpoint that keeps its activations."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


@contextmanager
def _plain_checkpoints() -> Iterator[None]:
    """Run reentrant checkpointed blocks without checkpointing: their backward pass bypasses what is differentiated.

    They call `backward` inside, which accumulates into the module's own parameters; gradients with respect to theta
    would silently lack them.
    """
    module: Any = torch.utils.checkpoint
    before = module.CheckpointFunction
    module.CheckpointFunction = _Direct
    try:
        yield
    finally:
        module.CheckpointFunction = before


@contextmanager
def _plain_embeddings() -> Iterator[None]:
    """Look tokens up without what `torch.nn.functional.embedding` does to the gradient alone.

    Of a padding vector it drops the first derivative and forgets that in the second: products would be no gradient's derivative.
    """
    look_up = F.embedding

    def embedding(
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor:
        return look_up(input, weight, None, max_norm, norm_type)

    F.embedding = embedding
    try:
        yield
    finally:
        F.embedding = look_up


@contextmanager
def second_order(model: nn.Module, device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Choose kernels that have a second derivative, and full float32 precision, while a block runs.

    Flash and memory-efficient attention have neither a double backward nor forward-mode rules; cuDNN's and oneDNN's recurrent
    kernels lack one or both. Inside the block attention runs as matrix products and recurrent layers on PyTorch's own
    kernels. TF32 is off on CUDA unless asked for, because it keeps ten bits of each factor. All settings are put back.

    Args:
        model: the network, which tells whether there are recurrent layers.
        device: where it runs.
        tf32: allow TF32 on CUDA.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    cudnn = torch.backends.cudnn
    with ExitStack() as stack:
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        if recurrent:
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
        if recurrent or device.type == "cuda":
            stack.enter_context(
                cudnn.flags(
                    enabled=cudnn.enabled and not recurrent,
                    benchmark=cudnn.benchmark,
                    deterministic=cudnn.deterministic,
                    allow_tf32=tf32,
                )
            )
        if device.type == "cuda":
            matmul = torch.backends.cuda.matmul
            stack.callback(setattr, matmul, "allow_tf32", matmul.allow_tf32)
            matmul.allow_tf32 = tf32
        yield
