"""Where the points of a `Tracker` go as they are measured: logging libraries, and the cell of a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from landscape.errors import LandscapeError
from landscape.results.track import Track
from landscape.training.tracked import Values


def logger(log: Any) -> Callable[[Values, int], None]:
    """Return what writes values at a step to a logging library, told by what it offers.

    Args:
        log: a function ``(values, step)``, a TensorBoard ``SummaryWriter`` (``add_scalar``), the ``mlflow`` module
            (``log_metrics``), or a Weights & Biases run (``log``).

    Raises:
        LandscapeError: it offers none of these.

    >>> logger(print)({"lambda_max": 2.0}, 10)
    {'lambda_max': 2.0} 10
    """
    if hasattr(log, "add_scalar"):

        def scalars(values: Values, step: int) -> None:
            for name, value in values.items():
                log.add_scalar(f"landscape/{name}", value, step)

        return scalars
    if hasattr(log, "log_metrics"):
        return lambda values, step: log.log_metrics({f"landscape/{n}": v for n, v in values.items()}, step=step)
    if hasattr(log, "log"):
        return lambda values, step: log.log({f"landscape/{n}": v for n, v in values.items()}, step=step)
    if callable(log):
        return log
    raise LandscapeError(
        f"log is {type(log).__name__}; expected a function (values, step), a SummaryWriter, a wandb run or the mlflow module"
    )


def shown(track: Track, display: Any = None) -> Any:
    """Show a track in the notebook, or anew in the place where it stands; return that place, `None` outside notebooks.

    >>> import numpy as np
    >>> one = np.array([1])
    >>> shown(Track(step=one, values={"loss": one / 2}, threshold=2.0 * one, rule="sgd", steps=1, missed={}))
    """
    try:
        from IPython import display as cells
        from IPython import get_ipython
    except ModuleNotFoundError:
        return None
    if get_ipython() is None:
        return None
    if display is None:
        return cells.display(track, display_id=True)
    display.update(track)
    return display
