"""What makes two computations the same one: the function that is measured, and the settings of the measurement."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from landscape.errors import LandscapeError

DECISIVE = (
    "model",
    "parameters",
    "selection",
    "dtype",
    "mode",
    "loss",
    "operator",
    "step",
    "examples",
    "weights_sha256",
    "data_sha256",
)
"""Entries of a provenance that decide numbers. Versions and the device are not among them: a run that was interrupted
may go on elsewhere, and its result says where it ended."""


def identity(of: Any = None, /, **settings: Any) -> dict[str, Any]:
    """Return what makes a computation the same when it is called again, as JSON values.

    Args:
        of: what is measured: an objective, an operator (whatever has a ``provenance``), several by name, or `None`.
        settings: everything else that decides a number: seeds, grids, tolerances. Arrays and tensors count by their
            bytes, objectives and operators by their provenance, functions by their name.

    Returns:
        ``{"of": …, **settings}``, for `Run`.

    Raises:
        LandscapeError: a setting of a kind that does not say what it is.

    >>> identity(seed=3, grid=(0.0, 0.5))
    {'seed': 3, 'grid': [0.0, 0.5]}
    """
    return {**({} if of is None else {"of": _named(of)}), **{key: _plain(value) for key, value in settings.items()}}


def canonical(of: Mapping[str, Any]) -> str:
    """Return an identity as JSON text that does not depend on the order of its keys.

    Raises:
        LandscapeError: it holds values that are not JSON.

    >>> canonical({"b": 1, "a": (2, 3)})
    '{"a":[2,3],"b":1}'
    """
    try:
        return json.dumps(of, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise LandscapeError(f"settings must be JSON values (numbers, text, lists, mappings): {error}") from error


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say where two identities differ, or return an empty text.

    >>> difference({"of": {"loss": "mse"}, "seed": 0}, {"of": {"loss": "cross_entropy"}, "seed": 0})
    "of.loss: 'mse' there, 'cross_entropy' here"
    """
    there, here = dict(_leaves(before)), dict(_leaves(now))
    # as text: NaN is itself there, and 1 is not True
    texts = {key: [json.dumps(side[key]) if key in side else "" for side in (there, here)] for key in {**there, **here}}
    changed = [key for key, (one, other) in texts.items() if one != other]
    return ", ".join(f"{key}: {_short(there.get(key))} there, {_short(here.get(key))} here" for key in changed[:3])


def _named(of: Any) -> Any:
    if isinstance(of, Mapping):
        return {str(name): _named(part) for name, part in of.items()}
    provenance = getattr(of, "provenance", None)
    known = provenance() if callable(provenance) else provenance
    if not isinstance(known, Mapping):
        raise LandscapeError(f"a {type(of).__name__} does not say what it is; expected an objective or an operator")
    metrics = {"metrics": sorted(of.metrics)} if getattr(of, "metrics", None) else {}
    return {**{key: _plain(known[key]) for key in DECISIVE if key in known}, **metrics}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset | range):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "provenance") and not dataclasses.is_dataclass(value):
        return _named(value)
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        array = np.ascontiguousarray(value.detach().cpu() if hasattr(value, "detach") else value)
        return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    if re.search(r" at 0x[0-9a-f]+", text):
        raise LandscapeError(
            f"a {type(value).__name__} among the settings does not say what it is; pass numbers, text, arrays, lists or mappings"
        )
    return text


def _leaves(of: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in of.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
