"""Norm layers whose statistics are those of each batch, or are re-estimated over all of the data."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.function.gradients import gradient_noise_ratio

D = torch.float64
SIZES = [6, 6, 3]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


X, Y = draw(15, 2, 4, 4), torch.arange(15) % 3
BATCHES = list(zip(X.split(SIZES), Y.split(SIZES), strict=True))


class Volumes(nn.Module):
    """Images as volumes of one layer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(2)

    def forward(self, x):
        return self.norm(x[:, :, None]).flatten(1)


def network(norm):
    torch.manual_seed(0)
    parts = {
        "1d": [nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3), nn.Tanh()],
        "2d": [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=None), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)],
        "3d": [Volumes(), nn.Linear(32, 3)],
        "synchronised": [nn.Conv2d(2, 3, 3), nn.SyncBatchNorm(3), nn.Flatten(), nn.Linear(12, 3)],
        "instance": [nn.InstanceNorm2d(2, track_running_stats=True, affine=True), nn.Flatten(), nn.Linear(32, 3)],
        "two, of which one is frozen": [nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3)],
        "never tracked": [nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Tanh()],
        "with dropout": [nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)],
    }
    model = nn.Sequential(*parts[norm], nn.Linear(3, 3)).to(D).train()
    for module in model.modules():  # running statistics that are far from those of any batch
        if getattr(module, "running_mean", None) is not None:
            module.running_mean += 1.0
    if norm.startswith("two"):
        model[0].eval()
    return model


