"""Gauss quadrature: exact for polynomials up to degree 2m − 1, whatever the spectrum."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.errors import NumericalError
from landscape.spectra.basis import Basis
from landscape.spectra.protocol import Products
from landscape.spectra.quadrature import lanczos_quadrature


def starts(size, count, seed=0, dtype=torch.float64):
    return torch.randn(count, size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_polynomials_up_to_degree_2m_minus_1_are_exact(matrix_with, steps):
    matrix = matrix_with(np.concatenate([[100.0, -70.0], np.linspace(-3, 3, 98)]))
    vectors = starts(100, 3)
    nodes, weights = lanczos_quadrature(Products(matrix), vectors, steps)
    norm = 100.0
    for vector, theta, weight in zip(vectors / vectors.norm(dim=1, keepdim=True), nodes, weights, strict=True):
        power = vector.clone()
        for degree in range(2 * steps):
            exact = float(vector @ power) / norm**degree
            assert np.sum(weight * (theta / norm) ** degree) == pytest.approx(exact, abs=1e-8)
            power = matrix @ power
        missed = abs(np.sum(weight * (theta / norm) ** (2 * steps)) - float(vector @ power) / norm ** (2 * steps))
        assert missed > 1e-14 or steps == 12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10).map(lambda value: round(value, 6)), min_size=1, max_size=8), st.integers(0, 3))
def test_a_full_run_is_the_spectral_measure(values, seed):
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    vector = starts(len(values), 1, seed)
    nodes, weights = lanczos_quadrature(Products(matrix), vector, len(values))
    share = (vector[0] ** 2 / (vector[0] ** 2).sum()).numpy()
    assert weights.sum() == pytest.approx(1)
    for function in (np.cos, np.exp, np.abs):
        assert np.sum(weights[0] * function(nodes[0])) == pytest.approx(np.sum(share * function(values)), rel=1e-5)


def test_no_ghosts_after_many_steps(matrix_with):
    """Without reorthogonalisation the outlier comes back as copies that look like new eigenvalues."""
    matrix = matrix_with(np.concatenate([[1000.0], np.linspace(0, 1, 199)]))
    nodes, _ = lanczos_quadrature(Products(matrix), starts(200, 1), 120)
    assert (nodes > 2).sum() == 1


def test_an_invariant_subspace_ends_a_run_and_saves_products():
    matrix = torch.diag(torch.tensor([3.0, 3.0, 1.0] + [0.0] * 97, dtype=torch.float64))
    products = Products(matrix)
    nodes, weights = lanczos_quadrature(products, starts(100, 2), 80)
    assert nodes.shape == weights.shape == (2, 80)
    assert products.count <= 2 * 16
    np.testing.assert_allclose(weights.sum(1), 1)
    assert np.sort(nodes[0][weights[0] > 0]) == pytest.approx([0, 1, 3], abs=1e-12)


def test_locked_directions_do_not_appear(matrix_with):
    matrix = matrix_with([50.0, 40.0, *np.linspace(0, 1, 58)])
    locked = Basis(60)
    locked.append(torch.linalg.eigh(matrix)[1].T[-2:].contiguous())
    nodes, _ = lanczos_quadrature(Products(matrix), starts(60, 2), 58, locked=locked)
    assert nodes.max() == pytest.approx(1, abs=1e-6)


def test_operators_that_lie_are_detected(counting, matrix_with):
    start = starts(80, 1)
    with pytest.raises(NumericalError, match="not symmetric"):
        lanczos_quadrature(Products(starts(80, 80)), start, 20)
    matrix = matrix_with(np.linspace(0, 1, 80))
    noisy = counting(matrix, lambda count, product: product + 0.01 * torch.sin(torch.arange(80.0) * count))
    with pytest.raises(NumericalError, match="not deterministic"):
        lanczos_quadrature(Products(noisy), start, 20)
    with pytest.raises(NumericalError, match="NaN"):
        lanczos_quadrature(Products(counting(matrix, lambda count, product: product * np.nan)), start, 20)
