"""Densities against random-matrix theory, and the numbers that follow from them against dense eigenvalues."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from landscape.errors import LandscapeError, NotDefinedError
from landscape.spectra import (
    bulk_edge,
    effective_dimension,
    log_determinant,
    mass,
    moment,
    renyi_entropy,
    resmooth,
    spectral_density,
    spectral_sum,
    top_eigenpairs,
)

SPIKES = np.array([5.0, 4.0, 3.0])
OUTLIERS = SPIKES + SPIKES / (SPIKES - 1)
OVERLAPS = 1 - 1 / (SPIKES - 1) ** 2


class SpikedWishart:
    """XᵀX/n + Σ θ u uᵀ with n = d: outliers θ + θ/(θ − 1), the bulk Marchenko–Pastur on [0, 4]."""

    name = "spiked-wishart"

    def __init__(self, size, seed, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        self.data = torch.randn(size, size, dtype=dtype, generator=generator)
        self.spikes = torch.linalg.qr(torch.randn(size, 3, dtype=dtype, generator=generator))[0]
        self.shape, self.dtype, self.device = (size, size), dtype, torch.device("cpu")

    def __matmul__(self, other):
        strengths = torch.as_tensor(SPIKES, dtype=self.dtype)
        planted = self.spikes @ (torch.diag(strengths) @ (self.spikes.T @ other))
        return self.data.T @ (self.data @ other) / len(self.data) + planted


class Diagonal:
    """An operator that is diagonal in the coordinates at hand; random probes know no coordinates."""

    def __init__(self, values):
        self.values = torch.as_tensor(values, dtype=torch.float64)
        self.shape, self.dtype, self.device = (len(values), len(values)), torch.float64, torch.device("cpu")

    def __matmul__(self, other):
        return (self.values if other.ndim == 1 else self.values[:, None]) * other


def marchenko_pastur_share(upto):
    """Return the share of eigenvalues below a point, for a square data matrix."""
    return quad(lambda root: np.sqrt(4 - root**2) / np.pi, 0, np.sqrt(upto))[0]


@pytest.mark.parametrize(("size", "draws"), [(500, 6), pytest.param(2000, 6, marks=pytest.mark.slow)])
def test_spiked_wishart_outliers_and_overlaps(size, draws):
    values, overlaps = [], []
    for seed in range(draws):
        operator = SpikedWishart(size, seed, torch.float32)
        pairs = top_eigenpairs(operator, 3)
        assert pairs.converged
        values.append(pairs.values)
        overlaps.append(np.diagonal(pairs.vectors @ operator.spikes.numpy()) ** 2)
    np.testing.assert_allclose(np.mean(values, axis=0), OUTLIERS, rtol=0.03)
    np.testing.assert_allclose(np.mean(overlaps, axis=0), OVERLAPS, rtol=0.03)


@pytest.mark.parametrize("size", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_bulk_of_a_spiked_wishart_is_marchenko_pastur(size):
    operator = SpikedWishart(size, 0)
    density = spectral_density(operator, steps=60, deflate=top_eigenpairs(operator, 3, tol=1e-6))
    np.testing.assert_allclose(density.outliers, OUTLIERS, rtol=0.1)
    assert density.nodes.max() < 4.2
    for upto in (0.25, 1.0, 2.0, 3.0):
        shares = np.sum(density.weights * (density.nodes < upto), axis=1)
        assert shares.mean() == pytest.approx(marchenko_pastur_share(upto), abs=0.02)
    for order, catalan in enumerate([1, 1, 2, 5]):
        bulk = np.sum(density.weights * density.nodes**order, axis=1).mean()
        assert bulk == pytest.approx(catalan, rel=0.08)
    edge = bulk_edge(density)
    assert edge.value == pytest.approx(4, rel=0.05)
    assert 0 < edge.standard_error < 0.2


@pytest.mark.parametrize("draws", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_the_band_covers_the_smoothed_density_as_often_as_it_says(draws):
    """At each place of a spectrum like a trained network's, P = 1,210: most near zero, some below, a tail of outliers."""
    values = np.concatenate(
        [-0.003 * np.linspace(0, 1, 500) ** 3, 0.02 * np.linspace(0, 1, 680) ** 6, np.geomspace(0.02, 0.2, 30)]
    )
    density = spectral_density(Diagonal(values), probes=draws)
    grid, width = density.grid[::10], density.width
    truth = np.exp(-((grid[:, None] - values) ** 2) / (2 * width**2)).sum(1)  # in units of one eigenvalue
    seen = truth > 0.5
    for probes in (2, 4, 8, 10, 30):
        held = []
        for first in range(0, draws - probes + 1, probes):
            chosen = slice(first, first + probes)
            few = density.replace(nodes=density.nodes[chosen], weights=density.weights[chosen])
            few = resmooth(few, width=width, grid=grid)
            low, high = (end * len(values) * width * np.sqrt(2 * np.pi) for end in few.band())
            held.append(np.mean((low <= truth)[seen] & (truth <= high)[seen]))
        assert np.mean(held) == pytest.approx(0.95, abs=0.03 if draws > 100 else 0.09), probes


