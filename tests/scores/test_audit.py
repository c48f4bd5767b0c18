import json

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError
from landscape.scores.audit import reindexed

NEEDS_A_CHECKPOINT = {"stability", "batch-sharpness", "distance-from-init", "relative-movement", "ntk-movement"}
NEEDS_A_CHECKPOINT |= {"ntk-distance", "intrinsic-dimension", "pac-bayes-init", "pac-bayes-orig"}
NEEDS_A_CHECKPOINT |= {"linearisation-error", "linearised-agreement"}
NEEDS_A_CHECKPOINT |= {"pac-bayes-mag-init", "pac-bayes-mag-orig", "geodesic-worst"}  # the last needs attention
PRIMARY = ["adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"]


def test_primary_scores_survive_and_euclidean_ones_do_not(classifier):
    report = ls.audit(classifier(), [*PRIMARY, "lambda-max", "weight-norm"])
    for name in PRIMARY:
        assert report.survived(name) == ("T1", "T2", "T4", "T5", "T7")
    assert report.survived("lambda-max") == ("T4", "T5")
    assert report.survived("weight-norm") == ("T4",)
    assert all(row.agrees for row in report.rows)
    assert max(report.changes[t] for t in ("T1", "T2", "T4", "T5")) < 1e-10
    assert report.changes["T7"] > 1e-3


@pytest.mark.slow
def test_every_declared_invariance_holds(classifier):
    """The registry promises nothing that the audit of a network does not confirm."""
    objective = classifier(fit=80)
    exact = {"max_matvecs": 200}
    options = {"llc": {"chains": 2}, "igs": {"iterations": 2000}}
    options |= dict.fromkeys(("lambda-max", "adaptive-lambda-max"), exact)
    panel = ls.sharpness(objective, "all", options=options)
    defined = [slug for slug in panel.names if panel[slug].status == "ok"]
    assert set(ls.scores.REGISTRY) - set(defined) == NEEDS_A_CHECKPOINT | {"igs", "llc"} - set(defined)
    report = ls.audit(objective, defined, options={slug: o for slug, o in options.items() if slug in defined})
    wrong = [(row.score, row.radius, row.transformation, row.ratio) for row in report.rows if not row.agrees]
    assert wrong == []


def verdicts(report, score):
    return {name: report.verdict(score, name) for name in report.transformations}


def test_places_that_do_not_exist_are_marked(classifier, regression):
    report = ls.audit(classifier(activation="gelu"), ["margin"])
    assert verdicts(report, "margin")["T1"] == "not applicable"
    assert "homogeneous" in next(row.note for row in report.rows if row.transformation == "T1")
    assert report.survived("margin") == ("T4", "T5")
    assert (
        verdicts(ls.audit(regression, None), "adaptive-average")["T4"] == "not applicable"
    )  # nor is the score defined
    # outputs of a regression are no logits
    X = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    outputs = ls.Objective(ls.models.mlp((5, 8, 2), seed=0), (X, X[:, :2].sin()), "mse_loss")
    found = verdicts(ls.audit(outputs, ["lambda-max"], transformations=["T4", "T5", "T7"]), "lambda-max")
    assert found == {"T4": "invariant", "T5": "not applicable", "T7": "not applicable"}


def test_norm_layers_and_convolutions():
    X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    objective = ls.Objective(ls.models.small_cnn(), (X, torch.arange(12) % 10), "cross_entropy")
    report = ls.audit(objective, ["margin", "weight-norm", "adaptive-average"])
    assert verdicts(report, "margin")["T3"] == "invariant"
    assert verdicts(report, "weight-norm")["T3"] == "not invariant"
    assert verdicts(report, "adaptive-average")["T4"] == "invariant"


def test_permuted_draws_meet_the_weights_they_met_before(classifier):
    objective = classifier()
    moved = ls.transforms.permutation(objective.model, objective.batches[0].inputs, seed=3)
    there = objective.at(moved.model.state_dict())
    back = reindexed(there, moved.mapping)
    assert torch.equal(back.theta, objective.theta)
    step = torch.randn(objective.size, generator=torch.Generator().manual_seed(0)).double()
    assert back.loss(back.theta + step) == pytest.approx(objective.loss(objective.theta + step), rel=1e-12)
    assert there.loss(there.theta + step) != pytest.approx(objective.loss(objective.theta + step), rel=1e-3)
    expected = objective.space.unflatten(objective.theta)["linear1.weight"]
    assert not torch.equal(back.space.unflatten(back.theta)["linear1.weight"], expected)


def test_the_parameters_and_weights_of_the_objective_are_audited(classifier):
    objective = classifier()
    part = ls.Objective(objective.model, objective.batches[0].raw, "cross_entropy", parameters="linear2.*")
    found = verdicts(ls.audit(part, ["weight-norm"], transformations=["T1", "T4"]), "weight-norm")
    assert found == {"T1": "not invariant", "T4": "invariant"}
    report = ls.audit(objective.at(1.5 * objective.theta), ["weight-norm"], transformations=["T4"])
    assert report.rows[0].before == pytest.approx(1.5 * float(objective.theta.norm()))


def test_examples_seed_and_table(classifier):
    report = ls.audit(classifier(), ["adaptive-average"], transformations=["T2", "T7"], examples=20, seed=4)
    assert (report.examples, report.seed) == (20, 4)
    assert report.table().splitlines()[2].startswith("adaptive-average (0.1)  1 =  1 =")
    assert "survives T2, T7" in repr(report)
    json.dumps(report.to_dict())


def test_wrong_requests(classifier):
    objective = classifier(fit=1)
    with pytest.raises(LandscapeError, match="unknown transformations T9"):
        ls.audit(objective, ["loss"], transformations=["T9"])
    with pytest.raises(LandscapeError, match="unknown score"):
        ls.audit(objective, ["nonsense"])
    with pytest.raises(KeyError, match="no audit of"):
        ls.audit(objective, ["loss"], transformations=["T4"]).verdict("loss", "T1")


class Translator(nn.Module):
    """PyTorch's own encoder and decoder, whose reshaping suits the strides of the values only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(20, 8)
        self.body, self.head = nn.Transformer(8, 2, 1, 1, 16, batch_first=True), nn.Linear(8, 4)

    def forward(self, tokens):
        return self.head(self.body(self.embed(tokens), self.embed(tokens)).mean(1))


def test_pytorchs_transformer_is_audited():
    tokens = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(1))
    objective = ls.Objective(Translator(), (tokens, torch.arange(16) % 4), "cross_entropy")
    report = ls.audit(objective, ["adaptive-average"])
    assert {row.verdict for row in report.rows if row.transformation != "T6"} == {"invariant"}


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x, shift):
        return {"logits": self.head(self.body(x + shift).relu())}


class Whole(ByName):
    def forward(self, batch):
        return super().forward(**batch)


@pytest.mark.parametrize("network", [ByName, Whole])
def test_hidden_units_of_networks_that_are_called_by_name_are_followed(network):
    X = torch.randn(12, 4)
    objective = ls.Objective(network(), {"x": X, "shift": X, "labels": torch.arange(12) % 3}, "cross_entropy")
    report = ls.audit(objective, ["adaptive-average"], transformations=["T1", "T4"])
    assert {row.verdict for row in report.rows} == {"invariant"}
