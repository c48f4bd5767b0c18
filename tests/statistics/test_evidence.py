"""Zoos whose truth is known: what a board of scores must say of them."""

import numpy as np
import pytest

import landscape as ls
from landscape.errors import LandscapeError
from landscape.results import Trials
from landscape.statistics import kendall


def zoo(seed, kind, cells=12, seeds=4):
    """Models over two factors whose error grows with the noise factor and with something that no factor knows."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(cells):
        noise, lr = i % 4 / 4, 0.1 * 2.0 ** (i // 4)
        for s in range(seeds):
            hidden = rng.normal()
            score = {
                "none": rng.normal(),
                "factor": noise + 0.05 * rng.normal(),
                "beyond": hidden + 0.3 * rng.normal(),
            }[kind]
            error = 0.3 * noise + 0.1 * hidden + 0.02 * rng.normal()
            rows.append(
                {"noise": noise, "lr": lr, "seed": s, "score of ours": score, "train/loss": 0.01, "test/error": error}
            )
    return Trials.of(rows, factors=("noise", "lr", "seed"))


@pytest.mark.parametrize(
    ("kind", "verdict"), [("none", "no"), ("factor", "only through the design"), ("beyond", "yes")]
)
def test_the_board_tells_nothing_from_a_factor_and_a_factor_from_more(kind, verdict):
    said = [ls.evidence(zoo(seed, kind)).finding("score of ours").verdict for seed in range(20)]
    assert said.count(verdict) >= 17, (
        said
    )  # by chance one in twenty orders the outcome, and one in forty reduces its error


def test_a_row_is_what_the_statistics_say():
    trials = zoo(0, "beyond")
    board = ls.evidence(trials, test_size=1000)
    assert len(board) == 1
    assert board["τ"][0] == kendall(trials["score of ours"], trials["test/error"]).tau
    assert board["p (Holm)"][0] == board["p"][0]
    assert {"Ψ", "K", "partial ρ", "regret", "sign error"} <= board.measures.keys()
    assert "knows something beyond" in repr(board)


def test_scores_that_fail_or_never_vary_are_counted_and_said():
    trials = zoo(1, "beyond")
    values = trials["score of ours"].copy()
    values[:5] = np.nan
    measures = {
        **trials.measures,
        "partly": values,
        "constant": np.ones(len(trials)),
        "never": np.full(len(trials), np.nan),
    }
    board = ls.evidence(trials.replace(measures=measures))
    rows = dict(zip(board["score"].tolist(), zip(board["models"], board["left out"], strict=True), strict=True))
    assert rows["partly"] == (43, 5)
    assert rows["never"] == (0, 48)
    assert [board.finding(name).verdict for name in ("constant", "never")] == ["not judged"] * 2
    assert board["score"].tolist()[-2:] in (["constant", "never"], ["never", "constant"])


def test_too_few_models_and_unknown_names():
    with pytest.raises(LandscapeError, match="4 models with 'test/error'; expected at least 10"):
        ls.evidence(zoo(0, "none", cells=1))
    with pytest.raises(KeyError, match="no 'gap'"):
        ls.evidence(zoo(0, "none"), "gap")
