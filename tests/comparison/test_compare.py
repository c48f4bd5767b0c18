"""Comparing checkpoints end to end on networks small enough to train here."""

import dataclasses
import functools
import os
import sys

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.comparison import PRIMARY
from landscape.errors import LandscapeError
from landscape.results.comparison import Audited
from landscape.store import open_study


def trained(seed, labels, steps=300):
    """A small network at whatever loss 300 steps of full-batch descent reach."""
    g = torch.Generator().manual_seed(0)
    X = torch.randn(60, 5, generator=g)
    y = labels(X)
    net = ls.models.mlp((5, 16, 3), seed=seed)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(X), y).backward()
        optimiser.step()
    return ls.Checkpoint(net, loss="cross_entropy", train=(X, y), test=(X[:20], y[:20]), name=f"net-{seed}")


def by_teacher(X):
    return X[:, :3].argmax(1)


@pytest.fixture(scope="module")
def arms():
    return {"First": [trained(s, by_teacher) for s in (0, 1)], "Second": [trained(s, by_teacher) for s in (2, 3)]}


def test_scores_of_every_seed_land_in_their_place(arms):
    result = ls.compare(arms, scores=["adaptive-average", "weight-norm", "trace"], audit=False)
    assert result.recipes == ("first", "second")
    assert result.values.shape == (2, 2, 3, 4)
    for i, members in enumerate(arms.values()):
        for j, ckpt in enumerate(members):
            panel = ls.sharpness(ckpt.objective(), ["adaptive-average", "weight-norm", "trace"], seed=j)
            expected = [row.value for row in panel.all("adaptive-average")]
            np.testing.assert_allclose(
                result.values[i, j, 0], expected, rtol=1e-6
            )  # in a stack with others, to rounding
            assert result.values[i, j, 1, 0] == panel["weight-norm"].value
            assert np.isnan(result.values[i, j, 1, 1:]).all()
    assert result.metrics["train/loss"].shape == (2, 2)
    assert result.metrics["test/accuracy"][0, 0] == arms["First"][0].objective("test").evaluate()["accuracy"]
    assert result.audit == "not run"
    assert "First" in result.table()


def test_a_rescaled_copy_ties_while_raw_curvature_does_not(arms):
    """Dinh et al. 2017: the same function, another parametrisation."""
    members = arms["First"]
    X = members[0].objective().batches[0].inputs
    copies = []
    for ckpt in members:
        model = ls.models.mlp((5, 16, 3))
        model.load_state_dict(ckpt.weights)
        scaled = ls.transforms.layer_scale(model, X, alpha=10.0)
        data = (X, ckpt.objective().targets)
        copies.append(ls.Checkpoint(scaled.model, loss="cross_entropy", train=data))
    result = ls.compare({"original": members, "rescaled": copies}, scores=[*PRIMARY, "lambda-max"], audit=False)
    for name in PRIMARY:
        ratio = result.score(name)["rescaled"] / result.score(name)["original"]
        np.testing.assert_allclose(ratio, 1, rtol=0.02)
    ratio = result.score("lambda-max")["rescaled"] / result.score("lambda-max")["original"]
    assert (np.maximum(ratio, 1 / ratio) > 10).all()


def test_audit_covers_one_checkpoint_a_recipe(arms):
    result = ls.compare(arms, scores=list(PRIMARY))
    assert {row.recipe for row in result.audited} == {"first", "second"}
    assert {row.score for row in result.audited} == set(PRIMARY)
    assert "survives" in result.audit
    assert all(isinstance(row, Audited) for row in result.audited)
    assert result.audit_of("adaptive-worst-symmetric") == "T1 =, T2 =, T4 =, T5 =, T7 ="
    assert "T1 =, T2 =" in result.table()
    moved = Audited("second", "adaptive-worst-symmetric", "T2", 2.5, "not invariant")
    assert "T2 ×2.5, T4 =" in result.replace(audited=(*result.audited, moved)).audit_of("adaptive-worst-symmetric")


def test_an_interrupted_comparison_finds_its_scores_again(arms, tmp_path, monkeypatch):
    study = tmp_path / "study.h5"
    first = ls.compare(arms, scores=["weight-norm"], save=study)

    def fail(*args, **kwargs):
        raise AssertionError("scored again")

    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "measured", fail)
    again = ls.compare(arms, scores=["weight-norm"], save=study)
    np.testing.assert_array_equal(first.values, again.values)
    with pytest.raises(AssertionError, match="scored again"):  # other settings are another measurement
        ls.compare(arms, scores=["weight-norm"], seed=1, save=study)


def test_a_repeated_comparison_finds_its_audits_again(arms, tmp_path, monkeypatch):
    study = tmp_path / "study.h5"
    call = functools.partial(ls.compare, arms, scores=["adaptive-average"], save=study)
    first = call()
    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "audit", None)
    assert repr(call().audited) == repr(first.audited) != "()"
    with pytest.raises(TypeError):  # another seed is another audit
        call(seed=1)


