"""Trials: what a long table of runs says of itself, and what a contrast of two levels is."""

import numpy as np
import pytest

import landscape as ls
from landscape.errors import LandscapeError
from landscape.results import Effect, Finding, Score, Scores, Trials
from landscape.results.scores import radii_in, score_columns
from landscape.statistics import bootstrap_interval, permutation_test, sign_flip_test


def row(recipe, seed, stage="end", reached=True, **more):
    loss = (1 + seed) * {"sgd": 1.0, "momentum": 10.0}[recipe]
    radii = np.array([loss, 100 * loss])
    curve = np.arange(3.0 + seed)
    return {"recipe": recipe, "seed": seed, "stage": stage, "reached": reached, "loss": loss, "loss ±": 0.1,
            "sharpness": radii, "sharpness ±": np.array([0.5, np.nan]), "note": "text", "curve": curve, **more}  # fmt: skip


ROWS = [
    row(recipe, seed, reached=(recipe, seed) != ("momentum", 7)) for recipe in ("sgd", "momentum") for seed in range(8)
]


@pytest.fixture
def trials():
    return Trials.of(
        ROWS, factors=("recipe", "seed", "stage"), arrays=("curve",), coordinates={"sharpness": np.array([0.1, 0.2])}
    )


def test_rows_become_columns_and_what_a_run_lacks_is_nan(trials):
    assert len(trials) == 16
    assert trials.measures["sharpness"].shape == trials.errors["sharpness"].shape == (16, 2)
    assert trials.arrays["curve"].shape == (16, 10)
    assert np.isnan(trials.arrays["curve"][0, 3:]).all()
    assert trials["sharpness"] == pytest.approx(10 * trials["loss"])  # the geometric mean over two radii
    gaps = Trials.of([{"a": 1, "x": 2.0}, {"a": 2, "y": np.array([1.0, 2.0])}], factors=("a",))
    assert np.isnan([gaps["x"][1], *gaps.measures["y"][0]]).all()
    assert gaps["a"].dtype.kind == "i"


def test_arrays_are_laid_out_by_factors_and_every_run_has_one_place(trials):
    table = trials.array("sharpness", "recipe", "seed")
    assert table.shape == (2, 8, 2)
    assert table[1, 3].tolist() == [40.0, 4000.0]
    part = trials.where(recipe="sgd", seed=range(3))
    assert part.array(part["loss"], "seed").tolist() == [1, 2, 3]
    with pytest.raises(LandscapeError, match="several runs share their recipe; name more of recipe, seed, stage"):
        trials.array("loss", "recipe")
    holes = trials.take(np.array([0, 9])).array("loss", "recipe", "seed")
    assert np.isnan(holes).tolist() == [[False, True], [True, False]]


def test_means_leave_out_runs_that_missed_their_target_and_count_them(trials):
    cells = trials.by("recipe")
    assert cells["runs"].tolist() == [8, 7]
    assert cells["tried"].tolist() == [8, 8]
    assert cells["loss"].tolist() == [4.5, 40.0]
    assert cells.errors["loss"] == pytest.approx([np.std(range(8), ddof=1), 10 * np.std(range(7), ddof=1)])
    geometric = trials.replace(geometric=("loss",)).by("recipe")
    assert geometric["loss"][0] == pytest.approx(np.exp(np.log(np.arange(1, 9)).mean()))
    single = trials.where(recipe="sgd", seed=0).by("recipe")
    assert single.errors["loss"].tolist() == [0.1]  # of a single run its own error


def test_the_table_names_what_varies_and_goes_down_when_there_is_much(trials):
    header, _, sgd, momentum = trials.table().splitlines()
    assert header.split() == ["recipe", "loss", "sharpness", "reached"]
    assert sgd.split() == ["sgd", "4.5", "±", "2.4", "45", "±", "24", "8", "of", "8"]
    assert momentum.endswith("7 of 8")
    assert "loss" not in trials.table(measures=["sharpness"])
    wide = {**trials.measures, **{f"m{i}": trials["loss"] for i in range(12)}}
    assert trials.replace(measures=wide).table().splitlines()[0].split() == ["sgd", "momentum"]


def test_effects_stand_beside_what_they_are_of_and_parts_are_tables_of_their_own(trials):
    both = Trials.of(
        [row(recipe, seed, stage=stage) for stage in ("early", "late") for recipe in ("sgd", "momentum") for seed in range(8)],
        factors=("recipe", "seed", "stage"), parts=("stage",), words={"early": "at first"},
    )  # fmt: skip
    both = both.replace(effects=tuple(both.where(stage=s).contrast("loss", "recipe") for s in ("early", "late")))
    first, second = both.table("markdown").split("\n\n### ")
    assert first.startswith("### at first\n\n|")
    assert second.startswith("late\n\n|")
    line = next(line for line in first.splitlines() if line.startswith("| loss "))
    assert [cell.strip() for cell in line.split("|")[4:7]] == ["× 10", both.effects[0].interval, "0.00016"]
    assert [table.title for table in both.tables()] == ["at first", "late"]
    assert both.where(stage="late").effects == both.effects[1:]
    assert both.effect("loss", "late") is both.effects[1]


