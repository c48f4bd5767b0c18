"""A panel that was interrupted goes on with the scores that it lacks, and what is stored is found again."""

import dataclasses
import inspect

import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.scores import keeping
from landscape.scores.register import REGISTRY

ASKED = ["trace", "margin", "weight-norm", "gradient-norm"]


@pytest.fixture
def objective():
    torch.manual_seed(0)
    X, y = torch.randn(20, 3), torch.arange(20) % 3
    return ls.Objective(ls.models.mlp((3, 5, 3)), (X, y), "cross_entropy")


@pytest.fixture
def counted(monkeypatch):
    """How often each score was measured; a slug put into `stop` ends the panel as Ctrl-C does."""
    calls, stop = [], set()

    def watching(definition):
        def compute(objective, **options):
            if definition.slug in stop:
                raise KeyboardInterrupt
            calls.append(definition.slug)
            return definition.compute(objective, **options)

        compute.__signature__ = inspect.signature(definition.compute)
        return dataclasses.replace(definition, compute=compute)

    for slug in ASKED:
        monkeypatch.setitem(REGISTRY, slug, watching(REGISTRY[slug]))
    return calls, stop


def interrupted(objective, counted, save, **options):
    _, stop = counted
    stop.add("weight-norm")
    with pytest.raises(KeyboardInterrupt) as ended:
        ls.sharpness(objective, ASKED, save=save, **options)
    stop.clear()
    return ended.value.__notes__


def test_an_interrupted_panel_goes_on_where_it_was(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    assert interrupted(objective, counted, save) == [
        "what is finished of 'net/scores' is kept beside study.h5; the same call goes on from there"
    ]
    panel = ls.sharpness(objective, ASKED, save=save)
    assert counted[0] == ASKED
    alone = ls.sharpness(objective, ASKED)
    assert panel.rows == alone.rows
    assert list(tmp_path.iterdir()) == [tmp_path / "study.h5"]
    assert ls.open_study(save[0])["net/scores"].rows == panel.rows


def test_the_seconds_of_kept_scores_are_those_that_they_took(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    interrupted(objective, counted, save)
    with ls.Run(save, keeping.panel_identity(objective, 0, None, None, None, False)) as run:
        _, seconds = run.done["trace"]
    assert ls.sharpness(objective, ASKED, save=save).timings["trace"] == seconds > 0


def test_a_finished_panel_is_found_again_and_replaced_only_when_asked(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    first = ls.sharpness(objective, ASKED, save=save)
    again = ls.sharpness(objective, ASKED, save=save)
    assert (counted[0], again.rows) == (ASKED, first.rows)
    for other in ({"seed": 1}, {"options": {"trace": {"matvecs": 20}}}, {"audit": True}):
        with pytest.raises(LandscapeError, match=r"already holds a result of another computation .*overwrite=True"):
            ls.sharpness(objective, ASKED, save=save, **other)
    with pytest.raises(LandscapeError, match=r"weights_sha256: .* there, .* here"):
        ls.sharpness(objective.at(2 * objective.theta), ASKED, save=save)
    with pytest.raises(LandscapeError, match="already holds a panel of other scores"):
        ls.sharpness(objective, ["trace"], save=save)
    assert ls.sharpness(objective, ["trace"], seed=1, save=save, overwrite=True).names == ("trace",)


def test_scores_kept_of_other_weights_are_refused(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    interrupted(objective, counted, save)
    with pytest.raises(LandscapeError, match="belongs to another computation"):
        ls.sharpness(objective.at(2 * objective.theta), ASKED, save=save)


def test_nothing_is_left_of_a_panel_without_a_finished_score(objective, counted, tmp_path):
    counted[1].add("trace")
    with pytest.raises(KeyboardInterrupt):
        ls.sharpness(objective, ASKED, save=(tmp_path / "study.h5", "net/scores"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_study_the_remedy_is_named(objective, counted):
    assert interrupted(objective, counted, None) == [
        "nothing is kept; pass save=('study.h5', name) to a computation that is to be resumed"
    ]


def test_what_a_checkpoint_says_of_its_training_decides(objective):
    one, other = (
        ls.Checkpoint(objective.model, loss="cross_entropy", train=(torch.randn(4, 3), torch.arange(4) % 3), lr=lr)
        for lr in (0.1, 0.2)
    )
    assert keeping.panel_identity(objective, 0, None, None, one, False) != keeping.panel_identity(
        objective, 0, None, None, other, False
    )


def test_a_save_without_a_name_is_refused_before_anything_is_measured(objective, counted):
    with pytest.raises(LandscapeError, match="does not say what to call the result"):
        ls.sharpness(objective, ASKED, save="study.h5")
    assert counted[0] == []
