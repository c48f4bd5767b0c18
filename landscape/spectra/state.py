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
from landscape.spectra.lanczos import LanczosState


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
