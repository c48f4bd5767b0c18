"""The private copy that is evaluated: every place filled, whatever leads to it followed, nothing left in the user's network."""

import copy
import functools
import types
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import landscape as ls
from landscape.function.structure import Structure

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 4


class Repeated(nn.Module):
    """One layer under three names, as in networks that share weights over depth, and a weight that two layers share."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.again = self.first
        self.blocks = nn.ModuleList([self.first, nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False)])
        self.last.weight = self.blocks[2].weight

    def forward(self, x):
        for block in (self.first, self.again, *self.blocks):
            x = block(x).tanh()
        return self.last(x)


def state(model):
    return {
        name: (id(tensor), tensor.detach().clone(), tensor.requires_grad, tensor.grad)
        for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, (identity, value, requires_grad, grad) in before.items():
        assert after[name][0] == identity, name
        assert torch.equal(after[name][1], value), name
        assert (after[name][2], after[name][3]) == (requires_grad, grad), name


def test_a_module_has_one_place_and_a_shared_tensor_its_first_name():
    model = Repeated()
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = ["first.weight", "first.bias", "last.weight", *(f"blocks.1.{key}" for key in norm), "last.weight"]
    assert Structure(model).places == expected
    assert set(dict(model.named_parameters())) <= set(expected)


WORK = {
    "loss elsewhere": lambda o: o.loss(o.theta + 1),
    "gradient elsewhere": lambda o: o.gradient(o.theta + 1),
    "product": lambda o: ls.Hessian(o) @ o.theta,
    "line": lambda o: ls.line(o, ls.random_directions(o, n=1), points=3),
    "score": lambda o: ls.sharpness(o, ["adaptive-worst-linf", "adaptive-average"]),
    "statistics": lambda o: o.recalibrated(),
    "checkpoint": lambda o: ls.Checkpoint(o.model, loss="cross_entropy", train=(X, Y)).objective("train").loss(),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_module_with_several_names_is_left_as_it_was(work):
    model = Repeated()
    before = state(model)
    work(ls.Objective(model, (X, Y), "cross_entropy", dtype=torch.float64))
    assert_same(before, state(model))


def test_a_module_with_several_names_is_left_as_it_was_after_an_exception():
    model = Repeated()
    before = state(model)

    def fail(network):
        raise KeyError

    with pytest.raises(KeyError):
        Structure(model).call({name: torch.zeros(()) for name in dict(model.named_parameters())}, fail)
    assert_same(before, state(model))


def test_every_place_holds_the_tensor_that_was_given_for_it():
    model = Repeated()
    given = {name: torch.randn_like(tensor) for name, tensor in model.named_parameters()}
    filled = copy.deepcopy(model).eval()
    filled.load_state_dict(given, strict=False)
    with torch.no_grad():
        filled.blocks[2].weight.copy_(given["last.weight"])
    torch.testing.assert_close(Structure(model.eval()).call(given, lambda network: network(X)), filled(X))


class OwnNorm(nn.Module):
    """Keeps a running mean, but counts no batches."""

    def __init__(self):
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("running_mean", torch.full((4,), 0.5))

    def forward(self, x):
        return x - (x.mean(0) if self.training else self.running_mean)


@pytest.mark.parametrize("norm", [OwnNorm, lambda: nn.BatchNorm1d(4, track_running_stats=False)])
def test_statistics_that_are_not_kept_as_pytorch_keeps_them_are_left(norm):
    torch.manual_seed(0)
    objective = ls.Objective(nn.Sequential(norm(), nn.Linear(4, 4)), (X, Y), "cross_entropy", batches="fixed")
    assert objective.recalibrated().loss() == objective.loss()


def test_a_network_that_is_a_norm_layer_has_its_statistics_estimated():
    objective = ls.Objective(nn.BatchNorm1d(4), (X + 3, Y), "cross_entropy").recalibrated()
    torch.testing.assert_close(objective.fixed["running_mean"], X.mean(0) + 3)


class Devious(nn.Module):
    """Reaches its layers in every way that Python has, but its parameters by name only."""

    __slots__ = ("fourth",)

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))
        a, b, c, d, e, f, g, h = self.layers
        self.listed = [a, {"b": b}]
        self.closure = lambda x: c(x).tanh()
        object.__setattr__(self, "fourth", d)
        self.partial = functools.partial(type(e).forward, e)
        self.method = f.forward
        self.weak = weakref.ref(g)
        self.holder = types.SimpleNamespace(layer=h)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.features = None
        h.register_forward_hook(self.remember)
        a.forward = types.MethodType(lambda layer, x: F.linear(x, layer.weight, layer.bias) * self.scale, a)

    def remember(self, module, inputs, output):
        self.features = output

    def forward(self, x):
        first, second = self.listed[0], self.listed[1]["b"]
        for step in (
            first,
            second,
            self.closure,
            self.fourth,
            self.partial,
            self.method,
            self.weak(),
            self.holder.layer,
        ):
            x = step(x).tanh()
        return self.features + x


def lstm():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.body(x.reshape(-1, 2, 2))[0][:, -1])

    return Last()


def compiled_inside():
    inner = nn.Linear(4, 4)
    model = nn.Sequential(torch.compile(nn.Linear(4, 4)), nn.Tanh(), inner)
    inner.compile()
    return model


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))


NETWORKS = {
    "devious": Devious,
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 4)),
    "spectral norm": lambda: nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 4)).eval(),
    "pruned": lambda: nn.Sequential(prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5), nn.Linear(4, 4)),
    "parametrised": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)),
    "lstm": lstm,
    "compiled inside": compiled_inside,
    "scripted": scripted,
}


def attributes(model):
    """What the modules hold besides parameters and buffers, by identity; lists item by item."""
    found = {}
    for prefix, module in model.named_modules():
        for key, value in ({} if isinstance(module, torch.jit.ScriptModule) else vars(module)).items():
            found[prefix, key] = [id(item) for item in value] if isinstance(value, list) else id(value)
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_theta_reaches_every_parameter_and_nothing_of_the_users_changes(make):
    torch.manual_seed(3)
    model = make().double()
    with torch.compiler.set_stance("force_eager"):
        expected = F.cross_entropy(model(X.double()), Y)
        named = dict(model.named_parameters())
        gradients = torch.autograd.grad(expected, list(named.values()))
    if hasattr(model, "features"):
        model.features = None
    before, held = state(model), attributes(model)
    objective = ls.Objective(model, (X.double(), Y), "cross_entropy")
    value, gradient = objective.value_and_gradient()
    assert value == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in gradients]), rtol=1e-10, atol=1e-12)
    slope = (
        objective.loss(objective.theta + 1e-6 * gradient) - objective.loss(objective.theta - 1e-6 * gradient)
    ) / 2e-6
    assert slope == pytest.approx(float(gradient.square().sum()), rel=1e-5)
    v = torch.ones_like(gradient)
    products = [ls.Hessian(objective, program=program) @ v for program in ("kept", "recompute")]
    torch.testing.assert_close(*products, rtol=1e-9, atol=1e-11)
    assert_same(before, state(model))
    assert attributes(model) == held


def test_a_scripted_network_that_was_trained_has_the_products_of_the_plain_one():
    plain, model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)).double(), None
    model = torch.jit.script(plain)
    for _ in range(3):  # the executor of scripts specialises
        F.cross_entropy(model(X.double()), Y).backward()
    objectives = [ls.Objective(m, (X.double(), Y), "cross_entropy") for m in (plain, model)]
    v = torch.ones(objectives[0].size, dtype=torch.float64)
    for program in ("kept", "recompute", "auto"):
        products = [ls.Hessian(o, program=program) @ v for o in objectives]
        torch.testing.assert_close(*products, rtol=1e-10, atol=1e-12)


def test_a_recurrent_network_keeps_the_tensors_it_runs_on():
    model = lstm()
    before = model(X)
    objective = ls.Objective(model, (X, Y), "cross_entropy")
    objective.loss(objective.theta * 3)
    assert all(a is b for a, b in zip(model.body._flat_weights, model.body.all_weights[0], strict=True))
    assert torch.equal(torch.jit.script(model)(X), before)  # scripts read those tensors
    assert torch.equal(model(X), before)


class Aliased(nn.Module):
    """Reaches a parameter other than by name."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)
        weight = self.a.weight
        self.find = {
            "list": lambda weights=[weight]: weights[0],
            "closure": lambda: weight,
            "view": functools.partial(lambda view: view.T, weight.T),
            "data": functools.partial(lambda data: data, weight.data),
        }[how]

    def forward(self, x):
        return self.b(torch.tanh(x @ self.find().T + self.a.bias) + self.a(x))


@pytest.mark.parametrize("how", ["list", "closure", "view", "data"])
def test_a_parameter_that_is_reached_other_than_by_name_is_refused(how):
    with pytest.raises(ls.LandscapeError, match=r"other than by name \(a\.weight: .* where theta cannot stand;"):
        ls.Objective(Aliased(how), (X, Y), "cross_entropy")
    frozen = ls.Objective(Aliased(how), (X, Y), "cross_entropy", parameters="b.*")
    assert frozen.gradient().norm() > 0


def test_a_loss_written_over_the_model_itself_meets_theta():
    model = nn.Linear(4, 4).double()
    data = (X.double(), Y)
    own = ls.BatchLoss(lambda _, batch: F.cross_entropy(model(batch[0]), batch[1]))
    plain, objective = ls.Objective(model, data, "cross_entropy"), ls.Objective(model, data, own)
    assert torch.equal(objective.gradient(plain.theta * 2), plain.gradient(plain.theta * 2))
    with pytest.raises(ls.LandscapeError, match=r"other than by name \(weight: "):
        ls.Objective(model, data, lambda output, target: F.cross_entropy(output, target) + model.weight.square().sum())