def test_a_comparison_that_stopped_goes_on_and_writes_the_study_once(arms, tmp_path, monkeypatch):
    study, measured, whole = tmp_path / "study.h5", [], ls.compare(arms, scores=["weight-norm"])
    real = sys.modules["landscape.comparison.panels"].measured

    def stop_after_three(*args, **kwargs):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "measured", stop_after_three)
    with pytest.raises(KeyboardInterrupt) as told:
        ls.compare(arms, scores=["weight-norm"], save=study)
    assert "is kept beside study.h5; the same call goes on from there" in told.value.__notes__[0]
    assert not study.exists()
    measured[:] = [1] * 4
    written, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (written.append(new == study), replace(old, new)))
    again = ls.compare(arms, scores=["weight-norm"], save=study)
    np.testing.assert_array_equal(again.values, whole.values)
    assert len(measured) == 4 + sum(map(len, arms.values())) - 3
    assert sum(written) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["study.h5"]


def test_what_cannot_be_meant_is_refused_before_anything_is_measured(arms, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "measured", None)
    for wrong in ({"level": 5}, {"margin": -1.0}, {"loss_tolerance": -0.1}, {"fewest": 0}):
        with pytest.raises(LandscapeError, match="expected a level between 0 and 1"):
            ls.compare(arms, **wrong)
    with pytest.raises(LandscapeError, match="no gate is called gradients"):
        ls.compare(arms, waive="gradients")
    with pytest.raises(LandscapeError, match=r"expected the path of a study file; name the result with result\.save"):
        ls.compare(arms, save=(tmp_path / "study.h5", "main"))


def test_scores_that_the_user_saved_are_kept(arms, tmp_path):
    study = tmp_path / "study.h5"
    objectives = [checkpoint.objective("train") for checkpoint in arms["First"]]
    mine = ls.sharpness(objectives[0], ["margin"])
    mine.save(study, "first-0/scores")
    ls.sharpness(objectives[1], ["weight-norm"]).save(study, "first-1/scores")
    for _ in range(2):
        ls.compare(arms, scores=["weight-norm"], save=study)
        opened = ls.open_study(study)
        assert opened["first-0/scores"].rows == mine.rows
        assert opened["first-0/scores-compared"]["weight-norm"].value > 0
        assert {"first-1/scores", "second-0/scores"} <= set(opened)
        assert "first-1/scores-compared" not in opened  # the same numbers


def test_a_verdict_says_what_could_not_be_taken_out_of_the_networks():
    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3), torch.nn.Tanh())

    X = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    arms = {
        name: [ls.Objective(network(seed), (X, by_teacher(X)), "cross_entropy") for seed in seeds]
        for name, seeds in (("First", (0, 1)), ("Second", (2, 3)))
    }
    result = ls.compare(arms, scores=["adaptive-average"], audit=False)
    assert (
        "In the scores that decide, the shift of all logits is left in: the head needs logits"
        in result.verdicts[0].text
    )


def test_round_trip(arms, tmp_path):
    result = ls.compare(arms, scores=list(PRIMARY))
    result.save(tmp_path / "s.h5", "main")
    stored = open_study(tmp_path / "s.h5")["main"]
    assert stored.verdicts == result.verdicts
    assert stored.tests == result.tests or str(stored.tests) == str(result.tests)
    np.testing.assert_array_equal(stored.values, result.values)


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({}, "at least two"),
        ({"a": [1], "b": [2]}, "expected checkpoints"),
        ({"a": [], "b": []}, "no checkpoints"),
        ({"A b": "x", "a-b": "y"}, "expected checkpoints"),
    ],
)
def test_wrong_recipes(recipes, message):
    with pytest.raises(ls.LandscapeError, match=message):
        ls.compare(recipes)


def test_names_with_the_same_slug(arms):
    with pytest.raises(ls.LandscapeError, match="same slug"):
        ls.compare({"A b": arms["First"], "a-b": arms["Second"]})


def test_a_regression_is_decided_by_scores_that_are_defined_for_it():
    """The same loss and twice the input scale: relative perturbations cost four times as much."""
    g = torch.Generator().manual_seed(0)
    X, noise = torch.randn(40, 4, generator=g), torch.randn(40, 2, generator=g)

    def arm(scale):
        nets = []
        for seed in range(6):
            net = torch.nn.Linear(4, 2, bias=False)
            with torch.no_grad():
                net.weight.copy_(scale * (1 + 0.1 * torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))))
                target = net(X) + noise
            nets.append(ls.Checkpoint(net, loss="mse_loss", train=(X, target)))
        return nets

    result = ls.compare({"a": arm(1.0), "b": arm(2.0)}, scores=None, audit=False)
    verdict = result.verdicts[0]
    assert verdict.verdict == "spikier"
    assert "adaptive-worst-loss in the place of adaptive-worst-symmetric" in verdict.text
    assert np.isnan(result.score("adaptive-worst-symmetric")["a"]).all()
    average = next(row for row in result.tests if row.score == "adaptive-average-loss")
    assert 10**average.difference == pytest.approx(4, rel=0.1)


