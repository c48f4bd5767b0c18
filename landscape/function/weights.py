"""Weights from files, without running code from them: safetensors, `torch.save`, Lightning, Hugging Face, distributed folders.

Safetensors hold no code. Files of `torch.save` are read as records of what they say (`landscape.function.pickled`); those
of before PyTorch 1.6 by `torch.load` with ``weights_only=True``.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from landscape.errors import LandscapeError
from landscape.function.distributed import Parts, inside, read_distributed
from landscape.function.pickled import CONVERT, Archive, Record, entries, is_tensor

_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_AVERAGES = ("ema", "swa", "average")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLES = ("model.safetensors", "pytorch_model.bin", "weights.pt", "model.pt", "adapter_model.safetensors")
_DEPTH = 8  # mappings within mappings that are looked through: a file may hold itself
# what readers of damaged files raise: RuntimeError covers RecursionError and NotImplementedError
_DAMAGE = (
    OSError, EOFError, SafetensorError, RuntimeError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, struct.error,
    AttributeError, TypeError, ValueError, LookupError, OverflowError, AssertionError,
)  # fmt: skip


class Weights(dict[str, Tensor]):
    """Tensors by name, with what is to be said of where they come from.

    Attributes:
        source: the file and the entry that was read, and the prefix that was taken off, for people.
        left_out: what the file also holds, or what was passed over; one line each.
        fits: the network whose names and shapes they have, once `fit_weights` has seen to it.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], source: str = "", left_out: tuple[str, ...] = (), versions: Any = None
    ):
        super().__init__(tensors)
        self.source, self.left_out = source, left_out
        self.fits: nn.Module | None = None
        self._metadata = versions  # where `load_state_dict` looks for the versions of modules


def load_weights(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    key: str | None = None,
    parts: Parts | None = None,
) -> Weights:
    """Return the state dict that a file, a folder or a mapping holds, on the CPU, without running code from it.

    Args:
        source: a safetensors file; a file written by ``torch.save`` of a state dict, or of a mapping that holds one under
            ``state_dict``, ``model_state_dict``, ``model``, ``net`` or ``module`` (Lightning and common training loops);
            a Hugging Face folder or its index file, in one piece or sharded; a `torch.distributed.checkpoint` folder; or
            a mapping of either kind.
        key: the entry to read where a file holds several state dicts, such as ``"state_dict_ema"``.
        parts: by name, the shape of a tensor and the part that is wanted, (start, length) along each dimension. Of a
            `torch.distributed.checkpoint` folder no more is read; other files are read whole.

    Returns:
        Tensors by name, names as they are in the file (`fit_weights` takes wrappers' prefixes off).

    Raises:
        LandscapeError: the file is missing, damaged, of another kind, holds several state dicts and no `key` is given, or was
            made to run harmful code.

    >>> load_weights({"state_dict": {"weight": torch.ones(2)}, "epoch": 3})
    {'weight': tensor([1., 1.])}
    """
    if not isinstance(source, str | os.PathLike | Mapping):
        raise LandscapeError(f"the weights are {type(source).__name__}, expected a file or a state dict")
    path = None if isinstance(source, Mapping) else Path(source).expanduser()
    name = "the mapping" if path is None else path.resolve().name if path.is_dir() else path.name
    if path is not None and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
        raise LandscapeError(f"there is no file {name}; expected weights such as 'model.safetensors' or 'model.pt'")
    try:
        weights = _load(path, key, parts) if path is not None else _state_dict(source, key)
    except LandscapeError as error:
        raise LandscapeError(f"{name}: {error}") from error.__cause__
    except _DAMAGE as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise LandscapeError(f"{name} is damaged or no weights file: {text}") from error
    weights.source = name + weights.source
    return weights


def _load(path: Path, key: str | None = None, parts: Parts | None = None) -> Weights:
    if path.is_dir():
        return _load_folder(path, key, parts)
    if path.suffix == ".json":
        return _load_shards(path, key)
    if path.suffix == ".safetensors":
        return _state_dict(load_file(path), key)
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if not zipped:
        return _state_dict(_load_legacy(path), key)
    with zipfile.ZipFile(path) as opened:
        archive = Archive(opened, path.stat().st_size)
        found = _state_dict(archive.tree, key, archive)
    if archive.skipped:
        found.left_out += (f"skipped {few(archive.skipped)}, no tensors (nothing was run)",)
    return found


def _load_folder(folder: Path, key: str | None, parts: Parts | None) -> Weights:
    if (folder / ".metadata").is_file():
        return Weights(read_distributed(folder, lambda found: _under(_network(found, key), parts or {}), parts))
    for name in (*_INDEXES, *_SINGLES):
        if (folder / name).is_file():
            return _load(folder / name, key)
    raise LandscapeError("it holds no weights; expected model.safetensors, its index, or a distributed checkpoint")


def _load_shards(index: Path, key: str | None) -> Weights:
    weights = Weights({})
    for name in sorted(set(json.loads(index.read_text())["weight_map"].values())):
        weights |= _load(inside(index.parent, name), key)
    return weights