def test_a_contrast_is_the_tests_of_the_statistics(trials):
    sgd, momentum = np.log10(np.arange(1.0, 9)), np.log10(10 * np.arange(1.0, 8))
    free = trials.contrast("loss", "recipe")
    assert free.difference == momentum.mean() - sgd.mean()
    assert free.p_value == permutation_test(sgd, momentum).p_value
    interval = bootstrap_interval(sgd, momentum)
    assert (free.low, free.high, free.runs_a, free.runs_b) == (interval.low, interval.high, 8, 7)
    paired = trials.contrast("loss", "recipe", "momentum", "sgd", pair="seed", scale="raw")
    assert paired.difference == pytest.approx(-9 * np.arange(1, 8).mean())
    assert paired.p_value == sign_flip_test(np.zeros(7), -9.0 * np.arange(1, 8), fewest=6).p_value
    assert (paired.runs_a, paired.larger, paired.change) == (7, 0, "-36")


def test_without_enough_runs_there_is_an_effect_without_a_p_value(trials):
    one = trials.where(seed=0).contrast("loss", "recipe")
    assert (one.p_value, one.interval, one.change) == (None, "—", "× 10")
    with pytest.raises(LandscapeError, match="recipe has the one level sgd; a contrast needs two"):
        trials.where(recipe="sgd").contrast("loss", "recipe")


def test_a_study_keeps_everything(trials, tmp_path):
    whole = trials.replace(
        study="mine", effects=(trials.contrast("loss", "recipe"),), findings=(Finding("loss", "grows", "spikier"),),
        parts=("stage",), view={"x": "recipe", "y": ["loss"]}, words={"sgd": "SGD"},
    )  # fmt: skip
    whole.save(tmp_path / "s.h5", "mine")
    again = ls.open_study(tmp_path / "s.h5")["mine"]
    for table in ("factors", "measures", "errors", "arrays", "coordinates"):
        for name, values in getattr(whole, table).items():
            np.testing.assert_array_equal(getattr(again, table)[name], values)
    assert (again.findings, again.view, again.parts, again.words) == (
        whole.findings,
        whole.view,
        whole.parts,
        whole.words,
    )
    assert str(again.effects) == str(whole.effects)
    assert again.table() == whole.table()


def test_columns_have_every_digit(trials):
    pandas = pytest.importorskip("pandas")
    frame = trials.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame)[:3] == ["recipe", "seed", "stage"]
    assert frame["sharpness@0.2"].tolist() == (100 * trials["loss"]).tolist()
    assert frame["sharpness@0.1 ±"].tolist() == [0.5] * 16


def test_what_is_not_there_is_said(trials):
    with pytest.raises(KeyError, match="no 'trace'; there are recipe, seed"):
        trials["trace"]
    with pytest.raises(KeyError, match="no run with"):
        trials.where(recipe="adam")
    with pytest.raises(LandscapeError, match="a run lacks the factor 'lr'"):
        Trials.of(ROWS, factors=("lr",))
    with pytest.raises(LandscapeError, match="no runs"):
        Trials.of([], factors=("lr",))


def test_effects_in_words():
    plain = Effect(measure="m", factor="f", a="a", b="b", difference=-0.25, low=-0.5, high=0.0)
    ratio = Effect(measure="m", factor="f", a="a", b="b", scale="log10", difference=1.0, low=0.0, high=2.0)
    assert (plain.change, plain.interval) == ("-0.25", "[-0.5, 0]")
    assert (ratio.change, ratio.interval) == ("× 10", "[1, 100]")


def test_scores_of_panels_share_one_grid_of_radii():
    first = Scores(rows=(Score(name="s", value=1.0, radius=0.1), Score(name="s", value=2.0, radius=0.2)), examples=5)
    other = Scores(rows=(Score(name="s", value=3.0, radius=0.1 + 0.2 - 0.1, standard_error=0.5),), examples=5)
    radii = radii_in([first, other])
    assert radii == {"s": (0.1, 0.2)}  # 0.30000000000000004 - 0.1 is 0.2, whatever its last bit
    columns = score_columns("s", other.rows, radii["s"])
    np.testing.assert_array_equal(columns["s"], [np.nan, 3.0])
    np.testing.assert_array_equal(columns["s ±"], [np.nan, 0.5])
    assert score_columns("t", (), ()) == {"t": pytest.approx(np.nan, nan_ok=True)}
