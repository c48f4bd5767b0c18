"""A tracker where other libraries hold the training loop: Lightning and the Hugging Face Trainer."""

from __future__ import annotations

from typing import Any

from landscape.training.tracker import Tracker


class _Callback:
    """Begins a tracker when training begins, and closes it when it ends; the optimiser's own hooks count the steps."""

    def __init__(self, loss: Any, data: Any, *, model: Any = None, **options: Any):
        self.loss, self.data, self.model, self.options = loss, data, model, options
        self.tracker: Tracker | None = None

    def begin(self, model: Any, optimizer: Any, steps: int) -> None:
        self.tracker = Tracker(self.model or model, self.loss, self.data, optimizer=optimizer, **self.options)
        self.tracker.steps = steps  # a training that is resumed has taken some
        self.tracker.__enter__()

    def end(self) -> None:
        if self.tracker is not None:
            self.tracker.close()


def lightning_callback(loss: Any, data: Any, **options: Any) -> Any:
    """Return a Lightning callback that tracks curvature; its ``.tracker.track`` is the result.

    Args:
        loss: as `Objective` takes it.
        data: what to measure on.
        **options: those of `Tracker`; ``model=`` tracks another module than the LightningModule, such as its network.

    Raises:
        ModuleNotFoundError: neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError:
        from pytorch_lightning.callbacks import Callback

    class Tracking(_Callback, Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.begin(pl_module, next(iter(trainer.optimizers), None), trainer.global_step)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.end()

    return Tracking(loss, data, **options)


def transformers_callback(loss: Any, data: Any, **options: Any) -> Any:
    """Return a callback for the Hugging Face ``Trainer`` that tracks curvature; its ``.tracker.track`` is the result.

    Args:
        loss: as `Objective` takes it.
        data: what to measure on.
        **options: those of `Tracker`.

    Raises:
        ModuleNotFoundError: ``transformers`` is not installed.
    """
    from transformers import TrainerCallback

    class Tracking(_Callback, TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.begin(given["model"], given["optimizer"], state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.end()

    return Tracking(loss, data, **options)
