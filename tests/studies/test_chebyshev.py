import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError
from landscape.studies.chebyshev import chebyshev_data, chebyshev_network, half_squared_error


@pytest.mark.parametrize("degree", [0, 1, 3, 5])
def test_targets_are_the_cosine_of_a_multiple_angle(degree):
    X, y = chebyshev_data(degree)
    expected = np.cos(degree * np.arccos(np.clip(X.double().numpy(), -1, 1)))
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)
    assert (float(X[0]), float(X[-1]), len(X)) == (-1.0, 1.0, 20)


def test_network_has_no_bias_at_its_output_and_its_seed_alone_decides_it():
    before = torch.get_rng_state()
    first, again, other = (chebyshev_network(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert not first[0].bias.any()
    assert first[2].bias is None


def test_first_layer_has_the_deviation_of_its_gain():
    wide = chebyshev_network(10_000)
    assert float(wide[0].weight.detach().std()) == pytest.approx(1.9 * (2 / 10_001) ** 0.5, rel=0.05)


def test_loss_sums_outputs_and_averages_examples():
    assert float(half_squared_error(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2))) == 5.0


@pytest.mark.parametrize("wrong", [{"degree": -1}, {"degree": 2, "points": 1}])
def test_wrong_problems(wrong):
    with pytest.raises(LandscapeError, match="expected a degree"):
        chebyshev_data(**wrong)
