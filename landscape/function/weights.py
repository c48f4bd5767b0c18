"""Weights from files that never run code: safetensors, plain state dicts, Lightning, Hugging Face, sharded folders.

A leaf: imports nothing of ours but errors. Pickles are read by `torch.load` with ``weights_only=True``, or, for the
metadata of `torch.distributed.checkpoint`, by an unpickler that knows a fixed list of harmless classes; anything else in
a pickle is refused, with the way to convert it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from landscape.errors import LandscapeError

_CONVERT = (
    "in the environment that wrote it, load it with torch.load(path, weights_only=False) if you trust it, and save "
    "torch.save(model.state_dict(), 'weights.pt'), then pass that file"
)
_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLES = ("model.safetensors", "pytorch_model.bin", "weights.pt", "model.pt")


def load_weights(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict that a file, a folder or a mapping holds, on the CPU, without running code from it.

    Args:
        source: a safetensors file; a file written by ``torch.save`` of a state dict, or of a mapping that holds one under
            ``state_dict``, ``model_state_dict``, ``model``, ``net`` or ``module`` (Lightning and common training loops);
            a Hugging Face folder or its index file, in one piece or sharded; a `torch.distributed.checkpoint` folder; or
            a mapping of either kind.

    Returns:
        Tensors by name, names as they are in the file (`fit_weights` takes wrappers' prefixes off).

    Raises:
        LandscapeError: the file is missing, damaged, of another kind, or would have to run code to be read.

    >>> load_weights({"state_dict": {"weight": torch.ones(2)}, "epoch": 3})
    {'weight': tensor([1., 1.])}
    """
    if isinstance(source, Mapping):
        return _state_dict(source, "the mapping")
    if not isinstance(source, str | os.PathLike):
        raise LandscapeError(f"the weights are {type(source).__name__}, expected a file or a state dict")
    path = Path(source).expanduser()
    if not path.exists():
        raise LandscapeError(
            f"there is no file {path.name}; expected weights such as 'model.safetensors' or 'model.pt'"
        )
    try:
        return _load(path)
    except (OSError, EOFError, SafetensorError, RuntimeError, zipfile.BadZipFile) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise LandscapeError(f"{path.name} is damaged or no weights file: {text}") from error


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names of a model's own state dict, after checking that all fit.

    Prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``) that the model does not have are taken off.

    Args:
        model: the network; it is not changed.
        weights: tensors by name, as `load_weights` returns them.

    Raises:
        LandscapeError: names are missing or unexpected, shapes differ, or weights are NaN or infinite.

    >>> sorted(fit_weights(nn.Linear(1, 2), {"module.weight": torch.ones(2, 1), "module.bias": torch.zeros(2)}))
    ['bias', 'weight']
    """
    own = model.state_dict()
    weights = _renamed(weights, own)
    missing, unexpected = [k for k in own if k not in weights], [k for k in weights if k not in own]
    if missing or unexpected:
        parts = [
            f"{word} {_few(names)}" for word, names in (("lack", missing), ("have unexpected", unexpected)) if names
        ]
        raise LandscapeError(
            f"the weights do not fit {type(model).__name__}: they {' and '.join(parts)}; build the model they were saved from"
        )
    wrong = [k for k in own if isinstance(own[k], Tensor) and own[k].shape != weights[k].shape]
    if wrong:
        shapes = [f"{k} {tuple(weights[k].shape)}, the model has {tuple(own[k].shape)}" for k in wrong[:3]]
        raise LandscapeError(f"{len(wrong)} weights have other shapes than {type(model).__name__}: {'; '.join(shapes)}")
    broken = [k for k in own if weights[k].is_floating_point() and not torch.isfinite(weights[k]).all()]
    if broken:
        raise LandscapeError(
            f"the weights are NaN or infinite in {_few(broken)}; the training diverged: use an earlier one"
        )
    return {k: weights[k] for k in own}


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises:
        LandscapeError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LandscapeError(f"cannot read {Path(path).name}: {error.strerror}") from error


def _load(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        return _load_folder(path)
    if path.suffix == ".json":
        return _load_shards(path)
    if path.suffix == ".safetensors":
        return load_file(path)
    return _state_dict(_load_pickle(path, path.name), path.name)


def _load_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / ".metadata").is_file():
        return _load_distributed(folder)
    for name in (*_INDEXES, *_SINGLES):
        if (folder / name).is_file():
            return _load(folder / name)
    raise LandscapeError(
        f"the folder {folder.resolve().name} holds no weights; expected model.safetensors, its index, or a distributed checkpoint"
    )


def _load_shards(index: Path) -> dict[str, Tensor]:
    try:
        files = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LandscapeError(f"{index.name} is no index of shards: it lacks a 'weight_map' of file names") from error
    weights: dict[str, Tensor] = {}
    for name in sorted(map(str, files)):
        weights |= _load(_inside(index.parent, name))
    return weights


def _inside(folder: Path, name: str) -> Path:
    """Return a file in a folder, refusing names that lead out of it or to another index."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.suffix == ".json":
        raise LandscapeError(f"{folder.name} names a part {name!r} outside its folder; it is not followed")
    if not path.is_file():
        raise LandscapeError(f"{folder.name} lacks its part {name!r}; copy the whole folder")
    return path


