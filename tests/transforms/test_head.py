"""The layer that computes the logits is found in any layout, and what cannot be taken out of it is said."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape import LandscapeError
from landscape.scores.gauges import Gauged, shift_removed
from landscape.transforms import gauge_fix, softmax_shift, temperature
from landscape.transforms.head import find_head, gauge_fixed, head_of


class Sequences(nn.Module):
    """Logits (N, T, C) of a linear layer, laid out in one of several ways."""

    def __init__(self, layout, head=None):
        super().__init__()
        self.body, self.head, self.layout = nn.Linear(6, 4), head or nn.Linear(4, 3), layout

    def forward(self, x):
        return self.layout(self.head(F.relu(self.body(x))))


LAYOUTS = {
    "transposed": (lambda z: z.transpose(1, 2), 1),
    "permuted": (lambda z: z.permute(0, 2, 1), 1),
    "copied": (lambda z: z.transpose(1, 2).contiguous(), 1),
    "last": (lambda z: z, 2),
    "flat": (lambda z: z.flatten(0, 1), 1),
    "first token": (lambda z: z[:, 0], 1),
    "mean": (lambda z: z.mean(1), 1),
}


def inputs():
    return torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_head_is_found_in_every_layout(layout):
    function, axis = LAYOUTS[layout]
    model, x = Sequences(function).double(), inputs()
    head = find_head(model, x, "T5")
    assert (head.layer.name, head.axis) == ("head", axis)
    shifted = softmax_shift(model, x, seed=1)
    assert shifted.change < 1e-12
    difference = (shifted.model(x) - model(x)).detach()
    assert difference.std(axis).max() < 1e-12 < difference.abs().max()
    fixed, again = gauge_fix(model, x).model, gauge_fix(shifted.model, x).model
    assert torch.allclose(fixed.head.weight, again.head.weight)
    assert torch.allclose(temperature(model, x, t=3.0).model(x), 3 * model(x))


class Swapped(nn.Linear):
    """A linear layer that transposes by itself."""

    def forward(self, x):
        return super().forward(x).transpose(1, 2)


def test_a_layer_that_transposes_by_itself_is_followed():
    model = Sequences(lambda z: z, Swapped(4, 3)).double()
    assert find_head(model, inputs(), "T5").axis == 1
    assert softmax_shift(model, inputs()).change < 1e-12


@pytest.mark.parametrize("spoil", [F.relu, lambda z: z.relu_(), lambda z: z + z.mean(), lambda z: z[..., :2]])
def test_logits_that_are_changed_on_their_way_have_no_head(spoil):
    model = Sequences(lambda z: spoil(z).transpose(1, 2)).double()
    with pytest.raises(LandscapeError, match="straight from one layer"):
        softmax_shift(model, inputs())


def test_a_network_that_cannot_be_traced_has_a_head_through_a_transposition():
    model = Sequences(lambda z: z.transpose(1, 2) if z.sum() else z.mT).double()
    assert find_head(model, inputs(), "T5").layer.name == "head"


class AsFunction(nn.Module):
    """Its last layer is called as a function, and its logits are pooled over positions."""

    def __init__(self):
        super().__init__()
        self.stem, self.weight, self.bias = nn.Linear(6, 5), *map(nn.Parameter, (torch.randn(3, 5), torch.randn(3)))

    def forward(self, x):
        return F.linear(F.relu(self.stem(x)), self.weight, self.bias).mean(1)


def test_a_head_that_no_module_is_can_be_followed():
    model, x = AsFunction().double(), inputs()
    assert torch.allclose(temperature(model, x, t=4.0).model(x), 4 * model(x))
    assert gauge_fix(model, x).change < 1e-12


def test_weight_normalised_heads():
    head = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    model, x = Sequences(lambda z: z.transpose(1, 2), head).double(), inputs()
    shifted = softmax_shift(model, x, seed=1)
    assert shifted.where == ("head",)
    assert shifted.change < 1e-12 < float((shifted.model(x) - model(x)).detach().abs().max())
    fixed, again = gauge_fix(model, x).model, gauge_fix(shifted.model, x).model
    for name, gain in fixed.named_parameters():
        other = dict(again.named_parameters())[name]
        ratio = gain / other  # the length of a direction has no effect, and |w|-proportional noise does not see it
        assert torch.allclose(ratio, ratio.reshape(len(ratio), -1)[:, :1].reshape(-1, *[1] * (ratio.ndim - 1)))
    assert torch.allclose(temperature(model, x, t=3.0).model(x), 3 * model(x))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_heads_of_the_former_weight_norm_have_a_gauge():
    model, x = Sequences(lambda z: z.transpose(1, 2), nn.utils.weight_norm(nn.Linear(4, 3))).double(), inputs()
    objective = ls.Objective(model, (x, torch.arange(20).reshape(4, 5) % 3), "cross_entropy")
    fixed, left = gauge_fixed(objective)
    named = fixed.space.unflatten(fixed.theta)
    weight = named["head.weight_g"] * F.normalize(named["head.weight_v"])
    assert left == ()
    assert weight.mean(0).abs().max() < 1e-12
    assert torch.allclose(fixed.outputs().softmax(1), objective.outputs().softmax(1))


class Tied(nn.Module):
    """A language model whose output layer has the embedding's weight, and a bias of its own."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x).tanh()).transpose(1, 2)


def test_of_a_tied_head_only_the_bias_can_be_shifted():
    tokens = torch.arange(12).reshape(4, 3) % 5
    objective = ls.Objective(Tied(), (tokens, tokens.roll(1, 1)), "cross_entropy")
    with pytest.raises(LandscapeError, match="tied weights"):
        softmax_shift(objective.model, tokens)
    assert head_of(objective) is None
    network = Gauged(objective)
    before, after = (o.space.unflatten(o.theta) for o in (objective, network.at(shift_removed)))
    assert network.left(shift_removed) == ""
    assert torch.equal(before["embedding.weight"], after["embedding.weight"])
    assert torch.allclose(after["head.bias"], before["head.bias"] - before["head.bias"].mean())


def test_a_shift_that_stays_is_said_beside_the_score():
    model, x = Sequences(lambda z: (2 * z + z.square()).mean(1)).double(), inputs()
    objective = ls.Objective(model, (x, torch.arange(4) % 3), "cross_entropy")
    (row,) = ls.scores.catalogue.adaptive_average(objective, radii=[0.1])
    assert "shift of all logits is left in: the head needs logits" in row.note
    (without,) = ls.scores.catalogue.adaptive_average(objective, radii=[0.1], gauge=False)
    assert without.note == ""


def test_deciding_scores_of_sequences_survive_the_shift(build):
    model, tokens = build("char")
    objective = ls.Objective(model, (tokens, tokens.roll(1, 1)), "cross_entropy")
    report = ls.audit(objective, ["adaptive-average"], transformations=["T5", "T6", "T7"], radii=[0.1])
    assert [row.verdict for row in report.rows] == ["invariant"] * 3