def _load_legacy(path: Path) -> Any:
    """Read a file of before PyTorch 1.6, which holds its tensors behind the pickle."""
    with open(path, "rb") as file:
        if not (first := file.read(1)):
            raise LandscapeError(
                "damaged or no weights file, it is empty; expected what torch.save or safetensors wrote"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; whether it can be read is told by the result
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, ValueError) as error:
        if first != pickle.PROTO:
            raise LandscapeError("damaged or no weights file; expected what torch.save or safetensors wrote") from error
        text = f"it is no plain state dict: reading it would run code from the file; {CONVERT}"
        raise LandscapeError(text) from error


def _network(found: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """Keep the network's part of a distributed training state: what lies below ``model.`` or the key, where there is some."""
    for part in _NESTED if key is None else (key,):
        below = {k.removeprefix(f"{part}."): entry for k, entry in found.items() if k.startswith(f"{part}.")}
        if below and (key is not None or len(below) < len(found)):
            return below
    if key is not None or not found:
        raise LandscapeError(f"holds no tensors below {key!r}" if found else "holds no tensors")
    return found


def _under(found: Mapping[str, Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take a prefix off with which the names are found; all is as it is where there are none."""
    first = next(iter(names), "")
    off = next((name.removesuffix(first) for name in found if first and f".{name}".endswith(f".{first}")), "")
    return {name.removeprefix(off): entry for name, entry in found.items() if name.startswith(off)}


def _state_dict(tree: Any, key: str | None, archive: Archive | None = None) -> Weights:
    """Return the mapping of names to tensors, itself or under one of the usual keys."""
    where, left_out = "", tuple[str, ...]()
    for _ in range(_DEPTH):
        here = entries(tree)
        if here is None:
            kind = tree.name if isinstance(tree, Record) else type(tree).__name__
            raise LandscapeError(f"it holds a {kind}, expected a state dict; {CONVERT}")
        if key is None and _is_state(here):
            break
        inner, left_out = _entry(here, key)
        tree, key, where = here[inner], None, f"{where}[{inner!r}]"
    else:
        raise LandscapeError("mappings lie in one another without end; expected a state dict")
    tensors = {name: archive.tensor(value) if archive else value for name, value in here.items() if is_tensor(value)}
    attributes = (tree.state or {}) if isinstance(tree, Record) else getattr(tree, "__dict__", {})
    versions = attributes.get("_metadata")
    known = {path: dict(entries(version) or {}) for path, version in (entries(versions) or {}).items()}
    if len(tensors) < len(here):
        left_out = (*left_out, f"left out {few([name for name in here if name not in tensors])}")
    return Weights(tensors, where, left_out, known or None)


def _is_state(found: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a state dict: tensors by name, and what modules add by ``get_extra_state``."""
    return any(map(is_tensor, found.values())) and all(
        isinstance(name, str) and (is_tensor(value) or name.endswith("_extra_state")) for name, value in found.items()
    )


def _entry(here: Mapping[Any, Any], key: str | None) -> tuple[Any, tuple[str, ...]]:
    """Choose the entry that holds the network, and say which other state dicts are passed over."""
    if key is not None:
        if key not in here:
            raise LandscapeError(f"it has no entry {key!r}; expected one of {few([str(k) for k in here], 12)}")
        return key, ()
    inner = {k: found for k, value in here.items() if isinstance(k, str) and (found := entries(value))}
    states = [k for k in inner if _is_state(inner[k])]
    averages = [k for k in states if any(word in k.lower() for word in _AVERAGES)]
    plain = [k for k in states if k not in averages]
    containers = [k for k in _NESTED if k in inner and k not in states]
    for candidates in ([k for k in plain if k in _NESTED], containers[:1], plain):
        if candidates == ["state_dict"] and "current_model_state" in states:  # Lightning's averaging swaps the two
            return "state_dict", (
                "it is an average of weights; key='current_model_state' reads those training ended at",
            )
        if len(candidates) == 1:
            return candidates[0], (f"left out the average {few(averages)} (key= reads it)",) if averages else ()
        if candidates:
            raise LandscapeError(f"it holds {len(candidates)} state dicts, {few(candidates, 12)}; choose one with key=")
    if len(averages) == 1:
        return averages[0], (f"{averages[0]!r} is an average of weights, not those that training ended at",)
    if averages:
        raise LandscapeError(f"it holds {len(averages)} averages, {few(averages, 12)}; choose one with key=")
    odd = next((k for k in here if not is_tensor(here[k])), None)
    if odd is None:
        raise LandscapeError("it holds no weights: it is empty" if not here else "its names are no text")
    kind = here[odd].name if isinstance(here[odd], Record) else type(here[odd]).__name__
    raise LandscapeError(
        f"it is no state dict: its entry {odd!r} is {kind}, expected tensors by name"
        + ("; choose what lies in it with key=" if isinstance(here[odd], Mapping) else "")
    )


def few(names: list[str], most: int = 3) -> str:
    """Return the first names for a message, and how many more there are."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
