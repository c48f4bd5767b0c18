"""The diagonal: unbiased, exact where it can be, with errors that cover."""

import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError, NumericalError
from landscape.spectra import diagonal

METHODS = ["hutchinson", "xdiag"]


@pytest.mark.parametrize("method", METHODS)
def test_exact_when_the_budget_reaches_the_size(matrix_with, method):
    matrix = matrix_with(np.arange(10.0))
    found = diagonal(matrix, 10, method)
    np.testing.assert_allclose(found.values, matrix.diagonal(), rtol=1e-12)
    assert not found.standard_errors.any()
    assert (found.method, found.matvecs) == ("exact", 10)


@pytest.mark.parametrize("method", METHODS)
def test_unbiased_with_errors_of_the_right_size(matrix_with, method):
    matrix = matrix_with(np.concatenate([[20.0, -10.0], np.linspace(0, 2, 48)]))
    truth = matrix.diagonal().numpy()
    runs = [diagonal(matrix, 12, method, seed=seed) for seed in range(300)]
    errors = np.stack([run.values for run in runs]) - truth
    assert np.abs(errors.mean(0) / (errors.std(0) / 300**0.5)).max() < 5
    assert abs(errors.sum(1).mean()) < 4 * errors.sum(1).std() / 300**0.5
    claimed = np.sqrt(np.mean([run.standard_errors**2 for run in runs], axis=0))
    assert np.median(claimed / errors.std(0)) == pytest.approx(1, abs=0.1 if method == "hutchinson" else 0.5)


def test_hutchinson_is_exact_on_a_diagonal_matrix():
    found = diagonal(torch.diag(torch.arange(50.0)), 3)
    np.testing.assert_allclose(found.values, np.arange(50))


def test_xdiag_is_far_more_exact_on_a_decaying_spectrum(matrix_with, counting):
    operator = counting(matrix_with(0.8 ** np.arange(200)))
    truth = operator.matrix.diagonal().numpy()
    errors = {method: np.linalg.norm(diagonal(operator, 60, method).values - truth) for method in METHODS}
    assert operator.count == 120
    assert errors["xdiag"] < 0.02 * errors["hutchinson"]


def test_low_rank_is_exact_with_xdiag(matrix_with):
    matrix = matrix_with([3.0, 2.0, 1.0] + [0.0] * 47)
    np.testing.assert_allclose(diagonal(matrix, 20, "xdiag").values, matrix.diagonal(), atol=1e-10)


def test_wrong_requests_name_the_remedy(counting):
    with pytest.raises(LandscapeError, match="use one of hutchinson, xdiag"):
        diagonal(torch.eye(9), method="exact")
    with pytest.raises(LandscapeError, match="use at least 4"):
        diagonal(torch.eye(9), 2, "xdiag")
    for method in METHODS:
        with pytest.raises(NumericalError, match="NaN"):
            diagonal(counting(torch.eye(30), lambda count, product: product * np.nan), 8, method)
