"""One scale for many panels: levels, their labels, the colours and heights that follow; and ticks that a person reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.ticker import Formatter, LogFormatter, LogLocator, MaxNLocator, NullFormatter

from landscape.errors import LandscapeError

INNERMOST = 0.03
"""Share of the grid below the first level above the minimum: enough points for a ring that the grid can show."""


class LevelNorm(Normalize):
    """Map values to [0, 1] so that every band between two levels gets an equal share of the colours.

    Between levels the map is linear in the value, or on a logarithmic scale in log(value − minimum), but for the lowest band,
    which is linear.
    """

    def __init__(self, levels: np.ndarray, *, log: bool) -> None:
        super().__init__(vmin=float(levels[0]), vmax=float(levels[-1]))
        self.levels, self.log = levels, log
        self.shares = np.linspace(0.0, 1.0, len(levels))
        above = levels[1:] - levels[0]
        # a logarithm has no bottom: the lowest band is linear, and as wide on paper as the next one
        self.first, self.ratio = (float(above[0]), float(np.log(above[1] / above[0]))) if log else (1.0, 1.0)

    def _stretch(self, value: np.ndarray) -> np.ndarray:
        if not self.log:
            return value
        above = np.maximum(value - self.levels[0], 0.0) / self.first
        return np.where(above < 1.0, self.ratio * (above - 1.0), np.log(np.maximum(above, 1.0)))

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        """Return the share of the colours below each value; masked and NaN values stay masked."""
        data: Any = np.ma.masked_invalid(np.ma.asarray(value, dtype=float))
        stretched = self._stretch(data.filled(self.levels[0]))
        return np.ma.array(np.interp(stretched, self._stretch(self.levels), self.shares), mask=data.mask)

    def inverse(self, value: Any) -> Any:
        """Return the values at given shares of the colours."""
        stretched = np.interp(np.asarray(value, dtype=float), self.shares, self._stretch(self.levels))
        if not self.log:
            return stretched
        above = np.where(stretched < 0.0, 1.0 + stretched / self.ratio, np.exp(np.maximum(stretched, 0.0)))
        return self.first * above + self.levels[0]


@dataclass(frozen=True)
class Scale:
    """Levels that several panels share.

    Attributes:
        levels: increasing, from the smallest value to the largest shown.
        log: the levels are spaced evenly in log(value − minimum).
        clipped: some values lie above the last level.
    """

    levels: np.ndarray
    log: bool
    clipped: bool

    @property
    def norm(self) -> LevelNorm:
        """The map from values to shares of the colours, and to heights of surfaces."""
        return LevelNorm(self.levels, log=self.log)

    @property
    def labels(self) -> list[str]:
        """The levels as text, with as many digits as tell neighbours apart, and ``> x`` at a clipped top."""
        texts = distinct(self.levels)
        return [*texts[:-1], f"> {texts[-1]}"] if self.clipped else texts

    def ticks(self, most: int) -> tuple[list[int], list[str]]:
        """Return evenly spaced indices of at most so many levels, the last one always among them, and their labels.

        >>> Scale(np.arange(12.0), log=False, clipped=False).ticks(5)
        ([2, 5, 8, 11], ['2', '5', '8', '11'])
        """
        stride = max(1, math.ceil((len(self.levels) - 1) / (most - 1)))
        shown = list(range(len(self.levels) - 1, -1, -stride))[::-1]
        return shown, [self.labels[i] for i in shown]


def scale_of(
    arrays: Iterable[np.ndarray],
    *,
    levels: int | Sequence[float] | np.ndarray | Scale = 12,
    limit: float | None = None,
    log: bool = True,
) -> Scale:
    """Choose the levels for one or several arrays together.

    The levels of a logarithmic scale are L_min, then L_min + ε, …, L_max with evenly spaced logarithms of the distance from
    L_min; ε leaves 3 % of the points inside the first ring. Not finite values are left out.

    Args:
        arrays: the values of every panel.
        levels: their number, the levels themselves, or a scale to use as it is.
        limit: the largest value shown; larger ones get the top colour and the colour bar says ``> limit``.
        log: space them logarithmically above the minimum.

    Raises:
        LandscapeError: fewer than two levels, levels that do not increase, or a limit not above the smallest value.

    >>> scale_of([np.array([0.0, 1.0, 10.0, 100.0])], levels=4, limit=10.0).labels[-1]
    '> 10'
    """
    if isinstance(levels, Scale):
        return levels
    flat = np.concatenate([np.ravel(a).astype(float) for a in arrays] or [np.empty(0)])
    finite = flat[np.isfinite(flat)]
    if finite.size == 0:
        return Scale(np.array([0.0, 1.0]), log=False, clipped=False)
    bottom, top = float(finite.min()), float(finite.max())
    if not isinstance(levels, int | np.integer):
        return _given(np.asarray(levels, dtype=float), bottom, top, log)
    if levels < 2:
        raise LandscapeError(f"levels={levels}; at least 2 are needed to tell low from high")
    if limit is not None and not (np.isfinite(limit) and limit > bottom):
        raise LandscapeError(f"limit={limit:g} is not above the smallest value {bottom:g}; give a larger one")
    clipped = limit is not None and limit < top
    top = float(limit) if limit is not None and clipped else top
    if top - bottom <= 1e-12 * max(abs(bottom), abs(top)):
        return Scale(np.array([bottom, bottom + max(abs(bottom), 1.0) * 1e-6]), log=False, clipped=False)
    if not log:
        return Scale(np.linspace(bottom, top, levels + 1), log=False, clipped=clipped)
    above = finite[(finite > bottom) & (finite <= top)] - bottom
    high = top - bottom
    low = min(float(np.quantile(above, INNERMOST)) if above.size else high, high / 10)
    chosen = np.concatenate([[bottom], bottom + np.geomspace(low, high, levels)])
    chosen[-1] = top  # exactly, so that the highest point is inside
    return Scale(chosen, log=True, clipped=clipped)


def _given(levels: np.ndarray, bottom: float, top: float, log: bool) -> Scale:
    if levels.ndim != 1 or len(levels) < 2 or not np.isfinite(levels).all() or (np.diff(levels) <= 0).any():
        raise LandscapeError("levels must be at least two finite numbers that increase; sort them and drop repeats")
    if bottom < levels[0]:
        levels = np.concatenate([[bottom], levels])
    return Scale(levels, log=log and len(levels) > 2, clipped=top > levels[-1])


def distinct(values: np.ndarray) -> list[str]:
    """Format numbers with the fewest significant digits, from two up, that keep neighbours apart.

    >>> distinct(np.array([2.3001, 2.3004, 2.34]))
    ['2.3001', '2.3004', '2.34']
    """
    for digits in range(2, 16):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values.tolist())):
            break
    return [_plain(text) for text in texts]


def spans(values: np.ndarray, factor: float = 3.0) -> bool:
    """Return whether values ask for a logarithmic axis: all positive, and a factor or more apart.

    >>> spans(np.array([1.0, 2.0])), spans(np.array([1.0, np.nan, 5.0])), spans(np.array([-1.0, 5.0]))
    (False, True, False)
    """
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((finite > 0).all()) and bool(finite.max() >= factor * finite.min())


def logarithmic(values: np.ndarray, log: bool | None, factor: float) -> bool:
    """Return whether an axis is logarithmic: as it was asked for, or where the values ask for it.

    Raises:
        LandscapeError: it was asked for, and not all values are positive.
    """
    if log and not (values[np.isfinite(values)] > 0).all():
        raise LandscapeError("a logarithmic axis needs positive values, and some are not; use log=False")
    return spans(values, factor) if log is None else log


class LogTicks(LogLocator):
    """Decades on a logarithmic axis; below two of them 1, 2 and 5 of each, or round numbers where that leaves fewer than three.

    >>> LogTicks().tick_values(0.82, 1.13), LogTicks().tick_values(1.0, 12.0)
    (array([0.9, 1. , 1.1]), array([ 1.,  2.,  5., 10.]))
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the places between two limits."""
        low, high = sorted((vmin, vmax))
        if low <= 0 or high >= 100 * low:
            return super().tick_values(vmin, vmax)
        decades = np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = _within(np.outer(10.0**decades, [1.0, 2.0, 5.0]).ravel(), low, high)
        if len(found) < 3:
            found = _within(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high), low, high)
        return found


def _within(places: Any, low: float, high: float) -> np.ndarray:
    places = np.asarray(places)
    return places[(places >= low * (1 - 1e-9)) & (places <= high * (1 + 1e-9))]


class LogLabels(Formatter):
    """Numbers as a person reads them, 0.0086 and 1.1, on axes between 0.0001 and 100000; powers of ten beyond."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        low, high = sorted(self.axis.get_view_interval()) if self.axis is not None else (x, x)
        if low >= 1e-4 and high <= 1e5:
            return _plain(f"{x:.6g}")
        mantissa, _, power = f"{x:.6e}".partition("e")
        factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g} \times "
        return f"${factor}10^{{{int(power)}}}$"


