"""Evaluation without traces: sets modes, random state and kernels for a while, and puts back exactly what was there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from landscape.errors import LandscapeError

_EVALUATING = threading.RLock()


@contextmanager
def guard(model: nn.Module, *, mode: str = "eval", device: torch.device | None = None) -> Iterator[None]:
    """Run a block with the model in a mode of its own and the global random state set aside.

    On leaving, also through an exception, every module's ``training`` flag and the random state are as before. Transformer
    layers stay off their fused inference path, which has no derivatives and, given a padding mask, returns zeros for the
    padded tokens: the loss would be another function than the one that is differentiated.
    An autocast block around the call has no effect, because the dtype of theta decides; one inside the network has.
    Threads wait for one another: modes, random state and the network's own tensors, in whose places an evaluation puts
    others, are the same for all of them.
    Parameters, buffers and gradients are safe because the objective only ever passes its own copies to the model.

    Args:
        model: the module whose flags are set.
        mode: ``eval`` (norm statistics frozen, dropout off) or ``train``.
        device: where it runs; of a CUDA device the generator is also set aside.

    Raises:
        LandscapeError: inference mode is on.
    """
    modules = list(model.modules())
    devices = [device] if device is not None and device.type == "cuda" else []
    kind = "cpu" if device is None else device.type
    if torch.is_inference_mode_enabled():
        raise LandscapeError(
            "nothing can be differentiated under torch.inference_mode(); use torch.no_grad(), or neither"
        )
    with _EVALUATING, ExitStack() as stack:
        flags = [module.training for module in modules]
        stack.enter_context(torch.random.fork_rng(devices=devices))
        if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in modules):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_plain_checkpoints())
        stack.enter_context(_plain_embeddings(modules))
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            model.train(mode == "train")
            yield
        finally:
            for module, flag in zip(modules, flags, strict=True):
                module.training = flag


@contextmanager
def _plain_embeddings(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Look tokens up without what PyTorch does to the gradient alone, so that all derivatives are those of one function.

    The vector of the padding token counts as a constant, as in training, also in second and forward-mode derivatives, where
    PyTorch forgets it. Gradients are dense, and not divided by how often a token occurs.
    """
    plain = {"padding_idx": None, "sparse": False, "scale_grad_by_freq": False}
    with ExitStack() as stack:
        for module in modules:
            if not isinstance(module, nn.Embedding):
                continue
            if module.padding_idx is not None:
                hook = partial(_constant_padding, module.padding_idx)
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            for key, value in plain.items():
                if getattr(module, key) != value:
                    stack.callback(setattr, module, key, getattr(module, key))
                    setattr(module, key, value)
        yield


def _constant_padding(
    padding: int, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor
) -> Tensor:
    tokens = args[0] if args else kwargs["input"]
    return torch.where((tokens == padding).unsqueeze(-1), output.detach(), output)


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
