"""What networks return, as losses want it: classes on the last axis, log-probabilities, several outputs."""

import pickle

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


def likelihood(output, target):
    return F.gaussian_nll_loss(output[0], target, output[1])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_criterion_of_several_outputs_is_given_all_of_them(mode):
    torch.manual_seed(0)
    model, X, y = Heteroscedastic().double(), torch.randn(30, 4, dtype=D), torch.rand(30, 1, dtype=D)
    objective = ls.Objective(model, (X, y), likelihood, mode=mode, batch_size=12)
    assert objective.loss() == pytest.approx(likelihood(model(X), y).item(), rel=1e-12)
    loss = ls.BatchLoss(lambda model, batch: likelihood(model(batch[0]), batch[1]))
    H = [ls.Hessian(ls.Objective(model, (X, y), given)).dense() for given in (likelihood, loss)]
    torch.testing.assert_close(*H, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(objective.outputs(), model(X)[0].detach())
    first = ls.Objective(model, (X, y), lambda output, target: F.mse_loss(output, target))
    assert first.loss() == pytest.approx(F.mse_loss(model(X)[0], y).item())


def test_what_goes_with_a_criterion_of_several_outputs():
    model, data = Heteroscedastic().double(), (torch.randn(30, 4, dtype=D), torch.rand(30, 1, dtype=D))
    objective = ls.Objective(model, data, likelihood)
    again = pickle.loads(pickle.dumps(objective))
    assert (again.loss(), again.loss_name) == (objective.loss(), "BatchLoss(likelihood)")
    assert objective.with_loss(likelihood).per_example().mean() == pytest.approx(objective.loss())
    with pytest.raises(NotDefinedError, match="not a function of outputs and targets"):
        ls.GaussNewton(objective)
    with pytest.raises(LandscapeError, match=r"count= is given one tensor of it; pass ls.BatchLoss"):
        ls.Objective(model, data, likelihood, count=lambda output, target: len(target))


class OfMappings(nn.Linear):
    def forward(self, batch):
        return super().forward(batch["atoms"])


def test_a_mapping_is_the_input_where_the_network_wants_one():
    torch.manual_seed(0)
    model, X, y = OfMappings(4, 3), torch.randn(9, 4), torch.arange(9) % 3
    objective = ls.Objective(model, {"atoms": X, "labels": y}, "cross_entropy", batch_size=4)
    assert objective.loss() == pytest.approx(F.cross_entropy(model({"atoms": X}), y).item())
    with pytest.raises(TypeError, match="unexpected keyword argument 'atoms'"):
        ls.Objective(nn.Bilinear(2, 2, 3), {"atoms": X, "labels": y}, "cross_entropy")


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
