"""Eigenpairs: closed forms, certificates, agreement with SciPy and LOBPCG, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

import landscape as ls
from landscape.errors import LandscapeError, NumericalError
from landscape.spectra import frobenius_norm, top_eigenpairs

SPECTRUM = np.concatenate([[-9.0, -4.0, 7.0, 6.0, 5.0], np.linspace(-1, 1, 95)])


class Waves:
    """A symmetric operator whose eigenvectors spread over all entries: values between two Hartley transforms."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.device = values, (len(values),) * 2, values.dtype, values.device

    def turn(self, columns):
        waves = torch.fft.fft(columns, dim=0, norm="ortho")
        return waves.real - waves.imag

    def __matmul__(self, columns):
        return self.turn((self.values if columns.ndim == 1 else self.values[:, None]) * self.turn(columns))


def test_values_of_single_precision_are_as_exact_as_the_products():
    values = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    values[:5] = torch.tensor([16.0, 12.0, 9.0, 7.0, 5.0])
    pairs = top_eigenpairs(Waves(values), 5, tol=1e-5)
    np.testing.assert_allclose(pairs.values, values[:5].double(), rtol=5e-7)
    np.testing.assert_allclose(np.linalg.norm(pairs.vectors.astype(float), axis=1), 1, rtol=2e-7)
    assert pairs.matvecs <= 22  # sums in float32 hid the residuals, and the run went on for 35


@pytest.mark.parametrize("block_size", [1, 3])
@pytest.mark.parametrize("max_basis", [None, 16])
@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
def test_agrees_with_scipy(matrix_with, which, max_basis, block_size):
    matrix = matrix_with(SPECTRUM)
    pairs = top_eigenpairs(matrix, 4, which, 1e-8, block_size=block_size, max_basis=max_basis)
    assert pairs.converged
    np.testing.assert_allclose(np.sort(pairs.values), np.sort(eigsh(matrix.numpy(), 4, which=which)[0]), rtol=1e-10)


def test_order_is_the_one_asked_for(matrix_with):
    matrix = matrix_with(SPECTRUM)
    assert top_eigenpairs(matrix, 3, "LM", 1e-8).values == pytest.approx([-9, 7, 6])
    assert top_eigenpairs(matrix, 3, "LA", 1e-8).values == pytest.approx([7, 6, 5])
    assert top_eigenpairs(matrix, 2, "SA", 1e-8).values == pytest.approx([-9, -4])
    assert top_eigenpairs(matrix, 3, "BE", 1e-8).values == pytest.approx([7, 6, -9])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residuals_are_measured_and_bound_the_error(matrix_with, dtype):
    matrix = matrix_with(SPECTRUM, dtype=dtype)
    pairs = top_eigenpairs(matrix, 5, "LM", 1e-3)
    vectors = torch.as_tensor(pairs.vectors).double()
    measured = torch.linalg.vector_norm(
        vectors @ matrix.double() - torch.as_tensor(pairs.values)[:, None] * vectors, dim=1
    ).numpy()
    np.testing.assert_allclose(pairs.residuals, measured, rtol=1e-2, atol=1e-5)
    assert np.all(measured <= 1.01e-3 * np.abs(pairs.values))
    truth = np.linalg.eigvalsh(matrix.double().numpy())
    errors = np.abs(pairs.values[:, None] - truth).min(1)
    assert np.all(errors <= pairs.residuals + 1e-6)
    certified = np.isfinite(pairs.gap_bounds)
    assert certified.sum() >= 4
    assert np.all(errors[certified] <= pairs.gap_bounds[certified] + 1e-6)
    assert np.all(pairs.gap_bounds[certified] < pairs.residuals[certified])


def test_gaps_and_bounds_in_closed_form():
    matrix = torch.diag(torch.tensor([10.0, 9.0, 6.0, 6.0] + [0.0] * 96, dtype=torch.float64))
    pairs = top_eigenpairs(matrix, 4, tol=1e-10)
    assert pairs.gaps[:2] == pytest.approx([1, 1])
    assert np.nan_to_num(pairs.gaps[2:]).max() < 1e-10  # the double value has no gap, the last may have no neighbour
    made = pairs.replace(residuals=np.array([0.1, 2.0, 0.1, 0.1]), gaps=np.array([0.5, 1.0, np.nan, 1.0]))
    np.testing.assert_allclose(made.gap_bounds, [0.02, np.nan, np.nan, 0.01])


