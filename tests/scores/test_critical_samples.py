import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores.critical_samples import critical_sample_ratio


def linear(X, W, **options):
    net = nn.Linear(X.shape[1], len(W), bias=False).double()
    with torch.no_grad():
        net.weight.copy_(W)
    return ls.Objective(net, (X, torch.zeros(len(X), dtype=torch.long)), "cross_entropy", **options)


def test_two_classes_of_a_linear_network_in_closed_form():
    """The decision changes in the box exactly when |margin| < r ‖w₁ − w₀‖₁."""
    generator = torch.Generator().manual_seed(0)
    X, W = torch.randn(200, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    difference = W[1] - W[0]
    for row in critical_sample_ratio(linear(X, W), radii=[0.1, 0.3, 1.0]):
        expected = ((X @ difference).abs() < row.radius * difference.abs().sum()).double().mean()
        assert row.value == float(expected)


def test_grows_with_the_box_and_needs_no_labels(classifier):
    objective = classifier()
    small, large = critical_sample_ratio(objective, radii=[0.05, 0.5])
    assert 0 < small.value < large.value <= 1
    other = objective.on((objective.batches[0].inputs, (objective.targets + 1) % 3))
    assert critical_sample_ratio(other, radii=[0.05])[0].value == small.value


def test_finds_at_least_what_many_random_points_find(classifier):
    objective = classifier()
    X, decision = objective.batches[0].inputs, objective.outputs().argmax(1)
    generator, found = torch.Generator().manual_seed(0), torch.zeros(objective.n, dtype=torch.bool)
    for _ in range(300):
        noise = 0.6 * torch.rand(X.shape, generator=generator).double() - 0.3
        found |= objective.on((X + noise, objective.targets)).outputs().argmax(1) != decision
    assert critical_sample_ratio(objective)[0].value >= float(found.double().mean()) > 0


def test_no_reparametrisation_moves_it(classifier):
    report = ls.audit(classifier(), ["critical-sample-ratio"])
    assert report.survived("critical-sample-ratio") == ("T1", "T2", "T4", "T5", "T7")


def test_does_not_depend_on_the_batches(classifier):
    assert (
        critical_sample_ratio(classifier(batch_size=7))[0].value
        == critical_sample_ratio(classifier(batch_size=60))[0].value
    )


def test_not_defined(regression, classifier):
    with pytest.raises(NotDefinedError, match="logits"):
        critical_sample_ratio(regression)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    tokens = ls.Objective(net, (torch.ones(4, 2, dtype=torch.long), torch.arange(4) % 3), "cross_entropy")
    with pytest.raises(NotDefinedError, match="floating-point"):
        critical_sample_ratio(tokens)
    dense = ls.Objective(
        nn.Conv1d(1, 3, 1), (torch.ones(4, 1, 5), torch.zeros(4, 5, dtype=torch.long)), "cross_entropy"
    )
    with pytest.raises(NotDefinedError, match=r"expected \(N, C\)"):
        critical_sample_ratio(dense)
    with pytest.raises(LandscapeError, match="at least 1"):
        critical_sample_ratio(classifier(fit=1), iterations=0)
