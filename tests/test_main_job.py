"""The main job from end to end, and the promises it makes."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.store import open_study, validate
from landscape.training.demo import demo

ROOT = Path(__file__).parents[1]


def dense_hessian(objective):
    """∇²L of the whole data set at once, by torch.func, in float64."""

    def loss(theta):
        return sum(objective.batch_loss(theta, batch) for batch in objective.batches)

    with objective.guard(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.func.hessian(loss)(objective.theta)


class PlainLayerNorm(nn.LayerNorm):
    """Layer norm by elementary operations, for the reference.

    PyTorch 2.13 maps the derivative of its own layer norm over vectors wrongly: `torch.func.hessian` of a network with
    it is off by percents and not even symmetric.
    """

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


class TiedTransformer(nn.Module):
    """One pre-norm block on tokens; the output layer shares the embedding's weights."""

    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = nn.Embedding(7, 6)
            self.norm1, self.norm2 = norm(6), norm(6)
            self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)
            self.mlp = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))
            self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return self.head(x + self.mlp(self.norm2(x))).transpose(1, 2)


def mlp_case():
    g = torch.Generator().manual_seed(0)
    X, y = torch.randn(19, 5, generator=g), torch.randint(0, 4, (19,), generator=g)
    return ls.models.mlp((5, 6, 4), activation="gelu", seed=0), X, y


def cnn_case():
    g = torch.Generator().manual_seed(1)
    X, y = torch.randn(19, 1, 6, 6, generator=g), torch.randint(0, 4, (19,), generator=g)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)
        )
        net(X)
    return net, X, y


def transformer_case():
    g = torch.Generator().manual_seed(3)
    return TiedTransformer(), torch.randint(0, 7, (19, 5), generator=g), torch.randint(0, 7, (19, 5), generator=g)


CASES = {"mlp": mlp_case, "cnn with batch norm": cnn_case, "tied transformer": transformer_case}


@pytest.mark.parametrize("cuts", [[19], [8, 8, 3], [1, 18]], ids=["one", "unequal", "very unequal"])
@pytest.mark.parametrize("loss", ["plain", "ignored", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_hessian_products_equal_the_dense_hessian(case, loss, cuts):
    model, X, y = CASES[case]()
    criterion = nn.CrossEntropyLoss()
    if loss == "ignored":
        y = torch.where(torch.rand(y.shape, generator=torch.Generator().manual_seed(5)) < 0.4, -100, y)
    if loss == "weighted":
        classes = 7 if y.ndim > 1 else 4
        criterion = nn.CrossEntropyLoss(weight=torch.linspace(0.1, 2, classes))
    elementary = TiedTransformer(PlainLayerNorm) if case == "tied transformer" else model
    whole = ls.Objective(elementary, (X, y), criterion, dtype=torch.float64)
    cut = ls.Objective(model, list(zip(X.split(cuts), y.split(cuts), strict=True)), criterion, dtype=torch.float64)
    reference = dense_hessian(whole)
    torch.testing.assert_close(reference, reference.T, rtol=1e-9, atol=1e-12)
    V = torch.randn(whole.size, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = reference @ V
    assert float((ls.Hessian(cut) @ V - expected).norm() / expected.norm()) < 1e-10


def test_second_differences_of_a_slice_are_the_curvature_of_the_operator():
    model = ls.models.mlp((5, 9, 4), activation="gelu", seed=0)
    _, X, y = mlp_case()
    objective = ls.Objective(model, (X, y), "cross_entropy", dtype=torch.float64)
    direction = ls.random_directions(objective, n=1, seed=3)
    h = 1e-3
    line = ls.line(objective, direction, span=h, points=3)
    second = (line.loss[0] - 2 * line.loss[1] + line.loss[2]) / h**2
    d = torch.as_tensor(direction.vectors[0])
    assert second == pytest.approx(float(d @ (ls.Hessian(objective) @ d)), rel=1e-5)


def test_every_filter_of_a_direction_has_the_norm_of_the_weights_filter():
    model, X, y = cnn_case()
    objective = ls.Objective(model, (X, y), "cross_entropy", dtype=torch.float64)
    drawn = ls.random_directions(objective, n=2).vectors
    for row in drawn:
        pieces, weights = objective.space.unflatten(torch.as_tensor(row)), objective.space.unflatten(objective.theta)
        for name in ("0.weight", "5.weight"):
            torch.testing.assert_close(
                pieces[name].flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1), rtol=1e-12, atol=0
            )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with ls.progress(False):
        return demo(tmp_path_factory.mktemp("demo"), quick=True, workers=1)


def test_the_main_job_writes_a_valid_study_figures_and_a_verdict(finished):
    assert validate(finished.study) == []
    assert {path.suffix for path in finished.figures} == {".png", ".pdf"}
    assert all(path.stat().st_size > 1000 for path in finished.figures)
    stored = open_study(finished.study)["main"]
    assert stored.verdict == finished.comparison.verdict
    accuracy = finished.comparison.metrics
    assert (accuracy["train/accuracy"] == 1).all()
    assert (accuracy["test/accuracy"][0] > 0.9).all()
    assert (accuracy["test/accuracy"][2] < 0.2).all()
    np.testing.assert_allclose(accuracy["train/loss"], 0.01, rtol=0.02)
    spikier = finished.comparison.score("adaptive-average")
    assert spikier["random-labels"].min() > 2 * spikier["sgd"].max()


def datasets(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_in_every_dataset(finished, tmp_path):
    again = datasets(demo(tmp_path, quick=True, workers=2).study)
    first = datasets(finished.study)
    assert first.keys() == again.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)


def test_files_carry_base_names_only(finished):
    local = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|var)/")
    texts = {
        path.name: path.read_text()
        for path in [*(ROOT / "data").glob("*.json"), *finished.study.parent.glob("checkpoints/*.json")]
    }
    assert texts
    with h5py.File(finished.study) as file:
        texts["study"] = json.dumps({k: str(v) for k, v in file.attrs.items()})
        file.visititems(lambda name, item: texts.update({name: json.dumps([str(v) for v in item.attrs.values()])}))
    for name, text in texts.items():
        assert not local.search(text), name
