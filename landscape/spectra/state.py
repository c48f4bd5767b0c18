"""A file that keeps an unfinished run, so that a killed one goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Eigenpairs
from landscape.spectra.lanczos import LanczosState

DECISIVE = ("weights_sha256", "data_sha256", "loss", "selection", "dtype", "mode")
"""Entries of an operator's provenance that must agree for a run to go on."""


def beside_study(study: str | Path, name: str) -> Path:
    """Return where the run that will become a result of a study is kept: ``study.h5.sgd-0+top5.lanczos.npz``.

    Raises:
        LandscapeError: the study cannot keep eigenpairs under that name.
    """
    from landscape.store.names import path_of  # loads h5py, which runs that are not saved do without

    path_of(Eigenpairs, name)
    path = Path(study).expanduser().resolve()
    return path.with_name(f"{path.name}.{name.replace('/', '+')}.lanczos.npz")


def identity(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an operator's provenance decides its products.

    >>> identity({"weights_sha256": "12ab", "python": "3.12"})
    {'weights_sha256': '12ab'}
    """
    return {name: provenance[name] for name in DECISIVE if name in provenance}


class StateFile:
    """An unfinished Lanczos run on disk: replaced atomically, removed when the run ends.

    Args:
        path: the file; it need not exist.
        settings: what must agree for the run to be the same one.
        every: seconds between two writings; a basis is large.

    >>> from pathlib import Path
    >>> StateFile(Path("no-such-run.npz"), {"k": 5}).load() is None
    True
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, every: float = 30.0) -> None:
        self.path = path
        self.settings = dict(settings)
        self.every = every
        self._written = time.monotonic()

    def load(self) -> LanczosState | None:
        """Return the saved run, or None where there is none.

        Raises:
            LandscapeError: the file is not a saved run, or belongs to another one.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                settings = json.loads(str(file["settings"]))
                fields = {f.name: file[f.name] for f in dataclasses.fields(LanczosState)}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise LandscapeError(
                f"{self.path} is not a saved Lanczos run ({error}): remove it or name another"
            ) from error
        different = [name for name in self.settings if settings.get(name) != self.settings[name]]
        if different:
            told = ", ".join(f"{name} {settings.get(name)!r} instead of {self.settings[name]!r}" for name in different)
            raise LandscapeError(f"{self.path} holds another run ({told}): remove it or name another file")
        return LanczosState(**{name: value if value.ndim else value.item() for name, value in fields.items()})

    def save(self, state: Callable[[], LanczosState], *, now: bool = False) -> None:
        """Write the run unless it was written a moment ago; a reader sees the old file or the new one."""
        if not now and time.monotonic() - self._written < self.every:
            return
        kept = state()
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with open(beside, "wb") as file:
                arrays: dict[str, Any] = {f.name: getattr(kept, f.name) for f in dataclasses.fields(kept)}
                np.savez(file, settings=np.array(json.dumps(self.settings)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
        finally:
            beside.unlink(missing_ok=True)
        self._written = time.monotonic()

    def discard(self) -> None:
        """Remove the file of a finished run."""
        self.path.unlink(missing_ok=True)
