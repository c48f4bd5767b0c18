"""A new score takes its place on the board: in a zoo of networks as they were drawn, whose test errors are made up."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Trials
from landscape.results.evidence import NO, UNJUDGED, YES
from landscape.scores import REGISTRY
from landscape.studies.leaderboard import leaderboard, sampled
from landscape.studies.zoo import VERSION
from landscape.studies.zoo_networks import KINDS, PADDED

FACTORS = ("network", "data", "examples", "seed", "effective_step", "momentum", "label_noise")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A zoo whose test error is what the weight norm says, and something else."""
    rng, rows = np.random.default_rng(0), []
    kind = KINDS["mlp", "digits"]
    for i, (step, momentum, noise, seed) in enumerate(product((0.1, 0.2, 0.4), (0.0, 0.9), (0.0, 1.0), range(4))):
        scale = 1 + 0.2 * rng.random()
        with torch.no_grad():
            theta = scale * torch.cat([p.flatten() for p in kind.factory(seed=i).parameters()]).numpy()
        rows.append(
            dict(zip(FACTORS, ("mlp", "digits", 250, seed, step, momentum, noise), strict=True))
            | {"reached": float(i != 5), "draw": i, "steps": 1.0, "train_loss": 0.01, "margin": rng.normal()}
            | {"test_error": scale - 1 + 0.01 * rng.normal()}
            | {"weights": np.pad(theta, (0, PADDED - len(theta))) * (i != 5)}
        )
    trials = Trials.of(
        rows,
        factors=FACTORS,
        arrays=("weights", "draw"),
        parts=("network", "data"),
        study="zoo",
        settings={"version": VERSION},
    )
    where = tmp_path_factory.mktemp("zoo") / "zoo.h5"
    trials.save(where, "zoo")
    return where


@pytest.fixture
def mine():
    """A score of one's own, taken out of the register afterwards."""
    before = set(REGISTRY)
    yield
    for slug in set(REGISTRY) - before:
        del REGISTRY[slug]


def size_of_weights(objective):
    """How large the weights are."""
    return float(objective.theta.abs().mean())


@pytest.mark.usefixtures("mine")
def test_a_plain_function_takes_its_place_resumably(path, tmp_path, monkeypatch):
    told, calls = [], []

    def counted(objective):
        calls.append(objective.n)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return size_of_weights(objective)

    study = tmp_path / "board.h5"
    with pytest.raises(KeyboardInterrupt):
        leaderboard(counted, path=path, save=study, tell=told.append)
    board = leaderboard(counted, path=path, save=study, resamples=99)
    assert len(calls) == 1 + 47  # the one interrupted was begun again; one network missed its target
    assert set(calls) == {250}
    assert told[0].startswith("47 networks, ")
    row = board["counted"]
    assert (board.asked, row.verdict, row.models, row.left_out) == (("counted",), YES, 47, 0)
    assert (row.place, row.gradients) == (1, 1.0)
    assert "place 1 of 2" in board.place("counted")
    assert "Better than the best control, margin: not shown" in board.place("counted")
    assert leaderboard(counted, path=path, save=study, resamples=99)["counted"].psi == row.psi
    assert len(calls) == 48
    with pytest.raises(LandscapeError, match="another computation"):
        leaderboard(counted, path=path, save=study, sample=40)
    assert leaderboard(counted, path=path, save=study, sample=40, overwrite=True)["counted"].models == 36
    monkeypatch.setattr("landscape.studies.leaderboard.getsource", lambda module: "edited")
    with pytest.raises(LandscapeError, match=r"another computation.*code"):
        leaderboard(counted, path=path, save=study, sample=40)


@pytest.mark.usefixtures("mine")
def test_a_score_that_fails_on_some_networks_is_judged_on_the_others_which_are_counted(path):
    seen = []

    @ls.scores.score("moody", "fails, or has no meaning, now and then")
    def moody(objective):
        seen.append(1)
        if len(seen) % 10 == 0:
            raise ValueError("too moody")
        if len(seen) % 10 == 5:
            raise NotDefinedError("moody is not defined here: no mood")
        return size_of_weights(objective) if len(seen) % 10 else np.nan

    row = leaderboard(moody, path=path, resamples=20)["moody"]
    assert (row.models, row.left_out) == (38, 9)
    assert "9 models without a value (5: no mood; 4: ValueError: too moody)" in row.text


@pytest.mark.usefixtures("mine")
def test_scores_that_never_vary_or_never_have_a_value_get_no_place(path):
    def constant(objective):
        return 1.0

    def never(objective):
        return float("nan")

    board = leaderboard(constant, never, path=path, resamples=20)
    assert [board[name].verdict for name in ("constant", "never")] == [UNJUDGED] * 2
    assert board.place("constant") == "no place: Every score is 1: a rank correlation needs values that vary."
    assert "47 models without a value (47: the value is not finite)" in board.place("never")
    assert leaderboard(path=path, resamples=20)["margin"].verdict == NO


def test_a_sample_keeps_lines_of_the_design(path):
    zoo = ls.zoo(path)
    assert len(sampled(zoo.trials, zoo.kept, 300)) == 47
    assert np.bincount(sampled(zoo.trials, zoo.kept, 40) // 4).max() == 3  # seeds of a cell
    levels = product(("a", "b"), (1, 2, 3, 4, 5), (0.0, 0.2, 1.0), range(4))
    rows = [dict(zip(("data", "step", "noise", "seed"), one, strict=True)) for one in levels]
    wide = Trials.of(rows, factors=tuple(rows[0]), parts=("data",))
    part = wide.take(sampled(wide, range(len(wide)), 45))
    assert (part.levels("step"), part.levels("noise"), len(part)) == ((1, 2, 5), (0.0, 0.2, 1.0), 36)
    with pytest.raises(LandscapeError, match="no recipe with two networks"):
        sampled(zoo.trials, zoo.kept[::4], 300)
    with pytest.raises(LandscapeError, match="a sample of 8 networks; expected at least 40"):
        sampled(zoo.trials, zoo.kept, 8)


def test_what_is_wrong_is_said_in_a_line(path):
    with pytest.raises(LandscapeError, match="unknown score 'nonsense'; "):
        leaderboard("nonsense", path=path)
    for call in (ls.zoo, lambda path: leaderboard(path=path)):
        with pytest.raises(LandscapeError, match="path=3 is int, expected the path of a zoo"):
            call(3)


@pytest.mark.slow
def test_the_command_measures_a_score_of_one_file_in_processes(path, tmp_path):
    (tmp_path / "mymeasure.py").write_text("def score(objective):\n    return float(objective.theta.norm())\n")
    command = [sys.executable, "-m", "landscape", "leaderboard", "--score", "mymeasure:score", "--zoo", path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "score: place 1 of 2" in done.stdout
    assert "47 networks" in done.stderr
    assert (tmp_path / "leaderboard.h5").exists()
