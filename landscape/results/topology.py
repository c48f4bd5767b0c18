"""Results of reading the shape of a slice: minima and merge tree, curvatures, widths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, printed, rows
from landscape.results.tabulate import column_table
from landscape.tables import Table


@dataclass(frozen=True)
class Minimum:
    """A local minimum of a slice.

    Attributes:
        x: coordinate along the first direction.
        y: along the second, `None` on a line.
        z: along the third, `None` on a line or plane.
        value: the value there.
        saddle: the lowest level at which its basin joins that of a lower minimum; inf for the lowest.
        persistence: ``saddle − value``.
        basin_share: share of the cells from which steepest descent ends here.
        boundary: whether it lies on the rim of the window, where the surface may go on falling.
    """

    x: float
    y: float | None
    z: float | None
    value: float
    saddle: float
    persistence: float
    basin_share: float = field(metadata=printed("share of cells", percent=1))
    boundary: bool = field(metadata=printed("on the rim"))


@dataclass(frozen=True)
class MergeNode:
    """A node of the merge tree of sublevel sets.

    Attributes:
        cell: flat index of the grid cell (C order).
        value: the value there.
        parent: row of the node where its component joins another; −1 for the root.
        is_minimum: a leaf (minimum), otherwise a saddle.
    """

    cell: int
    value: float
    parent: int
    is_minimum: bool


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Topology(Result):
    """Minima and merge tree of the sublevel sets of a slice, for the window and the resolution it was computed on.

    Attributes:
        minima: sorted by value, those above ``min_persistence``.
        tree: the merge tree, simplified to the same persistence.
        smad: mean |f(saddle) − f(minimum)| over tree edges that end in a minimum; NaN with one minimum.
        smad_normalised: the same over the range of the values.
        smad_weighted: the same with each gap weighted by the basin's share of the cells.
        min_persistence: minima shallower than this are noise and left out.
        metric: the name of the values.
        window: (low, high) of each axis, x first.
        resolution: points on each axis, x first.
        masked: cells that are NaN or infinite and count as absent.
    """

    kind: ClassVar[str] = "topology"
    location: ClassVar[str] = "checkpoints/{owner}/topology/{entry}"

    minima: tuple[Minimum, ...] = rows(Minimum, dim="minimum")
    tree: tuple[MergeNode, ...] = rows(MergeNode, dim="node", title="merge tree")
    smad: float = field(metadata=printed("SMAD"))
    smad_normalised: float = field(metadata=printed("SMAD / range"))
    smad_weighted: float = field(metadata=printed("SMAD by basin"))
    min_persistence: float = field(metadata=printed("least persistence"))
    metric: str
    window: tuple[tuple[float, float], ...]
    resolution: tuple[int, ...]
    masked: int = 0

    @property
    def pairs(self) -> np.ndarray:
        """The persistence diagram, (n, 2): value of each minimum and of the saddle where it ends."""
        return np.array([(m.value, m.saddle) for m in self.minima]).reshape(-1, 2)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScaleCurvature(Result):
    """Curvature along a direction as a function of the scale it is measured at, beside the second derivative.

    Attributes:
        h: (m,) scales, in lengths of the direction.
        kappa: (m,) [L(θ + hd) + L(θ − hd) − 2 L(θ)]/h².
        rounding: (m,) standard size of the rounding error of ``kappa``.
        hessian: dᵀHd, the limit for a smooth network.
        notes: a warning where the two disagree.
    """

    kind: ClassVar[str] = "scale-curvature"
    location: ClassVar[str] = "checkpoints/{owner}/slices/{entry}"

    h: np.ndarray = array("h", long_name="scale", units="lengths of the direction")
    kappa: np.ndarray = array("h", long_name="second difference of the loss", title="κ(h) ± rounding", error="rounding")
    rounding: np.ndarray = array("h", long_name="rounding error of the second difference")
    hessian: float = field(metadata=printed("dᵀHd"))
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reading(Result):
    """Numbers read off a slice, for the window and the resolution they hold for.

    Attributes:
        metric: the name of the values.
        centre: the value at the centre.
        lowest: the lowest finite value.
        curvature: second difference at the centre along each axis, from the nearest points.
        hessian: dᵀHd along each axis, when it was given.
        half_widths: for each axis and side (−, +) the distance at which the value reaches centre + tau; inf when it
            does not inside the window; keyed by tau.
        asymmetry: for each axis (L(t) − L(−t))/(L(t) + L(−t) − 2 L(0)) at the end of the window.
        roughness: for each axis the total variation of each half less its net rise, summed; zero when both are
            monotone.
        total_variation: mean |difference| between neighbouring cells over the range of values.
        nonconvex: share of the cells with negative second difference along the line, or a negative eigenvalue of the 2
            × 2 Hessian of differences; `None` where the grid is too small.
        volume_fraction: share of the window's area (length) below centre + epsilon, keyed by epsilon.
        window: (low, high) of each axis, x first.
        resolution: points on each axis, x first.
        masked: cells that are NaN or infinite.
    """

    kind: ClassVar[str] = "reading"
    location: ClassVar[str] = "checkpoints/{owner}/slices/{entry}"

    metric: str
    centre: float = field(metadata=printed("at the centre"))
    lowest: float = field(metadata=printed("at the lowest point"))
    curvature: tuple[float, ...]
    hessian: tuple[float, ...] | None = field(default=None, metadata=printed("dᵀHd"))
    half_widths: dict[str, tuple[tuple[float, float], ...]] = field(metadata=printed("half-widths by level"))
    asymmetry: tuple[float, ...]
    roughness: tuple[float, ...]
    total_variation: float
    nonconvex: float | None = field(metadata=printed("not convex", percent=1))
    volume_fraction: dict[str, float] = field(metadata=printed("share of the window by level", percent=1))
    window: tuple[tuple[float, float], ...]
    resolution: tuple[int, ...]
    masked: int = 0

    def columns(self) -> dict[str, Any]:
        """Return one row per axis: curvature, half-widths on both sides, asymmetry, roughness."""
        columns: dict[str, Any] = {"axis": list("xyz"[: len(self.window)]), "curvature": list(self.curvature)}
        if self.hessian is not None:
            columns["hessian"] = list(self.hessian)
        for tau, sides in self.half_widths.items():
            columns[f"half_width_minus/{tau}"] = [left for left, _ in sides]
            columns[f"half_width_plus/{tau}"] = [right for _, right in sides]
        return {**columns, "asymmetry": list(self.asymmetry), "roughness": list(self.roughness)}

    def tables(self) -> tuple[Table, ...]:
        """Return one row per axis."""
        return (column_table(self.title, self.columns()),)
