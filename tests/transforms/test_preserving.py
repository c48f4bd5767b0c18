"""T1–T6 preserve every network's function in float64, act where they should, and refuse where they must."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape import LandscapeError, NotDefinedError, NumericalError
from landscape.transforms import (
    gauge_fix,
    gl_attention,
    layer_scale,
    node_scale,
    norm_layer_scale,
    permutation,
    places,
    softmax_shift,
    temperature,
)
from landscape.transforms.apply import finish

SCALES = {
    "mlp": ["linear1", "linear2"],
    "mlp-linear": ["linear1", "linear2"],
    "cnn": ["norm1", "norm2"],
    "cnn-plain": ["conv1", "conv2"],
    "resnet": ["stages.0.0.norm1", "stages.1.0.norm1", "stages.2.0.norm1"],
    "resnet-group": ["stages.0.0.norm1", "stages.1.0.norm1", "stages.2.0.norm1"],
    "transformer": ["blocks.0.norm1", "blocks.0.norm2", "norm"],
    "functional": ["first", "second", "third"],
    "residual": ["into.0", "into.1"],
    "dense": ["a", "b", "norm", "hidden"],
    "encoder": ["0.linear1", "0.norm2"],
    "mixer": ["norm", "channels"],
}


def unchanged(result, model, inputs):
    """Recompute the change here rather than believe the one that is reported."""
    with torch.no_grad():
        before, after = (torch.softmax(copy.deepcopy(m).eval()(inputs), 1) for m in (model, result.model))
    assert result.change == pytest.approx(float((before - after).abs().max()))
    return float((before - after).abs().max()) < 1e-10


def moved(result, model):
    """Names of the parameters that differ from the original's."""
    old = dict(model.named_parameters())
    return {name for name, tensor in result.model.named_parameters() if not torch.equal(tensor, old[name])}


@pytest.mark.parametrize("name", SCALES)
def test_places_are_found_in_every_architecture(build, name):
    model, inputs = build(name)
    assert places(model, inputs) == SCALES[name]


PRODUCTS = {
    "transformer": {"blocks.0.attention.query_key_value.weight", "blocks.0.attention.output.weight"},
    "char-tied": {"blocks.0.attention.query_key_value.bias"},
    "encoder": {"0.self_attn.in_proj_weight", "0.self_attn.in_proj_bias", "0.self_attn.out_proj.weight"},
    "grouped-queries": {"q.weight", "k.bias", "v.weight", "o.weight", "down.weight", "up.weight"},
    "mlp-linear": {"linear1.weight", "linear2.bias", "linear3.weight"},
}
PERMUTED = [*SCALES, "mlp-gelu", "resnet-noshort", "char", "char-tied", "grouped-queries", "offset"]
PRESERVING = [
    *((partial(layer_scale, alpha=alpha, layers=SCALES[name]), name) for name in SCALES for alpha in (1e-2, 1e2)),
    *((node_scale, name) for name in SCALES),
    *((partial(permutation, seed=3), name) for name in PERMUTED),
    *((partial(gl_attention, alpha=3.0, seed=1), name) for name in PRODUCTS),
    *(
        (partial(softmax_shift, seed=2), name)
        for name in ["mlp", "cnn", "resnet", "transformer", "char", "grouped-queries", "encoder"]
    ),
]


@pytest.mark.parametrize(("transform", "name"), PRESERVING)
def test_the_function_is_preserved_and_the_parameters_are_not(build, transform, name):
    model, inputs = build(name)
    result = transform(model, inputs)
    assert unchanged(result, model, inputs)
    changed, function = moved(result, model), getattr(transform, "func", transform)
    assert len(changed) >= (1 if function is softmax_shift else 2)
    if function is layer_scale:
        assert result.where == tuple(SCALES[name])
    if function is permutation:
        assert changed == set(result.mapping)
    if function is gl_attention:
        assert PRODUCTS[name] <= changed
    if function is softmax_shift:
        difference = result.model.eval()(inputs) - copy.deepcopy(model).eval()(inputs)
        assert difference.std(dim=1).max() < 1e-10 < difference.abs().max()


def test_layer_scale_is_the_published_recipe(build):
    model, inputs = build("mlp")
    new = layer_scale(model, inputs, alpha=5.0).model
    assert torch.allclose(new.linear1.weight, 5 * model.linear1.weight)
    assert torch.allclose(new.linear1.bias, 5 * model.linear1.bias)
    assert torch.allclose(new.linear2.weight, model.linear2.weight / 5)
    assert moved(layer_scale(model, inputs, alpha=5.0), model) == {"linear1.weight", "linear1.bias", "linear2.weight"}


