"""Figures of results that are curves over one variable, each with one test of what it shows."""

import numpy as np
import pytest

from landscape import plots
from landscape.results import Audit, AuditRow, Placebo, SamplingError, ScaleCurvature, Smoothness, Trajectory, Volume


def labelled(ax):
    return {artist.get_label(): artist for artist in (*ax.lines, *ax.containers)}


def test_curvature_over_scale_shows_its_sign_its_limit_and_its_rounding_error():
    h = np.geomspace(1e-3, 1, 4)
    kappa = np.array([-3.0, 2.0, 2.0, 4.0])
    ax = plots.plot(ScaleCurvature(h=h, kappa=kappa, rounding=1e-6 / h**2, hessian=2.5))
    assert labelled(ax)["κ(h), negative"].get_ydata().tolist() == [3.0]
    assert labelled(ax)["κ(h)"].get_xdata().tolist() == h[1:].tolist()
    assert labelled(ax)["|dᵀHd|"].get_ydata()[0] == 2.5
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_smoothness_has_bands_over_step_lengths():
    loss = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 5.0]])
    one = Smoothness(
        eta=np.arange(3.0), loss=loss, gradient_change=2 * loss, gradient_norm=np.ones(2), beta=np.array([7.0, 8.0])
    )
    variation, change, beta = plots.plot(one).axes
    band = variation.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} >= {(0, 1), (0, 3), (1, 2), (1, 5)}
    assert change.lines[0].get_ydata().tolist() == [6.0, 10.0]
    assert beta.lines[0].get_ydata().tolist() == [7.0, 8.0]
    figure = plots.smoothness({"plain": one, "normed": one})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["plain", "normed"]


def test_sampling_shows_subsets_the_sample_and_what_is_expected_on_all_the_data():
    found = SamplingError(
        values=np.array([4.0]), standard_errors=np.array([0.2]), bootstrap=np.ones((3, 1)), trace=9.0, trace_error=0.5,
        trace_probe_error=0.1, subset_sizes=np.array([50, 100]), subset_means=np.array([5.0, 4.5]), bias=0.5,
        bias_error=0.1, n=200, groups=8, tol=0.1, enough=False, needed=900, verdict="too few", operator="Hessian",
    )  # fmt: skip
    ax = plots.plot(found)
    assert labelled(ax)["mean over subsets"].get_xdata().tolist() == [50, 100]
    assert labelled(ax)["expected on all the data"].get_ydata()[0] == pytest.approx(3.5)
    point, _, [bar] = labelled(ax)["sample ± 2 standard errors"]
    assert point.get_xydata().tolist() == [[200.0, 4.0]]
    np.testing.assert_allclose(bar.get_segments()[0][:, 1], [3.6, 4.4])


def test_a_placebo_study_is_drawn_over_true_ratios():
    found = Placebo(
        shifts=np.array([0.0, 1.0]), called=np.array([0.02, 0.9]), significant=np.array([[0.05, 0.95]]),
        scores=("keskar",), recipe="sgd", seeds=16, arm=8, resamples=200, level=0.05,
    )  # fmt: skip
    ax = plots.plot(found)
    assert labelled(ax)["verdict: flatter or spikier"].get_xydata().tolist() == [[1.0, 0.02], [10.0, 0.9]]
    assert labelled(ax)["keskar alone"].get_ydata().tolist() == [0.05, 0.95]


def test_a_trajectory_brings_its_distances_and_shares():
    points = np.array([[2.0, 1.0], [1.0, 0.5], [0.0, 0.0]])
    found = Trajectory(
        directions=None, points=points, off_plane=np.array([0.3, 0.1, 0.0]), explained=np.array([0.9, 0.06]), values={}
    )
    ax = plots.plot(found)
    assert ax.get_xlabel() == "principal component 1 (90.0 %)"
    np.testing.assert_array_equal(ax.collections[0].get_array(), [0.3, 0.1, 0.0])


def test_a_volume_is_three_planes_through_the_centre_on_shared_levels():
    x, y, z = np.linspace(-1, 1, 5), np.linspace(-1, 1, 7), np.linspace(-1, 1, 9)
    values = (x - 0.5) ** 2 + 3 * y[:, None] ** 2 + 5 * z[:, None, None] ** 2
    found = Volume(x=x, y=y, z=z, values={"train/loss": values}, computed=np.ones(values.shape))
    panels = plots.plot(found, kind="heatmap").axes[:3]
    shown = [panel.collections[0].get_array() for panel in panels]
    for array, expected in zip(shown, (values[4], values[:, 3], values[:, :, 2]), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert len({panel.collections[0].norm.vmax for panel in panels}) == 1
    assert [panel.get_ylabel() for panel in panels] == ["direction 2", "direction 3", "direction 3"]


def test_an_audit_is_a_matrix_with_what_does_not_apply_left_open():
    def row(score, transformation, ratio, verdict):
        return AuditRow(
            score=score, radius=None, transformation=transformation, before=1.0, after=ratio, ratio=ratio,
            standard_error=None, verdict=verdict, declared=False,
        )  # fmt: skip

    rows = (
        row("trace", "T1", 4.0, "not invariant"),
        row("trace", "T2", 9.0, "not applicable"),
        row("keskar", "T1", 1.0, "invariant"),
    )
    ax = plots.plot(Audit(rows=rows))
    cells = {(text.get_position()[::-1]): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "×4", (0, 1): "n/a", (1, 0): "·", (1, 1): "n/a"}
