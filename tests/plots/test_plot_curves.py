"""Readings, spectra and estimates: every figure shows the numbers of its result."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from landscape import plots, spectra
from landscape.errors import LandscapeError
from landscape.results import (
    Diagonal,
    Eigenpairs,
    Estimate,
    Placebo,
    SamplingError,
    ScaleCurvature,
    Smoothness,
    SpectralDensity,
    Track,
)


def labelled(ax):
    return {artist.get_label(): artist for artist in (*ax.lines, *ax.containers)}


def legend(ax):
    return [text.get_text() for text in (ax.get_legend() or ax.figure.legends[0]).get_texts()]


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
    assert legend(plots.smoothness({"plain": one, "normed": one}).axes[0]) == ["plain", "normed"]


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


def test_a_track_has_curvatures_with_errors_and_threshold_and_a_panel_per_further_quantity():
    found = Track(
        step=np.array([1, 2]), threshold=np.full(2, 4.0), rule="sgd", steps=2, missed={},
        values={name: np.array([3.0, 4.0]) for name in ("lambda_max", "cosine", "lr")} | {"error/lambda_max": np.ones(2)},
    )  # fmt: skip
    curvatures, cosine = plots.plot(found).axes
    assert labelled(curvatures)["λmax"].get_ydata().tolist() == [3.0, 4.0]
    assert labelled(curvatures)["threshold"].get_ydata().tolist() == [4.0, 4.0]
    band = curvatures.collections[0].get_paths()[0].vertices.tolist()
    assert {tuple(point) for point in band} >= {(1, 2), (1, 4), (2, 3), (2, 5)}
    assert cosine.get_ylabel() == "|cos(update, top eigenvector)|"


def pairs(values, converged=True):
    values = np.asarray(values, dtype=float)
    return Eigenpairs(
        values=values, residuals=0.1 * np.abs(values), operator="hessian", which="LA", tol=1e-3, matvecs=9,
        converged=converged,
    )  # fmt: skip


def test_residuals_are_the_error_bars_of_eigenvalues():
    ax = plots.eigenvalues(pairs([5.0, 2.0]))
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 5], [2, 2]])
    bars = [c.vertices[:, 1] for found in ax.collections for c in found.get_paths() if len(c.vertices) == 2]
    np.testing.assert_allclose(bars, [[4.5, 5.5], [1.8, 2.2]])
    assert ax.get_yscale() == "log"
    assert plots.eigenvalues(pairs([1.0, -1.0])).get_yscale() == "linear"


def test_seeds_have_a_median_recipes_their_own_slots_and_pairs_that_did_not_converge_are_open():
    ax = plots.eigenvalues({"a": [pairs([1.0]), pairs([2.0]), pairs([9.0])], "b": pairs([4.0], converged=False)})
    dashes = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert [tuple(line.get_ydata()) for line in dashes] == [(2.0, 2.0)]
    dots = [line for line in ax.lines if line.get_marker() in "os" and len(line.get_xdata()) == 1]
    places = [line.get_xdata()[0] for line in dots]
    assert places == sorted(set(places))
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, False, False, True]
    assert legend(ax) == ["a (3 seeds)", "b", "not converged"]


def make_density(outliers=None, size=1000, width=0.1, **changes):
    grid = np.linspace(-1, 1, 21)
    given = {"nodes": np.zeros((1, 1)), "weights": np.ones((1, 1)), **changes}
    return SpectralDensity(
        grid=grid, density=np.exp(-(grid**2)), standard_error=np.full(21, 0.05), operator="hessian", width=width, size=size,
        matvecs=10, outliers=outliers, **given,
    )  # fmt: skip


def test_outliers_are_stems_as_high_as_one_eigenvalue():
    ax = plots.density(make_density(outliers=np.array([3.0, 5.0])))
    height = 1 / (1000 * 0.1 * np.sqrt(2 * np.pi))
    (stems,) = [found for found in ax.collections if isinstance(found, LineCollection)]
    assert [tuple(path.vertices[:, 0]) for path in stems.get_paths()] == [(3.0, 3.0), (5.0, 5.0)]
    assert stems.get_paths()[0].vertices[1, 1] == pytest.approx(height)
    assert ax.get_ylim()[0] == pytest.approx(height / 2)
    assert ax.get_xlim()[1] > 5
    assert ax.get_yscale() == "log"


def test_the_band_of_a_density_is_a_pointwise_interval_of_students_t():
    one = make_density(nodes=np.zeros((3, 1)), weights=np.ones((3, 1)))
    outline = plots.density(one, log=False).collections[0].get_paths()[0].vertices
    ends = outline[np.isclose(outline[:, 0], one.grid[10])][:, 1]
    assert ends.min() == pytest.approx(1 - 4.302653 * 0.05)
    assert ends.max() == pytest.approx(np.exp(4.302653 * 0.05))
    assert np.all(one.band()[0] >= 0)
    assert np.all(np.isnan(make_density().band()[0]))


def test_densities_drawn_together_have_names_one_width_and_a_bar_that_shows_it():
    nodes, weights = np.array([[0.0, 1.0], [0.1, 1.0]]), np.full((2, 2), 0.5)
    narrow, wide = (spectra.resmooth(make_density(nodes=nodes, weights=weights), width=width) for width in (0.01, 0.05))
    ax = plots.density({"a": narrow, "b": wide})
    np.testing.assert_allclose(labelled(ax)["a"].get_ydata(), labelled(ax)["b"].get_ydata())
    assert np.ptp(labelled(ax)["_width"].get_xdata()) == pytest.approx(0.1)
    assert legend(ax) == ["a", "b"]
    with pytest.raises(LandscapeError, match="cannot be drawn together"):
        plots.density({"a": narrow, "b": spectra.resmooth(narrow, axis="log")})


@pytest.mark.parametrize("samples", [None, np.array([1.0, 3.0])])
def test_an_estimate_has_a_band_of_standard_errors(samples):
    one = Estimate(value=2.0, standard_error=0.5, samples=samples, matvecs=2, method="hutchinson", quantity="trace")
    ax = plots.estimate(one)
    (band,) = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == (1.0, 3.0)
    assert ax.lines[0].get_ydata()[0] == 2.0
    plots.estimate(one.replace(standard_error=0.0)).figure.canvas.draw()


def test_a_diagonal_is_ranked_by_sign():
    one = Diagonal(values=np.array([1.0, 3.0, -2.0, 0.0]), standard_errors=np.zeros(4), operator="hessian", method="exact",
                   matvecs=4)  # fmt: skip
    positive, negative = plots.diagonal(one).lines
    assert (positive.get_ydata().tolist(), negative.get_ydata().tolist()) == ([3, 1], [2])
    plots.diagonal(one.replace(values=np.zeros(4))).figure.canvas.draw()


def test_layers_stand_in_order_with_their_errors():
    ax = plots.layers({"conv": 3.0, "fc": 1.0}, errors={"conv": 0.5}, label="trace")
    assert [bar.get_width() for bar in ax.patches] == [3.0, 1.0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert (ax.get_xlabel(), ax.get_xscale()) == ("trace", "linear")
    np.testing.assert_allclose(ax.collections[0].get_paths()[0].vertices[:, 0], [2.5, 3.5])


def test_layers_of_recipes_stand_side_by_side():
    ax = plots.layers({"sgd": {"conv": 1.0, "fc": 2.0}, "momentum": {"fc": 100.0}})
    assert ax.get_xscale() == "log"
    dots = np.concatenate([line.get_xdata() for line in ax.lines]).astype(float)
    np.testing.assert_array_equal(dots, [1, 2, np.nan, 100])
    assert not ax.patches  # a bar would start nowhere
    linear = plots.layers({"sgd": {"conv": 1.0, "fc": 2.0}, "momentum": {"fc": 9.0}})
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in linear.patches]
    assert spans[1][1] <= spans[3][0]
