import pytest

from landscape.errors import LandscapeError
from landscape.experiments import RECIPES, Recipe, get_recipe


def test_recipes_are_found_by_their_own_names():
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {name: name for name in RECIPES}
    assert len({recipe.long_name for recipe in RECIPES.values()}) == len(RECIPES)


def test_both_momentum_recipes_are_matched_to_sgd_in_what_they_say():
    sgd, equal, matched = RECIPES["sgd"], RECIPES["momentum"], RECIPES["momentum-matched"]
    assert equal.lr == sgd.lr
    assert matched.lr / (1 - matched.momentum) == pytest.approx(sgd.lr)


def test_recipes_stop_at_the_same_loss():
    assert {(recipe.target, recipe.target_accuracy) for recipe in RECIPES.values()} == {(0.01, 1.0)}


def test_changes_leave_the_registered_recipe_alone():
    changed = get_recipe("sgd", name="sgd-shifted", shift=1)
    assert (changed.name, changed.shift, changed.lr) == ("sgd-shifted", 1, RECIPES["sgd"].lr)
    assert RECIPES["sgd"].shift == 0


def test_unknown_names_list_what_there_is():
    with pytest.raises(LandscapeError, match="'sdg' is not known; expected one of sgd, momentum"):
        get_recipe("sdg")
    with pytest.raises(LandscapeError, match="no setting learning_rate; settings are name, long_name, optimiser, lr"):
        get_recipe("sgd", learning_rate=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimiser": "lion"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"optimiser": "adam", "momentum": 0.9},
        {"batch_size": 0},
        {"weight_decay": -1e-4},
        {"shift": -1},
        {"label_noise": 1.1},
        {"examples": 0},
        {"poison": -1},
        {"target": 0.0},
        {"target_accuracy": 2.0},
        {"max_epochs": 0},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(LandscapeError, match=f"recipe 'x': {'momentum' if len(wrong) == 2 else next(iter(wrong))}"):
        Recipe(name="x", long_name="X", **wrong)
