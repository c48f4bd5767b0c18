"""Bringing networks to a common loss: by temperature, and between saved checkpoints."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.comparison.gates import Facts
from landscape.comparison.matching import between_checkpoints, blend_facts, blend_scores, temper, tempered
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results.scores import Score, Scores

PRIMARY = ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag")


def training(seed, steps=(100, 200, 400), lr=0.5):
    """Checkpoints of one run of full-batch descent on data that a linear teacher labels."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, 5, generator=generator)
    y = X[:, :3].argmax(1)
    net, saved = ls.models.mlp((5, 16, 3), seed=seed), []
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    for step in range(1, max(steps) + 1):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(X), y).backward()
        optimiser.step()
        if step in steps:
            saved.append(ls.Checkpoint(net, loss="cross_entropy", train=(X, y), test=(X[:20], y[:20]), step=step))
    return saved


@pytest.fixture(scope="module")
def runs():
    return {"slow": [training(s, lr=0.3) for s in (0, 1)], "fast": [training(s) for s in (2, 3)]}


def objectives(arm):
    return [[checkpoint.objective() for checkpoint in run] for run in arm]


def test_temperature_reaches_the_loss_and_keeps_every_decision(runs):
    objective = runs["fast"][0][-1].objective()
    soft, t = temper(objective, 0.5)
    assert soft.loss() == pytest.approx(0.5, rel=1e-5)
    assert 0 < t < 1
    torch.testing.assert_close(soft.outputs(), t * objective.outputs(), rtol=1e-5, atol=1e-5)
    assert torch.equal(soft.outputs().argmax(1), objective.outputs().argmax(1))
    same, one = temper(objective, objective.loss())
    assert one == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(same.theta, objective.theta, rtol=1e-3, atol=1e-6)


def test_a_loss_that_no_temperature_gives(runs):
    objective = runs["fast"][0][-1].objective()
    with pytest.raises(LandscapeError, match="no temperature between 0 and 1"):
        temper(objective, 2.0)
    with pytest.raises(LandscapeError, match="train to the same loss"):
        temper(objective, objective.loss() / 2)


def test_regression_has_no_temperature():
    X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotDefinedError, match="needs class logits"):
        temper(ls.Objective(torch.nn.Linear(3, 1), (X, X[:, :1]), "mse_loss"), 1.0)


def test_all_are_tempered_to_the_largest_loss(runs):
    last = {name: [[run[-1]] for run in objectives(arm)] for name, arm in runs.items()}
    found, told = tempered(last)
    largest = max(run[0].loss() for arm in last.values() for run in arm)
    for arm in found.values():
        for one in arm:
            assert one.at[0].loss() == pytest.approx(largest, rel=1e-4)
            assert one.temperature <= 1
    assert max(one.temperature for arm in found.values() for one in arm) == 1
    assert f"tempered to a training loss of {largest:.4g}" in told


def test_the_common_loss_lies_between_saved_checkpoints(runs):
    at = {name: objectives(arm) for name, arm in runs.items()}
    found, told = between_checkpoints(at)
    target = max(min(o.loss() for o in run) for arm in at.values() for run in arm)
    assert f"{target:.4g}" in told
    for name, arm in found.items():
        for run, one in zip(at[name], arm, strict=True):
            losses = [objective.loss() for objective in one.at]
            assert [run[i] for i in one.which] == list(one.at)
            assert np.prod(np.power(losses, [1 - one.share, one.share][: len(losses)])) == pytest.approx(target)
    assert sum(len(one.at) == 1 for arm in found.values() for one in arm) == 1


def test_runs_without_a_common_loss(runs):
    early, late = ([run[0]] for run in objectives(runs["fast"])), ([run[-1]] for run in objectives(runs["fast"]))
    with pytest.raises(LandscapeError, match="no loss in common"):
        between_checkpoints({"early": list(early), "late": list(late)})


def panel(value, error=None, status="ok", name="s"):
    row = Score(name=name, value=value, standard_error=error, gradients=1.0, status=status, note=status)
    return Scores(rows=(row,), examples=10)


