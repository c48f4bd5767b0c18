"""Functions, complex weights and losses that the network computes; what is wrong is named by its batch."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.operators.empirical_fisher import EmpiricalFisherRule

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 4, generator=GENERATOR, dtype=torch.float64), torch.arange(24) % 3


def hessian(loss, parameters):
    """Plain double backward; of complex numbers the real and imaginary parts."""

    def flat(tensors):
        return torch.cat([(torch.stack([t.real, t.imag], -1) if t.is_complex() else t).flatten() for t in tensors])

    gradient = flat(torch.autograd.grad(loss, parameters, create_graph=True))
    return torch.stack([flat(torch.autograd.grad(g, parameters, retain_graph=True)) for g in gradient])


class ComplexLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, generator=GENERATOR, dtype=torch.float64))  # θ goes on at an odd place
        self.weight = nn.Parameter(torch.randn(4, 3, generator=GENERATOR, dtype=torch.complex128))

    def forward(self, x):
        return (x.to(self.weight.dtype) @ self.weight).abs() + self.bias


class Fourier(nn.Module):
    """One layer of a Fourier neural operator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 4, generator=GENERATOR, dtype=torch.complex128) / 3)
        self.out = nn.Conv1d(3, 1, 1).double()

    def forward(self, x):
        modes = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[..., :4], self.weight)
        return self.out(torch.fft.irfft(F.pad(modes, (0, 5)), n=x.shape[-1]).tanh())


FIELDS = torch.randn(2, 6, 2, 16, generator=GENERATOR, dtype=torch.float64)
COMPLEX = {
    "linear": (ComplexLinear, (X, Y), "cross_entropy"),
    "Fourier": (Fourier, (FIELDS[0], FIELDS[1][:, :1]), "mse_loss"),
}


@pytest.mark.parametrize(  # a gradient of irfft works in place, which is not traced
    ("case", "program"), [(case, p) for case in COMPLEX for p in ("kept", "recompute", "split")][:-1]
)
def test_complex_weights_are_pairs_of_reals(case, program):
    make, data, loss = COMPLEX[case]
    model = make()
    objective = ls.Objective(model, data, loss)
    assert objective.theta.dtype == torch.float64
    H = hessian(getattr(F, loss)(model(data[0]), data[1]), list(model.parameters()))
    torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-12)


def test_complex_weights_in_float32_slices_scores_and_files():
    model = ComplexLinear()
    objective = ls.Objective(model, (X, Y), "cross_entropy", dtype=torch.float32)
    expected = F.cross_entropy(model(X), Y).detach()
    assert objective.theta.dtype == torch.float32
    assert objective.loss() == pytest.approx(float(expected), rel=1e-6)
    line = ls.line(objective, ls.random_directions(objective, n=1), points=3)
    assert line.values["train/loss"][1] == pytest.approx(float(expected), rel=1e-6)
    assert {row.status for row in ls.sharpness(objective, ["lambda-max", "adaptive-average", "weight-norm"]).rows} == {
        "ok"
    }
    audit = ls.audit(objective, ["loss"], transformations=["T7"])  # in float64, imaginary parts and all
    assert audit.rows[0].before == pytest.approx(float(expected), rel=1e-6)
    moved = ls.Checkpoint(ComplexLinear(), model.state_dict(), loss="cross_entropy", train=(X, Y)).objective()
    assert moved.loss() == pytest.approx(float(expected), rel=1e-12)


PARAMS = {
    "flat": {
        "0.weight": torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64),
        "0.bias": torch.zeros(3).double(),
    },
    "nested": {"0": [torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64), torch.zeros(3).double()]},
}


def affine(params, x):
    weight, bias = params["0"] if "0" in params else (params["0.weight"], params["0.bias"])
    return (x @ weight + bias).tanh()


@pytest.mark.parametrize("kind", PARAMS)
def test_functions_of_parameters_and_inputs(kind):
    params = PARAMS[kind]
    model = ls.Functional(affine, params)
    objective = ls.Objective(model, (X, Y), "cross_entropy")
    leaves = [t.clone().requires_grad_() for t in (params["0"] if kind == "nested" else params.values())]
    H = hessian(F.cross_entropy((X @ leaves[0] + leaves[1]).tanh(), Y), leaves)
    for program in ("kept", "split", "recompute"):
        torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-12)
    if kind == "flat":  # names are the user's: so is the state dict
        assert list(model.state_dict()) == list(params)
    with pytest.raises(ls.LandscapeError, match=r"of a function f\(params, x\), pass ls\.Functional"):
        ls.Objective(affine, (X, Y), "cross_entropy")