def test_vectors_are_unit_orthogonal_rows_whose_largest_entry_is_positive(matrix_with):
    vectors = top_eigenpairs(matrix_with(SPECTRUM), 5, "LM", 1e-6, seed=2).vectors
    assert vectors.shape == (5, 100)
    assert np.all(np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1) > 0)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-9)
    assert top_eigenpairs(matrix_with(SPECTRUM), 2, vectors=False).vectors is None


@pytest.mark.parametrize("block_size", [1, 2])
@pytest.mark.parametrize("spectrum", [[0.0], [0.0] * 6, [1.0] * 6, [3.0, 3.0, 3.0, 1.0, 1.0, -2.0], [1e-8, 1.0, 1e8]])
def test_small_operators_are_exact_for_every_k(matrix_with, spectrum, block_size):
    matrix = matrix_with(spectrum)
    for k in range(1, len(spectrum) + 1):
        pairs = top_eigenpairs(matrix, k, block_size=block_size)
        assert pairs.converged
        expected = np.sort(spectrum)[::-1][:k]
        np.testing.assert_allclose(pairs.values, expected, rtol=1e-6, atol=1e-6 * max(spectrum) + 1e-300)


def test_multiplicity_hidden_in_an_invariant_subspace_is_found():
    matrix = torch.diag(torch.tensor([5.0, 5.0, 5.0] + [1.0] * 97, dtype=torch.float64))
    pairs = top_eigenpairs(matrix, 4)
    assert pairs.values == pytest.approx([5, 5, 5, 1])
    assert pairs.matvecs < 20


def test_products_are_counted_with_the_residual_block(matrix_with, counting):
    operator = counting(matrix_with(SPECTRUM))
    pairs = top_eigenpairs(operator, 3, "LM")
    assert pairs.matvecs == operator.count == pairs.history_matvecs[-1] + 3 + pairs.check_matvecs
    assert np.all(np.diff(pairs.history_matvecs) == 1)
    operator = counting(matrix_with(SPECTRUM))
    unverified = top_eigenpairs(operator, 3, "LM", verify=False)
    assert operator.count == unverified.matvecs == pairs.matvecs - 3
    assert not unverified.verified
    np.testing.assert_allclose(unverified.residuals, pairs.residuals, rtol=1e-6)


def test_few_products_for_separated_eigenvalues(matrix_with):
    matrix = matrix_with(np.concatenate([[100.0, 80, 60, 40, 30], np.linspace(-1, 1, 495)]))
    assert top_eigenpairs(matrix, 5, "LM").matvecs <= 9 + 5 + 2


@pytest.mark.parametrize("tol", [0.3, 0.1, 0.01])
def test_a_loose_tolerance_misses_no_eigenvalue(matrix_with, tol):
    outliers = [1.46, 1.32, 1.11, 0.86, 0.8, 0.59, 0.55, 0.44, 0.39]
    matrix = matrix_with(np.concatenate([outliers, 0.3 * np.linspace(0, 1, 60) ** 3, np.linspace(-0.02, 0.02, 331)]))
    for seed in range(12):
        pairs = top_eigenpairs(matrix, 5, "LM", tol, seed)
        assert pairs.converged
        np.testing.assert_allclose(pairs.values, outliers[:5], rtol=1e-4)


def test_a_loose_tolerance_is_met_where_products_run_out(matrix_with):
    pairs = top_eigenpairs(matrix_with(SPECTRUM), 2, "LM", 0.1, max_matvecs=10)
    assert pairs.converged
    assert pairs.matvecs <= 10
    assert pairs.residuals.max() > 1e-3 * np.abs(pairs.values).max()


