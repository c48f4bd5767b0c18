"""Interactive figures hold the numbers of the results, and save as pages that need nothing else."""

import re
import sys

import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots import interactive
from landscape.results import Eigenpairs, Estimate, SpectralDensity, Trajectory

pytest.importorskip("plotly")


def holed(plane):
    loss = plane.loss.copy()
    loss[0, 0], loss[0, 1] = np.inf, np.nan
    computed = plane.computed.copy()
    computed[6, 10] = 0
    return plane.replace(values={"train/loss": loss}, computed=computed)


def named(figure):
    return {trace.name: trace for trace in figure.data}


def test_a_surface_is_as_high_as_its_colour_and_tells_its_value(valley):
    [trace] = interactive.surface(valley, limit=2.0).data
    j, i = np.unravel_index(np.argmin(trace.customdata), trace.customdata.shape)
    assert (trace.x[j][i], trace.y[j][i]) == (0.5, 0.0)
    assert trace.z[j][i] == 0.0
    np.testing.assert_array_equal(trace.customdata, valley.loss)
    scale = plots.scale_of([valley.loss], levels=8, limit=2.0)
    np.testing.assert_allclose(np.asarray(trace.z, dtype=float), scale.norm(valley.loss))
    assert np.asarray(trace.z)[valley.loss > 2.0].min() == 1.0


def test_points_without_a_number_are_holes_with_marks(valley):
    figure = interactive.surface(holed(valley))
    assert np.isnan(np.asarray(figure.data[0].z, dtype=float)).sum() == 3
    marks = named(figure)
    assert [(marks[reason].x[0], marks[reason].y[0]) for reason in ("inf", "NaN", "not computed")] == [
        (valley.x[0], valley.y[0]), (valley.x[1], valley.y[0]), (valley.x[10], valley.y[6]),
    ]  # fmt: skip
    assert named(interactive.plane(holed(valley)))["NaN"].x.tolist() == [valley.x[1]]


def test_several_surfaces_share_scale_camera_and_legend(valley):
    higher = valley.replace(values={"train/loss": 10 * valley.loss})
    figure = interactive.surface({"flat": holed(valley), "sharp": holed(higher)}, columns=2)
    assert [note.text for note in figure.layout.annotations] == ["flat", "sharp"]
    flat, sharp = (trace for trace in figure.data if trace.type == "surface")
    assert flat.coloraxis == sharp.coloraxis == "coloraxis"
    assert np.nanmax(np.asarray(flat.z, dtype=float)) < np.nanmax(np.asarray(sharp.z, dtype=float)) == 1.0
    assert figure.layout.scene.camera == figure.layout.scene2.camera
    assert sum(bool(trace.showlegend) for trace in figure.data if trace.name == "inf") == 1


def test_true_distances_are_drawn_at_true_angles(valley, directions):
    [trace] = interactive.surface(valley.replace(directions=directions(cosine=0.5)), distances=True).data
    assert np.ptp(trace.y) == pytest.approx(np.ptp(valley.y) * 3 * np.sqrt(0.75))


def test_a_plane_has_the_levels_of_the_paper(valley):
    contours, centre = interactive.plane(valley, levels=6).data
    scale = plots.scale_of([valley.loss], levels=6)
    assert contours.contours.size == pytest.approx(1 / 6)
    assert contours.colorbar.ticktext[-1] == scale.labels[-1]
    assert (centre.x, centre.y) == ((0.0,), (0.0,))


def density(**changes):
    grid = np.linspace(-1, 1, 5)
    given = {
        "grid": grid, "density": np.full(5, 0.5), "standard_error": np.full(5, 0.1), "nodes": np.zeros((1, 1)),
        "weights": np.ones((1, 1)), "operator": "hessian", "width": 0.1, "size": 100, "matvecs": 1,
        "outliers": np.array([3.0]),
    }  # fmt: skip
    return SpectralDensity(**{**given, **changes})


def test_a_density_has_a_band_and_stems_as_high_as_one_eigenvalue():
    figure = interactive.density({"sgd": density(), "random": density(outliers=None)})
    traces = named(figure)
    assert set(traces) == {
        "sgd ± 2 standard errors", "sgd", "sgd: outliers", "random ± 2 standard errors", "random",
    }  # fmt: skip
    band = traces["sgd ± 2 standard errors"].y
    assert (max(band), min(band)) == pytest.approx((0.7, 0.3))
    assert traces["sgd: outliers"].y[1] == pytest.approx(1 / (100 * 0.1 * np.sqrt(2 * np.pi)))
    assert figure.layout.yaxis.type == "log"