def plain_ticks(axis: Axis) -> None:
    """Give a logarithmic axis ticks and labels that a person reads, unless ticks of its own were set."""
    if type(axis.get_major_locator()) is LogLocator and isinstance(axis.get_major_formatter(), LogFormatter):
        axis.set_major_locator(LogTicks())
        axis.set_major_formatter(LogLabels())
        axis.set_minor_formatter(NullFormatter())


def _plain(text: str) -> str:
    """Write 1.5e+04 as 15000 and 2e+06 as 2e6."""
    mantissa, exponent, power = text.partition("e")
    if not exponent:
        return text
    return f"{float(text):.0f}" if 0 <= int(power) < 5 else f"{mantissa}e{int(power)}"


def darkened(cmap: str) -> ListedColormap:
    """Return a colour map without its bright end, for lines on white paper."""
    return ListedColormap(matplotlib.colormaps[cmap](np.linspace(0.0, 0.78, 256)), name=f"{cmap}, dark part")


def colourbar(figure: Any, shown: ScalarMappable, axes: Any, label: str, **options: Any) -> Colorbar:
    """Add a colour bar beside axes."""
    bar: Colorbar = figure.colorbar(shown, ax=axes, **options)
    bar.set_label(label)
    bar.ax.tick_params(labelsize="small", length=2)
    bar.outline.set_linewidth(0.5)
    return bar


def add_colourbar(
    figure: Any,
    scale: Scale,
    axes: Any,
    *,
    label: str,
    cmap: str | Colormap,
    banded: bool,
    most: int = 13,
    **options: Any,
) -> Colorbar:
    """Add the colour bar of a scale: bands for contours, a continuous bar for heat maps and surfaces."""
    options |= {"boundaries": scale.levels, "spacing": "uniform"} if banded else {}
    extend = "max" if scale.clipped else "neither"
    bar = colourbar(figure, ScalarMappable(scale.norm, cmap), axes, label, extend=extend, **options)
    shown, labels = scale.ticks(most)
    bar.set_ticks(scale.levels[shown].tolist(), labels=labels)
    bar.minorticks_off()
    return bar