def test_warm_start_saves_products(matrix_with):
    spectrum = np.concatenate([[9.0, 8.5, 8.0], np.linspace(0, 7.5, 297)])
    matrix = matrix_with(spectrum)
    cold = top_eigenpairs(matrix, 3, tol=1e-6)
    drift = matrix_with(np.linspace(-1, 1, 300), seed=5)
    for block_size in (1, 3):
        warm = top_eigenpairs(matrix + 1e-4 * drift, 3, tol=1e-3, start=cold, block_size=block_size)
        again = top_eigenpairs(matrix + 1e-4 * drift, 3, tol=1e-3, block_size=block_size)
        assert warm.converged
        assert warm.matvecs < again.matvecs / 2


def test_deflation_continues_down_the_spectrum(matrix_with):
    matrix = matrix_with(SPECTRUM)
    first = top_eigenpairs(matrix, 2, tol=1e-10)
    second = top_eigenpairs(matrix, 1, tol=1e-6, deflate=first)
    assert second.values == pytest.approx([5])
    assert np.abs(first.vectors @ second.vectors.T).max() < 1e-9
    rest = top_eigenpairs(matrix_with([4.0, 3.0, 2.0, 1.0]), 3, deflate=np.eye(4)[:1])
    assert len(rest.values) == 3


@settings(max_examples=25, deadline=None)
@example(values=[0.0] * 5 + [-64.0, -63.0], k=2, block_size=1, which="LA")
@given(
    values=st.lists(st.floats(-100, 100).map(lambda value: round(value, 6)), min_size=2, max_size=12),
    k=st.integers(1, 12),
    block_size=st.integers(1, 3),
    which=st.sampled_from(["LA", "SA", "LM", "BE"]),
)
def test_any_small_spectrum_is_solved(values, k, block_size, which):
    k = min(k, len(values))
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    pairs = top_eigenpairs(matrix, k, which, 1e-6, block_size=block_size)
    assert pairs.converged
    scale = max(map(abs, values))
    assert np.abs(pairs.values[:, None] - values).min(1).max() <= 1e-6 * scale + 1e-300
    if which == "LA":
        np.testing.assert_allclose(pairs.values, np.sort(values)[::-1][:k], atol=1e-5 * scale + 1e-300)


def test_same_seed_same_digits_and_the_global_generator_untouched(matrix_with):
    before = torch.random.get_rng_state()
    first, second = (top_eigenpairs(matrix_with(SPECTRUM), 3, seed=4) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert np.any(top_eigenpairs(matrix_with(SPECTRUM), 3, seed=5).vectors != first.vectors)


def test_half_precision_operators_are_multiplied_in_their_own_type():
    matrix = torch.diag(torch.cat([torch.tensor([64.0, 32.0]), torch.linspace(0, 1, 48)])).bfloat16()
    pairs = top_eigenpairs(matrix, 2, tol=0.05)
    assert pairs.converged
    assert pairs.values == pytest.approx([64, 32], rel=0.05)
    assert pairs.vectors.dtype == np.float32


def test_no_convergence_says_what_to_do(matrix_with):
    matrix = matrix_with(np.linspace(0, 1, 400))
    pairs = top_eigenpairs(matrix, 4, tol=1e-8, max_matvecs=30)
    assert not pairs.converged
    assert pairs.matvecs <= 30
    assert "raise max_matvecs" in pairs.message
    assert "raise max_matvecs" in repr(pairs)


def test_a_tolerance_below_the_rounding_of_the_products_says_so(matrix_with):
    matrix = matrix_with(np.concatenate([[1.0, 0.5], np.linspace(0, 1e-3, 98)]))

    class Rough:
        shape, dtype, device = matrix.shape, matrix.dtype, matrix.device

        def __matmul__(self, other):
            return (matrix @ other) * (1 + 1e-9 * torch.sin(1e6 * other))

    pairs = top_eigenpairs(Rough(), 2, tol=1e-12)
    assert not pairs.converged
    assert "use float64, or a larger tol" in pairs.message


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"k": 7}, "use 1 ≤ k ≤ 6"),
        ({"k": 0}, "use 1 ≤ k ≤ 6"),
        ({"k": 1.5}, "k=1.5 is float, expected a whole number"),
        ({"max_basis": "5"}, "max_basis='5' is str, expected a whole number"),
        ({"block_size": 2.0}, "block_size=2.0 is float"),
        ({"tol": "fine"}, "expected a number"),
        ({"k": 6, "deflate": np.eye(6)[:1]}, "use 1 ≤ k ≤ 5"),
        ({"k": 3, "max_basis": 3}, "use at least 5"),
        ({"k": 3, "max_matvecs": 5}, "use at least 7"),
        ({"which": "SM"}, "use 'LA'"),
        ({"tol": 0.0}, "use 0 < tol < 1"),
        ({"method": "arpack"}, "use 'auto', 'lanczos' or 'block'"),
        ({"method": "lanczos", "block_size": 2}, "use method='block'"),
        ({"block_size": 0}, "use at least 1"),
        ({"start": np.zeros(6)}, "zero vector"),
        ({"start": np.ones(5)}, r"expected rows \(K, 6\)"),
        ({"start": np.full(6, np.nan)}, "finite"),
        ({"deflate": np.eye(6)}, "pass fewer"),
    ],
)
def test_wrong_requests_name_the_remedy(options, remedy):
    with pytest.raises(LandscapeError, match=remedy):
        top_eigenpairs(torch.eye(6, dtype=torch.float64), **{"k": 2, **options})


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        (torch.ones(2, 3), "square"),
        (torch.eye(2, dtype=torch.int64), "floating-point"),
        (torch.eye(2, dtype=torch.complex64), "real"),
        ([[1.0]], r"has no \.?shape"),
    ],
)
def test_wrong_operators_are_named(operator, told):
    with pytest.raises(LandscapeError, match=told):
        top_eigenpairs(operator, 1)


