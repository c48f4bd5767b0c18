"""Directions: the filters of every module kind, normalisation rules, orthogonality, seeds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape import LandscapeError
from landscape.slices.filters import layouts


def objective_of(model, outputs=lambda model: torch.zeros(())):
    """An objective that only serves to hold a model's parameters."""
    loss = ls.BatchLoss(lambda model, batch: sum(p.sum() for p in model.parameters()) * 0.0, count=lambda batch: 1.0)
    return ls.Objective(model, [(torch.zeros(2, 1),)], loss)


def filters_by_hand(module, name, weight):
    """Cut a weight into filters the long way, output by output."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        ins, outs = weight.shape[0] // module.groups, weight.shape[1]
        for g in range(module.groups):
            for o in range(outs):
                yield weight[g * ins : (g + 1) * ins, o]
    elif type(module).__name__ == "Conv1D":
        yield from weight.T
    else:
        yield from weight


class Conv1D(nn.Module):
    """A linear layer that stores (inputs, outputs), as in GPT-2."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf))
        self.bias = nn.Parameter(torch.randn(nf))


KINDS = {
    "linear": nn.Linear(5, 4),
    "linear of one input": nn.Linear(1, 4),
    "bilinear": nn.Bilinear(3, 2, 4),
    "conv1d": nn.Conv1d(4, 6, 3),
    "conv2d": nn.Conv2d(4, 6, 3),
    "grouped conv2d": nn.Conv2d(4, 6, 3, groups=2),
    "depthwise 1x1": nn.Conv2d(4, 4, 1, groups=4),
    "conv3d": nn.Conv3d(2, 3, 2),
    "transposed conv1d": nn.ConvTranspose1d(4, 6, 3),
    "transposed conv2d": nn.ConvTranspose2d(4, 6, 3),
    "grouped transposed conv2d": nn.ConvTranspose2d(4, 6, 3, groups=2),
    "transposed conv3d": nn.ConvTranspose3d(2, 3, 2),
    "embedding": nn.Embedding(7, 3),
    "embedding bag": nn.EmbeddingBag(7, 3),
    "attention": nn.MultiheadAttention(8, 2, add_bias_kv=True),
    "attention of three widths": nn.MultiheadAttention(8, 2, kdim=6, vdim=5),
    "lstm": nn.LSTM(3, 4),
    "gpt-2 linear": Conv1D(4, 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_filter_is_as_long_as_its_weights(kind):
    model = nn.Sequential(KINDS[kind])
    objective = objective_of(model)
    named = objective.space.unflatten(torch.as_tensor(ls.random_directions(objective, 1, seed=5).vectors[0]))
    moved = 0
    for name, weight in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        if weight.ndim < 2 or name.endswith(("bias_k", "bias_v")):
            assert not named[name].any()
            continue
        pairs = zip(
            filters_by_hand(module, name, named[name].double()),
            filters_by_hand(module, name, weight.detach().double()),
            strict=True,
        )
        for d, w in pairs:
            assert float(d.norm() / w.norm()) == pytest.approx(1, abs=1e-6)
            moved += 1
    assert moved > 0


class Apart(nn.Module):
    """Queries of four heads, keys and values of two, in layers of their own; or normalised, which hides the heads."""

    def __init__(self, normed=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, n) for n in (8, 4, 4, 3))
        self.normed = normed

    def forward(self, x):
        q = self.q(x).unflatten(-1, (4, 2)).transpose(1, 2)
        k, v = (f(x).unflatten(-1, (2, 2)).transpose(1, 2).repeat_interleave(2, 1) for f in (self.k, self.v))
        q, k = (F.normalize(t, dim=-1) for t in (q, k)) if self.normed else (q, k)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.o(mixed.transpose(1, 2).flatten(2)).mean(1)


def classified(model, *shape):
    return ls.Objective(model, (torch.randn(4, *shape), torch.arange(4) % 3), "cross_entropy")


written_out = "blocks.0.attention."
HEADS = {  # attention of PyTorch, written out, and with shared keys; heads in rows of projections, and in columns of outputs
    "packed": (
        lambda: objective_of(nn.Sequential(nn.MultiheadAttention(8, 2))),
        {"0.in_proj_weight": 6}, {"0.out_proj.weight": 2},
    ),
    "written out": (
        lambda: classified(ls.models.transformer(width=8, heads=2, layers=1, classes=3), 1, 8, 8),
        {f"{written_out}query_key_value.weight": 6, "blocks.0.mlp.0.weight": 32}, {f"{written_out}output.weight": 2},
    ),
    "apart": (lambda: classified(Apart(), 5, 8), {"q.weight": 4, "k.weight": 2, "v.weight": 2}, {"o.weight": 4}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_attention_can_be_cut_by_heads(kind):
    make, rows, columns = HEADS[kind]
    objective = make()
    vector = torch.as_tensor(ls.random_directions(objective, 1, attention="head").vectors[0])
    weights, drawn = (objective.space.unflatten(x.double()) for x in (objective.theta, vector))
    for name, heads in (rows | columns).items():
        pair = [named[name].T if name in columns else named[name] for named in (weights, drawn)]
        size = len(pair[0]) // heads
        ratios = [float(d.norm() / w.norm()) for w, d in zip(*(x.split(size) for x in pair), strict=True)]
        assert ratios == pytest.approx([1] * heads, abs=1e-6)
        if size > 1:  # a row by itself is not as long as its weights
            assert float(pair[1][0].norm() / pair[0][0].norm()) != pytest.approx(1, abs=1e-3)


def test_heads_that_cannot_be_told_apart_are_refused():
    with pytest.raises(LandscapeError, match=r"rotated or normalised.*attention='row'"):
        ls.random_directions(classified(Apart(normed=True), 5, 8), attention="head")


def test_norm_layers_are_vectors_whatever_their_shape():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm((2, 6)), nn.BatchNorm1d(6))
    objective = objective_of(model)
    vectors = {part.name for part in layouts(model, objective.space) if part.vector}
    assert vectors == {"0.bias", "1.weight", "1.bias", "2.weight", "2.bias"}


def test_tied_weights_are_moved_once():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    objective = objective_of(model)
    d = ls.random_directions(objective, 1).vectors[0].reshape(5, 3)
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), model[0].weight.detach().norm(dim=1).numpy(), rtol=1e-6)