def test_node_scale_gives_each_unit_a_factor_of_its_own_within_the_spread(build):
    model, inputs = build("cnn-plain")
    result = node_scale(model, inputs, layers=["conv2"], seed=1)
    factors = (result.model.conv2.weight / model.conv2.weight).reshape(5, -1)
    assert torch.allclose(factors, factors[:, :1])
    assert len(factors[:, 0].unique()) == 5
    assert factors.log().abs().max() <= 1.5
    back = (model.linear.weight / result.model.linear.weight).reshape(3, 5, -1)
    assert torch.allclose(back, factors[:, 0][None, :, None].expand_as(back))
    assert result.where == ("conv2",)


def test_permutation_reaches_norm_statistics_flattening_and_the_trunk(build):
    model, inputs = build("cnn")
    assert not torch.equal(permutation(model, inputs).model.norm1.running_mean, model.norm1.running_mean)
    assert "linear.weight" in permutation(model, inputs).mapping
    model, inputs = build("residual")
    assert {"stem.weight", "out.0.weight", "out.1.bias", "head.weight"} <= set(permutation(model, inputs).mapping)
    model, inputs = build("transformer")
    assert {"position", "embedding.weight", "norm.bias"} <= set(permutation(model, inputs).mapping)


def test_mapped_draws_perturb_a_permuted_network_alike(build):
    model, inputs = build("cnn")
    result = permutation(model, inputs, seed=5)
    size = sum(p.numel() for p in model.parameters())
    draw = 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def perturbed(network, noise):
        network = copy.deepcopy(network).eval()
        theta = nn.utils.parameters_to_vector(network.parameters()).detach()
        nn.utils.vector_to_parameters(theta + noise, network.parameters())
        return network(inputs).detach()

    plain = perturbed(model, draw)
    assert torch.allclose(perturbed(result.model, result.map_draw(draw)), plain, atol=1e-12)
    assert (perturbed(result.model, draw) - plain).abs().max() > 1e-3
    names = ["conv1.weight", "norm1.bias"]
    few = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([few[:, :36][:, result.mapping[names[0]]], few[:, 36:][:, result.mapping[names[1]]]], 1)
    assert torch.equal(result.map_draw(few, names), expected)
    with pytest.raises(LandscapeError, match="one number per parameter"):
        result.map_draw(draw[:-1])


def test_gauge_fix_undoes_every_softmax_shift(build):
    model, inputs = build("cnn")
    fixed = gauge_fix(model, inputs)
    again = gauge_fix(softmax_shift(model, inputs).model, inputs)
    assert unchanged(fixed, model, inputs)
    for one, other in zip(fixed.model.parameters(), again.model.parameters()):
        assert torch.allclose(one, other, atol=1e-13)
    assert fixed.model.linear.bias.sum().abs() < 1e-14
    assert fixed.model.linear.weight.norm() < model.linear.weight.norm()


