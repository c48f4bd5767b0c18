import numpy as np
import pytest
from matplotlib.collections import LineCollection

from landscape import plots, spectra
from landscape.errors import LandscapeError
from landscape.results import Diagonal, Eigenpairs, Estimate, SpectralDensity


def pairs(values, converged=True):
    values = np.asarray(values, dtype=float)
    return Eigenpairs(
        values=values, residuals=0.1 * np.abs(values), operator="hessian", which="LA", tol=1e-3, matvecs=9,
        converged=converged,
    )  # fmt: skip


def bars(ax):
    """Lower and upper end of every error bar."""
    return np.array([c.vertices[:, 1] for found in ax.collections for c in found.get_paths() if len(c.vertices) == 2])


def make_density(outliers=None, size=1000, width=0.1):
    grid = np.linspace(-1, 1, 21)
    return SpectralDensity(
        grid=grid, density=np.exp(-(grid**2)), standard_error=np.full(21, 0.05), nodes=np.zeros((1, 1)),
        weights=np.ones((1, 1)), operator="hessian", width=width, size=size, matvecs=10, outliers=outliers,
    )  # fmt: skip


def test_residuals_are_the_error_bars():
    ax = plots.eigenvalues(pairs([5.0, 2.0]))
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [5, 2])
    np.testing.assert_allclose(bars(ax), [[4.5, 5.5], [1.8, 2.2]])
    assert ax.get_yscale() == "log"


def test_seeds_have_a_median_and_recipes_their_own_slots():
    ax = plots.eigenvalues({"a": [pairs([1.0]), pairs([2.0]), pairs([9.0])], "b": pairs([4.0])})
    dashes = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert [tuple(line.get_ydata()) for line in dashes] == [(2.0, 2.0)]
    places = [line.get_xdata()[0] for line in ax.lines if line.get_marker() in "os" and len(line.get_xdata()) == 1]
    assert places == sorted(places)
    assert len(set(places)) == 4
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["a (3 seeds)", "b"]


def test_pairs_that_did_not_converge_are_open():
    ax = plots.eigenvalues({"a": pairs([1.0], converged=False)})
    assert ax.lines[0].get_markerfacecolor() == "white"
    assert "not converged" in [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_negative_eigenvalues_get_a_linear_axis():
    assert plots.eigenvalues(pairs([1.0, -1.0])).get_yscale() == "linear"


def test_outliers_are_stems_as_high_as_one_eigenvalue():
    ax = plots.density(make_density(outliers=np.array([3.0, 5.0])))
    height = 1 / (1000 * 0.1 * np.sqrt(2 * np.pi))
    (stems,) = [found for found in ax.collections if isinstance(found, LineCollection)]
    assert [tuple(path.vertices[:, 0]) for path in stems.get_paths()] == [(3.0, 3.0), (5.0, 5.0)]
    assert stems.get_paths()[0].vertices[1, 1] == pytest.approx(height)
    assert ax.get_ylim()[0] == pytest.approx(height / 2)
    assert ax.get_xlim()[1] > 5
    assert ax.get_yscale() == "log"


def test_the_default_band_is_a_pointwise_interval_of_students_t():
    one = make_density().replace(nodes=np.zeros((3, 1)), weights=np.ones((3, 1)))
    ax = plots.density(one, log=False)
    outline = ax.collections[0].get_paths()[0].vertices
    reach = 4.302653 * 0.05
    ends = outline[np.isclose(outline[:, 0], one.grid[10])][:, 1]
    assert ends.min() == pytest.approx(1 - reach)
    assert ends.max() == pytest.approx(np.exp(reach))
    assert np.all(one.band()[0] >= 0)
    assert np.all(np.isnan(make_density().band()[0]))


def test_densities_drawn_together_have_one_width_and_a_bar_that_shows_it():
    def made(width):
        nodes = np.array([[0.0, 1.0], [0.1, 1.0]])
        return spectra.resmooth(make_density().replace(nodes=nodes, weights=np.full((2, 2), 0.5)), width=width)

    narrow, wide = made(0.01), made(0.05)
    ax = plots.density({"a": narrow, "b": wide})
    first, second = ax.lines[0], ax.lines[1]
    np.testing.assert_allclose(first.get_ydata(), second.get_ydata())
    (bar,) = [line for line in ax.lines if line.get_label() == "_width"]
    assert np.ptp(bar.get_xdata()) == pytest.approx(0.1)
    with pytest.raises(LandscapeError, match="cannot be drawn together"):
        plots.density({"a": narrow, "b": spectra.resmooth(narrow, axis="log")})


def test_densities_of_recipes_are_named():
    ax = plots.density({"sgd": make_density(), "momentum": make_density(size=10)})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sgd", "momentum"]


@pytest.mark.parametrize("samples", [None, np.array([1.0, 3.0])])
def test_an_estimate_has_a_band_of_standard_errors(samples):
    one = Estimate(value=2.0, standard_error=0.5, samples=samples, matvecs=2, method="hutchinson", quantity="trace")
    ax = plots.estimate(one)
    (band,) = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == (1.0, 3.0)
    assert ax.lines[0].get_ydata()[0] == 2.0
    exact = one.replace(standard_error=0.0)
    plots.estimate(exact).figure.canvas.draw()


def test_a_diagonal_is_ranked_by_sign():
    one = Diagonal(values=np.array([1.0, 3.0, -2.0, 0.0]), standard_errors=np.zeros(4), operator="hessian", method="exact",
                   matvecs=4)  # fmt: skip
    positive, negative = plots.diagonal(one).lines
    np.testing.assert_array_equal(positive.get_ydata(), [3, 1])
    np.testing.assert_array_equal(negative.get_ydata(), [2])
    plots.diagonal(one.replace(values=np.zeros(4))).figure.canvas.draw()
