"""What Markov chains are worth: whether they agree, whether they still drift, and how many independent draws they stand for."""

from __future__ import annotations

import numpy as np


def split_rhat(draws: np.ndarray) -> float:
    r"""Return R-hat of chains (chain, draw), each cut into halves: near 1 where all halves have one distribution.

    .. math:: \hat R = \sqrt{\frac{(n-1)/n\,W + B/n}{W}}

    with W the mean variance within a half of n draws, and B/n the variance of their means. Chains that never move have NaN.

    Source: A. Gelman et al. 2013, *Bayesian data analysis*, third edition, section 11.4.

    >>> still = np.tile([1.0, -1.0], (2, 10))
    >>> split_rhat(still) < 1, split_rhat(still + np.arange(20)) > 2
    (True, True)
    """
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, -half:]])
    within = parts.var(axis=1, ddof=1).mean()
    if not within > 0:
        return float("nan")
    return float(np.sqrt((half - 1) / half + parts.mean(axis=1).var(ddof=1) / within))


def effective_draws(draws: np.ndarray) -> float:
    r"""Return how many independent draws have the same error of the mean: chains (chain, draw) times draws over τ.

    .. math:: \tau = 1 + 2 \sum_t \hat\rho_t, \qquad \hat\rho_t = 1 - \frac{W - \bar c_t}{\mathrm{var}^+}

    with :math:`\bar c_t` the mean autocovariance at lag t, summed in pairs as long as these are positive and do not rise.

    Source: C. Geyer 1992, *Practical Markov chain Monte Carlo*, section 3.3; A. Gelman et al. 2013, section 11.5.

    >>> 900 < effective_draws(np.random.default_rng(0).normal(size=(4, 250))) < 1100
    True
    """
    chains, n = draws.shape
    centred = draws - draws.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, 2 * n, axis=1)) ** 2
    lagged = np.fft.irfft(power, axis=1)[:, :n].mean(axis=0) / n
    within = lagged[0] * n / (n - 1)
    total = lagged[0] + (draws.mean(axis=1).var(ddof=1) if chains > 1 else 0.0)
    if not total > 0:
        return float("nan")
    correlation = 1 - (within - lagged) / total
    correlation[0] = 1.0
    pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1)
    positive = pairs[: np.argmax(pairs <= 0)] if (pairs <= 0).any() else pairs
    tau = 2 * np.minimum.accumulate(positive).sum() - 1 if len(positive) else 1.0
    return float(chains * n / max(tau, 1 / np.log10(max(chains * n, 10))))


def mean_error(draws: np.ndarray) -> float:
    """Return the standard error of the mean of all draws of chains (chain, draw)."""
    return float(np.sqrt(draws.var(ddof=1) / effective_draws(draws)))


def drift(draws: np.ndarray) -> float:
    """Return the mean of the second halves of chains less that of the first, in its standard errors.

    Source: J. Geweke 1992, *Evaluating the accuracy of sampling-based approaches*, section 3.

    >>> drift(np.random.default_rng(0).normal(size=(4, 100)) + np.linspace(0, 2, 100)) > 5
    True
    """
    half = draws.shape[1] // 2
    first, second = draws[:, :half], draws[:, -half:]
    return float((second.mean() - first.mean()) / np.hypot(mean_error(first), mean_error(second)))
