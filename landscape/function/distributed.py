"""Folders that `torch.distributed.checkpoint` writes: tensors put together from the pieces that the metadata lists."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.pickled import Archive, Record, data_type, lengths, read_records


def read_distributed(folder: Path, chosen: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the tensors of a folder; `chosen` is given all names and returns those wanted, under their new names."""
    metadata, _ = read_records((folder / ".metadata").read_bytes())
    where = {
        (index["fqn"], lengths(index.state.get("offset") or ())): place
        for index, place in metadata["storage_data"].items()
    }
    found = {
        name: (name, entry)
        for name, entry in metadata["state_dict_metadata"].items()
        if "chunks" in (entry.state or ())
    }
    return {new: _assembled(folder, name, entry, where) for new, (name, entry) in chosen(found).items()}


def inside(folder: Path, name: str) -> Path:
    """Return a file in a folder, refusing names that lead out of it or to another index."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.suffix == ".json":
        raise LandscapeError(f"it names a part {name!r} outside its folder; it is not followed")
    if not path.is_file():
        raise LandscapeError(f"it lacks its part {name!r}; copy the whole folder")
    return path


def _assembled(folder: Path, name: str, entry: Record, where: Mapping[tuple[str, tuple[int, ...]], Record]) -> Tensor:
    shape = lengths(entry["size"])
    chunks = [(lengths(chunk["offsets"]), lengths(chunk["sizes"])) for chunk in entry["chunks"]]
    places = [where[name, offsets] for offsets, _ in chunks]
    files = [_checked_file(folder, place) for place in places]
    size, stored = math.prod(shape), sum(math.prod(sizes) for _, sizes in chunks)
    held = sum(place["length"] for place in places)
    if size != stored or size > held:  # before memory is taken for it
        raise LandscapeError(f"{name!r} claims {size} numbers, its pieces hold {stored} in {held} bytes")
    whole = torch.zeros(shape, dtype=data_type(entry["properties"].state[0]))
    for (offsets, sizes), place, path in zip(chunks, places, files, strict=True):
        with open(path, "rb") as file:
            file.seek(place["offset"])
            content = file.read(place["length"])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            saved = Archive(archive, len(content))
            piece = saved.tensor(saved.tree)
        if piece.shape != sizes:
            raise LandscapeError(f"a piece of {name!r} is not the tensor its metadata describes")
        whole[tuple(slice(start, start + length) for start, length in zip(offsets, sizes, strict=True))] = piece
    return whole


def _checked_file(folder: Path, place: Record) -> Path:
    """Return the file of a piece after checking that the piece lies within it."""
    if place.state.get("transform_descriptors"):
        raise LandscapeError("it stores its pieces transformed; save it without storage extensions")
    path = inside(folder, place["relative_path"])
    if place["offset"] < 0 or place["length"] < 0 or place["offset"] + place["length"] > path.stat().st_size:
        raise LandscapeError(f"{path.name} is truncated: a piece of the checkpoint lies beyond its end")
    return path