class Own(nn.Linear):
    """Returns its loss where it is given labels, as Hugging Face's networks do."""

    def forward(self, x, labels=None):
        logits = super().forward(x)
        return SimpleNamespace(logits=logits, loss=None if labels is None else F.cross_entropy(logits, labels))


class Steps(nn.Linear):
    """As a Lightning module."""

    def training_step(self, batch, batch_idx):
        return {"loss": F.cross_entropy(self(batch[0]), batch[1])}


@pytest.mark.parametrize(("make", "data"), [(Own, {"x": X, "labels": Y}), (Own, (X, Y)), (Steps, (X, Y))])
def test_losses_that_the_network_computes(make, data):
    model = make(4, 3).double()
    objective = ls.Objective(model, data, "model", batch_size=10)
    H = hessian(F.cross_entropy(F.linear(X, model.weight, model.bias), Y), list(model.parameters()))
    torch.testing.assert_close(ls.Hessian(objective).dense(), H, rtol=1e-9, atol=1e-12)
    assert objective.n == 24
    assert objective.outputs().shape == (24, 3)
    with pytest.raises(ls.LandscapeError, match=r"the network returned no loss for a whole batch"):
        ls.Objective(nn.Linear(4, 3).double(), [(X,)], "model")


def linear():
    return nn.Linear(4, 3).double()


def batches(change):
    return [(X[:10], Y[:10]), change(X[10:], Y[10:])]


def test_a_loss_that_is_nan_names_its_batch():
    objective = ls.Objective(linear(), batches(lambda x, y: (x * float("nan"), y)), "cross_entropy")
    named = r"on batch 2 of 2, 14 examples of the data: \(14, 4\) float64, \(14,\) int64"
    for call in (objective.loss, objective.gradient, lambda: ls.top_eigenpairs(ls.Hessian(objective), k=1)):
        with pytest.raises(ls.NumericalError, match=named):
            call()


def test_batches_of_another_structure_or_shape_are_named():
    with pytest.raises(
        ls.LandscapeError, match="batch 1 is a tuple, batch 2 a dict of x, labels; expected batches of one structure"
    ):
        ls.Objective(linear(), batches(lambda x, y: {"x": x, "labels": y}), "cross_entropy")
    with pytest.raises(RuntimeError) as caught:
        ls.Objective(linear(), batches(lambda x, y: (x[:, :2], y)), "cross_entropy").loss()
    assert "called with batch 2 of 2, 14 examples of the data: (14, 2)" in caught.value.__notes__[0]


TOKENS = torch.randint(0, 7, (6, 5), generator=GENERATOR)
LABELS = torch.where(TOKENS > 5, -100, (TOKENS + 1) % 7)
CLASS_WEIGHTS = torch.linspace(0.5, 2, 7, dtype=torch.float64)
SINGLE = {
    "tokens": ((TOKENS, LABELS), nn.CrossEntropyLoss()),
    "weighted tokens": ((TOKENS, LABELS), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)),
    "tokens summed": ((TOKENS, LABELS), nn.CrossEntropyLoss(reduction="sum")),
    "elements": ((TOKENS, torch.randn(6, 5, 7, generator=GENERATOR, dtype=torch.float64)), nn.MSELoss()),
}
SINGLE["elements summed"] = SINGLE["elements"][0], nn.MSELoss(reduction="sum")


@pytest.mark.parametrize("case", SINGLE)
def test_single_targets_as_examples_of_the_empirical_fisher_matrix(case):
    data, loss = SINGLE[case]
    model = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 7)).double()
    objective = ls.Objective(model, data, loss, batch_size=4)
    outputs, target = model(data[0]).flatten(0, 1), data[1].flatten(0, 1)
    if case.startswith("elements"):
        terms, weights = (outputs - target).square().flatten(), torch.ones(6 * 5 * 7, dtype=torch.float64)
    else:
        terms = F.cross_entropy(outputs, target, reduction="none")
        weights = (target >= 0).double() * (CLASS_WEIGHTS[target.clamp_min(0)] if case == "weighted tokens" else 1)
    weights = weights if case.endswith("summed") else weights / weights.sum()
    parameters = list(model.parameters())
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(t, parameters, retain_graph=True)]) for t in terms]
    expected = torch.stack(rows).T @ (weights[:, None] * torch.stack(rows))
    found = ls.EmpiricalFisher(objective, example="target")
    torch.testing.assert_close(found.dense(), expected, rtol=1e-8, atol=1e-12)
    assert found.provenance["example"] == "target"
    mean = torch.stack(rows).T @ weights
    covariance = ls.GradientCovariance(objective, example="target").dense()
    torch.testing.assert_close(covariance, expected - torch.outer(mean, mean) / weights.sum(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("example", ["row", "target"])
@pytest.mark.parametrize("case", SINGLE)
def test_weights_of_examples_are_shares_of_their_batch(case, example):
    """Each process of a sharded network multiplies batches with their shares."""
    data, loss = SINGLE[case]
    objective = ls.Objective(nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 7)).double(), data, loss)
    rule, batch = EmpiricalFisherRule(objective, example), objective.batches[0]
    with objective.guard(second=True):
        whole, quarter = (rule.values(objective.theta, rule.dress(batch.rescaled(s), ())) for s in (1.0, 0.25))
    torch.testing.assert_close(quarter, whole / 2)


