import pytest
import torch
import torch.nn as nn

import landscape as ls
from landscape.scores.margin import margins
from landscape.scores.normalized import cross_entropy_floor, logit_normalized
from landscape.transforms.logits import normalize_logits


class Logits(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.t = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, x):
        return self.t * x


X = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 5.0], [1.0, 2.0, 0.0], [4.0, 0.0, 1.0]], dtype=torch.float64)
y = torch.tensor([0, 2, 0, 0])


def test_margins_by_hand():
    raw, normalized = margins(ls.Objective(Logits(), (X, y), "cross_entropy"), percentile=0.5)
    assert raw.value == pytest.approx(2.5)  # 2, 5, −1, 3
    centred = X - X.mean(1, keepdim=True)
    expected = torch.tensor([2.0, 5.0, -1.0, 3.0]) / centred.norm(dim=1)
    assert normalized.value == pytest.approx(float(expected.quantile(0.5)))


def test_temperature_moves_only_the_raw_margin():
    once, twice = (margins(ls.Objective(Logits(t), (X, y), "cross_entropy")) for t in (1.0, 2.0))
    assert twice[0].value == pytest.approx(2 * once[0].value)
    assert twice[1].value == pytest.approx(once[1].value)


def test_ignored_targets_do_not_count():
    ignored = torch.tensor([0, 2, -100, 0])
    raw, _ = margins(ls.Objective(Logits(), (X, ignored), "cross_entropy"), percentile=0.0)
    assert raw.value == pytest.approx(2.0)


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.21762), (3, 0.46226), (10, 1.41987), (100, 3.61730)])
def test_floor_of_the_normalised_cross_entropy(classes, floor):
    assert cross_entropy_floor(classes) == pytest.approx(floor, abs=5e-6)
    right = 1e3 * torch.eye(classes, dtype=torch.float64)
    objective = ls.Objective(Logits(), (right, torch.arange(classes)), "cross_entropy")
    assert logit_normalized(objective).loss() == pytest.approx(floor, abs=5e-6)


def test_chance_of_the_normalised_cross_entropy():
    flat = torch.full((4, 10), 3.0, dtype=torch.float64)
    objective = ls.Objective(Logits(), (flat, torch.arange(4)), "cross_entropy")
    assert logit_normalized(objective).loss() == pytest.approx(torch.tensor(10.0).log().item())


def test_normalised_logits_are_centred_and_of_unit_length():
    z = normalize_logits(torch.randn(5, 4, dtype=torch.float64))
    assert torch.allclose(z.mean(1), torch.zeros(5, dtype=torch.float64))
    assert torch.allclose(z.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_the_loss_of_log_probabilities_is_that_of_logits():
    with_logits = ls.Objective(Logits(), (X, y), "cross_entropy")
    log_probabilities = ls.Objective(Logits(), (X.log_softmax(1), y), "nll_loss")
    assert logit_normalized(log_probabilities).loss() == pytest.approx(logit_normalized(with_logits).loss())