def test_change_of_basis_leaves_each_head_its_own_product(build):
    model, inputs = build("grouped-queries")
    new = gl_attention(model, inputs).model
    for head in range(4):
        q, k = slice(3 * head, 3 * head + 3), slice(3 * (head // 2), 3 * (head // 2) + 3)
        assert torch.allclose(new.q.weight[q].T @ new.k.weight[k], model.q.weight[q].T @ model.k.weight[k])
        assert torch.allclose(new.o.weight[:, q] @ new.v.weight[k], model.o.weight[:, q] @ model.v.weight[k])
    assert not torch.allclose(new.q.weight, model.q.weight)


@pytest.mark.parametrize("name", ["cnn", "resnet", "resnet-group"])
def test_norm_layer_scale_changes_nothing_since_epsilon_is_scaled_with_the_variance(build, name):
    model, inputs = build(name)
    result = norm_layer_scale(model, inputs, alpha=3.0)
    assert result.change < 1e-10
    assert any("conv" in where for where in result.where)
    assert all(module.eps == 1e-5 for module in model.modules() if hasattr(module, "eps"))


def test_an_epsilon_that_cannot_be_scaled_is_reported_as_a_change():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)
            self.weight, self.bias = (nn.Parameter(torch.ones(4)) for _ in range(2))

        def forward(self, x):
            return self.last(F.layer_norm(self.first(x), (4,), self.weight, self.bias, 1e-3))

    result = norm_layer_scale(Fixed().double(), torch.randn(5, 6).double(), alpha=3.0)
    assert result.where == ("first",)
    assert 1e-8 < result.change < 1e-2


def test_a_network_in_training_is_traced_as_it_evaluates(build):
    model, inputs = build("dense")  # batch norm cannot train on the single example given here
    assert permutation(model.train(), inputs[:1]).change < 1e-10


@pytest.mark.parametrize("name", ["cnn", "encoder"])
@pytest.mark.parametrize("transform", [node_scale, permutation, gl_attention, norm_layer_scale, softmax_shift])
def test_the_users_model_and_the_random_state_stay_as_they_were(build, name, transform):
    model, inputs = build(name)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    try:
        result = transform(model, inputs)
        assert result.model.training
        assert result.model is not model
    except LandscapeError:
        pass
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_draws_depend_on_the_seed_alone(build):
    model, inputs = build("mlp")
    for transform in (node_scale, permutation, softmax_shift):
        a, b, c = (transform(model, inputs, seed=s).model.state_dict() for s in (1, 1, 2))
        assert all(torch.equal(a[k], b[k]) for k in a)
        assert not all(torch.equal(a[k], c[k]) for k in a)


def test_ties_survive(build):
    model, inputs = build("char-tied")
    new = permutation(model, inputs).model
    assert new.linear.weight is new.embedding.weight


class Twice(nn.Module):
    """One layer used at two places."""

    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(F.relu(self.shared(F.relu(self.shared(x)))))


class Normed(nn.Module):
    """Queries and keys are normalised before they meet."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 3)

    def forward(self, x):
        q, k = F.normalize(self.q(x), dim=-1), F.normalize(self.k(x), dim=-1)
        return self.head(torch.softmax(q @ k.mT, -1) @ x).mean(1)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_shared_layers_are_permuted_together():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert permutation(nn.Sequential(Twice(), nn.ReLU(), nn.Linear(3, 2)).double(), x).change < 1e-10


REFUSALS = [
    (lambda m, x: layer_scale(m, x), "mlp-gelu", "linear1: gelu is not positively homogeneous"),
    (lambda m, x: node_scale(m, x), "mlp-gelu", "gelu is not positively homogeneous"),
    (lambda m, x: gl_attention(m, x), "mlp", "needs attention"),
    (lambda m, x: gl_attention(m, x), "tied-factors", "needs attention"),
    (lambda m, x: gl_attention(Normed().double(), x[None, :4]), "mlp", "no valid place"),
    (lambda m, x: layer_scale(m, x), "offset", "first: tanh is not positively homogeneous"),
    (lambda m, x: layer_scale(Twice().double(), x, layers=["shared"]), "mlp", "more than once"),
    (
        lambda m, x: layer_scale(m, x, layers=["stem"]),
        "residual",
        "'stem': it enters a residual sum; valid places here: into.0, into.1",
    ),
    (lambda m, x: node_scale(m, x, layers=["missing"]), "residual", "no layer of that name"),
    (lambda m, x: layer_scale(m, x, layers=["conv1"]), "cnn", "divided out by a norm"),
    (
        lambda m, x: norm_layer_scale(m, x),
        "mixer",
        "stem: a bias is added along another dimension; tokens: a norm averages over it",
    ),
    (lambda m, x: norm_layer_scale(m, x), "mlp", "it has no norm layers"),
    (lambda m, x: norm_layer_scale(m, x), "transformer", "enters a residual sum"),
    (lambda m, x: permutation(nn.Linear(6, 3).double(), x), "mlp", "no valid place"),
    (lambda m, x: softmax_shift(m, x), "char-tied", "tied weights"),
    (lambda m, x: softmax_shift(nn.Sequential(m, nn.Softmax(1)), x), "mlp", "straight from one layer"),
    (lambda m, x: temperature(m, x), "char-tied", "tied weights"),
    (lambda m, x: layer_scale(m, x, alpha=0.0), "mlp", "positive number"),
    (lambda m, x: node_scale(m, x, spread=-1.0), "mlp", "positive number"),
    (lambda m, x: temperature(m, x, t=0.0), "mlp", "positive"),
    (lambda m, x: layer_scale(m, x[:, :4]), "mlp", "cannot be traced"),
    (lambda m, x: layer_scale(Branching(), x), "mlp", "cannot be traced"),
]


@pytest.mark.parametrize(("call", "name", "message"), REFUSALS)
def test_refusals_name_the_reason(build, call, name, message):
    model, inputs = build(name)
    with pytest.raises(LandscapeError, match=message):
        call(model, inputs)


@pytest.mark.parametrize("transform", [softmax_shift, gauge_fix, temperature])
def test_logits_need_two_classes(transform):
    with pytest.raises(NotDefinedError, match="two or more classes"):
        transform(nn.Linear(6, 1), torch.zeros(2, 6))


def test_a_factor_beyond_the_precision_is_refused(build):
    model, inputs = build("mlp")
    with pytest.raises(NumericalError, match="NaN or infinity"):
        layer_scale(model.float(), inputs.float(), alpha=1e39)
    with pytest.raises(NumericalError, match="changed a prediction"):
        finish(model, temperature(model, inputs.float()).model, "a wrong rule", inputs.float(), ())


def test_regression_networks_are_scaled_by_their_outputs():
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = layer_scale(net, x, alpha=7.0)
    assert result.change == pytest.approx(float((net(x) - result.model(x)).detach().abs().max()), abs=1e-16)
    assert result.change < 1e-12
