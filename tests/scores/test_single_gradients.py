"""Scores of gradients of single examples, and those in units of the Fisher matrix."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.operators import Fisher, GradientCovariance
from landscape.scores.more.inverse_fisher import igs, tic, tic_diagonal, tic_trace
from landscape.scores.single_gradients import (
    fisher_diagonal,
    fisher_rao,
    gradient_moments,
    gradient_noise,
    layer_snr,
)


def test_noise_against_gradients_one_by_one(classifier):
    objective = classifier(batch_size=7)
    rows, moments = (
        torch.stack([objective.subset([i]).gradient() for i in range(objective.n)]),
        gradient_moments(objective),
    )
    variance, mean = rows.var(0, correction=0), rows.mean(0)
    assert torch.allclose(moments.mean, mean, atol=1e-14)
    assert torch.allclose(moments.variance, variance, atol=1e-14)
    covariance, scale, snr = gradient_noise(objective)
    noise = float(variance.sum())
    assert covariance.value == pytest.approx(noise, rel=1e-10)
    assert scale.value == pytest.approx(noise / float(mean.square().sum()), rel=1e-8)
    ratios = layer_snr(objective)
    # squares over squares: published plotting code divides a squared mean by a standard deviation
    where = objective.space.slices["linear2.weight"]
    expected = float(mean[where].square().sum() / variance[where].sum())
    assert ratios["linear2.weight"] == pytest.approx(expected, rel=1e-8)
    assert snr.value == pytest.approx(np.exp(np.mean(np.log(list(ratios.values())))), rel=1e-10)


def test_layers_have_their_own_statistics(classifier):
    """Published code accumulates over all layers up to the one it names."""
    objective = classifier()
    data = [batch.raw for batch in objective.batches]
    alone = ls.Objective(objective.model, data, "cross_entropy", parameters="linear3.weight")
    assert layer_snr(objective)["linear3.weight"] == pytest.approx(layer_snr(alone)["linear3.weight"], rel=1e-8)


def quadratic_form(F, v):
    return float(v @ F.double() @ v)


def test_fisher_rao_and_diagonal_against_the_dense_matrix(classifier, regression):
    objective = classifier(batch_size=13)
    F = Fisher(objective).dense().double()
    assert torch.allclose(fisher_diagonal(objective)[0], F.diagonal(), atol=1e-12)
    for at in (objective, regression):  # of a Gaussian, wᵀFw = 2 E (Jw)²
        expected = quadratic_form(Fisher(at).dense(), at.theta)
        assert fisher_rao(at)[0].value == pytest.approx(expected, rel=1e-10)


def test_fisher_rao_of_a_homogeneous_network():
    """Without biases wᵀ∇f = L f, so that wᵀFw = L² E Var_{k~p}(f_k): three layers give the factor nine."""
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(20, 4, generator=generator).double(), torch.arange(20) % 3
    relu = torch.nn.ReLU()
    layers = [torch.nn.Linear(a, b, bias=False).double() for a, b in ((4, 6), (6, 5), (5, 3))]
    model = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])
    objective = ls.Objective(model, (X, y), "cross_entropy")
    f = objective.outputs()
    p = f.softmax(1)
    variance = (p * f.square()).sum(1) - (p * f).sum(1).square()
    assert fisher_rao(objective)[0].value == pytest.approx(9 * float(variance.mean()), rel=1e-12)


def test_tic_of_well_specified_linear_regression():
    """Tr(H⁻¹C)/n = s²p/n for the loss ½(y − f)²; the mean squared error is twice that loss, and TIC twice s²p."""
    generator = torch.Generator().manual_seed(0)
    n, p, s = 20_000, 4, 0.5
    X = torch.randn(n, p, generator=generator).double()
    w = torch.randn(p, 1, generator=generator).double()
    y = X @ w + s * torch.randn(n, 1, generator=generator).double()
    fitted = torch.linalg.lstsq(X, y).solution.flatten()
    objective = ls.Objective(torch.nn.Linear(p, 1, bias=False).double(), (X, y), "mse_loss").at(fitted)
    assert tic(objective)[0].value == pytest.approx(2 * s**2 * p, rel=0.05)


def test_forms_against_dense_matrices(classifier):
    objective = classifier()
    F, C, g = Fisher(objective).dense().double(), GradientCovariance(objective).dense().double(), objective.gradient()
    inverse, f = torch.linalg.pinv(F, rtol=1e-13), F.diagonal()
    centred = tic(objective)[0].value
    assert centred == pytest.approx(float((inverse @ C).trace()), rel=1e-4)
    assert tic_trace(objective, matvecs=1000)[0].value == pytest.approx(float(C.trace() / F.trace()), rel=1e-9)
    for epsilon in (1e-7, 1e-2):
        expected = float((C.diagonal() / (f + epsilon * f.max())).sum())
        assert tic_diagonal(objective, epsilon=epsilon)[0].value == pytest.approx(expected, rel=1e-9)
    assert tic(objective, rtol=0.999)[0].note == "rank of F 1"
    # C is centred: the raw moment adds the square of igs
    raw = float((inverse @ (C + torch.outer(g, g))).trace())
    assert raw - centred == pytest.approx(quadratic_form(inverse, g), rel=1e-2)


def test_igs_is_the_gradient_in_the_fisher_metric(classifier):
    objective = classifier(n=300)
    expected = (
        quadratic_form(torch.linalg.pinv(Fisher(objective).dense().double(), rtol=1e-13), objective.gradient()) ** 0.5
    )
    (row,) = igs(objective, iterations=150, tol=1e-8)
    assert row.value == pytest.approx(expected, rel=0.05)
    assert igs(objective, iterations=2)[0].status == "not converged"
    assert "fit" not in igs(objective, iterations=3000)[0].note


def test_igs_of_a_network_with_enough_parameters_is_a_measure_of_fit(classifier):
    large = classifier(n=12)
    (row,) = igs(large, iterations=3000, tol=1e-9)
    p = (-large.per_example().double()).exp()
    assert large.size >= 12 * 2
    assert row.value == pytest.approx(float((1 / p - 1).mean()) ** 0.5, rel=1e-3)
    assert "measure of fit" in row.note
    assert row.family == "fit"


def test_what_is_not_defined(classifier, quadratic):
    X, y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    y[0] = -100
    unequal = ls.Objective(ls.models.mlp((4, 5, 3)), (X, y), "cross_entropy")
    absolute = ls.Objective(torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1)), "l1_loss")
    for compute, objective, message in (
        (gradient_noise, unequal, "unequal weights"),
        (gradient_noise, quadratic(torch.eye(2)), "BatchLoss"),
        (tic, classifier(sizes=(6, 600, 3), fit=1), "tic-diagonal"),
        *((compute, absolute, "log-likelihood") for compute in (fisher_rao, tic, tic_trace, igs)),
    ):
        with pytest.raises(NotDefinedError, match=message):
            compute(objective)