def trained_on(model, batches=BATCHES):
    """The loss as PyTorch's own training mode gives it, without dropout."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    n = sum(len(y) for _, y in batches)

    def loss(theta):
        parameters, start = {}, 0
        for name, p in model.named_parameters():
            parameters[name] = theta[start : start + p.numel()].view_as(p)
            start += p.numel()
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        call = [functional_call(model, {**parameters, **buffers}, (x,)) for x, _ in batches]
        return sum(F.cross_entropy(f, y) * len(y) / n for f, (_, y) in zip(call, batches, strict=True))

    return loss


NORMS = ["1d", "2d", "3d", "instance", "two, of which one is frozen", "never tracked", "with dropout"]


@pytest.mark.parametrize("norm", NORMS)
def test_value_gradient_and_products_are_those_of_training_mode(norm):
    model = network(norm)
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    objective = ls.Objective(model, BATCHES, "cross_entropy", norm="batch")
    loss, theta, v = trained_on(model), objective.theta.requires_grad_(), draw(objective.size, seed=1)
    assert objective.loss() == pytest.approx(loss(theta).item(), abs=1e-14)
    (g,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    torch.testing.assert_close(objective.gradient(), g.detach(), rtol=0, atol=1e-13)
    # forward over reverse is wrong in PyTorch where running statistics are passed along
    (exact,) = torch.autograd.grad(g @ v, theta)
    for program in ("kept", "split", "recompute"):
        torch.testing.assert_close(ls.Hessian(objective, program=program) @ v, exact, rtol=0, atol=1e-11)
    ls.Hessian(objective).check()
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.fixed.items())
    assert ls.Objective(model, BATCHES, "cross_entropy", norm="batch").loss() == objective.loss()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags


def test_synchronised_statistics_are_those_of_the_process_that_is_alone():
    model = network("synchronised")
    twin = nn.SyncBatchNorm(3)
    assert isinstance(model[1], type(twin))
    objective = ls.Objective(model, BATCHES, "cross_entropy", norm="batch")
    model[1].__class__ = nn.BatchNorm2d  # of which the training mode runs on a CPU
    assert objective.loss() == pytest.approx(float(trained_on(model)(objective.theta)), abs=1e-14)


def test_gauss_newton_and_fisher_are_those_of_the_outputs_in_training_mode():
    model = network("1d")
    objective = ls.Objective(model, BATCHES, "cross_entropy", norm="batch")
    theta, v = objective.theta, draw(objective.size, seed=1)
    expected = torch.zeros(objective.size, dtype=D)
    for x, _ in BATCHES:

        def outputs(theta, x=x):
            buffers = {name: b.clone() for name, b in model.named_buffers()}
            return functional_call(model, {**objective.space.unflatten(theta), **buffers}, (x,))

        J = torch.autograd.functional.jacobian(outputs, theta)
        p = outputs(theta).softmax(1).detach()
        middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        expected += torch.einsum("ncp,ncd,ndq,q->p", J, middle, J, v) / len(Y)
    for operator in (ls.GaussNewton, ls.Fisher):
        torch.testing.assert_close(operator(objective) @ v, expected, rtol=0, atol=1e-12)


def test_networks_without_statistics_are_the_same_function():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.LayerNorm(4), nn.Linear(4, 3)).to(D)
    frozen = ls.Objective(model, (X, Y), "cross_entropy")
    objective = ls.Objective(model, (X, Y), "cross_entropy", norm="batch")
    assert objective.norm == "frozen"
    assert objective.loss() == frozen.loss()
    assert len(objective.per_example()) == 15
    assert frozen.with_norm("batch", batch_size=2).provenance() == frozen.provenance()


def test_what_needs_single_examples_or_other_batches_says_why():
    objective = ls.Objective(network("1d"), BATCHES, "cross_entropy", norm="batch")
    refused = [
        objective.per_example, lambda: ls.EmpiricalFisher(objective) @ objective.theta, lambda: objective.subset([0, 1]),
        lambda: objective.rebatch(5), lambda: ls.operators.GradientCovariance(objective) @ objective.theta,
    ]  # fmt: skip
    for call in refused:
        with pytest.raises(ls.NotDefinedError, match="statistics of each batch"):
            call()
    panel = ls.sharpness(objective)
    with pytest.raises(ls.NotDefinedError, match="statistics of each batch"):
        ls.sharpness(objective, ["tic"])
    assert {panel[name].status for name in ("lambda-max", "adaptive-average", "adaptive-worst-symmetric")} == {"ok"}
    assert "with their own norm statistics" in repr(objective)
    assert objective.provenance()["norm"] == "batch"


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y), {}, "pass batch_size="),
        (TensorDataset(X, Y), {}, "pass batch_size="),
        ((X, Y), {"batch_size": 1}, "a batch of one example"),
        ((X, Y), {"batch_size": 7}, "a batch of one example"),
        ((X, Y), {"batch_size": 5, "mode": "train"}, "mode='eval'"),
        ((X, Y), {"batch_size": 5, "norm": "running"}, "expected 'frozen' or 'batch'"),
    ],
)
def test_bad_input_is_one_line(data, options, message):
    with pytest.raises(ls.LandscapeError, match=message) as error:
        ls.Objective(network("1d"), data, "cross_entropy", **{"norm": "batch", **options})
    assert "\n" not in str(error.value)


def test_a_loader_that_shuffles_is_read_once():
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    objective = ls.Objective(network("1d"), loader, "cross_entropy", norm="batch")
    batches = [(batch.inputs, batch.target) for batch in objective.batches]
    assert objective.loss() == objective.loss()
    assert objective.loss() == pytest.approx(float(trained_on(network("1d"), batches)(objective.theta)), abs=1e-14)


def test_other_functions_of_the_same_network():
    model = network("1d")
    frozen = ls.Objective(model, (X, Y), "cross_entropy")
    batch = frozen.with_norm("batch", batch_size=7)
    assert [len(one.target) for one in batch.batches] == [7, 8]
    assert sorted(torch.cat([one.target for one in batch.batches]).tolist()) == sorted(Y.tolist())
    assert batch.loss() == frozen.with_norm("batch", batch_size=7).loss()
    assert batch.loss() != pytest.approx(frozen.loss(), rel=1e-3)
    assert batch.with_norm("frozen").loss() == pytest.approx(frozen.loss(), rel=1e-14)
    assert frozen.loss() == ls.Objective(model, (X, Y), "cross_entropy").loss()  # they share a structure
    assert batch.recalibrated().with_norm("frozen").loss() == pytest.approx(frozen.recalibrated().loss(), rel=1e-14)
    doubled = batch.with_loss(lambda f, y: 2 * F.cross_entropy(f, y))
    assert doubled.loss() == pytest.approx(2 * batch.loss(), rel=1e-14)
    assert [len(one.target) for one in batch.on((X[:9], Y[:9]), batch_size=3).batches] == [3, 3, 3]


def test_noise_of_the_gradient_over_batches():
    batches = list(zip(X.split(5), Y.split(5), strict=True))
    model = network("1d")
    objective = ls.Objective(model, batches, "cross_entropy", norm="batch")
    g = torch.stack([grad(trained_on(model, [one]))(objective.theta) for one in batches])
    expected = g.mean(0).norm() / (torch.cov(g.T).trace() / 3).sqrt()
    assert gradient_noise_ratio(objective) == pytest.approx(float(expected), rel=1e-10)


def test_scale_before_a_norm_layer_is_no_property_of_the_function():
    """The layer's epsilon is scaled with the variance: at 1e-5, kept, it moved the worst case by up to 3 %."""
    model = ls.models.small_cnn(norm="batch").to(D)
    data = (draw(12, 1, 8, 8), torch.arange(12) % 10)
    objective = ls.Objective(model, data, "cross_entropy", norm="batch", batch_size=4)
    report = ls.audit(objective, ["adaptive-average", "adaptive-worst-symmetric"], transformations=["T3"])
    assert {row.verdict for row in report.rows} == {"invariant"}


