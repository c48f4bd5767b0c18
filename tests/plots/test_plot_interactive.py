"""Interactive figures hold the numbers of the results, and save as pages that need nothing else."""

import re
import sys

import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots import interactive
from landscape.results import Estimate

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
    [trace] = interactive.plot(valley, limit=2.0).data
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


def test_a_page_needs_nothing_else_and_has_the_same_bytes_every_time(valley, tmp_path):
    page = interactive.save(interactive.surface(valley), tmp_path / "a.html")
    again = interactive.save(interactive.surface(valley), tmp_path / "b.html")
    assert page.read_bytes() == again.read_bytes()
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", text)
    assert 'name="viewport"' in text
    with pytest.raises(LandscapeError, match=r"does not end in \.html"):
        interactive.save(interactive.surface(valley), tmp_path / "a.png")


def test_wrong_requests(valley, monkeypatch):
    narrow = valley.replace(x=valley.x[:1], values={"train/loss": valley.loss[:, :1]}, computed=valley.computed[:, :1])
    for planes, message in (({}, "no planes"), (narrow, "2 × 2 points")):
        with pytest.raises(LandscapeError, match=message):
            interactive.surface(planes)
    one = Estimate(value=1.0, standard_error=0.0, matvecs=1, method="x", quantity="trace")
    with pytest.raises(LandscapeError, match="no interactive figure of a estimate, only of plane"):
        interactive.plot(one)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(LandscapeError, match=r"pip install landscape-sharpness\[interactive\]"):
        interactive.surface(valley)
