"""The objective: exact weighting, nothing left behind, clear refusals."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

torch.manual_seed(0)
N, D, C = 23, 5, 4
X = torch.randn(N, D, dtype=torch.float64)
Y = torch.randint(0, C, (N,))
R = torch.randn(N, C, dtype=torch.float64)
WEIGHT = torch.tensor([0.2, 3.0, 1.0, 0.5], dtype=torch.float64)
RAGGED = [(X[:10], Y[:10]), (X[10:13], Y[10:13]), (X[13:], Y[13:])]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(D, 7), nn.GELU(), nn.Linear(7, C)).double()


def with_norm():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(D, 7), nn.BatchNorm1d(7), nn.Dropout(0.5), nn.ReLU(), nn.Linear(7, C)).double()
        model.train()
        model(X)  # statistics that differ from the initial ones
    return model


IGNORED = Y.clone()
IGNORED[:9] = -100

LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss(), Y),
    "by name": ("cross_entropy", Y),
    "partial": (functools.partial(F.cross_entropy, label_smoothing=0.1), Y),
    "ignored targets": (nn.CrossEntropyLoss(), IGNORED),
    "own ignore index": (nn.CrossEntropyLoss(ignore_index=2), Y),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), Y),
    "weights and ignored": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.2), Y),
    "soft targets": (nn.CrossEntropyLoss(), R.softmax(1)),
    "weighted soft targets": (nn.CrossEntropyLoss(weight=WEIGHT), R.softmax(1)),
    "mse": (nn.MSELoss(), R),
    "huber": (nn.HuberLoss(delta=0.3), R),
    "bce": (nn.BCEWithLogitsLoss(pos_weight=torch.full((C,), 2.0)), (R > 0).double()),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), Y),
    "mse sum": (nn.MSELoss(reduction="sum"), R),
    "own mean": (lambda output, target: (output - target).abs().sum(1).mean(), R),
    "divergence by example": (nn.KLDivLoss(reduction="batchmean"), R.softmax(1)),
    "divergence by name": (functools.partial(F.kl_div, reduction="batchmean", log_target=True), R.log_softmax(1)),
    "sum of divergences": (nn.KLDivLoss(reduction="sum"), R.softmax(1)),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("cuts", [[N], [10, 3, 10], [1, 22], [8, 8, 7]])
def test_loss_and_gradient_do_not_depend_on_the_batches(case, cuts):
    loss, target = LOSSES[case]
    criterion = getattr(F, loss) if isinstance(loss, str) else loss
    model = network()
    data = list(zip(X.split(cuts), target.split(cuts), strict=True))
    objective = ls.Objective(model, data, loss)
    expected = criterion(model(X), target)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(model.parameters()))])
    assert objective.loss() == pytest.approx(expected.item(), rel=1e-13)
    torch.testing.assert_close(objective.gradient(), gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", [c for c in LOSSES if not c.startswith(("sum", "mse sum"))])
def test_per_example_terms_average_to_the_loss(case):
    loss, target = LOSSES[case]
    objective = ls.Objective(network(), (X, target), loss)
    terms = objective.per_example()
    assert terms.shape == (N,)
    weights = torch.ones(N, dtype=torch.float64)
    if not target.is_floating_point() and isinstance(loss, nn.CrossEntropyLoss):
        weights = torch.where(target == loss.ignore_index, 0.0, 1.0).double()
        if loss.weight is not None:
            weights *= loss.weight[target.clamp(0)]
    assert float((terms * weights).sum() / weights.sum()) == pytest.approx(objective.loss(), rel=1e-12)


def snapshot(model):
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [p.grad for p in model.parameters()],
        torch.random.get_rng_state(),
    )


def assert_same(before, after):
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1:4] == after[1:4]
    assert torch.equal(before[4], after[4])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_model_and_random_state_are_untouched(mode):
    model = with_norm()
    model[0].eval()  # flags that differ from module to module
    before = snapshot(model)
    objective = ls.Objective(model, RAGGED, "cross_entropy", mode=mode)
    objective.evaluate()
    objective.gradient()
    objective.recalibrated()
    assert_same(before, snapshot(model))


def test_model_is_untouched_after_an_exception():
    model = with_norm()
    broken = []

    def fragile(output, target):
        if broken:
            torch.rand(3)
            raise RuntimeError("the user's own error")
        return F.cross_entropy(output, target)

    objective = ls.Objective(model, (X, Y), fragile)
    before = snapshot(model)
    broken.append(True)
    with pytest.raises(RuntimeError, match="own error"):
        objective.gradient()
    assert_same(before, snapshot(model))


def test_frozen_statistics_and_no_dropout_by_default():
    model = with_norm()
    objective = ls.Objective(model, (X, Y), "cross_entropy")
    assert objective.loss() == pytest.approx(F.cross_entropy(copy.deepcopy(model).eval()(X), Y).item(), rel=1e-13)


def test_objective_does_not_follow_later_changes_of_the_model():
    model = network()
    objective = ls.Objective(model, (X, Y), "cross_entropy")
    before = objective.loss()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert objective.loss() == before


@pytest.mark.parametrize("parameters", ["0.*", ["*.bias"], lambda name, tensor: tensor.ndim == 2])
def test_selected_parameters(parameters):
    model = network()
    objective = ls.Objective(model, (X, Y), "cross_entropy", parameters=parameters)
    full = ls.Objective(model, (X, Y), "cross_entropy")
    assert objective.loss() == full.loss()
    mask = full.space.mask(list(objective.names))
    torch.testing.assert_close(objective.gradient(), full.gradient()[mask], rtol=1e-12, atol=0)


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].weight.requires_grad_(False)
    assert "0.weight" not in ls.Objective(model, (X, Y), "cross_entropy").names
    assert "0.weight" in ls.Objective(model, (X, Y), "cross_entropy", parameters="*").names


def test_subset_keeps_the_order_asked_for():
    objective = ls.Objective(network(), RAGGED, "cross_entropy")
    indices = [22, 0, 11, 12, 10, 3, 3]
    part = objective.subset(indices)
    torch.testing.assert_close(part.per_example(), objective.per_example()[indices], rtol=1e-12, atol=0)
    torch.testing.assert_close(part.targets, Y[indices])
    assert part.evaluate()["accuracy"] == pytest.approx(
        float((objective.outputs()[indices].argmax(1) == Y[indices]).double().mean())
    )


def test_with_loss_and_at():
    objective = ls.Objective(network(), (X, Y), "cross_entropy")
    doubled = objective.with_loss(lambda output, target: 2 * F.cross_entropy(output, target))
    assert doubled.loss() == pytest.approx(2 * objective.loss())
    other = network(5)
    moved = objective.at(other.state_dict())
    assert moved.loss() == pytest.approx(F.cross_entropy(other(X), Y).item())
    assert moved.at(objective.theta).loss() == objective.loss()


def test_float32_sums_over_batches_in_double():
    objective = ls.Objective(network(), (X, Y), "cross_entropy", dtype=torch.float32, batch_size=1)
    exact = ls.Objective(network(), (X, Y), "cross_entropy")
    assert objective.dtype == torch.float32
    assert objective.gradient().dtype == torch.float32
    assert objective.loss() == pytest.approx(exact.loss(), rel=1e-6)


def test_compiled_and_parallel_wrappers_are_taken_off():
    model = network()
    wrapped = nn.DataParallel(model)
    assert ls.Objective(wrapped, (X, Y), "cross_entropy").names == ls.Objective(model, (X, Y), "cross_entropy").names
    compiled = torch.compile(model)
    assert ls.Objective(compiled, (X, Y), "cross_entropy").names == ls.Objective(model, (X, Y), "cross_entropy").names


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


class InPlace(nn.Linear):
    def __init__(self):
        super().__init__(D, C)

    def forward(self, x):
        return super().forward(x.clamp_(-1, 1))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D, C, dtype=torch.complex128))

    def forward(self, x):
        return x.to(self.weight.dtype) @ self.weight


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.unused = network(), nn.Linear(2, 2).double()

    def forward(self, x):
        return self.net(x)


class Detached(nn.Linear):
    def forward(self, x):
        return super().forward(x).detach()


def _nan():
    model = network()
    with torch.no_grad():
        model[2].bias[1] = float("nan")
    return model


def of(data=(X, Y), loss="cross_entropy", model=network, **options):
    return lambda: ls.Objective(model(), data, loss, **options)


def summed(output, target):
    return (output - target).square().sum()


REFUSED = {
    "empty data": (of((X[:0], Y[:0])), "empty"),
    "empty list": (of([]), "empty"),
    "label too large": (of((X, Y + 1)), "label 4 is out of range"),
    "negative label": (of((X, Y - 1)), "label -1 is out of range"),
    "label as float": (of((X, Y.float())), r"y\.long\(\)"),
    "label in a column": (of((X, Y[:, None])), "squeeze or reshape"),
    "labels of text": (of((X.numpy(), Y.numpy().astype(str))), "encoded"),
    "late label": (of([(X, Y), (X, Y + 9)]), "out of range"),
    "targets that would be stretched": (of((X, R[:, 0]), "mse_loss", lambda: nn.Linear(D, 1).double()), "differ in shape"),
    "NaN weights": (of(model=_nan), r"2\.bias"),
    "unknown pattern": (of(parameters="layer9.*"), "matches no parameter"),
    "unknown loss": (of(loss="cross_entropee"), "unknown loss"),
    "not a loss": (of(loss=3), "expected a function"),
    "a loss class": (of(loss=nn.CrossEntropyLoss), r"is the class CrossEntropyLoss, expected a module: CrossEntropyLoss\(\)"),
    "not a scalar": (of(loss=lambda o, t: o.argmax(1) - t), "expected a real scalar"),
    "complex outputs": (of(model=Complex), r"are torch\.complex128, and cross_entropy\(\) is a function of real ones"),
    "a complex loss": (
        of((X, R), lambda o, t: (o - t).square().mean(), Complex), r"is torch\.complex128, expected a real scalar",
    ),
    "a loss of NumPy": (of(loss=lambda o, t: F.cross_entropy(o, t).numpy()), "is ndarray, expected a real scalar"),
    "a detached loss": (of(loss=lambda o, t: F.cross_entropy(o, t).detach()), "the network or the loss detaches"),
    "a detached network": (of(model=lambda: Detached(D, C).double()), "does not depend on the parameters: .* detaches"),
    "parameters that are not used": (of(model=Unused, parameters="unused.*"), "does not use the parameters selected"),
    "a sum in disguise": (of((X, R), summed), "count="),
    "a sum in disguise after a batch of one": (of([(X[:1], R[:1]), (X[1:], R[1:])], summed), "count="),
    "a sum in disguise over batches of one": (of([(X[:1], R[:1]), (X[1:2], R[1:2])], summed), "count="),
    "a mean called batchmean": (of((X, R), functools.partial(F.mse_loss, reduction="batchmean")), "reduction='batchmean'"),
    "wrong count": (of((X, IGNORED), lambda o, t: F.cross_entropy(o, t), count=lambda o, t: len(t)), "count="),
    "a metric called loss": (of(metrics={"loss": F.mse_loss}), "choose another name"),
    "a metric that is no function": (of(metrics={"top": 5}), "'top' is int"),
    "dropout written as a function": (
        of(model=lambda: nn.Sequential(network(), Noisy())), "then .*functional dropout without training=self.training",
    ),
    "a random loss": (of(loss=ls.BatchLoss(lambda model, batch: model(X).mean() + torch.rand(()))), "draws random numbers"),
    "a network that changes its input": (of(model=InPlace, dtype=torch.float32), r"changes its data in place.*x\.clone"),
    "a loss that changes its target": (
        of((X, R), lambda o, t: (o - t.clamp_(-1, 1)).square().mean(1).mean()), "changes its data in place",
    ),
    "a lazy network": (
        of(model=lambda: nn.Sequential(nn.LazyLinear(C))), r"'0\.weight' of a lazy module has no shape yet; call the model once",
    ),
    "weights without values": (of(model=lambda: nn.Linear(D, C, device="meta")), "'weight' is on the meta device"),
    "not a model": (of(model=lambda: len), "expected a torch.nn.Module"),
    "unequal lengths": (of((X, Y[:-1])), "23 inputs but 22 targets"),
    "lists of numbers": (of((X.tolist(), Y.tolist())), r"torch\.tensor\(X\)"),
    "no targets": (of([X]), "no target"),
    "all ignored": (of((X, torch.full((N,), -100))), "no target counts"),
    "a GPU too many": (of(device="cuda:77"), "no device 'cuda:77': PyTorch finds .* GPUs"),
    "wrong theta": (lambda: of()().loss(torch.zeros(3)), "expected"),
    "missing key": (lambda: of()().at({"0.weight": torch.zeros(7, D)}), r"they lack '0\.bias', '2\.weight'"),
    "index out of range": (lambda: of()().subset([N]), "out of range"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case):
    call, message = REFUSED[case]
    with pytest.raises(ls.LandscapeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_provenance_tells_functions_apart():
    objective = ls.Objective(network(), (X, Y), "cross_entropy")
    same = ls.Objective(network(), (X, Y), "cross_entropy").provenance()
    assert objective.provenance() == same
    other_data = ls.Objective(network(), (X + 1e-9, Y), "cross_entropy").provenance()
    other_weights = ls.Objective(network(2), (X, Y), "cross_entropy").provenance()
    assert other_data["data_sha256"] != same["data_sha256"]
    assert other_weights["weights_sha256"] != same["weights_sha256"]


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.first, self.last = nn.Linear(D, 6).double(), nn.Linear(6, C).double()
        self.reentrant = reentrant

    def forward(self, x):
        block = lambda t: torch.tanh(self.first(t))  # noqa: E731
        hidden = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=self.reentrant)
        return self.last(hidden)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_blocks_are_differentiated_where_theta_is(reentrant):
    objective = ls.Objective(Checkpointed(reentrant), (X, Y), "cross_entropy")
    plain = ls.Objective(nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, C)).double(), (X, Y), "cross_entropy")
    theta = objective.theta + 0.7
    torch.testing.assert_close(objective.gradient(theta), plain.gradient(theta), rtol=1e-12, atol=1e-14)
    v = torch.ones_like(theta)
    torch.testing.assert_close(
        ls.Hessian(objective.at(theta)) @ v, ls.Hessian(plain.at(theta)) @ v, rtol=1e-10, atol=1e-12
    )


def test_reading_data_sets_and_loaders_leaves_the_random_state_alone():
    dataset = TensorDataset(X, Y)
    for data in (dataset, DataLoader(dataset, batch_size=5, shuffle=True)):
        before = torch.random.get_rng_state()
        ls.Objective(network(), data, "cross_entropy")
        assert torch.equal(before, torch.random.get_rng_state())


def test_metrics_follow_from_outputs_computed_elsewhere():
    objective = ls.Objective(
        nn.Linear(4, 3), (torch.randn(20, 4), torch.arange(20) % 3), "cross_entropy", batch_size=8,
        metrics={"top": lambda output, target: output.max(1).values},
    )  # fmt: skip
    for batch in objective.batches:
        found = objective.metrics_of(objective.batch_outputs(objective.theta, batch), batch)
        assert found == objective.batch_metrics(objective.theta, batch)
        assert set(found) == {"loss", "accuracy", "top"}
    assert objective.has_criterion
    opaque = objective.with_loss(ls.BatchLoss(lambda model, batch: model(batch[0]).mean()))
    assert not opaque.has_criterion
    with pytest.raises(ls.NotDefinedError, match="not a function of outputs"):
        opaque.metrics_of(torch.zeros(8, 3), opaque.batches[0])


def test_other_buffers_change_the_function_and_nothing_else():
    objective = ls.Objective(nn.BatchNorm1d(2), (torch.ones(3, 2), torch.zeros(3, 2)), "mse_loss")
    moved = objective.with_fixed({**objective.fixed, "running_mean": torch.ones(2)})
    assert moved.loss() == 0.0
    assert objective.loss() == pytest.approx(1.0, rel=1e-4)
    assert objective.model.running_mean.sum() == 0
    with pytest.raises(TypeError):
        objective.fixed["running_mean"] = torch.ones(2)


@pytest.mark.parametrize("resident", [True, False])
def test_data_changed_in_place_after_it_was_read_is_noticed(resident):
    inputs, labels = X.clone(), Y.clone()
    objective = ls.Objective(network(), (inputs, labels), "cross_entropy", batch_size=9, resident=resident)
    elsewhere = ls.Objective(network(), (inputs, labels), "cross_entropy", batch_size=9, dtype=torch.float32)
    before = objective.loss()
    inputs[-1] += 1
    for use in (objective.loss, objective.gradient, objective.provenance, lambda: objective.rebatch(5).loss()):
        with pytest.raises(ls.LandscapeError, match="changed in place"):
            use()
    assert elsewhere.loss() == pytest.approx(before, rel=1e-5)  # a cast is a copy


def test_a_deep_copy_is_the_same_function_of_data_of_its_own():
    inputs = X.clone()
    objective = ls.Objective(network(), (inputs, Y), "cross_entropy")
    inputs.add_(0)  # the copy counts changes from here on
    with pytest.raises(ls.LandscapeError, match="changed in place"):
        copy.deepcopy(objective)
    objective = ls.Objective(network(), (inputs, Y), "cross_entropy")
    before, again = objective.loss(), copy.deepcopy(objective)
    assert again.loss() == before
    inputs.zero_()
    assert again.loss() == before


def test_data_made_in_inference_mode_is_read():
    with torch.inference_mode():
        inputs = X * 2
    assert ls.Objective(network(), (inputs, Y), "cross_entropy").loss() > 0


def test_what_the_network_or_the_loss_raises_says_what_it_was_called_with():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        ls.Objective(network(), (X[:, :3].float(), Y), "cross_entropy")
    assert caught.value.__notes__ == [
        "raised in the network or the loss, called with 23 examples of the data: (23, 3) float64, (23,) int64"
    ]

    def broken(output, target):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        ls.Objective(network(), (X, Y), broken)
    *_, line = caught.value.__notes__
    assert line.startswith("in test_objective.py, line ")
    assert line.endswith('in broken: raise KeyError("mine")')
    assert caught.traceback[-1].name == "broken"


def test_the_fingerprint_of_the_data_is_that_of_the_objective_asked():
    objective = ls.Objective(network(), (X, Y), "cross_entropy")
    whole = objective.provenance()["data_sha256"]
    part = ls.Objective(network(), (X[1:3], Y[1:3]), "cross_entropy")
    assert objective.subset([1, 2]).provenance()["data_sha256"] == part.provenance()["data_sha256"] != whole
    assert objective.rebatch(3).provenance()["data_sha256"] == whole


def test_a_loss_that_is_computed_in_less_precision_is_still_a_mean():
    def rough(output, target):
        return F.cross_entropy(output.float(), target)

    model, data = nn.Linear(4, 3).double(), (torch.randn(50, 4).double(), torch.arange(50) % 3)
    assert ls.Objective(model, data, rough).loss() == pytest.approx(rough(model(data[0]), data[1]).item())
    with pytest.raises(ls.LandscapeError, match="it is not a mean"):
        ls.Objective(model, data, lambda output, target: rough(output, target) * (1 + 1e-4 * len(target)))


def test_a_class_of_weight_zero_has_no_losses_of_single_examples_under_label_smoothing():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 2.0]), label_smoothing=0.1)
    objective = ls.Objective(nn.Linear(2, 3), (torch.ones(4, 2), torch.tensor([0, 1, 2, 2])), loss)
    assert objective.loss() == pytest.approx(loss(objective.model(torch.ones(4, 2)), torch.tensor([0, 1, 2, 2])).item())
    with pytest.raises(ls.LandscapeError, match="a class of weight 0 has a loss and no share in the mean"):
        objective.per_example()
