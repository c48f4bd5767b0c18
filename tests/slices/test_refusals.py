"""What slices, directions, paths and readings refuse, each in a line that says what is wrong."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import slices
from landscape.results import Line, Plane

X, Y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
TWO, ONE = torch.eye(2), torch.ones(2)
OBJECTIVE = ls.Objective(nn.Linear(2, 1, bias=False), (X, Y), "mse_loss", dtype=torch.float64)
OTHER = ls.Objective(nn.Linear(4, 3), (torch.ones(3, 4), torch.arange(3)), "cross_entropy")
OPAQUE = ls.Objective(nn.Linear(2, 1), [(X,)], ls.BatchLoss(lambda model, batch: model.weight.square().sum()))
ZERO = ls.Objective(nn.Linear(2, 1, bias=False), (X, Y), "mse_loss").at(torch.zeros(2))
PAIRS = ls.Eigenpairs(
    values=np.ones(2), residuals=np.zeros(2), vectors=np.eye(2), operator="hessian", which="LA", tol=1e-3, matvecs=9,
    converged=True,
)  # fmt: skip
BOWL = Plane(x=np.arange(2.0), y=np.arange(2.0), values={"train/loss": np.zeros((2, 2))}, computed=np.ones((2, 2)))
RUN = [torch.tensor([t, 2 * t], dtype=torch.float64) for t in (0.0, 1.0, 2.0, 5.0)]
THROUGH = slices.plane_through(OBJECTIVE.at(torch.zeros(2)), np.ones(2), np.array([0.0, 1.0]))


def plane(**options):
    return ls.plane(OBJECTIVE, TWO, **options)


def connect(**options):
    return slices.connect(OBJECTIVE, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), **options)


def along(values, x):
    return Line(x=np.asarray(x), values={"train/loss": np.asarray(values)})


CASES = [
    (lambda: plane(points=0), "at least 2"),
    (lambda: plane(points=100_000_000), "100,000,000 points, expected at most 10,000,000"),
    (lambda: plane(points=10_000), "100,000,000 points"),
    (lambda: plane(span=1e308), r"within ±1e\+30"),
    (lambda: plane(points=(5, 1)), "at least 2"),
    (lambda: plane(points=(3, 3, 3)), "one for each axis"),
    (lambda: plane(points=([0.0, 0.0], 3)), "strictly increasing"),
    (lambda: plane(span=0.0), "span from -0 to 0"),
    (lambda: plane(span=((1, -1), 1.0)), "increasing ends"),
    (lambda: plane(span="wide"), "expected a number or a pair"),
    (lambda: plane(together=2.5), "expected a whole number"),
    (lambda: plane(together=0), "at least 1 point"),
    (lambda: plane(also={"train": None}), "choose another"),
    (lambda: plane(also={"a/b": None}), "without slashes"),
    (lambda: plane(also={3: OTHER}), "the name 3; expected a word without slashes"),
    (lambda: plane(dataset="a/b"), "without slashes"),
    (lambda: plane(also={"test": OTHER}), "same network"),
    (lambda: ls.line(nn.Linear(2, 1), ONE), r"got a Linear, expected an Objective: pass ls.Objective\(model"),
    (lambda: ls.plane(nn.Linear(2, 1), TWO), r"got a Linear, expected an Objective: pass ls.Objective\(model"),
    (lambda: slices.volume(nn.Linear(2, 1), TWO), r"got a Linear, expected an Objective: pass ls.Objective\(model"),
    (lambda: ls.line(OPAQUE, torch.ones(3), together=4), "criterion of outputs"),
    (
        lambda: ls.line(OTHER.with_loss(nn.CrossEntropyLoss(reduction="sum")), torch.ones(15), errors=True),
        "single examples",
    ),
    (lambda: slices.adaptive_plane(OBJECTIVE, TWO, coarse=3), "expected at least 5"),
    (lambda: slices.adaptive_plane(OBJECTIVE, TWO, refinements=0), "expected at least 5"),
    (lambda: slices.adaptive_plane(OBJECTIVE, TWO, tolerance=0.0), "expected at least 5"),
    (lambda: slices.log_coordinates(1.0, 10), "odd"),
    (lambda: ls.plane(OBJECTIVE, OTHER), "directions of type Objective, expected those of ls.random_directions"),
    (lambda: ls.plane(OBJECTIVE, torch.ones(2, 3)), "vectors of 2 parameters"),
    (lambda: ls.plane(OBJECTIVE, torch.ones(1, 2)), "expected 2"),
    (lambda: ls.plane(OBJECTIVE, torch.tensor([[1.0, 0.0], [-3.0, 0.0]])), "collinear"),
    (lambda: ls.plane(OBJECTIVE, torch.tensor([[1.0, 0.0], [0.0, 0.0]])), "direction 1 is zero"),
    (lambda: ls.plane(OBJECTIVE, torch.tensor([[1.0, float("nan")], [0.0, 1.0]])), "direction 0 has NaN"),
    (lambda: ls.random_directions(OBJECTIVE, normalize="filters"), "normalize is"),
    (lambda: ls.random_directions(OBJECTIVE, vectors="none"), "vectors is"),
    (lambda: ls.random_directions(OBJECTIVE, n=0), "n is 0"),
    (lambda: ls.random_directions(OBJECTIVE, attention="layer"), "'row' or 'head'"),
    (lambda: ls.random_directions(ZERO, 1), "directions are zero"),
    (lambda: slices.eigen_directions(PAIRS.replace(vectors=None), 1), "without vectors"),
    (lambda: slices.eigen_directions(PAIRS, 3), "between 1 and the 2"),
    (lambda: slices.gradient_direction(ZERO), "gradient is zero"),
    (lambda: ls.direction_between(OBJECTIVE, OBJECTIVE), "same point"),
    (lambda: ls.direction_between(OBJECTIVE, np.ones(3)), "same network"),
    (lambda: slices.plane_through(np.zeros(3), np.ones(3), np.full(3, 3.0)), "one line"),
    (lambda: ls.interpolate(OBJECTIVE, ONE, ONE), "same point"),
    (lambda: ls.interpolate(OBJECTIVE, 3, ONE), "expected an objective"),
    (lambda: ls.interpolate(OBJECTIVE, torch.ones(3), ONE), "shape"),
    (lambda: slices.barriers(OBJECTIVE, [ONE]), "at least 2"),
    (lambda: connect(kind="spline"), "'bezier' or 'polygon'"),
    (lambda: connect(bends=0), "at least 1"),
    (lambda: connect(steps=0), "at least 1"),
    (lambda: slices.align(OTHER, OTHER, OTHER), "nothing to align"),
    (lambda: slices.trajectory_plane([{"weight": torch.ones(1, 2)}] * 3), "carry no data"),
    (lambda: slices.trajectory_plane(OBJECTIVE, RUN), "trajectory_plane got a list"),
    (lambda: ls.plane(OBJECTIVE, THROUGH), "around other weights"),
    (lambda: slices.trajectory_plane(RUN, OBJECTIVE), "fewer than 2 dimensions"),
    (lambda: slices.trajectory_plane(RUN[:2], OBJECTIVE), "at least 3"),
    (lambda: slices.smoothness(ZERO, eta=[0.1]), "gradient is zero"),
    (lambda: slices.smoothness(OBJECTIVE, eta=[0.0]), "positive step"),
    (lambda: slices.scale_curvature(OBJECTIVE, ONE, smallest=2.0), "from small to large"),
    (lambda: slices.quadratic_overlay(BOWL, 3.0), "one row for each axis"),
    (lambda: slices.read_slice(along(np.zeros(4), np.linspace(-1, 1, 4))), "not on the grid"),
    (lambda: slices.read_slice(along([0.0, np.nan, 0.0], [-1.0, 0.0, 1.0])), "at the centre is nan"),
    (lambda: slices.topology(np.full((2, 2), np.nan)), "finite value"),
    (lambda: slices.topology(np.zeros(3), min_persistence=-1), "at least 0"),
    (lambda: slices.topology(BOWL, metric="accuracy"), "no values named"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ls.LandscapeError, match=message):
        call()


def test_a_run_along_a_line_still_has_one_component():
    assert slices.trajectory_plane(RUN, OBJECTIVE, n=1).explained == pytest.approx([1.0])
