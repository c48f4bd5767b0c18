"""Results of walking through the loss surface: directions, lines, planes, and the shapes and numbers read off them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, describe, nested, printed, rows, volatile
from landscape.results.tabulate import aligned_table, column_table, to_cell
from landscape.tables import Cell, Table, cell, duration


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Directions(Result):
    """Directions in parameter space, one per row.

    Attributes:
        vectors: (n, P); `None` when only their recipe was stored.
        norms: (n,) Euclidean length of each direction.
        cosines: (n, n) cosines between them as used.
        direction_kind: ``gaussian``, ``eigenvector``, ``between``, ``points``, ``pca`` or ``gradient``.
        normalize: ``filter``, ``layer``, ``model``, ``element`` or ``none``.
        vectors_as: what was done to biases and norm parameters: ``zero``, ``scale`` or ``keep``.
        seed: seed of the CPU generator that drew them.
        sha256: fingerprint of the float64 bytes of ``vectors``.
        notes: remarks such as filters whose weights are all zero.
    """

    kind: ClassVar[str] = "directions"
    location: ClassVar[str] = "checkpoints/{owner}/directions/{entry}"
    index: ClassVar[str] = "direction"

    vectors: np.ndarray | None = array("direction", "P", long_name="directions", units="parameter", optional=True)
    norms: np.ndarray = array("direction", long_name="Euclidean length", units="parameter", title="length")
    cosines: np.ndarray = array("direction", "direction", long_name="cosine between directions")
    direction_kind: str
    normalize: str = "none"
    vectors_as: str = "zero"
    seed: int | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """How the directions were made, as ``gaussian, filter-normalised``."""
        scaled = "not normalised" if self.normalize == "none" else f"{self.normalize}-normalised"
        return f"{self.direction_kind}, {scaled}"

    def tables(self) -> tuple[Table, ...]:
        """Return one row per direction: its length and the cosines with the others."""
        cosines = {f"cosine with {i}": [f"{x:.3f}" for x in row] for i, row in enumerate(self.cosines.T, start=1)}
        return (aligned_table(self, **cosines),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield number and kind of the directions, their lengths and angles."""
        count = len(self.norms)
        seed = "" if self.seed is None else f", seed {self.seed}"
        yield "directions", f"{count} {self.words}{seed}"
        yield "lengths", describe(self.norms)
        if count > 1:
            apart = np.abs(self.cosines[~np.eye(count, dtype=bool)]).max()
            yield "largest |cosine|", f"{apart:.2g}"
        for note in self.notes:
            yield "note", note
        yield "time", duration(self.seconds)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Slice(Result):
    """Named values over a grid of one to three axes: a `Line`, a `Plane` or a `Volume`; arrays are (nz, ny, nx), x fastest.

    Attributes:
        x: (nx,) coordinates along the first direction; with ``y`` and ``z`` for the others, where there are any.
        values: arrays over the grid by name: ``train/loss``, ``train/accuracy``, ``test/loss`` …; NaN if not computed.
        computed: of planes and volumes: 1 where a value was computed, 2 where it was interpolated, 0 where it is missing.
        directions: the directions of the axes.
        dataset: which data set ``loss`` and ``accuracy`` mean: the first part of the names.
        evaluation: how the points were computed, in words.
    """

    location: ClassVar[str] = "checkpoints/{owner}/slices/{entry}"
    axis_names: ClassVar[tuple[str, ...]]

    dataset: str = "train"
    evaluation: str = volatile("")
    x: np.ndarray = array("x", long_name="coordinate along the first direction")
    # each kind declares them after its axes: fingerprints in study files go by the order of the fields
    if TYPE_CHECKING:
        values: Mapping[str, np.ndarray]
        directions: Directions | None

    @property
    def axes(self) -> dict[str, np.ndarray]:
        """The coordinates by axis, x first."""
        return {name: np.asarray(getattr(self, name), dtype=float) for name in self.axis_names}

    @property
    def loss(self) -> np.ndarray:
        """The loss on the objective's own data."""
        return self.value("loss")

    @property
    def accuracy(self) -> np.ndarray:
        """The accuracy on the objective's own data, between 0 and 1."""
        return self.value("accuracy")

    def value(self, name: str, dataset: str | None = None) -> np.ndarray:
        """Return the array of a metric on one data set.

        Raises:
            KeyError: there is no such metric; the message lists those that exist.
        """
        key = f"{dataset or self.dataset}/{name}"
        if key not in self.values:
            raise KeyError(f"no values named {key!r}; this slice holds {', '.join(sorted(self.values))}")
        return self.values[key]

    def columns(self) -> dict[str, Any]:
        """Return one row per grid point, x fastest: the coordinates, the values, and whether each was computed."""
        columns = super().columns()
        return columns | ({"computed": (columns["computed"] != 0).astype(int)} if "computed" in columns else {})

    def tables(self) -> tuple[Table, ...]:
        """Return one row per metric: its value at the centre, the lowest and the highest with their coordinates."""
        body = tuple((name, *_extremes(array, list(self.axes.values()))) for name, array in self.values.items())
        return (Table(self.title, ("values", "at the centre", "lowest", "at", "highest", "at"), body),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the window, the ranges of the values and how much of the grid was computed."""
        for name, axis in self.axes.items():
            yield ("points" if len(self.axis_names) == 1 else name), f"{len(axis)} from {axis[0]:.4g} to {axis[-1]:.4g}"
        for name, value in self.values.items():
            yield name, describe(value)
        computed = getattr(self, "computed", None)
        if computed is not None and (computed != 1).any():
            rest = "the rest interpolated" if computed.all() else "the rest missing"
            yield "computed", f"{(computed == 1).mean():.0%} of the grid, {rest}"
        if self.directions is not None:
            yield ("direction" if len(self.axis_names) == 1 else "directions"), self.directions.words
        yield "time", duration(self.seconds)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Line(Slice):
    """Loss and metrics along one line: value[i] = f(theta + x[i] d), or along a path with parameter x."""

    kind: ClassVar[str] = "line"
    axis_names: ClassVar[tuple[str, ...]] = ("x",)

    x: np.ndarray = array("x", long_name="coordinate along the direction")
    values: Mapping[str, np.ndarray] = arrays("x", long_name="value on the line")
    directions: Directions | None = nested(Directions, optional=True)

    def tables(self) -> tuple[Table, ...]:
        """Return one row per point: the coordinate and the values there."""
        return (aligned_table(self),)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Path(Line):
    """Loss and metrics along a path between two solutions; x runs from 0 (the first) to 1 (the second).

    Attributes:
        path_kind: ``linear``, ``bezier`` or ``polygon``.
        controls: (m, P) control points of a curve, ends included; `None` for a straight line.
        notes: remarks, such as how statistics of norm layers were treated.
    """

    kind: ClassVar[str] = "path"
    location: ClassVar[str] = "paths/{entry}"

    path_kind: str = "linear"
    controls: np.ndarray | None = array("control", "P", long_name="control points", units="parameter", optional=True)
    notes: tuple[str, ...] = ()

    @property
    def barrier(self) -> float:
        """The highest loss on the path minus the loss of the higher end; at least 0."""
        return self.barrier_of("loss")

    def barrier_of(self, name: str = "loss", dataset: str | None = None, *, over: str = "larger") -> float:
        """Return the highest value on the path minus that of its ends.

        Args:
            name: the metric.
            dataset: the data set; `None`: the objective's own.
            over: ``larger`` (the higher end) or ``mean`` (the mean of both ends).

        Raises:
            KeyError: there is no such metric.
            ValueError: ``over`` is something else.
        """
        value = self.value(name, dataset)
        if over not in ("larger", "mean"):
            raise ValueError(f"over is {over!r}, expected 'larger' or 'mean'")
        ends = max(value[0], value[-1]) if over == "larger" else (value[0] + value[-1]) / 2
        return float(np.nanmax(value) - ends)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the barrier first, then what a line yields."""
        yield "barrier", f"{describe(self.barrier)} over the higher end"
        yield from super().summary()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plane(Slice):
    """Loss and metrics on a plane: value[j, i] = f(theta + x[i] d0 + y[j] d1); arrays are (ny, nx), x fastest."""

    kind: ClassVar[str] = "plane"
    axis_names: ClassVar[tuple[str, ...]] = ("x", "y")

    y: np.ndarray = array("y", long_name="coordinate along the second direction")
    values: Mapping[str, np.ndarray] = arrays("y", "x", long_name="value on the plane")
    computed: np.ndarray = array("y", "x", long_name="1 where the value was computed, 2 where it was interpolated")
    directions: Directions | None = nested(Directions, optional=True)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Volume(Slice):
    """Loss and metrics in a volume: value[k, j, i] = f(theta + x[i] d0 + y[j] d1 + z[k] d2), arrays (nz, ny, nx)."""

    kind: ClassVar[str] = "volume"
    axis_names: ClassVar[tuple[str, ...]] = ("x", "y", "z")

    y: np.ndarray = array("y", long_name="coordinate along the second direction")
    z: np.ndarray = array("z", long_name="coordinate along the third direction")
    values: Mapping[str, np.ndarray] = arrays("z", "y", "x", long_name="value in the volume")
    computed: np.ndarray = array("z", "y", "x", long_name="1 where the value was computed")
    directions: Directions | None = nested(Directions, optional=True)


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


def _extremes(values: np.ndarray, axes: list[np.ndarray]) -> tuple[Cell, ...]:
    """Return the value at the origin, and the lowest and highest finite values with where they are, x first."""
    origin = tuple(np.flatnonzero(np.abs(axis) <= 1e-9 * np.ptp(axis)) for axis in reversed(axes))
    centre = to_cell(values[tuple(index[0] for index in origin)]) if all(map(len, origin)) else None
    if not np.isfinite(values).any():
        return centre, None, None, None, None
    finite = np.where(np.isfinite(values), values, np.nan)
    found = [np.unravel_index(pick(finite), values.shape) for pick in (np.nanargmin, np.nanargmax)]
    low, high = (
        (to_cell(values[at]), "(" + ", ".join(cell(a[i]) for a, i in zip(axes, reversed(at), strict=True)) + ")")
        for at in found
    )
    return centre, *low, *high
