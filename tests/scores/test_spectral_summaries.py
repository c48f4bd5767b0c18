import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.operators import GaussNewton, Hessian
from landscape.scores.spectral_summaries import renyi_of, renyi_sharpness, soft_rank, soft_rank_of


def test_soft_rank_of_known_eigenvalues():
    values = np.array([5.0, 1.0, 0.1, 0.0, -1e-9])
    assert soft_rank_of(values, 0.5) == pytest.approx(5 / 5.5 + 1 / 1.5 + 0.1 / 0.6)


def test_soft_rank_of_a_network(classifier):
    objective = classifier()
    values = torch.linalg.eigvalsh(GaussNewton(objective).dense())
    (row,) = soft_rank(objective, radii=(0.01,))
    assert row.value == pytest.approx(soft_rank_of(values.numpy(), 0.01), rel=1e-9)


def test_soft_rank_by_quadrature(classifier):
    objective = classifier(sizes=(6, 24, 16, 3))
    values = torch.linalg.eigvalsh(GaussNewton(objective).dense())
    (row,) = soft_rank(objective, radii=(0.01,), probes=8, steps=60)
    assert abs(row.value - soft_rank_of(values.numpy(), 0.01)) < 3 * row.standard_error


@pytest.mark.parametrize("order", [0.5, 1.0, 1.5, 2.0])
def test_equal_eigenvalues_have_the_entropy_of_their_number(order):
    assert renyi_of(np.full(37, 2.5), order) == pytest.approx(np.log(37))
    assert renyi_of(np.array([3.0, 0.0, 0.0]), order) == pytest.approx(0.0)


def test_layers_are_taken_by_themselves(classifier):
    objective = classifier()
    H = Hessian(objective)
    expected = [renyi_of(torch.linalg.eigvalsh(H.block(f"linear{i}.weight").dense()).numpy(), 0.5) for i in (1, 2, 3)]
    (row,) = renyi_sharpness(objective)
    assert row.value == pytest.approx(-np.mean(expected), rel=1e-9)


def test_no_matrix_no_entropy(classifier):
    objective = classifier(fit=1)
    biases = ls.Objective(objective.model, objective.batches[0].raw, "cross_entropy", parameters="*bias")
    with pytest.raises(NotDefinedError, match="no weight matrix"):
        renyi_sharpness(biases)


def test_no_curvature_no_entropy():
    with pytest.raises(NotDefinedError, match="zero"):
        renyi_of(np.zeros(3), 0.5)
