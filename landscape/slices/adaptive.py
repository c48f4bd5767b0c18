"""A plane that is evaluated where it bends and interpolated where it does not, to a stated error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Plane
from landscape.slices.evaluate import Engine, Values, named
from landscape.slices.grid import Grid, Span
from landscape.store import Run, identity
from landscape.store.rows import COMPUTED, TEMPLATE


@checked
def adaptive_plane(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span] | None = None,
    coarse: int = 9,
    refinements: int = 3,
    tolerance: float = 0.01,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Plane:
    r"""Evaluate a plane on a grid that is refined only where interpolation is not good enough.

    A coarse grid is halved ``refinements`` times. At each level the loss is evaluated at the middle of every cell that
    is still open and compared with cubic interpolation from the level before; where they differ by more than the
    tolerance the rest of the cell is evaluated too and its parts, and those of its neighbours, stay open; elsewhere the
    finer points are interpolated. The error is checked at the middles of cells, not everywhere: features narrower than
    a coarse cell can be missed.

    Args:
        objective: the function.
        directions: two, as `plane` takes them.
        span: as in `plane`.
        coarse: points on each axis of the coarsest grid, at least 5.
        refinements: how often its cells are halved: the result has (coarse − 1)·2^refinements + 1 points on each axis.
        tolerance: difference in loss below which interpolation is good enough.
        also, dataset, save, overwrite: as in `plane`; further objectives do not decide where to refine, and each part of a
            row is on disk when it is finished.

    Returns:
        A plane whose ``computed`` is 1 where it was evaluated and 2 where it is interpolated.

    Raises:
        LandscapeError: as `plane`; a coarse grid that is too small, a tolerance that is not positive.

    >>> import torch, landscape as ls
    >>> net, data = torch.nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
    >>> objective = ls.Objective(net, data, "mse_loss", dtype=torch.float64).at(torch.zeros(2))
    >>> found = adaptive_plane(objective, torch.eye(2), coarse=5, refinements=2)  # cubics know a paraboloid
    >>> found.loss.shape, int((found.computed == 1).sum())  # 25 points and 16 middles of cells
    ((17, 17), 41)
    """
    started = time.perf_counter()
    if coarse < 5 or refinements < 1 or not tolerance > 0:
        raise LandscapeError(
            f"coarse={coarse}, refinements={refinements}, tolerance={tolerance:g}; "
            "expected at least 5, at least 1, above 0"
        )
    size = (coarse - 1) * 2**refinements + 1
    grid = Grid.of(Plane, objective, directions, span, size)
    objectives = named(objective, also, dataset)
    settings = {"slice": "adaptive-plane", **grid.settings, "coarse": coarse, "tolerance": tolerance}
    run: Run[Plane] = Run(
        save, lambda: identity(objectives, **settings), kind=Plane, overwrite=overwrite, world=objective.world
    )
    with run, Engine(objectives, grid.vectors, points=coarse**2 * 4) as engine:
        if run.result is not None:
            return run.result
        if TEMPLATE not in run.done:
            run.keep(TEMPLATE, grid.blank(Plane, objective, dataset, engine.names))
        work = _Surface(engine, grid, run, key=f"{dataset}/loss")
        step = 2**refinements
        work.evaluate(_lattice(size, step))
        open_cells = np.ones((coarse - 1, coarse - 1), dtype=bool)
        for _ in bar(range(refinements), desc="refinement", unit="level"):
            work.interpolate(step)
            open_cells = work.refine(open_cells, step, tolerance)
            step //= 2
        share = work.computed.mean()
        result: Plane = run.done[TEMPLATE].replace(
            values=work.values,
            computed=np.where(work.computed, 1, 2).astype(np.uint8),
            evaluation=f"{engine.description}; {share:.0%} of the grid, the rest interpolated to {tolerance:g}",
            seconds=time.perf_counter() - started,
        )
        return run.finish(result)


class _Surface:
    """The finest grid, filled level by level."""

    def __init__(self, engine: Engine, grid: Grid, run: Run[Plane], key: str):
        self.engine, self.run, self.key = engine, run, key
        self.x, self.y = grid.axes["x"], grid.axes["y"]
        self.computed = np.zeros(grid.shape, dtype=bool)
        self.values: Values = {}

    def evaluate(self, wanted: np.ndarray) -> None:
        """Evaluate the points of a mask that were not evaluated yet, row by row."""
        missing = wanted & ~self.computed
        for j in np.flatnonzero(missing.any(1)):
            for name, values in self._row(int(j), missing[j]).items():
                self.values.setdefault(name, np.full(self.computed.shape, np.nan))[j, missing[j]] = values[missing[j]]
        self.computed |= missing

    def _row(self, j: int, wanted: np.ndarray) -> Values:
        """Return a row whose wanted points are evaluated: now, or by the run that was interrupted."""
        kept = dict(self.run.done.get(j, {}))
        known = kept.pop(COMPUTED, np.zeros(len(self.x))).astype(bool)
        new = np.flatnonzero(wanted & ~known)
        if new.size == 0:
            return kept
        for name, values in self.engine.row(self.x[new], [self.y[j]]).items():
            kept[name] = kept.get(name, np.full(len(self.x), np.nan)).copy()
            kept[name][new] = values
        self.run.keep(j, {**kept, COMPUTED: known | wanted})
        return kept

    def interpolate(self, step: int) -> None:
        """Fill the lattice of half the step from that of the step, where nothing was evaluated."""
        fine = _lattice(len(self.x), step // 2) & ~_lattice(len(self.x), step) & ~self.computed
        rows, columns = np.nonzero(fine)
        points = np.stack([self.y[rows], self.x[columns]], axis=1)
        for value in self.values.values():
            known = value[::step, ::step]
            method = "cubic" if np.isfinite(known).all() else "linear"
            value[fine] = RegularGridInterpolator((self.y[::step], self.x[::step]), known, method=method)(points)

    def refine(self, open_cells: np.ndarray, step: int, tolerance: float) -> np.ndarray:
        """Test the open cells at their middles, evaluate those that fail; return the open cells of the next level."""
        half = step // 2
        middles = np.zeros_like(self.computed)
        middles[half::step, half::step] = open_cells
        guess = self.values[self.key].copy()
        self.evaluate(middles)
        with np.errstate(invalid="ignore"):
            error = np.abs(self.values[self.key] - guess)[half::step, half::step]
        failed = open_cells & ~(error <= tolerance)  # NaN and inf fail
        wanted = np.zeros_like(self.computed)
        for j, i in np.argwhere(failed):
            wanted[j * step : (j + 1) * step + 1 : half, i * step : (i + 1) * step + 1 : half] = True
        self.evaluate(wanted)
        return np.kron(_grown(failed), np.ones((2, 2), dtype=bool))


def _lattice(size: int, step: int) -> np.ndarray:
    """Return the mask of every step-th point of a square grid."""
    mask = np.zeros((size, size), dtype=bool)
    mask[::step, ::step] = True
    return mask


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return the mask with the eight neighbours of its cells."""
    padded = np.pad(mask, 1)
    shifts = [np.roll(padded, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return np.any(shifts, axis=0)[1:-1, 1:-1]