def test_eigenvalues_have_their_residuals_as_bars():
    pairs = Eigenpairs(
        values=np.array([3.0, 1.0]), residuals=np.array([0.1, 0.2]), operator="hessian", which="LA", tol=1e-3, matvecs=9,
        converged=False,
    )  # fmt: skip
    figure = interactive.eigenvalues({"sgd": [pairs, pairs], "random": pairs})
    assert [trace.error_y.array.tolist() for trace in figure.data] == [[0.1, 0.2]] * 3
    assert [trace.showlegend for trace in figure.data] == [True, False, True]
    assert figure.data[0].marker.symbol == "circle-open"
    assert len({trace.x[0] for trace in figure.data}) == 3
    with pytest.raises(LandscapeError, match="positive"):
        interactive.eigenvalues(pairs.replace(values=np.array([1.0, -1.0])), log=True)


def test_a_trajectory_has_a_step_for_each_checkpoint(valley):
    points = np.array([[1.0, 0.5], [0.5, 0.0], [0.0, 0.0]])
    run = Trajectory(
        directions=None, points=points, off_plane=np.array([0.2, 0.1, 0.0]), explained=np.array([0.9, 0.06]),
        values={"train/loss": np.array([2.0, 1.0, 0.1])},
    )  # fmt: skip
    figure = interactive.trajectory(run, plane=valley, limit=2.0)
    path = named(figure)["run"]
    np.testing.assert_array_equal(path.customdata, [[0, 0.2, 2.0], [1, 0.1, 1.0], [2, 0.0, 0.1]])
    assert [len(frame.data[0].x) for frame in figure.frames] == [1, 2, 3]
    assert all(figure.data[frame.traces[0]].name == "run" for frame in figure.frames)
    [slider] = figure.layout.sliders
    assert (slider.active, len(slider.steps)) == (2, 3)
    assert figure.layout.xaxis.title.text == "principal component 1 (90.0 %)"


def test_a_page_needs_nothing_else_and_has_the_same_bytes_every_time(valley, tmp_path):
    page = interactive.save(interactive.surface(valley), tmp_path / "a.html")
    again = interactive.save(interactive.surface(valley), tmp_path / "b.html")
    assert page.read_bytes() == again.read_bytes()
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", text)
    assert 'name="viewport"' in text
    assert "window.innerWidth < 700" in text
    assert 'getElementById("figure")' in text
    with pytest.raises(LandscapeError, match=r"does not end in \.html"):
        interactive.save(interactive.surface(valley), tmp_path / "a.png")


def test_a_page_with_steps_opens_at_the_end_of_the_run_and_waits(valley, tmp_path):
    run = Trajectory(
        directions=None, points=np.eye(2), off_plane=np.zeros(2), explained=np.array([0.9, 0.06]), values={},
    )  # fmt: skip
    page = interactive.save(interactive.trajectory(run, plane=valley), tmp_path / "run.html")
    code = page.read_text(encoding="utf-8").rsplit("Plotly.newPlot(", 1)[1]
    assert "Plotly.addFrames(" in code
    assert "Plotly.animate(" not in code  # it would begin before the level lines are drawn, and they would stay away


def test_results_are_drawn_by_their_kind(valley):
    assert interactive.plot(valley, limit=2.0).data[0].type == "surface"
    one = Estimate(value=1.0, standard_error=0.0, matvecs=1, method="x", quantity="trace")
    with pytest.raises(LandscapeError, match="no interactive figure of a estimate, only of density, eigenpairs"):
        interactive.plot(one)


def test_wrong_requests(valley, monkeypatch):
    for use in (lambda: interactive.surface({}), lambda: interactive.surface(valley.replace(x=valley.x[:1], values={
        "train/loss": valley.loss[:, :1]}, computed=valley.computed[:, :1]))):  # fmt: skip
        with pytest.raises(LandscapeError, match="2 × 2 points"):
            use()
    with pytest.raises(LandscapeError, match="at least one"):
        interactive.density({})
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(LandscapeError, match=r"pip install landscape-sharpness\[interactive\]"):
        interactive.surface(valley)
