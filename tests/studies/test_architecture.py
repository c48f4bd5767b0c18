"""Architectures are measured as their scores and slices measure them, on common scales, and only where they met the target."""

from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.function.objective import Objective
from landscape.models import resnet
from landscape.plots.studies import architecture as draw
from landscape.slices import plane, random_directions, smoothness
from landscape.studies.architecture import VARIANTS, architecture

TINY = partial(resnet, depth=8, width=2, in_channels=1)
PAIR = {"batch": TINY, "none, no skips": partial(TINY, norm="none", skip=False)}
RECIPE = get_recipe("momentum", lr=0.02, target=1.6, target_accuracy=0.4, max_epochs=30)
QUICK = {"recipe": RECIPE, "epochs": (1, 2), "points": 3, "ratio_points": 2, "examples": 30}


@pytest.fixture(scope="module")
def split():
    return digits(train=60, flatten=False)


@pytest.fixture(scope="module")
def found(split):
    return architecture(PAIR, split, seeds=(5,), **QUICK)


def test_every_default_variant_has_its_own_network():
    sizes = {name: sum(p.numel() for p in factory().parameters()) for name, factory in VARIANTS.items()}
    assert sizes["batch norm"] == sizes["batch norm, no skips"] > sizes["no norm"]
    assert sizes["standardised weights"] > sizes["no norm"]


def test_planes_are_those_of_the_trained_network(found, split):
    run = train(RECIPE, split, TINY, seed=5)
    objective = as_checkpoint(run, TINY).objective(norm="frozen")
    expected = plane(objective, random_directions(objective, n=2, seed=0), span=1.0, points=3).loss
    np.testing.assert_allclose(found.arrays["loss"][0], expected, rtol=1e-5)
    assert found["train/loss"][0] == run.train_loss
    assert found["step"][0] == run.steps


def test_smoothness_is_measured_in_training_mode_on_one_batch(found, split):
    run = train(RECIPE, split, TINY, seed=5)
    objective = Objective(run.network(TINY), (run.data.X[:30], run.data.y[:30]), "cross_entropy", mode="train")
    expected = smoothness(objective, [run.init], eta=[0.01, 0.02, 0.04, 0.08]).beta[0]
    beta = found.arrays["beta"][0]
    assert beta[0] == pytest.approx(expected, rel=1e-4)
    assert found["beta start"][0] == beta[0]
    assert found["beta peak"][0] == np.nanmax(beta)


def test_without_norm_the_curvature_says_so(found):
    """The ratio of extreme eigenvalues has a value at every point of the map."""
    assert np.isfinite(found.arrays["eigen ratio"]).all()
    assert found.arrays["eigen ratio"].shape == (2, 2, 2)


def test_figure_has_one_scale_a_row(found):
    axes = draw(found, Figure()).subfigs[0].axes
    assert [ax.get_title() for ax in axes[:2]] == ["batch", "none,\nno skips"]
    limits = {tuple(image.get_clim()) for ax in axes[2:4] for image in ax.collections if image.get_array() is not None}
    assert len(limits) == 1


def test_rows_without_the_planes_that_are_wanted_are_refused(split, tmp_path, monkeypatch):
    """Planes are those of the first seed, which an interrupted call may have drawn of another."""
    monkeypatch.setattr("landscape.studies.grid.run_jobs", _stopped)
    with pytest.raises(RuntimeError, match="stopped"):
        architecture({"batch": TINY}, split, seeds=(0, 1), **QUICK, save=tmp_path / "s.h5")
    with pytest.raises(LandscapeError, match="mapped: 0 there, 1 here"):
        architecture({"batch": TINY}, split, seeds=(1, 0), **QUICK, save=tmp_path / "s.h5")


def _stopped(work, jobs, run, **_):
    run.keep(next(iter(jobs)), {"reached": True})
    raise RuntimeError("stopped")