def test_probabilities_as_targets_of_a_sum_have_weight_one():
    model, targets = linear(), torch.rand(24, 3, generator=GENERATOR, dtype=torch.float64).softmax(1)
    objective = ls.Objective(model, (X, targets), nn.CrossEntropyLoss(reduction="sum"))
    terms = F.cross_entropy(model(X), targets, reduction="none")
    rows = [torch.autograd.grad(t, list(model.parameters()), retain_graph=True) for t in terms]
    J = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    torch.testing.assert_close(ls.EmpiricalFisher(objective).dense(), J.T @ J)


def test_what_counts_as_an_example_is_one_of_two_words():
    objective = ls.Objective(linear(), (X, Y), "cross_entropy")
    torch.testing.assert_close(
        ls.EmpiricalFisher(objective, example="target").dense(), ls.EmpiricalFisher(objective).dense()
    )
    with pytest.raises(ls.LandscapeError, match="expected 'row' or 'target'"):
        ls.EmpiricalFisher(objective, example="token")
    with pytest.raises(ls.NotDefinedError, match="single targets are known of PyTorch's own losses"):
        ls.EmpiricalFisher(objective.with_loss(lambda o, y: F.cross_entropy(o, y)), example="target")


def test_a_divisor_that_moves_with_theta_is_refused():
    def loss(output, target):
        return F.cross_entropy(output, target, reduction="sum") / (output[:, 0] > 0).sum()

    with pytest.raises(ls.LandscapeError, match=r"count= is \d+ for the outputs .* batches='fixed'"):
        ls.Objective(linear(), (X, Y), loss, count=lambda output, target: float((output[:, 0] > 0).sum()))


def test_a_mapping_whose_names_the_network_does_not_know_is_said():
    with pytest.raises(TypeError) as caught:
        ls.Objective(linear(), {"pixels": X, "labels": Y}, "cross_entropy")
    assert "the network takes none of the names pixels" in caught.value.__notes__[0]


@pytest.mark.parametrize("program", ["kept", "split", "recompute"])
def test_sinc_and_tied_padding_have_their_derivatives(program):
    zero = nn.Linear(4, 2).double().requires_grad_(False)
    zero.weight.zero_()
    zero.bias.zero_()
    target = torch.ones(24, 2, dtype=torch.float64) / 2
    objective = ls.Objective(zero, (X, target), lambda o, y: (torch.sinc(o) - y).mean(), parameters="*")
    leaf = zero.weight.requires_grad_(), zero.bias.requires_grad_()
    H = hessian((1 - (torch.pi * (X @ leaf[0].T + leaf[1])).square() / 6).mean(), leaf)
    torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-12)
    words = nn.Sequential(nn.Embedding(7, 3, padding_idx=0), nn.Linear(3, 7, bias=False)).double()
    words[1].weight = words[0].weight
    tokens, labels = TOKENS[:, 0], LABELS[:, 1].clamp_min(0)
    W = words[0].weight
    H = hessian(F.cross_entropy(W[tokens] @ W.T, labels), [W])
    objective = ls.Objective(words, (tokens, labels), "cross_entropy")
    torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-12)


def test_a_device_without_float64_is_refused():
    with pytest.raises(ls.LandscapeError, match=r"float64, which 'mps' does not have; pass device='cpu'"):
        ls.Objective(linear(), (X, Y), "cross_entropy", device="mps")


