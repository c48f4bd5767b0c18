"""How the original loss-landscape code names its files and what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from landscape.results import Plane

METRICS = {"loss": "loss", "accuracy": "acc"}
"""Our names of metrics and the original's."""


def surface_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the original's dataset name for each of our keys that it has one for.

    >>> surface_names(["train/loss", "test/accuracy", "train/margin"])
    {'train/loss': 'train_loss', 'test/accuracy': 'test_acc'}
    """
    known = {f"{data}/{ours}": f"{data}_{theirs}" for data in ("train", "test") for ours, theirs in METRICS.items()}
    return {key: known[key] for key in keys if key in known}


def accuracy_scale(key: str) -> float:
    """Return 100 for accuracies, which the original keeps in percent, and 1 for everything else.

    >>> accuracy_scale("test/accuracy"), accuracy_scale("test/loss")
    (100.0, 1.0)
    """
    return 100.0 if key.endswith("/accuracy") else 1.0


def direction_name(
    model_file: str,
    *,
    kind: str = "weights",
    ignore: str = "biasbn",
    norm: str = "filter",
    two: bool = True,
    index: int = 0,
) -> str:
    """Return the name the original gives to a file of random directions.

    Args:
        model_file: the checkpoint.
        kind: ``weights`` or ``states``.
        ignore: ``biasbn`` when biases and norm parameters stay, otherwise empty.
        norm: ``filter``, ``layer``, ``weight`` …, or empty.
        two: two directions.
        index: number of the draw, from 1; 0: none.

    >>> direction_name("model_300.t7")
    'model_300.t7_weights_xignore=biasbn_xnorm=filter_yignore=biasbn_ynorm=filter.h5'
    """
    axes = ("x", "y") if two else ("x",)
    parts = [f"_{axis}{key}={value}" for axis in axes for key, value in (("ignore", ignore), ("norm", norm)) if value]
    return f"{model_file}_{kind}{''.join(parts)}{f'_idx={index}' if index > 0 else ''}.h5"


def surface_name(direction_file: str, result: Any) -> str:
    """Return the name the original gives to the surface file of a line or plane.

    >>> import numpy as np
    >>> from landscape.results import Line
    >>> surface_name("dirs.h5", Line(x=np.linspace(-1, 1, 51), values={}))
    'dirs.h5_[-1.0,1.0,51].h5'
    """
    grids = [result.x, result.y] if isinstance(result, Plane) else [result.x]
    return f"{direction_file}_{'x'.join(f'[{float(g[0])},{float(g[-1])},{len(g)}]' for g in grids)}.h5"