def test_filters_of_zeros_stay_and_are_noted():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2, bias=False))
    with torch.no_grad():
        model[0].weight[[1, 3]] = 0
        model[1].weight.zero_()
    found = ls.random_directions(objective_of(model), 1)
    rows = found.vectors[0][:24].reshape(6, 4)
    assert (np.linalg.norm(rows, axis=1) == 0).tolist() == [False, True, False, True, False, False]
    assert found.notes == (
        "0.weight: 2 of 6 filters have zero weights and get a zero direction",
        "1.weight: 2 of 2 filters have zero weights and get a zero direction",
    )


@pytest.fixture
def small():
    torch.manual_seed(0)
    return objective_of(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)).double())


def pieces(objective, directions, index=0):
    return objective.space.unflatten(torch.as_tensor(directions.vectors[index]))


def test_layer_model_element_and_no_normalisation(small):
    weights = small.space.unflatten(small.theta)
    raw = pieces(small, ls.random_directions(small, 1, normalize=None, vectors="keep", seed=2))
    layer = pieces(small, ls.random_directions(small, 1, normalize="layer", seed=2))
    model = pieces(small, ls.random_directions(small, 1, normalize="model", seed=2))
    element = pieces(small, ls.random_directions(small, 1, normalize="element", seed=2))
    moved = ["0.weight", "2.weight"]
    for name in moved:
        assert float(layer[name].norm()) == pytest.approx(float(weights[name].norm()))
        torch.testing.assert_close(element[name], raw[name] * weights[name].abs())
        torch.testing.assert_close(layer[name] / layer[name].norm(), raw[name] / raw[name].norm())

    def total(tensors):
        return float(torch.cat([tensors[name].flatten() for name in moved]).norm())

    assert total(model) == pytest.approx(total(weights))
    assert float(model["0.weight"].norm() / raw["0.weight"].norm()) == pytest.approx(total(weights) / total(raw))