def test_a_matrix_that_is_not_symmetric_is_detected_within_a_few_products(counting):
    matrix = torch.randn(80, 80, generator=torch.Generator().manual_seed(0))
    operator = counting(matrix)
    with pytest.raises(NumericalError, match="not symmetric"):
        top_eigenpairs(operator, 2)
    assert operator.count <= 6


@pytest.mark.parametrize("size", [1e-2, 1e-1])
def test_a_random_operator_is_told_from_an_asymmetric_one(matrix_with, counting, size):
    generator = torch.Generator().manual_seed(0)

    def noise(count, product):
        return (
            product + size * product.norm() * torch.randn(product.shape, generator=generator, dtype=product.dtype) / 10
        )

    with pytest.raises(NumericalError, match="not deterministic"):
        top_eigenpairs(counting(matrix_with(SPECTRUM), noise), 2)


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_product_that_is_not_finite_is_named(matrix_with, counting, at, bad):
    operator = counting(matrix_with(SPECTRUM), lambda count, product: product * (bad if count == at else 1))
    with pytest.raises(NumericalError, match=f"product {at} with the counting holds NaN"):
        top_eigenpairs(operator, 2)


def test_a_product_of_the_wrong_shape_is_named(matrix_with, counting):
    operator = counting(matrix_with(SPECTRUM), lambda count, product: product[:-1])
    with pytest.raises(LandscapeError, match="expected the same shape"):
        top_eigenpairs(operator, 2)


def test_products_in_half_precision_do_not_converge_to_a_tenth():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)).bfloat16()
    data = torch.randn(60, 8).bfloat16(), torch.randint(0, 3, (60,))
    pairs, right = (
        top_eigenpairs(ls.Hessian(ls.Objective(model, data, "cross_entropy", dtype=dtype)), k=2)
        for dtype in (None, torch.float64)
    )
    assert not pairs.converged
    assert "use float64" in pairs.message
    assert np.abs(pairs.values / right.values - 1).max() < 0.02


@pytest.mark.parametrize("scale", [1e-300, 1e160])
@pytest.mark.parametrize("estimate", [top_eigenpairs, ls.trace, ls.spectral_density, frobenius_norm])
def test_numbers_whose_squares_float64_does_not_hold_are_refused(matrix_with, estimate, scale):
    with pytest.raises(NumericalError, match="whose square float64 does not hold: divide the operator"):
        estimate(matrix_with(SPECTRUM) * scale)
