"""What a sample of the data says about the whole: the largest eigenvalue over the number of examples."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from landscape.plots.style import GREY, PALETTE, SINGLE, canvas
from landscape.results import SamplingError


def sampling(result: SamplingError, ax: Axes | None = None, *, errors: float = 2.0) -> Axes:
    """Draw the largest eigenvalue on subsets, on the sample with its error, and as expected on all the data.

    Args:
        result: eigenvalues on a sample, resampled.
        ax: where to draw; `None`: a new figure as wide as one column.
        errors: half-width of the bars in standard errors.

    Returns:
        The axes.

    >>> from matplotlib.figure import Figure
    >>> found = SamplingError(
    ...     values=np.array([4.0]), standard_errors=np.array([0.2]), bootstrap=np.ones((3, 1)), trace=9.0, trace_error=0.5,
    ...     trace_probe_error=0.1, subset_sizes=np.array([50, 100]), subset_means=np.array([5.0, 4.5]), bias=0.5, bias_error=0.1,
    ...     n=200, groups=8, tol=0.1, enough=False, needed=900, verdict="too few", operator="Hessian",
    ... )
    >>> sampling(found, Figure().add_subplot()).get_xlabel()
    'examples'
    """
    with canvas(ax, width=SINGLE, height=2.3) as ax:
        sizes = np.append(result.subset_sizes, result.n)
        means = np.append(result.subset_means, result.values[0])
        ax.plot(sizes, means, color=GREY, linewidth=0.7, zorder=1)
        ax.plot(result.subset_sizes, result.subset_means, "o", color=GREY, label="mean over subsets")
        ax.errorbar(
            result.n, result.values[0], yerr=errors * result.standard_errors[0], fmt="o", color=PALETTE[0], capsize=2,
            label=f"sample ± {errors:g} standard errors",
        )  # fmt: skip
        ax.axhline(result.extrapolated, color=PALETTE[1], linestyle="--", label="expected on all the data")
        reach = errors * result.bias_error
        ax.axhspan(result.extrapolated - reach, result.extrapolated + reach, color=PALETTE[1], alpha=0.2, linewidth=0)
        ax.set(xscale="log", xlabel="examples", ylabel=f"largest eigenvalue ({result.operator})")
        ax.legend()
    return ax