def _load_pickle(source: Any, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; whether it can be read is told by the result
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LandscapeError(
            f"{name} is no plain state dict: reading it would run code from the file; {_CONVERT}"
        ) from error
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise LandscapeError(
            f"{name} is damaged or no weights file: PyTorch cannot read it ({type(error).__name__})"
        ) from error


def _state_dict(source: Any, name: str) -> dict[str, Tensor]:
    """Return the mapping of names to tensors, itself or under one of the usual keys."""
    if isinstance(source, Mapping):
        for key in _NESTED:
            if isinstance(source.get(key), Mapping):
                return _state_dict(source[key], name)
        tensors = {key: value for key, value in source.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if source and len(tensors) == len(source):
            return tensors
        odd = next((key for key in source if key not in tensors), None)
        if odd is not None:
            remedy = f"; pass torch.load(path, weights_only=True)[{odd!r}]" if isinstance(source[odd], Mapping) else ""
            raise LandscapeError(
                f"{name} is no state dict: its entry {odd!r} is {type(source[odd]).__name__}, expected tensors by name{remedy}"
            )
        raise LandscapeError(f"{name} holds no weights: it is empty")
    raise LandscapeError(f"{name} holds a {type(source).__name__}, expected a state dict; {_CONVERT}")


def _renamed(weights: Mapping[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take wrappers' prefixes off while that brings the names nearer to the model's own."""
    renamed = dict(weights)
    while not own.keys() <= renamed.keys():
        prefix = next((p for p in _PREFIXES if renamed and all(key.startswith(p) for key in renamed)), None)
        if prefix is None:
            return renamed
        renamed = {key.removeprefix(prefix): value for key, value in renamed.items()}
    return renamed


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_ALLOWED = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.serialization._get_layout",
    "torch.distributed.checkpoint.metadata.Metadata",
    "torch.distributed.checkpoint.metadata.MetadataIndex",
    "torch.distributed.checkpoint.metadata.TensorStorageMetadata",
    "torch.distributed.checkpoint.metadata.BytesStorageMetadata",
    "torch.distributed.checkpoint.metadata.ChunkStorageMetadata",
    "torch.distributed.checkpoint.metadata.TensorProperties",
    "torch.distributed.checkpoint.metadata.StorageMeta",
    "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
}


class _MetadataUnpickler(pickle.Unpickler):
    """Reads the metadata of a distributed checkpoint: plain containers and the classes of its index, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        found = getattr(torch, name, None) if module == "torch" else None
        if isinstance(found, torch.dtype) or f"{module}.{name}" in _ALLOWED:
            return super().find_class(module, name)
        if module == "pathlib":  # where it was saved: kept as text, so that Windows paths open elsewhere
            return lambda *parts: "/".join(parts)
        raise LandscapeError(f"the checkpoint's metadata names {module}.{name}, which is not allowed; {_CONVERT}")


def _load_distributed(folder: Path) -> dict[str, Tensor]:
    """Put together the tensors of a `torch.distributed.checkpoint` folder from the pieces its metadata lists."""
    try:
        with open(folder / ".metadata", "rb") as file:
            metadata = _MetadataUnpickler(file).load()
        entries, pieces = metadata.state_dict_metadata, metadata.storage_data
        where = {(index.fqn, tuple(index.offset or ())): info for index, info in pieces.items()}
        weights = {}
        for name, entry in entries.items():
            if hasattr(entry, "chunks"):
                weights[name] = _assembled(folder, name, entry, where)
    except LandscapeError:
        raise
    except (pickle.UnpicklingError, AttributeError, TypeError, ValueError, KeyError, IndexError, ImportError) as error:
        raise LandscapeError(f"the metadata of {folder.name} is damaged: {error}") from error
    return _flat_state_dict(weights, folder.name)


def _assembled(folder: Path, name: str, entry: Any, where: Mapping[tuple[str, tuple[int, ...]], Any]) -> Tensor:
    places = [where[name, tuple(chunk.offsets)] for chunk in entry.chunks]
    files = [_checked_file(folder, place) for place in places]
    size, stored = math.prod(entry.size), sum(math.prod(chunk.sizes) for chunk in entry.chunks)
    held = sum(place.length for place in places)
    if size != stored or size > held:  # before memory is taken for it
        raise LandscapeError(
            f"{name!r} in {folder.name} claims {size} numbers, its pieces hold {stored} in {held} bytes"
        )
    whole = torch.zeros(tuple(entry.size), dtype=entry.properties.dtype)
    for chunk, place, path in zip(entry.chunks, places, files, strict=True):
        with open(path, "rb") as file:
            file.seek(place.offset)
            piece = _load_pickle(io.BytesIO(file.read(place.length)), path.name)
        if not isinstance(piece, Tensor) or piece.shape != tuple(chunk.sizes):
            raise LandscapeError(f"a piece of {name!r} in {folder.name} is not the tensor its metadata describes")
        window = tuple(slice(start, start + length) for start, length in zip(chunk.offsets, chunk.sizes, strict=True))
        whole[window] = piece
    return whole


def _checked_file(folder: Path, place: Any) -> Path:
    """Return the file of a piece after checking that the piece lies within it."""
    if getattr(place, "transform_descriptors", None):
        raise LandscapeError(f"{folder.name} stores its pieces transformed; save it without storage extensions")
    path = _inside(folder, place.relative_path)
    if place.offset < 0 or place.length < 0 or place.offset + place.length > path.stat().st_size:
        raise LandscapeError(f"{path.name} is truncated: a piece of the checkpoint lies beyond its end")
    return path


def _flat_state_dict(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Keep the network's part of a training state: the entries below ``model.`` or ``state_dict.``, where there are some."""
    for key in _NESTED:
        below = {k.removeprefix(f"{key}."): tensor for k, tensor in weights.items() if k.startswith(f"{key}.")}
        if below and len(below) < len(weights):
            return below
    if not weights:
        raise LandscapeError(f"{name} holds no tensors")
    return dict(weights)
