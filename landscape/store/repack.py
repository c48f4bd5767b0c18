"""Copying a file object by object: HDF5 does not give back the room of what was deleted."""

from __future__ import annotations

from pathlib import Path

import h5py

from landscape.store.disk import WorkingFile

_SCALE_ATTRIBUTES = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"}


def repack(old_path: Path, new_path: Path) -> None:
    """Write everything reachable in one file into a new one, with dimension scales attached as they were.

    HDF5's own copy of a group leaves the references of its dimension scales dangling, so they are attached anew.

    Raises:
        OSError: the new file cannot be written.
    """
    with WorkingFile(new_path, fresh=True) as disk:
        with h5py.File(old_path, "r", locking=False) as old, h5py.File(disk, "w", libver=("v110", "latest")) as new:
            _copy_members(old, new)
            _attach_scales(old, new)
        disk.check()


def _copy_members(old: h5py.Group, new: h5py.Group) -> None:
    _copy_attributes(old, new)
    for name in old:
        link = old.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            new[name] = link  # a link someone made stays a link; it is not followed
        elif isinstance(old[name], h5py.Group):
            _copy_members(old[name], new.create_group(name))
        else:
            old.copy(name, new, without_attrs=True)
            _copy_attributes(old[name], new[name])
            if h5py.h5ds.is_scale(old[name].id):
                new[name].make_scale(h5py.h5ds.get_scale_name(old[name].id).decode())


def _copy_attributes(old: h5py.Group | h5py.Dataset, new: h5py.Group | h5py.Dataset) -> None:
    for name, value in old.attrs.items():
        if name not in _SCALE_ATTRIBUTES:
            new.attrs[name] = value


def _attach_scales(old: h5py.Group, new: h5py.Group) -> None:
    for name in old:
        if not isinstance(old.get(name, getlink=True), h5py.HardLink):
            continue
        if isinstance(old[name], h5py.Group):
            _attach_scales(old[name], new[name])
            continue
        for before, after in zip(old[name].dims, new[name].dims, strict=True):
            for scale in before.values():
                after.attach_scale(new.file[scale.name])
