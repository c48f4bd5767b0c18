import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.operators import Fisher, GradientCovariance
from landscape.scores.more.inverse_fisher import igs, tic, tic_diagonal, tic_trace
from landscape.scores.single_gradients import fisher_diagonal, fisher_rao, gradient_moments, gradient_noise, layer_snr


def single_gradients(objective):
    return torch.stack([objective.subset([i]).gradient() for i in range(objective.n)])


def test_moments_against_single_gradients(classifier):
    objective = classifier(batch_size=7)
    rows, moments = single_gradients(objective), gradient_moments(objective)
    assert torch.allclose(moments.mean, rows.mean(0), atol=1e-14)
    assert torch.allclose(moments.variance, rows.var(0, correction=0), atol=1e-14)


def test_covariance_noise_scale_and_layer_ratios(classifier):
    objective = classifier()
    rows = single_gradients(objective)
    noise = float(rows.var(0, correction=0).sum())
    covariance, scale, snr = gradient_noise(objective)
    assert covariance.value == pytest.approx(noise, rel=1e-10)
    assert scale.value == pytest.approx(noise / float(rows.mean(0).square().sum()), rel=1e-8)
    ratios = layer_snr(objective)
    where = objective.space.slices["linear2.weight"]
    part = rows[:, where]
    # squares over squares: published plotting code divides a squared mean by a standard deviation
    expected = float(part.mean(0).square().sum() / part.var(0, correction=0).sum())
    assert ratios["linear2.weight"] == pytest.approx(expected, rel=1e-8)
    assert snr.value == pytest.approx(np.exp(np.mean(np.log(list(ratios.values())))), rel=1e-10)


def test_layers_have_their_own_statistics(classifier):
    """Published code accumulates over all layers up to the one it names."""
    objective = classifier()
    alone = ls.Objective(
        objective.model, [b.raw for b in objective.batches], "cross_entropy", parameters="linear3.weight"
    )
    assert layer_snr(objective)["linear3.weight"] == pytest.approx(layer_snr(alone)["linear3.weight"], rel=1e-8)


def test_unequal_weights_are_refused():
    model = ls.models.mlp((4, 5, 3))
    X, y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    y[0] = -100
    with pytest.raises(NotDefinedError, match="unequal weights"):
        gradient_noise(ls.Objective(model, (X, y), "cross_entropy"))


def test_a_loss_on_whole_batches_has_no_single_gradients(quadratic):
    with pytest.raises(NotDefinedError, match="BatchLoss"):
        gradient_noise(quadratic(torch.eye(2)))


def test_diagonal_of_the_fisher_matrix(classifier):
    objective = classifier(batch_size=13)
    diagonal, _ = fisher_diagonal(objective)
    assert torch.allclose(diagonal, Fisher(objective).dense().diagonal().double(), atol=1e-12)


def test_fisher_rao_against_the_dense_matrix(classifier):
    objective = classifier(batch_size=13)
    F = Fisher(objective).dense().double()
    assert fisher_rao(objective)[0].value == pytest.approx(float(objective.theta @ F @ objective.theta), rel=1e-10)


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


def test_fisher_rao_of_a_gaussian(regression):
    """Squared error: wᵀFw = 2 E (Jw)², with Jw the output itself less what the bias alone does not scale."""
    F = Fisher(regression).dense().double()
    expected = float(regression.theta @ F @ regression.theta)
    assert fisher_rao(regression)[0].value == pytest.approx(expected, rel=1e-10)


def test_no_likelihood_no_fisher():
    net = torch.nn.Linear(2, 1)
    objective = ls.Objective(net, (torch.eye(2), torch.zeros(2, 1)), "l1_loss")
    for compute in (fisher_rao, tic, tic_trace, igs):
        with pytest.raises(NotDefinedError, match="log-likelihood"):
            compute(objective)


def test_tic_of_well_specified_linear_regression():
    """Tr(H⁻¹C)/n = s²p/n for the loss ½(y − f)²; the mean squared error is twice that loss, and TIC twice s²p."""
    generator = torch.Generator().manual_seed(0)
    n, p, s = 20_000, 4, 0.5
    X = torch.randn(n, p, generator=generator).double()
    w = torch.randn(p, 1, generator=generator).double()
    y = X @ w + s * torch.randn(n, 1, generator=generator).double()
    net = torch.nn.Linear(p, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.linalg.lstsq(X, y).solution.T)
    (row,) = tic(ls.Objective(net, (X, y), "mse_loss"))
    assert row.value == pytest.approx(2 * s**2 * p, rel=0.05)


def test_tic_forms_against_dense_matrices(classifier):
    objective = classifier()
    F, C = Fisher(objective).dense().double(), GradientCovariance(objective).dense().double()
    assert tic(objective)[0].value == pytest.approx(float((torch.linalg.pinv(F, rtol=1e-13) @ C).trace()), rel=1e-4)
    assert tic_trace(objective, matvecs=1000)[0].value == pytest.approx(float(C.trace() / F.trace()), rel=1e-9)
    f = F.diagonal()
    expected = float((C.diagonal() / (f + 1e-7 * f.max())).sum())
    assert tic_diagonal(objective)[0].value == pytest.approx(expected, rel=1e-9)


def test_a_large_network_has_no_full_form(classifier):
    with pytest.raises(NotDefinedError, match="tic-diagonal"):
        tic(classifier(sizes=(6, 600, 3), fit=1))


def test_igs_of_a_network_with_enough_parameters_is_a_measure_of_fit(classifier):
    large, small = classifier(n=12), classifier(n=300)
    (row,) = igs(large, iterations=3000, tol=1e-9)
    p = (-large.per_example().double()).exp()
    assert large.size >= 12 * 2
    assert row.value == pytest.approx(float((1 / p - 1).mean()) ** 0.5, rel=1e-3)
    assert "measure of fit" in row.note
    assert row.family == "fit"
    assert "fit" not in igs(small, iterations=3000)[0].note


def test_tic_is_centred_and_the_raw_moment_adds_the_square_of_igs(classifier):
    objective = classifier()
    F, C, g = Fisher(objective).dense().double(), GradientCovariance(objective).dense().double(), objective.gradient()
    inverse = torch.linalg.pinv(F, rtol=1e-13)
    raw = float((inverse @ (C + torch.outer(g, g))).trace())
    assert raw - tic(objective)[0].value == pytest.approx(float(g @ inverse @ g), rel=1e-2)


def test_igs_is_the_gradient_in_the_fisher_metric(classifier):
    objective = classifier(n=300)
    F, g = Fisher(objective).dense().double(), objective.gradient()
    expected = float(g @ torch.linalg.pinv(F, rtol=1e-13) @ g) ** 0.5
    (row,) = igs(objective, iterations=150, tol=1e-8)
    assert row.value == pytest.approx(expected, rel=0.05)
    assert igs(objective, iterations=2)[0].status == "not converged"
