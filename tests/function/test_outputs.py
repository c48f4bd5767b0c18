"""What networks return, as losses want it: classes on the last axis, log-probabilities, several outputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError

D = torch.float64


def tagger(tokens, classes):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(13, 6), nn.Linear(6, classes)).double()
    X, y = torch.randint(0, 13, (6, tokens)), torch.randint(0, classes, (6, tokens))
    y[:2, 3:] = -100
    return model, X, y


def by_token(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def test_classes_on_the_last_axis_are_understood():
    model, X, y = tagger(9, 5)
    objective = ls.Objective(model, (X, y), "cross_entropy", batch_size=4)
    found, counted = objective.evaluate(), y != -100
    assert found["loss"] == pytest.approx(by_token(model(X), y).item(), rel=1e-12)
    assert found["accuracy"] == pytest.approx((model(X).argmax(-1) == y)[counted].double().mean().item())
    one_batch = ls.Objective(model, [(X, y)], by_token, batches="fixed")
    for kind in (ls.Hessian, ls.EmpiricalFisher, ls.Fisher, ls.GaussNewton):
        kind(objective).check()
    v = torch.ones(objective.size, dtype=D)
    torch.testing.assert_close(ls.Hessian(objective) @ v, ls.Hessian(one_batch) @ v, rtol=1e-10, atol=1e-12)


def test_as_many_tokens_as_classes_are_asked_about():
    model, X, y = tagger(5, 5)
    with pytest.raises(LandscapeError, match=r"on axis 1 or on the last; pass the loss as a function that says which"):
        ls.Objective(model, (X, y), "cross_entropy")
    assert ls.Objective(model, (X, y), by_token, batches="fixed", batch_size=6).loss() == pytest.approx(
        by_token(model(X), y).item(), rel=1e-12
    )


@pytest.mark.parametrize("options", [{}, {"weight": torch.tensor([1.0, 2.0, 3.0])}, {"ignore_index": 1}], ids=str)
@pytest.mark.parametrize("program", ["kept", "recompute", "split"])
def test_the_matrices_of_log_probabilities_are_those_of_logits(options, program):
    torch.manual_seed(0)
    a = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    b = nn.Sequential(*a, nn.LogSoftmax(1))
    data = torch.randn(40, 4, dtype=D), torch.randint(0, 3, (40,))
    pair = ls.Objective(a, data, nn.CrossEntropyLoss(**options)), ls.Objective(b, data, nn.NLLLoss(**options))
    for kind in (ls.GaussNewton, ls.Fisher):
        torch.testing.assert_close(*(kind(o, program=program).dense() for o in pair), rtol=1e-10, atol=1e-12)


def test_outputs_that_are_no_log_probabilities_have_no_gauss_newton_matrix():
    objective = ls.Objective(nn.Linear(4, 3), (torch.randn(8, 4), torch.randint(0, 3, (8,))), "nll_loss")
    with pytest.raises(NotDefinedError, match="end the network in log_softmax, or use cross_entropy"):
        ls.GaussNewton(objective)


class Heteroscedastic(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.spread = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x):
        return F.softplus(self.mean(x)), F.softplus(self.spread(x)) + 0.1


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_criterion_of_several_outputs_is_never_given_one_of_them(mode):
    torch.manual_seed(0)
    model, X, y = Heteroscedastic().double(), torch.randn(30, 4, dtype=D), torch.rand(30, 1, dtype=D)

    def likelihood(output, target):
        return F.gaussian_nll_loss(output[0], target, output[1])

    with pytest.raises(LandscapeError, match=r"the network returned tuple, .* pass ls.BatchLoss\(lambda"):
        ls.Objective(model, (X, y), likelihood, mode=mode)
    loss = ls.BatchLoss(lambda model, batch: likelihood(model(batch[0]), batch[1]))
    assert ls.Objective(model, (X, y), loss, mode=mode).loss() == pytest.approx(likelihood(model(X), y).item())
    first = ls.Objective(model, (X, y), lambda output, target: F.mse_loss(output, target))
    assert first.loss() == pytest.approx(F.mse_loss(model(X)[0], y).item())


def test_labels_that_are_ignored_only_later_are_found():
    torch.manual_seed(0)
    X, y = torch.randn(200, 6), torch.randint(0, 3, (200,))
    y[110:] = -100
    with pytest.raises(LandscapeError, match="it is not a mean over what is counted"):
        ls.Objective(nn.Linear(6, 3), (X, y), lambda output, target: F.cross_entropy(output, target), batch_size=100)


def test_outputs_that_are_nan_are_never_right():
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x) * float("nan")

    X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for outputs, loss, target in ((3, "cross_entropy", torch.zeros(6, dtype=torch.long)),
                                  (1, "binary_cross_entropy_with_logits", torch.zeros(6, 1))):  # fmt: skip
        assert ls.Objective(Broken(4, outputs), (X, target), loss).evaluate()["accuracy"] == 0.0
