"""Where outliers end and the bulk begins, from the largest eigenvalues alone."""

from __future__ import annotations

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Eigenpairs, Estimate


def outlier_edge(pairs: Eigenpairs) -> Estimate:
    """Place the edge between outliers and bulk at the largest ratio λᵣ/λᵣ₊₁ of consecutive positive eigenvalues.

    Trained networks' bulks have no square-root end for `bulk_edge` to find: below the k − 1 or so eigenvalues that the means
    of k classes give, the means of pairs of classes give further levels, about k (k − 1)/2 and more, before the many small ones
    (Papyan 2019). This estimator makes no assumption on the bulk; it takes the widest gap among the given eigenvalues, so
    ask for about twice as many as there are classes. On mixtures whose classes overlap it found k − 1 to k outliers where
    `bulk_edge`, blind to the levels, found up to 2k; on networks that fit every example the levels merge, and it means little.

    Args:
        pairs: converged, ``which="LA"``, at least three of them positive.

    Returns:
        `Estimate` of the edge √(λᵣ λᵣ₊₁), so that ``(pairs.values > edge.value).sum()`` is r; its message says how wide the
        gap is. The standard error is that of a place drawn uniformly from the gap, which is no sampling error.

    Raises:
        LandscapeError: the pairs did not converge, are of another end, or fewer than three are positive.

    Sources: Ahn and Horenstein 2013, Econometrica 81, 1203–1227, for the ratio; Papyan 2019 (arXiv 1901.08244) for the levels.

    >>> import torch
    >>> from landscape.spectra import top_eigenpairs
    >>> matrix = torch.diag(torch.tensor([9.0, 8.0, 2.0, 1.5, 1.2, 1.0, 0.9]))
    >>> edge = outlier_edge(top_eigenpairs(matrix, 6))
    >>> round(edge.value, 3), edge.message
    (4.0, '2 outliers; the next eigenvalue is 4 times smaller')
    """
    if pairs.which != "LA" or not pairs.converged:
        raise LandscapeError(
            "the edge needs converged eigenpairs of which='LA', the most positive first: compute them so"
        )
    values = np.asarray(pairs.values, dtype=np.float64)
    values = values[values > 0]
    if len(values) < 3:
        raise LandscapeError(f"{len(values)} positive eigenvalues show no bulk: ask for more, about twice the classes")
    ratios = values[:-1] / values[1:]
    count = int(np.argmax(ratios)) + 1
    inner, outer = values[count], values[count - 1]
    return Estimate(
        value=float((inner * outer) ** 0.5),
        standard_error=float((outer - inner) / 12**0.5),
        matvecs=pairs.matvecs,
        method="eigenvalue-ratio",
        quantity="outlier-edge",
        operator=pairs.operator,
        error_kind="heuristic",
        message=f"{count} outliers; the next eigenvalue is {ratios.max():.2g} times smaller",
        seed=pairs.seed,
        provenance=pairs.provenance,
    )