def test_nothing_is_drawn_below_zero_where_nothing_is(matrix_with):
    class Positive(Diagonal):
        positive_semidefinite = True

    values = np.concatenate([np.zeros(80), np.linspace(0, 3, 20)])
    signed, positive = (spectral_density(make(values), probes=3) for make in (Diagonal, Positive))
    assert positive.grid[0] == 0
    assert np.trapezoid(positive.density, positive.grid) == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(resmooth(positive, grid=[-0.1, -1e-9]).density, 0)
    drawn, counted = signed.below_zero
    assert drawn == pytest.approx(0.4, abs=0.06)
    assert counted == 0
    assert positive.below_zero == (0, 0)
    assert "of the drawn area, 0.0% of the eigenvalues" in repr(signed)
    assert "below zero" not in repr(positive)
    half = spectral_density(Diagonal(np.linspace(-1, 1, 100)), probes=20, axis="log")
    np.testing.assert_allclose(half.below_zero, 0.5, atol=0.05)


def test_weights_matter():
    """A histogram of Ritz values would put most of the density at the rare end; the weights say otherwise."""
    values = np.concatenate([np.zeros(950), np.linspace(1, 10, 50)])
    density = spectral_density(torch.diag(torch.tensor(values)), steps=40)
    assert np.trapezoid(density.density, density.grid) == pytest.approx(1, abs=1e-3)
    near_zero = np.abs(density.grid) < 0.9
    assert np.trapezoid(density.density[near_zero], density.grid[near_zero]) == pytest.approx(0.95, abs=0.03)


def test_logarithmic_axis_keeps_the_signs_apart(matrix_with):
    values = np.concatenate([np.geomspace(1e-3, 1e3, 90), -np.geomspace(1e-2, 1, 30)])
    density = spectral_density(matrix_with(values), steps=120, axis="log")
    decades = np.log10(density.grid)
    assert np.trapezoid(density.density, decades) == pytest.approx(0.75, abs=0.05)
    assert np.trapezoid(density.negative_density, decades) == pytest.approx(0.25, abs=0.05)
    middle = (decades > -2) & (decades < 2)
    assert np.mean(density.density[middle]) == pytest.approx(0.75 / 6, rel=0.2)


def test_resmoothing_spends_no_products_and_goes_there_and_back(matrix_with):
    density = spectral_density(matrix_with(np.linspace(1, 2, 50)), steps=20)
    log = resmooth(density, axis="log")
    assert log.axis == "log"
    back = resmooth(log)
    np.testing.assert_array_equal(back.density, density.density)
    assert back.negative_density is None
    wide = resmooth(density, width=1.0, grid=[1.0, 2.0])
    assert wide.width == 1.0
    assert wide.grid.tolist() == [1.0, 2.0]


def test_one_probe_has_no_band(matrix_with):
    density = spectral_density(matrix_with(np.arange(30.0)), probes=1, steps=10)
    assert np.isnan(density.standard_error).all()
    assert np.isnan(moment(density, 1).standard_error)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_multiple_of_the_identity(value):
    density = spectral_density(value * torch.eye(40, dtype=torch.float64), probes=3)
    assert np.isfinite(density.density).all()
    assert density.nodes == pytest.approx(value)
    assert np.trapezoid(density.density, density.grid) == pytest.approx(1, abs=1e-3)


SPECTRUM = np.concatenate([[40.0, 30.0], np.linspace(0.01, 2, 98)])


@pytest.fixture(params=[False, True], ids=["whole", "deflated"])
def density(request, matrix_with):
    matrix = matrix_with(SPECTRUM)
    deflate = top_eigenpairs(matrix, 2, tol=1e-8) if request.param else None
    return spectral_density(matrix, probes=40, steps=40, deflate=deflate)


@pytest.mark.parametrize(
    ("estimate", "truth"),
    [
        (lambda d: moment(d, 0), 1),
        (lambda d: moment(d, 1), SPECTRUM.mean()),
        (lambda d: moment(d, 2), (SPECTRUM**2).mean()),
        (lambda d: effective_dimension(d, 0.5), (SPECTRUM / (SPECTRUM + 0.5)).sum()),
        (lambda d: log_determinant(d, 0.5), np.log(SPECTRUM + 0.5).sum()),
        (lambda d: spectral_sum(d, np.exp, "estrada"), np.exp(SPECTRUM).sum()),
        (lambda d: renyi_entropy(d, 0.5), 2 * np.log((SPECTRUM**0.5).sum() / SPECTRUM.sum() ** 0.5)),
        (lambda d: renyi_entropy(d, 1.5), -2 * np.log((SPECTRUM**1.5).sum() / SPECTRUM.sum() ** 1.5)),
        (lambda d: renyi_entropy(d), -np.sum(SPECTRUM / SPECTRUM.sum() * np.log(SPECTRUM / SPECTRUM.sum()))),
    ],
)
def test_derived_numbers_agree_with_dense_eigenvalues(density, estimate, truth):
    found = estimate(density)
    assert abs(found.value - truth) < 4 * found.standard_error + 1e-9 * abs(truth)
    if density.outliers is not None:
        assert found.value == pytest.approx(truth, rel=0.05)