def test_nothing_is_scored_where_gates_fail(arms, monkeypatch):
    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "measured", None)
    untrained = [trained(s, by_teacher, steps=0) for s in (0, 1)]
    result = ls.compare({**arms, "untrained": untrained}, loss_tolerance=0.0)
    assert [row.verdict for row in result.verdicts] == ["not comparable"] * 3
    assert "No score was measured; waive= measures them all the same." in result.verdict
    assert np.isnan(result.values).all()
    assert result.metrics["train/loss"].shape == (3, 2)


def started(arm, seeds):
    """Checkpoints that say which weights they were trained from."""
    inits = [ls.models.mlp((5, 16, 3), seed=100 + seed).state_dict() for seed in seeds]
    found = []
    for ckpt, init in zip(arm, inits, strict=True):
        model, data = ckpt.model, (ckpt.objective().batches[0].inputs, ckpt.objective().targets)
        found.append(ls.Checkpoint(model, loss="cross_entropy", train=data, init=init))
    return found


@pytest.mark.parametrize(
    ("seeds", "option", "paired"),
    [((1, 0), "auto", True), ((2, 3), "auto", False), ((2, 3), True, True), ((1, 0), False, False)],
)
def test_pairs_are_runs_from_the_same_weights(arms, seeds, option, paired):
    first, second = started(arms["First"], (0, 1)), started(arms["Second"], seeds)
    result = ls.compare(
        {"a": first, "b": second}, scores=["weight-norm"], audit=False, paired=option, waive=("train loss",)
    )
    (row,) = result.tests
    norms = [np.log10(result.score("weight-norm")[name]) for name in ("a", "b")]
    assert row.paired == paired
    assert ("pairs of the same initial weights" in result.verdict) == paired
    if paired:
        differences = norms[1][::-1] - norms[0] if option == "auto" else norms[1] - norms[0]
        assert row.high - row.low == pytest.approx(2 * 12.706 * differences.std(ddof=1) / np.sqrt(2), rel=1e-3)


def test_runs_that_do_not_pair_up_are_refused(arms):
    with pytest.raises(LandscapeError, match="recipes of 2 and 1 runs do not pair up"):
        ls.compare({"a": arms["First"], "b": arms["Second"][:1]}, scores=["weight-norm"], paired=True)
    with pytest.raises(LandscapeError, match="expected 'auto', True or False"):
        ls.compare(arms, paired="yes")


def test_three_recipes_are_compared_two_by_two_at_the_radii_asked_for(arms):
    result = ls.compare(
        {**arms, "Third": arms["First"]}, scores=["adaptive-average"], radii=(0.1, 0.2), audit=False, waive="train loss"
    )
    assert [(row.a, row.b) for row in result.verdicts] == [("first", "second"), ("first", "third"), ("second", "third")]
    assert result.radii.tolist() == [[0.1, 0.2]]
    assert "not over the 3 pairs of recipes" in result.tested
    assert result.tests[1].difference == 0


def test_a_value_that_did_not_converge_is_marked_and_not_tested(arms, monkeypatch):
    real = sys.modules["landscape.comparison.panels"].measured

    def doubtful(*args, **kwargs):
        panel = real(*args, **kwargs)
        return panel.replace(rows=tuple(dataclasses.replace(row, status="not converged") for row in panel.rows))

    monkeypatch.setattr(sys.modules["landscape.comparison.panels"], "measured", doubtful)
    result = ls.compare(arms, scores=["trace"], audit=False, fewest=2, waive="train loss")
    assert result.unconverged == ("trace",)
    assert result.tests[0].p_value is None
    assert "not converged: not tested" in result.tests[0].note
    assert "trace (not converged)" in result.table()


def test_one_network_is_one_seed_and_all_are_measured_by_one_loss(arms):
    first, second = arms.values()
    with pytest.raises(LandscapeError, match="runs 0 and 2 of second are one network"):
        ls.compare({"first": first, "second": [*second, second[0]]})
    other = ls.Objective(first[0].model, first[0].objective().batches.stored[0].raw, torch.nn.MultiMarginLoss())
    with pytest.raises(LandscapeError, match="measured by different losses, MultiMarginLoss, cross_entropy"):
        ls.compare({"first": first, "second": [other]})


def test_scores_that_stand_in_decide_also_when_they_are_named():
    X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    nets = [ls.Objective(ls.models.mlp((4, 6, 1), seed=s), (X, X[:, :1].sin()), "mse_loss") for s in range(4)]
    recipes, options = {"a": nets[:2], "b": nets[2:]}, {"waive": ("gradient", "train loss"), "audit": False}
    named = ls.compare(recipes, scores=["adaptive-average-loss", "adaptive-worst-loss"], **options)
    assert named.verdict == ls.compare(recipes, **options).verdict
    assert "adaptive-worst-loss in the place of adaptive-worst-symmetric" in named.verdict
    assert dict(named.summary())["seeds"] == "2"
    refused = ls.compare({"a": nets[:1], "b": nets[1:]})  # by the gates: nothing is scored
    assert dict(refused.summary())["seeds"] == "1 to 3"