class Equilibrium(nn.Module):
    """z = tanh(A x + B z), solved under no_grad; one step carries the gradient, which is then not that of the loss."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 3, bias=False)

    def forward(self, x):
        with torch.no_grad():
            z = torch.zeros(len(x), 3, dtype=x.dtype)
            for _ in range(100):
                z = torch.tanh(self.a(x) + self.b(z) / 3)
        return torch.tanh(self.a(x) + self.b(z) / 3)


@pytest.mark.parametrize("program", ["auto", "kept", "recompute"])
def test_a_gradient_that_is_not_that_of_the_loss_is_refused(program):
    torch.manual_seed(0)
    objective = ls.Objective(Equilibrium().double(), (X, Y), "cross_entropy")
    with pytest.raises(ls.NumericalError, match=r"products with the Hessian are not .*no_grad"):
        ls.Hessian(objective, program=program) @ objective.theta


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"w": torch.ones(4, dtype=int)}, "torch.int64 as w"),
        ({"w": None}, "NoneType as w"),
        ({"forward": torch.ones(4)}, "'forward' cannot name"),
        ({"a.b": torch.ones(4), "a": {"b": torch.ones(4)}}, "two tensors have this name"),
    ],
)
def test_params_that_are_no_parameters_are_named(params, said):
    with pytest.raises(ls.LandscapeError, match=said):
        ls.Functional(lambda p, x: x, params)
    with pytest.raises(ls.LandscapeError, match="expected a function f"):
        ls.Functional(params, lambda p, x: x)


def test_one_tensor_is_params_enough_and_may_be_called_f():
    x = torch.randn(6, 4)
    assert torch.equal(ls.Functional(lambda p, x: x @ p, torch.eye(4))(x), x)
    assert torch.equal(ls.Functional(lambda p, x: x @ p["f"], {"f": torch.eye(4)})(x), x)


class Masked(torch.nn.Linear):
    """A network whose own loss leaves labels out."""

    ignored = -100

    def forward(self, x, labels):
        return {"loss": torch.nn.functional.cross_entropy(super().forward(x), labels, ignore_index=self.ignored)}


@pytest.mark.parametrize("ignored", [0, -100])
def test_an_own_loss_that_leaves_labels_out_is_refused(ignored):
    x, labels, model = torch.randn(30, 4), torch.arange(30) % 3, Masked(4, 3)
    model.ignored = ignored
    labels[20:26] = ignored  # of the second batch: the first cannot show it
    batches = [{"x": x[:7], "labels": labels[:7]}, {"x": x[7:], "labels": labels[7:]}]
    with pytest.raises(ls.LandscapeError, match="not a mean over what is counted"):
        ls.Objective(model, batches, "model")
    exact = ls.Objective(model, batches, "model", count=lambda batch: (batch["labels"] != ignored).sum())
    assert exact.loss() == pytest.approx(model(x, labels)["loss"].item())


def test_a_network_without_a_loss_of_its_own_is_said():
    with pytest.raises(ls.LandscapeError, match=r"Linear\.forward does not take 2 inputs"):
        ls.Objective(torch.nn.Linear(4, 3), (torch.randn(6, 4), torch.arange(6) % 3), "model")


class ComplexTanh(torch.nn.Module):
    """A holomorphic activation, whose gradient is conjugate to its derivative."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.complex128))

    def forward(self, x):
        return (x.to(self.w.dtype) @ self.w).tanh().real


@pytest.mark.parametrize("operator", [ls.Hessian, ls.GaussNewton, ls.EmpiricalFisher])
def test_a_complex_tanh_is_differentiated_as_pytorch_does(operator):
    x, y, model = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3, ComplexTanh()
    objective = ls.Objective(model, (x, y), "cross_entropy")

    def outputs(theta):
        return (x.to(torch.complex128) @ torch.view_as_complex(theta.view(4, 3, 2))).tanh().real

    def losses(theta):
        return F.cross_entropy(outputs(theta), y, reduction="none")

    theta = objective.theta.clone()
    if operator is ls.Hessian:
        dense = torch.autograd.functional.hessian(lambda t: losses(t).mean(), theta)
    elif operator is ls.GaussNewton:
        J, p = torch.autograd.functional.jacobian(outputs, theta), outputs(theta).softmax(1)
        dense = torch.einsum("nci,ncd,ndj->ij", J, torch.diag_embed(p) - p[:, :, None] * p[:, None], J) / 9
    else:
        J = torch.autograd.functional.jacobian(losses, theta)
        dense = J.T @ J / 9
    found = operator(objective) @ torch.eye(24, dtype=torch.float64)
    torch.testing.assert_close(found, dense, rtol=1e-10, atol=1e-10)