def test_deflating_the_outliers_shrinks_the_error(matrix_with):
    matrix = matrix_with(SPECTRUM)
    whole = spectral_density(matrix, steps=40)
    apart = spectral_density(matrix, steps=40, deflate=top_eigenpairs(matrix, 2, tol=1e-8))
    assert moment(apart, 2).standard_error < 0.05 * moment(whole, 2).standard_error


def test_rows_given_as_outliers_are_measured(matrix_with):
    matrix = matrix_with(SPECTRUM)
    rows = torch.linalg.eigh(matrix)[1].T[-2:]
    assert np.sort(spectral_density(matrix, probes=2, steps=5, deflate=rows).outliers) == pytest.approx([30, 40])


def test_mass_on_each_side_of_zero(matrix_with):
    values = np.concatenate([np.linspace(0, 3, 80), -np.linspace(0, 1, 40)])
    density = spectral_density(matrix_with(values), probes=40, steps=60)
    negative, positive = mass(density), mass(density, "positive")
    assert negative.value + positive.value == pytest.approx(1)
    assert abs(negative.value - 20 / 140) < 4 * negative.standard_error < 0.1


@pytest.mark.parametrize("order", [0.5, 1.0, 1.5, 3.0])
def test_entropy_of_a_multiple_of_the_identity_is_log_p(order):
    density = spectral_density(7 * torch.eye(64, dtype=torch.float64), probes=2)
    assert renyi_entropy(density, order).value == pytest.approx(np.log(64))


@pytest.mark.parametrize("outliers", [0, 3])
def test_the_bulk_edges_of_a_semicircle_with_and_without_outliers(outliers):
    noise = torch.randn(1000, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = (noise + noise.T) / 2000**0.5
    matrix[range(outliers), range(outliers)] += 8
    density = spectral_density(matrix, probes=10, steps=80)
    assert bulk_edge(density).value == pytest.approx(2, abs=0.06)
    assert bulk_edge(density, "lower").value == pytest.approx(-2, abs=0.06)


@pytest.mark.parametrize(
    ("call", "error", "remedy"),
    [
        (lambda d: effective_dimension(d, 0.5), NotDefinedError, "use a larger z"),
        (lambda d: log_determinant(d, 0.5), NotDefinedError, "use a larger z"),
        (lambda d: log_determinant(d, 0.0), LandscapeError, "use z > 0"),
        (lambda d: renyi_entropy(d, 0.0), LandscapeError, "use order > 0"),
        (lambda d: mass(d, "both"), LandscapeError, "use 'positive' or 'negative'"),
        (lambda d: bulk_edge(d, "left"), LandscapeError, "use 'upper' or 'lower'"),
        (lambda d: bulk_edge(d, tail=(0.001, 0.002)), LandscapeError, "use more steps or a wider"),
        (lambda d: resmooth(d, axis="cubic"), LandscapeError, "use 'linear' or 'log'"),
        (lambda d: resmooth(d, width=0.0), LandscapeError, "use width > 0"),
        (lambda d: resmooth(d, axis="log", grid=[0.0, 1.0]), LandscapeError, "pass .λ. > 0"),
        (lambda d: spectral_sum(d, lambda x: np.full_like(x, np.nan), "nothing"), NotDefinedError, "domain"),
    ],
)
def test_wrong_requests_name_the_remedy(matrix_with, call, error, remedy):
    density = spectral_density(matrix_with(np.linspace(-1, 1, 40)), probes=2, steps=20)
    with pytest.raises(error, match=remedy):
        call(density)


def test_zero_operators_and_unconverged_outliers_are_refused(matrix_with):
    zero = spectral_density(torch.zeros(10, 10), probes=2)
    for call in (renyi_entropy, mass, lambda d: resmooth(d, axis="log")):
        with pytest.raises(LandscapeError):
            call(zero)
    matrix = matrix_with(np.linspace(0, 1, 200))
    loose = top_eigenpairs(matrix, 3, tol=1e-9, max_matvecs=10)
    with pytest.raises(LandscapeError, match="converge them first"):
        spectral_density(matrix, deflate=loose)
    with pytest.raises(LandscapeError, match="at least 1 of each"):
        spectral_density(matrix, probes=0)


def test_the_density_with_two_vectors_is_that_with_all():
    root = torch.randn(150, 150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = root @ torch.diag(torch.logspace(-4, 1, 150, dtype=torch.float64)) @ root.T / 150
    whole, two = (
        spectral_density(A, probes=2, steps=60, low_memory=low, width=0.1, grid=np.linspace(-1, 20, 100))
        for low in (False, True)
    )
    assert np.abs(np.sort(two.nodes) - np.sort(whole.nodes)).max() > 1e-6  # copies of converged nodes
    np.testing.assert_allclose(two.density, whole.density, atol=1e-8 * whole.density.max())
