"""Zoos whose truth is known: what a board of scores must say of them."""

import numpy as np
import pytest

import landscape as ls
from landscape.errors import LandscapeError
from landscape.results import Trials
from landscape.results.evidence import DESIGN, NO, UNJUDGED, YES
from landscape.statistics import Cells, kendall, within_cells


def zoo(seed, kind="beyond", cells=(3, 2, 3), seeds=4, draws=None):
    """Models over three factors whose error grows with the noise, and with something that no factor knows.

    Args:
        seed: of the simulation.
        kind: of the score: unrelated (none), following the noise (factor), equal to it (same), or seeing what is hidden (beyond).
        cells: levels of the factors.
        seeds: per cell.
        draws: whether runs of one seed share, over the steps, what is hidden and what the score sees instead.
    """
    rng, rows = np.random.default_rng(seed), []
    for noise in np.linspace(0, 1, cells[0]):
        for examples in 250 * 2 ** np.arange(cells[1]):
            worlds = rng.normal(size=(seeds, 2))
            for step in range(cells[2]):
                for s in range(seeds):
                    hidden, own = worlds[s] if draws else rng.normal(size=2)
                    score = {"none": own, "factor": noise + 0.01 * own, "same": noise, "beyond": hidden + 0.5 * own}[
                        kind
                    ]
                    error = 0.1 + 0.3 * noise + 0.02 * step + 0.03 * hidden + 0.005 * rng.normal()
                    rows.append(
                        {"noise": noise, "examples": examples, "step": step, "seed": s}
                        | {"score": score, "margin": own, "train_loss": 0.01, "test_error": error}
                    )
    return Trials.of(rows, factors=("noise", "examples", "step", "seed"))


def judge(trials, *scores, **options):
    return ls.evidence(trials, scores=scores or ["score"], baseline=(), resamples=50, **options)


@pytest.mark.parametrize(("kind", "verdict"), [("none", NO), ("factor", DESIGN), ("same", DESIGN), ("beyond", YES)])
def test_the_board_tells_nothing_from_a_factor_and_a_factor_from_more(kind, verdict):
    assert [judge(zoo(seed, kind))["score"].verdict for seed in range(2, 6)] == [verdict] * 4


def test_runs_that_share_their_draws_are_not_counted_as_many():
    """What a seed brings to score and error alike in all its runs says as little as one run."""
    found = {(): 0, ("step",): 0}
    for seed in range(30, 38):
        trials = zoo(seed, "none", (2, 5, 8), draws=True)
        cells = Cells.of_design({name: trials[name].tolist() for name in ("noise", "examples", "step")})
        for shared in found:
            of = trials["seed"].tolist(), trials["score"], trials["test_error"]
            found[shared] += within_cells(cells, *of, shared=shared, resamples=1).p_value < 0.05
    assert found[()] >= 3  # of 60 seeds, 38 %
    assert found[("step",)] <= 1  # 7 %
    assert judge(zoo(0, "beyond", (2, 5, 8), draws=True), shared=("step",))["score"].verdict == YES


def test_what_a_baseline_knows_is_taken_out():
    trials, noise = zoo(0), np.random.default_rng(0).normal(size=72)
    known = trials.replace(measures={**trials.measures, "margin": trials["score"] + 1e-3 * noise})
    assert judge(known)["score"].verdict == YES
    assert ls.evidence(known, scores=["score"], baseline=["margin"], resamples=50)["score"].verdict != YES


def test_the_best_control_is_chosen_anew_and_scores_are_tested_against_it():
    trials = zoo(3)
    better = np.asarray(trials["test_error"]) + 0.001 * trials["margin"]
    trials = trials.replace(measures={**trials.measures, "better": better, "worse": -better})
    board = ls.evidence(trials, scores=["better", "worse", "margin"], controls=["margin"], resamples=199)
    assert board.best_control == "margin"
    assert board["better"].lead_p < 0.05 < board["worse"].lead_p
    assert np.isnan(board["margin"].lead)
    assert [row.score for row in board.rows] == ["better", "margin", "worse"]
    assert (board["better"].place, board["better"].place_high) == (1, 1)


def test_a_row_is_what_the_statistics_say():
    trials = zoo(0)
    row = judge(trials, test_size=1000)["score"]
    means = trials.by("noise", "examples", "step")
    assert row.tau == pytest.approx(kendall(means["score"], means["test_error"]).tau)
    assert row.tau_p == pytest.approx(kendall(means["score"], means["test_error"]).p_value)
    for name in ("tau", "psi", "within", "gain", "regret", "information"):
        assert getattr(row, f"{name}_low") <= getattr(row, name) <= getattr(row, f"{name}_high")
    assert np.isfinite(row.sign_error)
    assert judge(zoo(0, "factor"), test_size=1000)["score"].sign_error < 0.1


def test_scores_that_fail_or_never_vary_are_counted_and_said():
    trials = zoo(1)
    partly = trials["score"].copy()
    partly[:5], partly[5] = np.nan, np.inf
    more = {"partly": partly, "constant": np.ones(len(trials)), "never": np.full(len(trials), np.nan)}
    trials = trials.replace(
        measures={**trials.measures, **more}, settings={"undefined": {"partly": {"no logits": 5, "overflow": 1}}}
    )
    board = judge(trials, "score", *more)
    assert (board["partly"].models, board["partly"].left_out) == (66, 6)
    assert "6 models without a value (5: no logits; 1: overflow)" in board["partly"].text
    assert [board[name].verdict for name in ("constant", "never")] == [UNJUDGED] * 2
    assert board["constant"].text == "Every score is 1: a rank correlation needs values that vary."
    assert board["never"].text.startswith("0 cells have a value; at least 10 are needed")
    printed = " ".join(repr(board).split())
    assert "6 models without a value (5: no logits; 1: overflow)" in printed
    assert "never 72 of 72 models without a value" in printed
    assert {row.score for row in board.rows[2:]} == {"constant", "never"}


def test_runs_that_missed_their_target_are_left_out_and_counted():
    trials = zoo(2)
    converged = np.arange(len(trials)) % 8 > 0
    board = judge(trials.replace(measures={**trials.measures, "converged": converged}))
    assert (board.models, board.missed) == (63, 9)
    assert "9 left out" in repr(board)


def test_one_seed_per_cell_cannot_tell_a_score_from_the_design():
    row = judge(zoo(0, "factor", (5, 3, 3), seeds=1))["score"]
    assert row.verdict == UNJUDGED
    assert "too few cells have two seeds" in row.text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: judge(zoo(0, cells=(2, 2, 2))), LandscapeError, "8 cells with 'test_error'; expected at least 10"),
        (lambda: ls.evidence("zoo"), LandscapeError, "got a str, expected Trials"),
        (lambda: ls.evidence(zoo(0), "gap"), KeyError, "no 'gap'"),
        (lambda: judge(zoo(0), "trace"), KeyError, "no 'trace'"),
        (lambda: judge(zoo(0), strata=["data"]), KeyError, "no factor 'data'"),
        (lambda: judge(zoo(0), shared=["data"]), KeyError, "no factor 'data'"),
    ],
)
def test_wrong_input_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_board_is_stored_printed_and_drawn(tmp_path):
    board = judge(zoo(0), "score", "margin")
    board.save(tmp_path / "study.h5", "board")
    again = ls.open_study(tmp_path / "study.h5")["board"]
    assert again.table("markdown") == board.table("markdown")
    assert repr(again) == repr(board)
    assert "knows more?" in board._repr_html_()
    assert [text.get_text() for text in board.plot().axes[0].get_yticklabels()] == [row.score for row in board.rows]