# --- re-estimated statistics ------------------------------------------------------------------------------------------


def deep():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(),
        nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3),
    ).to(D)  # fmt: skip


def of_one_pass(model, inputs):
    """The statistics after one pass in training mode over all examples as a single batch."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.reset_running_stats()
            module.momentum = 1.0
    with torch.no_grad():
        model(inputs)
    return {name: b for name, b in model.named_buffers() if "num_batches" not in name}


@pytest.mark.parametrize("n", [9, 1024, 1025, 2500])
@pytest.mark.parametrize("order", ["as drawn", "sorted"])
def test_statistics_are_those_of_all_examples_whatever_the_batches(n, order):
    inputs, model = draw(n, 4) * torch.linspace(1, 4, n, dtype=D)[:, None], deep()
    if order == "sorted":
        inputs = inputs[inputs[:, 0].argsort()]
    objective = ls.Objective(model, (inputs, torch.arange(n) % 3), "cross_entropy")
    found = objective.recalibrated().fixed
    for name, expected in of_one_pass(model, inputs).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-11, atol=1e-13)
    assert [vars(module).get("forward") for module in objective.network.modules() if hasattr(module, "momentum")] == [
        None
    ] * 4


def test_statistics_of_batches_that_are_taken_as_they_are():
    """A loss that alone knows how to call the network, and batches that cannot be joined."""
    inputs, model = draw(10, 4), deep()
    loss = ls.BatchLoss(lambda net, batch: net(batch[0]).square().mean(), count=lambda batch: len(batch[0]))
    objective = ls.Objective(model, [[inputs[:7]], [inputs[7:]]], loss, batches="fixed")
    for name, expected in of_one_pass(model, inputs).items():
        torch.testing.assert_close(objective.recalibrated().fixed[name], expected, rtol=1e-11, atol=1e-13)


def test_frozen_layers_keep_their_statistics():
    model = deep().train()
    model[1].eval()
    model[4].momentum, model[9].momentum = 0.0, None
    objective = ls.Objective(model, (draw(20, 4), torch.arange(20) % 3), "cross_entropy")
    found = objective.recalibrated().fixed
    assert [name for name in found if not torch.equal(found[name], objective.fixed[name])] == [
        "7.running_mean", "7.running_var",
    ]  # fmt: skip


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_takes_the_function_of_training_where_the_batch_size_is_known():
    def checkpoint(**options):
        return ls.Checkpoint(network("1d"), loss="cross_entropy", train=(X, Y), test=(X[:5], Y[:5]), **options)

    known, unknown = checkpoint(batch_size=5), checkpoint()
    assert (known.objective().norm, len(known.objective().batches)) == ("batch", 3)
    assert known.objective() is known.objective(norm="batch")
    for frozen in (known.objective("test"), known.objective(norm="frozen"), known.objective(recalibrated=False)):
        assert frozen.norm == "frozen"
    assert known.objective(norm="frozen").loss() == unknown.objective().loss()
    assert known.objective("test", norm="batch").norm == "batch"
    with pytest.raises(ls.LandscapeError, match="batch size of the training: pass batch_size="):
        unknown.objective(norm="batch")
    plain = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).to(D)
    assert (
        ls.Checkpoint(plain, loss="cross_entropy", train=(X, Y), batch_size=5).objective(norm="batch").norm == "frozen"
    )
