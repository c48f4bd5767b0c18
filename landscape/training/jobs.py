"""Independent runs of an experiment: each finished one is kept, and what is kept is not computed again.

An experiment is a function of one run and a table of the arguments of all of them. A `Run` keeps finished rows, so that the
same call after Ctrl-C or a kill computes only what is missing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from landscape.bars import bar
from landscape.function.provenance import environment
from landscape.results import Result
from landscape.store import Run
from landscape.workers import Workers, completed

Row = Mapping[str, Any]
R = TypeVar("R", bound=Result)


def run_jobs(
    work: Callable[..., Row],
    jobs: Mapping[str, tuple[Any, ...]],
    run: Run[Any],
    *,
    workers: Workers = 1,
    desc: str = "runs",
) -> None:
    """Do every job that is not done, keeping each row as soon as it is finished.

    Args:
        work: one job: a module-level function of the arguments of a job that returns its row: numbers, text, truth
            values and NumPy arrays by name.
        jobs: the arguments of each job by its key.
        run: keeps the rows by key.
        workers: processes, one thread each; 1 runs in this process. A script that asks for more must do so under
            ``if __name__ == "__main__":``. Or any `concurrent.futures.Executor`, such as that of a Dask client or of MPI.
        desc: label of the progress bar.

    Raises:
        LandscapeError: fewer than one worker, a worker that ended; or whatever a job raises, finished rows being kept.

    >>> with Run(None, {}) as run:
    ...     run_jobs(lambda a, b: {"sum": a + b}, {"one": (1, 2), "two": (3, 4)}, run)
    >>> run.done["two"]
    {'sum': 7}
    """
    missing = {key: arguments for key, arguments in jobs.items() if key not in run.done}
    with bar(total=len(jobs), desc=desc, unit="run") as shown:
        shown.update(len(jobs) - len(missing))
        for key, row in completed(work, missing, workers=workers):
            run.keep(key, dict(row) if isinstance(row, Mapping) else row)
            shown.update()


class JobsRun(Run[Any]):
    """A `Run` whose parts are the rows of jobs, and whose result says what they were made with and how long it took.

    Args:
        save: the study file that will hold the result, or None.
        name: the result's name there.
        settings: JSON values that decide every number of a row; rows and results of other settings are refused. They are
            stored in the provenance of the result.
        overwrite: measure again what the same settings have stored.

    Raises:
        LandscapeError: the study holds rows or a result of other settings, another process writes it, or the disk is full.

    >>> with JobsRun(None, "table", {"seeds": 8}) as run:
    ...     run_jobs(max, {"a": (1, 2)}, run)
    ...     run.done["a"]
    2
    """

    def __init__(
        self,
        save: str | os.PathLike[str] | None,
        name: str,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ):
        super().__init__(None if save is None else (save, name), settings, overwrite=overwrite)
        about: dict[str, Any] = json.loads(json.dumps(settings))
        # as the provenance keeps them: model and data by name, everything else together
        self._about = {key: about.pop(key) for key in ("model", "data") if key in about} | {"settings": about}
        self._started = time.perf_counter()

    def conclude(self, result: R) -> R:
        """Return the result of the rows with its provenance and its seconds, stored in the study if there is one."""
        if self.result is not None:
            found: R = self.result
            return found
        seconds = time.perf_counter() - self._started
        whole: R = self.finish(result.replace(provenance={**environment(), **self._about}, seconds=seconds))
        return whole
