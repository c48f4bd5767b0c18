"""Keeping an unfinished Lanczos process, so that a killed one goes on where it was."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

from landscape.errors import LandscapeError
from landscape.results import Eigenpairs
from landscape.spectra.lanczos import LanczosState
from landscape.store import Run

_STATE = "state"


def kept_state(run: Run[Eigenpairs]) -> LanczosState | None:
    """Return the state that an interrupted run left, or `None`."""
    return LanczosState(**run.done[_STATE]) if _STATE in run.done else None


class Keeper:
    """Keeps the state of a process from time to time; a full disk costs the keeping, not the computation.

    Args:
        run: where to.
        every: seconds between two writings; the state holds the whole basis.
    """

    def __init__(self, run: Run[Eigenpairs], every: float) -> None:
        self.run, self.every = run, every
        self._written, self._warned = time.monotonic(), False

    def __call__(self, state: Callable[[], LanczosState], *, now: bool = False) -> None:
        """Keep the state unless it was kept a moment ago."""
        if not now and time.monotonic() - self._written < self.every:
            return
        self._written = time.monotonic()
        known = state()
        values: dict[str, Any] = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
        try:
            self.run.keep(_STATE, values)
        except LandscapeError as error:
            if not self._warned:
                warnings.warn(f"{error}; the computation goes on, and cannot be resumed after a kill", stacklevel=2)
            self._warned = True
