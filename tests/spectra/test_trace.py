"""Traces: exact cases, published accuracy, and standard errors that cover the truth as often as they promise."""

import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError, NumericalError
from landscape.spectra import frobenius_norm, trace, trace_and_frobenius

METHODS = ["hutchinson", "hutch++", "xtrace", "xnystrace"]
ERROR_KINDS = {"xtrace": "calibrated", "xnystrace": "conservative"}
DECAY = 0.7 ** np.arange(300)


@pytest.mark.parametrize("method", METHODS)
def test_exact_when_the_budget_reaches_the_size(matrix_with, method):
    matrix = matrix_with(np.arange(1.0, 13.0))
    estimate = trace(matrix, 12, method)
    assert estimate.value == pytest.approx(78, rel=1e-12)
    assert (estimate.standard_error, estimate.matvecs, estimate.error_kind) == (0, 12, "exact")
    assert estimate.interval() == (estimate.value, estimate.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_budget_is_kept_and_the_estimate_close(matrix_with, counting, method, dtype):
    operator = counting(matrix_with(DECAY + 0.01, dtype=dtype))
    estimate = trace(operator, 60, method, seed=1)
    assert operator.count == estimate.matvecs == 60
    low, high = estimate.interval(0.999)
    assert low < (DECAY + 0.01).sum() < high


@pytest.mark.parametrize("method", ["hutch++", "xtrace", "xnystrace"])
def test_low_rank_is_exact(matrix_with, method):
    matrix = matrix_with([5.0, 3.0, 2.0, 1.0] + [0.0] * 96)
    estimate = trace(matrix, 36, method)
    assert estimate.value == pytest.approx(11, rel=1e-9)
    assert estimate.standard_error < 1e-8


@pytest.mark.parametrize(
    ("method", "multiple"), [*((method, 0.0) for method in METHODS), *((m, 3.0) for m in METHODS if m != "hutch++")]
)
def test_a_multiple_of_the_identity_is_exact_because_probes_are_rescaled(method, multiple):
    estimate = trace(multiple * torch.eye(80, dtype=torch.float64), 12, method)
    assert estimate.value == pytest.approx(80 * multiple, rel=1e-10)
    assert estimate.standard_error < 1e-9


def test_the_shift_of_xnystrace_does_not_bias_float32():
    matrix = torch.diag(torch.cat([torch.tensor([4.0, 2.0, 1.0]), torch.zeros(1997)]))
    assert trace(matrix, 12, "xnystrace").value == pytest.approx(7, rel=2e-5)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_unbiased_on_an_indefinite_spectrum(matrix_with, method):
    values = np.concatenate([[30.0, -20.0, 10.0], np.linspace(-1, 2, 97)])
    matrix = matrix_with(values)
    found = np.array([trace(matrix, 12, method, seed=seed).value for seed in range(300)])
    assert abs(found.mean() - values.sum()) < 4 * found.std() / 300**0.5


def test_xtrace_reaches_its_published_accuracy(matrix_with):
    matrix = matrix_with(0.7 ** np.arange(1000))
    truth = float(np.trace(matrix.numpy()))
    estimates = [trace(matrix, 70, "xtrace", seed=seed) for seed in range(10)]
    assert {estimate.matvecs for estimate in estimates} == {70}
    assert len(estimates[0].samples) == 35
    assert np.mean([abs(estimate.value - truth) / truth for estimate in estimates]) < 1e-5


def coverage(matrix, truth, method, matvecs, repetitions):
    estimates = [trace(matrix, matvecs, method, seed=seed) for seed in range(repetitions)]
    inside = [[low <= truth <= high for low, high in (e.interval(p) for e in estimates)] for p in (0.68, 0.95)]
    return np.mean(inside, axis=1)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize(("matvecs", "repetitions"), [(30, 400), pytest.param(12, 2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_standard_errors_cover_the_truth(matrix_with, method, matvecs, repetitions, decay):
    values = 1 / np.arange(1, 101) ** decay * np.where(np.arange(100) % 2, 1, 0.8)
    found = coverage(matrix_with(values), values.sum(), method, matvecs, repetitions)
    assert found[0] == pytest.approx(0.68, abs=0.06)
    assert found[1] == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("method", ["xtrace", "xnystrace"])
@pytest.mark.parametrize("repetitions", [60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("values", [0.9 ** np.arange(100), 1 / np.arange(1.0, 101), np.linspace(1, 3, 100)])
def test_errors_of_shared_sketches_cover_the_truth(matrix_with, method, repetitions, values):
    found = coverage(matrix_with(values), values.sum(), method, 20, repetitions)
    assert found[0] >= 0.68 - 0.06 * (1 + (repetitions < 100))
    assert found[1] >= 0.95 - 0.03 * (1 + (repetitions < 100))
    assert trace(matrix_with(values), 20, method).error_kind == ERROR_KINDS[method]


@pytest.mark.parametrize("matvecs", [30, 100])
@pytest.mark.parametrize("seeds", [25, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "values",
    [
        np.linspace(1, 3, 200), 1 / np.arange(1.0, 201), 1 / np.arange(1.0, 201) ** 2, 0.9 ** np.arange(200),
        np.repeat([1.0, 0.01], [20, 180]), np.linspace(-1, 1, 200) ** 3 + 0.1,
    ],
    ids=["flat", "1/i", "1/i²", "exponential", "step", "indefinite"],
)  # fmt: skip
def test_the_default_error_is_that_of_the_estimate(matrix_with, values, seeds, matvecs):
    """z-scores over seeds spread by about one: neither half as far nor twice."""
    matrix = matrix_with(values)
    found = [trace(matrix, matvecs, seed=seed) for seed in range(seeds)]
    errors = np.array([one.value - values.sum() for one in found])
    stated = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    low, high = (0.7, 1.4) if seeds > 100 else (0.5, 1.8)
    assert low < stated / np.sqrt(np.mean(errors**2)) < high
    held = np.mean([low <= values.sum() <= high for low, high in (one.interval() for one in found)])
    assert held >= (0.84 if seeds > 100 else 0.75)


@pytest.mark.parametrize("method", METHODS)
def test_stops_on_the_standard_error(matrix_with, method):
    matrix = matrix_with(1 / np.arange(1.0, 1001) ** 2)
    estimate = trace(matrix, 900, method, tol=0.05)
    assert estimate.converged
    assert estimate.matvecs < 900
    assert estimate.standard_error <= 0.05 * estimate.value
    short = trace(matrix, 12, method, tol=1e-9)
    assert not short.converged
    assert "raise matvecs" in short.message


def test_the_mean_standing_still_does_not_stop_it(counting):
    """Samples that alternate keep the running mean still; only their spread says that it is not known."""
    signs = torch.eye(400, dtype=torch.float64)
    operator = counting(signs, lambda count, product: product * (2.0 if count % 2 else -1.9))
    estimate = trace(operator, 300, "hutchinson", tol=1e-3)
    assert estimate.matvecs == 300
    assert not estimate.converged


def test_longer_runs_extend_shorter_ones(matrix_with):
    matrix = matrix_with(DECAY)
    short, long = (trace(matrix, count, "hutchinson", seed=3) for count in (20, 30))
    np.testing.assert_array_equal(long.samples[:20], short.samples)


def test_frobenius_norm_comes_free(matrix_with, counting):
    values = np.linspace(-1, 2, 100)
    operator = counting(matrix_with(values))
    both = trace_and_frobenius(operator, 40)
    assert operator.count == both[0].matvecs == both[1].matvecs == 40
    assert both[0].value == trace(matrix_with(values), 40, "hutchinson").value
    norm = frobenius_norm(matrix_with(values), 40)
    assert norm.value == both[1].value
    assert abs(norm.value - np.linalg.norm(values)) < 4 * norm.standard_error < 0.5 * norm.value
    assert frobenius_norm(matrix_with(values), 100).value == pytest.approx(np.linalg.norm(values))
    assert frobenius_norm(matrix_with(values), 99, tol=0.1).matvecs < 99


def test_frobenius_errors_cover_the_truth(matrix_with):
    values = np.linspace(-1, 2, 60)
    matrix = matrix_with(values)
    inside = [
        low <= np.linalg.norm(values) <= high
        for low, high in (frobenius_norm(matrix, 30, seed=seed).interval(0.68) for seed in range(400))
    ]
    assert np.mean(inside) == pytest.approx(0.68, abs=0.06)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"method": "hutch+++"}, "use one of hutchinson, hutch"),
        ({"matvecs": 0, "method": "hutchinson"}, "use at least 1"),
        ({"matvecs": 1, "method": "xtrace"}, "use at least 2"),
        ({"tol": 0.0}, "use tol > 0"),
    ],
)
def test_wrong_requests_name_the_remedy(options, remedy):
    with pytest.raises(LandscapeError, match=remedy):
        trace(torch.eye(200), **options)


def test_xnystrace_refuses_negative_eigenvalues(matrix_with):
    with pytest.raises(LandscapeError, match="use method='xtrace'"):
        trace(matrix_with(np.linspace(-1, 1, 100)), 20, "xnystrace")


@pytest.mark.parametrize("method", METHODS)
def test_a_product_that_is_not_finite_is_named(matrix_with, counting, method):
    operator = counting(matrix_with(DECAY), lambda count, product: product * (float("nan") if count == 5 else 1))
    with pytest.raises(NumericalError, match="NaN"):
        trace(operator, 30, method)


def test_one_probe_has_no_standard_error(matrix_with):
    assert np.isnan(trace(matrix_with(DECAY), 1, "hutchinson").standard_error)