def test_scores_are_interpolated_on_their_logarithms():
    (row,) = blend_scores([panel(1.0, 0.1), panel(100.0, 10.0)], 0.5).rows
    assert row.value == pytest.approx(10.0)
    assert row.standard_error == pytest.approx(10 * np.hypot(0.05, 0.05))
    assert row.gradients == 2.0
    (row,) = blend_scores([panel(-1.0, 0.1), panel(2.0, 0.2)], 0.25).rows
    assert row.value == pytest.approx(-0.25)
    assert row.standard_error == pytest.approx(np.hypot(0.075, 0.05))
    assert blend_scores([panel(1.0), panel(2.0, status="invalid")], 0.5).rows[0].status == "invalid"


def test_scores_that_are_logarithms_are_interpolated_as_they_are():
    (row,) = blend_scores([panel(100.0, 1.0, name="log-volume"), panel(300.0, 1.0, name="log-volume")], 0.5).rows
    assert row.value == pytest.approx(200.0)
    assert row.standard_error == pytest.approx(0.5 * 2**0.5)


def test_gates_see_the_worse_of_two_checkpoints():
    first, second = Facts("net", "data", 0.04, 0.9, 0.5, 1.0), Facts("net", "data", 0.01, 1.0, 2.0, 1.5)
    found = blend_facts([first, second], 0.5)
    assert found.loss == pytest.approx(0.02)
    assert found.accuracy == pytest.approx(0.95)
    assert (found.noise_ratio, found.modal_share) == (2.0, 1.5)


def test_tempering_moves_the_loss_but_no_primary_score(runs):
    arms = {name: [run[-1] for run in arm] for name, arm in runs.items()}
    scores = [*PRIMARY, "lambda-max"]
    options = {"scores": scores, "audit": False, "waive": "train loss"}
    plain, matched = (ls.compare(arms, match=match, **options) for match in (None, "temper"))
    assert next(gate for gate in plain.gates if gate.gate == "train loss").note == "waived"
    assert next(gate for gate in matched.gates if gate.gate == "train loss").note != "waived"
    for name in PRIMARY:
        for recipe, values in matched.score(name).items():
            np.testing.assert_allclose(values, plain.score(name)[recipe], rtol=2e-2)
    assert (matched.score("lambda-max")["fast"] > 1.2 * plain.score("lambda-max")["fast"]).all()
    assert matched.verdicts[0].text.endswith(f"{matched.matched[1:]}.")
    assert "tempered to a training loss" in matched.verdict
    assert plain.matched == "as trained"
    np.testing.assert_allclose(matched.metrics["train/loss"], matched.metrics["train/loss"][0, 0], rtol=1e-3)
    np.testing.assert_array_equal(matched.metrics["train/loss as trained"], plain.metrics["train/loss"])
    assert (matched.metrics["temperature"] <= 1).all()
    assert (matched.metrics["test/accuracy"] == plain.metrics["test/accuracy"]).all()


def test_interpolation_scores_between_the_checkpoints_of_a_run(runs, tmp_path):
    result = ls.compare(runs, scores=["weight-norm"], audit=False, match="interpolate", save=tmp_path / "study.h5")
    found, _ = between_checkpoints({name: objectives(arm) for name, arm in runs.items()})
    one = found["fast"][0]
    ends = [float(objective.theta.norm()) for objective in one.at]
    assert min(ends) < result.score("weight-norm")["fast"][0] < max(ends)
    np.testing.assert_allclose(result.metrics["train/loss"], result.metrics["train/loss"][0, 0])
    assert "interpolated" in result.verdict
    stored = ls.open_study(tmp_path / "study.h5")
    assert {"fast-0-before/scores", "fast-0-after/scores"} <= set(stored)


def test_wrong_requests(runs):
    with pytest.raises(LandscapeError, match="pass match='interpolate', or one checkpoint a seed"):
        ls.compare(runs)
    with pytest.raises(LandscapeError, match="pass match='interpolate'"):
        ls.compare(runs, match="temper")
    with pytest.raises(LandscapeError, match="expected 'temper', 'interpolate' or None"):
        ls.compare({name: arm[0][-1] for name, arm in runs.items()}, match="guess")
