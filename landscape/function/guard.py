"""Evaluation without traces: sets modes, random state and kernels for a while, and puts back exactly what was there."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any, Self

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from landscape.arguments import DEVICE_CHOSEN
from landscape.errors import LandscapeError
from landscape.function.norms import Layers, take_statistics

_LOCK = threading.RLock()
_OPEN: list[Guard] = []  # by the thread that holds the lock


class Guard:
    """Run a block with a network in a mode of its own and the global random state set aside.

    On leaving, also through an exception, every module's ``training`` flag and the random state are as before. Transformer
    layers stay off their fused inference path, which has no derivatives and, given a padding mask, returns zeros for the
    padded tokens: the loss would be another function than the one that is differentiated.
    Functions that are compiled run as they are written.
    An autocast block around the call has no effect, because the dtype of theta decides; one inside the network has.
    Threads wait for one another: the random state, kernels and the tensors that stand in the network are the same for all.
    Interrupts wait, too, while settings are made or put back.

    Args:
        model: the module whose flags are set; an objective's is a copy of its own.
        mode: ``eval`` (norm statistics frozen, dropout off) or ``train``.
        device: where it runs; of a CUDA device the generator is also set aside.
        norms: norm layers with running statistics, which are not written in any case.
        batch_statistics: whether those layers take the statistics of each batch.
        second: also choose kernels that have a second derivative, see `second_order`.
        tf32: allow TF32 in those.

    Raises:
        LandscapeError: on entering, if inference mode is on.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mode: str = "eval",
        device: torch.device | None = None,
        norms: Layers = (),
        batch_statistics: bool = False,
        second: bool = False,
        tf32: bool = False,
    ):
        self.model, self.mode, self.device = model, mode, torch.device("cpu") if device is None else device
        self.norms, self.batch_statistics = norms, batch_statistics
        self.second, self.tf32 = second, tf32
        self.process, self.thread = ExitStack(), ExitStack()  # what undoes the settings of each

    def __enter__(self) -> Self:
        if torch.is_inference_mode_enabled():
            raise LandscapeError(
                "nothing can be differentiated under torch.inference_mode(); use torch.no_grad(), or neither"
            )
        held: list[bool] = []
        try:
            held.extend(map(_LOCK.acquire, [True]))  # in one call of C: an interrupt comes before or after, not between
            self.owner = threading.get_ident()
            if not _OPEN:
                _hold_signals()
            _OPEN.append(self)
            self._set()
            handle_held()
        except BaseException:
            if held:
                self.__exit__()
            raise
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        try:
            self.process.close()
            self.thread.close()
        finally:
            if self in _OPEN:
                _OPEN.remove(self)
            last = not _OPEN
            _LOCK.release()
            if last:
                _release_signals()
        raise_handled(error)

    def _set(self) -> None:
        model, process, kind = self.model, self.process, self.device.type
        self.thread.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        if torch.is_autocast_enabled(kind):
            self.thread.enter_context(torch.autocast(kind, enabled=False))
        if DEVICE_CHOSEN.get() or torch.get_default_device().type != "cpu":
            self.thread.enter_context(self.device)
        process.enter_context(torch.random.fork_rng(devices=[self.device] if kind == "cuda" else []))
        if "torch._dynamo" in sys.modules:  # a compiled function has one derivative, and may bake in what it met
            process.enter_context(torch.compiler.set_stance("force_eager"))
        _set(process, torch.utils.checkpoint, "CheckpointFunction", _Direct)
        _set(process, F, "embedding", _plain_embedding(F.embedding))
        process.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        for module in model.modules():
            process.callback(setattr, module, "training", module.training)
        model.train(self.mode == "train")
        for layer in self.norms:
            process.callback(take_statistics(layer, of_batch=self.batch_statistics))
        if self.second:
            process.enter_context(second_order(model, self.device, tf32=self.tf32))


# --- interrupts and forks ---------------------------------------------------------------------------------------------

_SIGNALS = [int(number) for number in signal.valid_signals()]
_HANDLERS: dict[int, Callable[[int, FrameType | None], Any]] = {}
_PRESSED: list[int] = []
_RAISED: list[BaseException] = []


def _hold_signals() -> None:
    """Put `_handle` before all handlers written in Python, which may raise anywhere; Ctrl-C's is one of them."""
    if threading.current_thread() is threading.main_thread():
        _HANDLERS.clear()
        _RAISED.clear()
        for number in _SIGNALS:
            before = _signal.getsignal(number)
            if callable(before):
                _HANDLERS[number] = before
                _signal.signal(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    """Handle a signal as its owner does, but not while a context manager is entered or left: half made, it stays for ever.

    Python raises in `__exit__` before its first line, and in contextlib between a block's end and the next step of its
    generator. The four innermost frames tell.
    """
    code, depth = frame, 0
    while code is not None and depth < 5:
        if code.f_code.co_name in ("__enter__", "__exit__", "enter_context"):
            _PRESSED.append(number)
            return
        code, depth = code.f_back, depth + 1
    try:
        _HANDLERS[number](number, frame)
    except BaseException as error:
        _RAISED[:] = [error]
        raise


def handle_held() -> None:
    """Handle now what came while a context manager was entered or left."""
    if _PRESSED and threading.current_thread() is threading.main_thread():
        pressed = _PRESSED[0]
        _PRESSED.clear()
        _HANDLERS[pressed](pressed, None)


def raise_handled(error: BaseException | None) -> None:
    """Raise what a handler raised and the interpreter of TorchScript made another error of."""
    if _RAISED and isinstance(error, RuntimeError):
        raise _RAISED.pop() from error


def _release_signals() -> None:
    """Give signals back to their owners, and handle what came meanwhile."""
    if threading.current_thread() is threading.main_thread():
        try:
            _give_back()
        finally:  # one that was given back may interrupt the rest
            _give_back()
        handle_held()


def _give_back() -> None:
    for number, handler in _HANDLERS.items():
        if _signal.getsignal(number) is _handle:
            _signal.signal(number, handler)


def _after_fork() -> None:
    """Undo in a child what threads set that it does not have, and let it have the lock."""
    global _LOCK
    if not _OPEN or _OPEN[-1].owner != threading.get_ident():
        _LOCK = threading.RLock()
        while _OPEN:
            with suppress(Exception):
                _OPEN.pop().process.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- settings ---------------------------------------------------------------------------------------------------------


class _Direct:
    """A reentrant checkpoint that keeps its activations.

    PyTorch's own calls `backward` inside, which accumulates into the module's own parameters: gradients with respect to theta
    would silently lack them.
    """

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _plain_embedding(look_up: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a look-up of tokens without what `torch.nn.functional.embedding` does to the gradient alone.

    Of a padding vector it drops the first derivative and forgets that in the second: products would be no gradient's derivative.
    """

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

    return embedding


def _set(undo: ExitStack, holder: Any, name: str, value: Any) -> None:
    """Set an attribute until a stack is left."""
    undo.callback(setattr, holder, name, getattr(holder, name))
    setattr(holder, name, value)


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
            _set(stack, torch.backends.cuda.matmul, "allow_tf32", tf32)
        yield


def inside_transform() -> bool:
    """Return whether a functional transform (`torch.func`) is under way here.

    >>> torch.func.grad(lambda x: x * inside_transform())(torch.tensor(1.0)), inside_transform()
    (tensor(1.), False)
    """
    return torch._C._functorch.peek_interpreter_stack() is not None