def test_biases_and_norm_parameters_are_zeroed_scaled_or_kept(small):
    weights = small.space.unflatten(small.theta)
    zero, scale, keep, raw = (
        pieces(small, ls.random_directions(small, 1, vectors=v, normalize=n, seed=2))
        for v, n in (("zero", "filter"), ("scale", "filter"), ("keep", "filter"), ("keep", None))
    )
    for name in ("0.bias", "1.weight", "2.bias"):
        assert not zero[name].any()
        assert float(scale[name].norm()) == pytest.approx(float(weights[name].norm()))
        torch.testing.assert_close(keep[name], raw[name])
    assert not scale["1.bias"].any()  # a zero vector is a filter of zeros


def test_directions_are_gaussian_orthogonal_and_reported(small):
    found = ls.random_directions(small, 3, normalize=None, vectors="keep")
    np.testing.assert_allclose(found.cosines, np.eye(3), atol=1e-14)
    wide = ls.random_directions(objective_of(nn.Linear(100, 200, bias=False)), 2, normalize=None)
    assert abs(wide.vectors.mean()) < 0.02  # uniform draws on [0, 1] would have mean 0.5 and cosine 0.75
    assert wide.vectors.std() == pytest.approx(1, abs=0.02)
    scaled = ls.random_directions(small, 2)
    assert abs(scaled.info["cosines_before"][0][1]) < 1e-14
    assert scaled.cosines[0, 1] == pytest.approx(
        float(scaled.vectors[0] @ scaled.vectors[1]) / (scaled.norms[0] * scaled.norms[1])
    )
    assert 0 < abs(scaled.cosines[0, 1]) < 0.7


def test_a_seed_gives_the_same_directions_whatever_their_number(small):
    one, two = (ls.random_directions(small, n, seed=7) for n in (1, 2))
    np.testing.assert_array_equal(one.vectors[0], two.vectors[0])
    assert one.sha256 == ls.random_directions(small, 1, seed=7).sha256
    assert one.sha256 != ls.random_directions(small, 1, seed=8).sha256


def test_relu_rescaling_leaves_the_slice_unchanged():
    torch.manual_seed(0)
    X, y = torch.randn(64, 10), torch.randint(3, (64,))
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
    plain = ls.Objective(model, (X, y), "cross_entropy", dtype=torch.float64)
    scaled = {k: v.clone() for k, v in model.state_dict().items()}
    scaled["0.weight"] *= 10
    scaled["0.bias"] *= 10
    scaled["2.weight"] /= 10
    other = plain.at(scaled)
    first, second = (ls.plane(o, ls.random_directions(o, 2, seed=1), points=7).loss for o in (plain, other))
    np.testing.assert_allclose(first, second, atol=1e-5)
    raw, moved = (
        ls.plane(o, ls.random_directions(o, 2, normalize=None, seed=1), points=7).loss for o in (plain, other)
    )
    assert np.abs(raw - moved).max() > 0.1


def test_eigenvectors_are_used_as_they_are():
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0].T
    pairs = ls.Eigenpairs(
        values=np.array([3.0, 1.0]), residuals=np.zeros(2), vectors=vectors, operator="hessian", which="LA", tol=1e-3,
        matvecs=9, converged=True,
    )  # fmt: skip
    found = ls.slices.eigen_directions(pairs, 2)
    np.testing.assert_array_equal(found.vectors, vectors)
    assert (found.direction_kind, found.normalize, found.info["eigenvalues"]) == ("eigenvector", "none", [3.0, 1.0])


def test_direction_between_solutions_runs_from_the_first_to_the_second(small):
    end = small.at(small.theta + 1)
    np.testing.assert_allclose(ls.direction_between(small, end).vectors, 1)
