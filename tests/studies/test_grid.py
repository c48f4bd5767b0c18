"""The runner: every combination once, in its place, resumed, found again, and never with other settings."""

from dataclasses import dataclass

import numpy as np
import pytest

from landscape.errors import LandscapeError
from landscape.results import Finding
from landscape.store import open_study
from landscape.studies.grid import grid

CALLS = []


@dataclass(frozen=True)
class Rule:
    """A factor that is an object."""

    lr: float
    slug: str


def loss(*, rule, seed):
    CALLS.append((rule.slug, seed))
    return {"loss": rule.lr * (1 + seed), "curve": np.arange(1.0 + seed), "reached": seed < 2}


def stages(*, width, seed):
    return [
        {"stage": name, "loss": width * scale + seed, "loss ±": 0.5} for name, scale in (("early", 10.0), ("late", 1.0))
    ]


RULES = {"a": Rule(0.1, "a"), "b": Rule(0.2, "b")}


def run(seeds=(0, 1, 2), **more):
    options = {
        "name": "losses",
        "settings": {"version": 1},
        "attributes": {"rule": {"η": "lr"}},
        "arrays": ("curve",),
        **more,
    }
    return grid(loss, {"rule": RULES, "seed": seeds}, **options)


@pytest.fixture(autouse=True)
def _fresh():
    CALLS.clear()


def test_every_combination_is_measured_once_seed_by_seed_and_stands_in_its_place():
    found = run()
    assert [(rule, seed) for seed in (0, 1, 2) for rule in ("a", "b")] == CALLS
    assert list(zip(found["rule"].tolist(), found["seed"].tolist(), strict=True)) == [
        (r, s) for r in "ab" for s in range(3)
    ]
    assert found["η"].tolist() == [0.1] * 3 + [0.2] * 3
    np.testing.assert_allclose(found.array("loss", "rule", "seed"), np.outer([0.1, 0.2], [1, 2, 3]))
    assert np.isnan(found.arrays["curve"][0, 1:]).all()
    assert found.met.tolist() == [True, True, False] * 2


def test_a_measure_may_return_several_rows():
    found = grid(stages, {"width": (1, 2), "seed": (0, 1)}, name="stages", settings={}, also=("stage",))
    assert found.array("loss", "width", "seed", "stage").tolist() == [[[10, 1], [11, 2]], [[20, 2], [21, 3]]]
    assert set(found.errors["loss"].tolist()) == {0.5}


def test_conclusions_see_the_table_and_what_was_concluded_before():
    def effects(trials):
        return [trials.contrast("loss", "rule", pair="seed")]

    def findings(trials):
        yield Finding("loss", trials.effects[0].change)

    found = run(effects=effects, findings=findings)
    assert found.finding("loss").text == "× 2"


def test_what_was_interrupted_goes_on_and_what_is_finished_is_found(tmp_path):
    path = tmp_path / "study.h5"

    def stops(*, rule, seed):
        if (rule.slug, seed) == ("b", 1):
            raise KeyboardInterrupt
        return loss(rule=rule, seed=seed)

    with pytest.raises(KeyboardInterrupt):
        grid(stops, {"rule": RULES, "seed": (0, 1, 2)}, name="losses", settings={"version": 1}, save=path)
    assert CALLS == [("a", 0), ("b", 0), ("a", 1)]
    whole = run(save=path)
    assert CALLS[3:] == [("b", 1), ("a", 2), ("b", 2)]
    again = run(save=path)
    assert len(CALLS) == 6
    np.testing.assert_array_equal(again["loss"], whole["loss"])
    assert open_study(path)["losses"].settings == {"version": 1}


def test_more_seeds_are_another_study_of_the_same_settings_and_other_settings_are_refused(tmp_path):
    path = tmp_path / "study.h5"
    run(seeds=(0,), save=path)
    assert run(seeds=(0, 1), save=path).levels("seed") == (0, 1)
    assert open_study(path)["losses"].levels("seed") == (0, 1)
    with pytest.raises(LandscapeError, match="version: 1 there, 2 here"):
        run(settings={"version": 2}, save=path)
