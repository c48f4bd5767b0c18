"""What figures refuse, each in a line that says what is wrong."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots.scales import scale_of
from landscape.results import Directions, Eigenpairs, Line, Plane, Trajectory
from landscape.slices import topology

X, YS = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
BOWL = Plane(x=X, y=YS, values={"train/loss": X**2 + YS[:, None] ** 2}, computed=np.ones((7, 11)))
THIN = BOWL.replace(y=YS[:1], values={"train/loss": BOWL.loss[:1]}, computed=np.ones((1, 11)))
NARROW = BOWL.replace(x=X[:1], values={"train/loss": BOWL.loss[:, :1]}, computed=np.ones((7, 1)))
PARALLEL = BOWL.replace(directions=Directions(norms=np.ones(2), cosines=np.ones((2, 2)), direction_kind="gaussian"))
LINES = [Line(x=X, values={"train/loss": a * X**2, "train/accuracy": np.exp(-a * X**2)}) for a in (1.0, 2.0)]
SIGNED = Line(x=X, values={"train/loss": X})
POINTS = np.array([[-0.8, 0.5], [-0.2, 0.3], [0.1, 0.1], [0.5, 0.0]])
RUN = Trajectory(
    directions=None, points=POINTS, off_plane=np.zeros(4), explained=np.ones(2), values={"train/loss": X[:4]}
)
TREE = np.array([0.5, 3.0, 1.0, 5.0, 2.0, 3.0])
VALUES = np.linspace(0, 1, 99) ** 2 * 50 + 2.0
PAIRS = Eigenpairs(
    values=np.array([1.0, -1.0]),
    residuals=np.zeros(2),
    operator="hessian",
    which="LA",
    tol=1e-3,
    matvecs=9,
    converged=True,
)


def styled(**changes):
    with plots.style(**changes):
        pass


CASES = [
    (lambda: plots.contour(BOWL, metric="error"), "train/loss"),
    (lambda: plots.heatmap(BOWL.replace(values={"train/loss": BOWL.loss.T})), r"\(ny, nx\) = \(7, 11\)"),
    (lambda: plots.contour(THIN), "use heatmap"),
    (lambda: plots.contour(PAIRS), "got Eigenpairs, expected a Plane"),
    (lambda: plots.grid([BOWL]), "planes are list, expected planes by name"),
    (lambda: plots.save(3, "figure"), "got int, expected a figure"),
    (lambda: plots.surface(NARROW), "use heatmap"),
    (lambda: plots.surface(BOWL, Figure().add_subplot()), "three-dimensional"),
    (lambda: plots.contour(BOWL, distances=True), "holds none"),
    (lambda: plots.contour(PARALLEL, distances=True), "span no plane"),
    (lambda: plots.grid({}), "no planes"),
    (lambda: plots.grid({"a": BOWL}, kind="wireframe"), "contour, heatmap, surface"),
    (lambda: plots.grid({"a": BOWL}, columns=0), "columns=0"),
    (lambda: plots.line([]), "no lines"),
    (lambda: plots.line({}), "no lines"),
    (lambda: plots.line({"a": []}), "no lines"),
    (lambda: plots.line([LINES[0], LINES[1].replace(x=2 * X)]), "different x"),
    (lambda: plots.line(LINES, metric="error"), "'error'"),
    (lambda: plots.line(LINES, band="sd"), "two quantiles"),
    (lambda: plots.line(LINES, band=(0.9, 0.1)), "two quantiles"),
    (lambda: plots.line({"a": LINES, "b": LINES}, accuracy=True), "lines_grid"),
    (lambda: plots.line(SIGNED, log=True), "positive"),
    (lambda: scale_of([VALUES], levels=1), "at least 2"),
    (lambda: scale_of([VALUES], levels=[3.0, 2.0]), "increase"),
    (lambda: scale_of([VALUES], levels=[1.0, np.inf]), "finite"),
    (lambda: scale_of([VALUES], limit=2.0), "smallest value"),
    (lambda: scale_of([VALUES], limit=np.nan), "smallest value"),
    (lambda: styled(axes_width=1), "axes_width"),
    (lambda: plots.trajectory(POINTS.T), r"\(T, 2\)"),
    (lambda: plots.trajectory(POINTS, off_plane=np.zeros(3)), "one distance per point"),
    (lambda: plots.animate(RUN, "run.avi"), r"'\.avi' is no format of animations; expected one of \.gif, \.mp4"),
    (lambda: plots.merge_tree(topology(TREE - 1), log=True), "needs positive values"),
    (lambda: plots.merge_tree(topology(TREE), most=0), "at least one leaf"),
    (lambda: plots.layers({}), "no layers"),
    (lambda: plots.layers({"conv": -1.0}, log=True), "positive"),
    (lambda: plots.barriers(np.zeros((2, 3)), ["a", "b"]), r"\(2, 2\)"),
    (lambda: plots.invariance(np.zeros((0, 0)), [], []), "expected"),
    (lambda: plots.table(["a", "b"], [["x"]]), "2 cells"),
    (lambda: plots.table([], []), "at least one column"),
    (lambda: plots.eigenvalues(PAIRS, log=True), "positive"),
    (lambda: plots.eigenvalues({"a": []}), "no eigenvalues"),
    (lambda: plots.density({}), "no densities"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(LandscapeError, match=message):
        call()


def test_an_option_of_no_picture_is_refused():
    with pytest.raises(TypeError, match="no option 'marker'; expected one of metric"):
        plots.contour(BOWL, marker=3)
