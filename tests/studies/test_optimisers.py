"""SGD and momentum on a few digits: each measured against its own threshold, the verdict that of `compare`."""

from functools import partial

import numpy as np
import pytest

from landscape.comparison import compare
from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train_many
from landscape.models import mlp
from landscape.store import open_study
from landscape.studies.optimisers import optimisers

SMALL = partial(mlp, (64, 32, 10))
RECIPES = [get_recipe(name, lr=lr, target=0.05) for name, lr in (("sgd", 0.2), ("momentum-matched", 0.02))]
SCORES = ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag", "weight-norm")


@pytest.fixture(scope="module")
def split():
    return digits(train=120)


@pytest.fixture(scope="module")
def found(split, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.h5"
    result = optimisers(SMALL, split, recipes=RECIPES, seeds=(0, 1), scores=SCORES, save=path)
    assert open_study(path)["optimisers"].comparison.verdicts == result.comparison.verdicts
    return result


def test_the_comparison_is_that_of_compare(found, split):
    runs = train_many(RECIPES, split, SMALL, seeds=(0, 1))
    arms = {recipe.name: [as_checkpoint(run) for run in runs[recipe.name]] for recipe in RECIPES}
    other = compare(arms, scores=list(SCORES))
    mine = found.comparison
    same = other.values[:, :, [other.scores.index(name) for name in mine.scores]]
    np.testing.assert_allclose(
        mine.values, same, rtol=1e-6
    )  # compare evaluates networks together, which rounds otherwise
    assert [row.verdict for row in mine.verdicts] == [row.verdict for row in other.verdicts]
    assert [(row.gate, row.passed) for row in mine.gates] == [(row.gate, row.passed) for row in other.gates]
    assert mine.audit == other.audit


def test_sharpness_is_given_in_units_of_each_threshold(found):
    assert found.by("recipe")["threshold"].tolist() == pytest.approx([2 / 0.2, 3.8 / 0.02])
    for name in ("lambda-max", "batch sharpness"):
        assert found[f"{name} / threshold"] == pytest.approx(found[name] / found["threshold"])
    assert (found["lambda-max"] > 0).all()


def test_table_summary_and_figure(found):
    assert "threshold (2 + 2β)/η" in found.table()
    assert found.table("markdown").startswith("|")
    assert any("of its threshold" in text for _, text in found.summary())
    assert len(found.plot().axes) == 6


def test_compare_reads_the_trials_and_says_the_same(found):
    again = compare(found, scores=SCORES)
    assert again.verdicts == found.comparison.verdicts
    assert str(again.tests) == str(found.comparison.tests)
    assert again.gates == found.comparison.gates
    with pytest.raises(LandscapeError, match="one level of 'optimiser' or none"):
        compare(found, by="optimiser")
    bare = found.replace(measures={"trace": found["weight-norm"]})
    with pytest.raises(LandscapeError, match=r"lack fact/network, .* which the gates look at"):
        compare(bare)
