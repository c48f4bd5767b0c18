"""Curvature tracked against dense Hessians, the edge itself on the Chebyshev problem, and what a bad call is told."""

from functools import partial

import numpy as np
import pytest
import torch

from landscape.datasets import digits
from landscape.function.objective import Objective
from landscape.models import mlp
from landscape.operators import Hessian
from landscape.studies.descents import Descending, Descent, chebyshev_problem
from landscape.studies.edge_of_stability import CURVES, edge_of_stability

THREE = chebyshev_problem(3)


def at_step(descent, steps):
    objective = Objective(THREE.factory(seed=0), (THREE.X, THREE.y), THREE.loss)
    descending = Descending(objective, descent)
    walk = descending.walk()
    for _ in range(steps):
        next(walk)
    return objective.at(descending.theta), descending.preconditioner


def test_curvature_is_the_largest_eigenvalue_of_the_hessian_there():
    descent = Descent(lr=0.3, steps=14, problem=THREE)
    found = edge_of_stability(descents=[descent], every=7)
    curves = {name: found.arrays[name][0] for name in CURVES}
    assert curves["step"].tolist() == [0, 7, 14]
    for i, steps in enumerate((0, 7, 14)):
        here, _ = at_step(descent, steps)
        dense = torch.linalg.eigvalsh(Hessian(here).dense().double())
        assert curves["sharpness"][i] == pytest.approx(float(dense[-1]), rel=1e-4)
        assert curves["curve of the loss"][i] == pytest.approx(here.loss(), rel=1e-6)
    assert curves["ratio"] == pytest.approx(curves["sharpness"] * 0.3 / 2)


def test_adams_curvature_is_that_of_the_preconditioned_hessian():
    descent = Descent(rule="adam", lr=0.01, momentum=0.9, steps=5, problem=THREE)
    found = edge_of_stability(descents=[descent], every=5)
    here, diagonal = at_step(descent, 5)
    dense = Hessian(here).dense().double() / diagonal[:, None]  # similar to P^−½ H P^−½
    assert found.arrays["step"][0].tolist() == [5]
    assert found.arrays["sharpness"][0, 0] == pytest.approx(float(torch.linalg.eigvals(dense).real.max()), rel=1e-3)
    assert found["threshold"][0] == pytest.approx(38 / 0.01)


def test_batch_sharpness_of_single_batches_is_the_curvature_along_the_gradient():
    descent = Descent(lr=0.1, batch_size=20, steps=3, problem=THREE)
    found = edge_of_stability(descents=[descent], every=3)
    here, _ = at_step(descent, 0)
    g = here.gradient().double()
    expected = float(g @ Hessian(here).dense().double() @ g / (g @ g))
    assert found.arrays["batch sharpness"][0, 0] == pytest.approx(expected, rel=1e-4)


def test_gradient_descent_with_a_large_step_trains_at_the_edge():
    """At η = 0.4 the edge is reached in 250 steps; progressive sharpening starts a quarter of it below."""
    found = edge_of_stability(descents=[Descent(lr=0.4, steps=600, problem=THREE)], every=15)
    steps, ratio, crossing = found.arrays["step"][0], found.arrays["ratio"][0], found["crosses at step"][0]
    assert found["start"][0] < 0.4
    assert 100 < crossing < 400
    assert (ratio[steps < crossing] < 1).all()
    assert ratio[steps == crossing] >= 1
    assert found["last quarter"][0] == pytest.approx(1.0, abs=0.1)
    assert not found["diverged"][0]
    assert f"crosses at step {crossing:.0f}" in found.findings[0].text


@pytest.mark.slow
@pytest.mark.parametrize(("degree", "lr"), [(3, 0.2), (5, 0.4)])
def test_published_edge_of_gradient_descent(degree, lr):
    found = edge_of_stability(descents=[Descent(lr=lr, problem=chebyshev_problem(degree))])
    assert found["last quarter"][0] == pytest.approx(1.0, abs=0.03)


@pytest.mark.slow
def test_published_peak_of_heavy_ball():
    descent = Descent(rule="heavy ball", lr=0.05, momentum=0.9, steps=12_000, problem=THREE)
    assert 1.0 <= edge_of_stability(descents=[descent])["peak"][0] <= 1.1


def test_a_run_that_diverges_is_kept_as_such_beside_one_that_does_not():
    descents = [Descent(lr=1e4, steps=60, problem=THREE), Descent(lr=0.1, steps=60, problem=THREE)]
    found = edge_of_stability(descents=descents, every=5)
    assert found["diverged"].tolist() == [1, 0]
    assert found["steps"][0] < 60
    assert np.isnan(found.arrays["curve of the loss"][0, -1])
    label = f"chebyshev-3, {descents[0].label}, seed 0"
    assert found.finding(label).text.startswith(f"diverged after {found['steps'][0]} steps")


def test_runs_of_one_name_are_told_apart():
    found = edge_of_stability(descents=[Descent(lr=0.1, steps=steps, problem=THREE) for steps in (3, 6)], every=3)
    assert found["steps"].tolist() == [3, 6]
    assert found.levels("descent")[1].endswith("η = 0.1 (2)")


def test_own_networks_and_class_labels():
    split = digits(train=30)
    found = edge_of_stability(
        partial(mlp, (64, 8, 10)), split, descents=[Descent(lr=0.1, steps=5)], every=5, seeds=[0, 1]
    )
    assert list(zip(found["problem"], found["seed"], strict=True)) == [("digits", 0), ("digits", 1)]
    assert found.settings["descents"][0]["loss"].startswith("cross_entropy")
