import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.results import KINDS
from landscape.scores import sampling_error

STRETCH = torch.tensor([2.0, 1.5, *np.linspace(0.5, 1.0, 18)], dtype=torch.float64)
"""Standard deviations of the inputs; the Hessian of a mean square error is twice their sample covariance."""


def regression(n, seed=0, batch_size=None):
    X = STRETCH * torch.randn(n, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    net = torch.nn.Linear(20, 1, bias=False, dtype=torch.float64)
    return ls.Objective(net, (X, X[:, :1]), "mse_loss", batch_size=batch_size)


def test_errors_and_bias_agree_with_repeated_samples():
    found = [sampling_error(regression(400, seed), k=2, groups=10, probes=4, draws=200) for seed in range(16)]
    truth = 2 * STRETCH.square().numpy()
    for i in range(2):
        spread = np.std([result.values[i] for result in found], ddof=1)
        assert np.mean([result.standard_errors[i] for result in found]) == pytest.approx(spread, rel=0.45)
    traces = np.array([result.trace for result in found])
    spread = np.mean([np.hypot(result.trace_error, result.trace_probe_error) for result in found])
    assert spread == pytest.approx(traces.std(ddof=1), rel=0.45)
    assert abs(traces.mean() - truth.sum()) < 4 * spread / 16**0.5
    # e₁ is the first eigenvector of the population: what λ₁ of a sample exceeds e₁ᵀAe₁ by has the bias as its mean
    objectives = [regression(400, seed) for seed in range(16)]
    along = [2 * float(next(iter(objective.batches)).inputs[:, 0].square().mean()) for objective in objectives]
    excess = np.array([result.values[0] for result in found]) - along
    biases = np.array([result.bias for result in found])
    assert abs(biases.mean() - excess.mean()) < 4 * np.hypot(excess.std(), biases.std()) / 16**0.5
    # E λ₁(A_n) − λ₁ = Σ_j λ₁ λ_j / ((λ₁ − λ_j) n) for Gaussian inputs (Anderson 1963)
    expected = np.sum(truth[0] * truth[1:] / (truth[0] - truth[1:])) / 400
    assert biases.mean() == pytest.approx(expected, rel=0.3)


def test_samples_of_a_finite_data_set():
    unlimited, some, whole = (sampling_error(regression(200), k=1, population=size) for size in (None, 400, 200))
    assert unlimited.subset_sizes.tolist() == [100, 50, 200]
    assert unlimited.subset_means[1] > unlimited.subset_means[0] > unlimited.subset_means[2]
    assert unlimited.bias > 0
    assert some.standard_errors[0] == pytest.approx(unlimited.standard_errors[0] * 0.5**0.5)
    assert some.bias == pytest.approx(unlimited.bias / 2)
    assert whole.standard_errors[0] == whole.trace_error == whole.bias == 0
    assert whole.enough
    assert "whole data set" in whole.verdict


def test_the_verdict_says_how_much_data_is_needed():
    short = sampling_error(regression(100), k=1, tol=0.05)
    assert not short.enough
    assert f"more data is needed for 5%, about {short.needed} examples" in short.verdict
    assert sampling_error(regression(short.needed), k=1, tol=0.07).enough
    assert sampling_error(regression(100), k=1, tol=0.05, population=150).needed <= 150


def test_batches_do_not_matter_and_given_pairs_are_used():
    one = sampling_error(regression(120), k=2, groups=10)
    cut = regression(120, batch_size=7)
    pairs = ls.top_eigenpairs(ls.Hessian(cut), 2, tol=1e-6)
    other = sampling_error(cut, k=2, groups=10, pairs=pairs)
    np.testing.assert_allclose(one.standard_errors, other.standard_errors, rtol=1e-6)
    assert one.bias == pytest.approx(other.bias, rel=1e-4)


def test_weighted_classes_and_another_operator():
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(90, 4, generator=generator).double(), torch.randint(3, (90,), generator=generator)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64))
    objective = ls.Objective(torch.nn.Linear(4, 3).double(), (X, y), loss)
    found = sampling_error(objective, k=2, operator=ls.GaussNewton, groups=9)
    assert found.operator == ls.GaussNewton(objective).name
    assert np.all(found.standard_errors > 0)


def test_round_trip(tmp_path):
    found = sampling_error(regression(100), k=1, draws=20)
    found.save(tmp_path / "study.h5", "sgd-0/top")
    back = ls.open_study(tmp_path / "study.h5")["sgd-0/top"]
    assert KINDS["sampling"] is type(back)
    np.testing.assert_array_equal(back.bootstrap, found.bootstrap)
    assert found.verdict in " ".join(repr(back).split())


def refused():
    """What is asked for in vain, and the remedy that is named."""
    objective, pairs = regression(100), ls.top_eigenpairs(ls.Hessian(regression(100, seed=1)), 3)
    X = torch.zeros(20, 2)
    yield {"groups": 4}, "at least 8", objective
    yield {"groups": 200}, "at most 100", objective
    yield {"k": 21}, "1 ≤ k ≤ P", objective
    yield {"population": 50}, "smaller than the sample", objective
    yield {"tol": 0}, "tol", objective
    yield {"probes": 1}, "at least 2", objective
    yield {"pairs": pairs}, "do not belong", objective
    yield {"pairs": pairs.replace(which="LM")}, "which='LA'", objective
    summed = ls.Objective(torch.nn.Linear(2, 1), (X, X[:, :1]), torch.nn.MSELoss(reduction="sum"))
    yield {}, "reduction='mean'", summed


def test_wrong_requests_name_the_remedy():
    for options, message, objective in refused():
        with pytest.raises(LandscapeError, match=message):
            sampling_error(objective, **options)
