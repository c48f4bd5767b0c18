"""Topology of a slice: known surfaces, components counted level by level, masks, noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.results import Line, Plane
from landscape.slices.minima import basins, topology


def plane_of(function, x, y):
    xs, ys = np.meshgrid(x, y)
    values = function(xs, ys)
    return Plane(x=x, y=y, values={"train/loss": values}, computed=np.ones(values.shape, np.uint8))


def double_well(x, y):
    """Minima 0 at (−1, 0) and 0.1 at (1, 0), and a saddle of 1.05 between them."""
    return (x**2 - 1) ** 2 + 2 * y**2 + 0.05 * (x + 1)


def test_two_wells_are_found_where_they_are():
    surface = plane_of(double_well, np.linspace(-2, 2, 41), np.linspace(-1, 1, 21))
    found = topology(surface)
    assert [(m.x, m.y, m.boundary) for m in found.minima] == [(-1.0, 0.0, False), (1.0, 0.0, False)]
    assert [m.value for m in found.minima] == pytest.approx([0.0, 0.1])
    assert found.minima[0].persistence == np.inf
    assert found.minima[1].persistence == pytest.approx(1.05 - 0.1)
    assert found.smad == pytest.approx((1.05 + 0.95) / 2)
    assert found.smad_normalised == pytest.approx(found.smad / surface.loss.max())
    shares = [m.basin_share for m in found.minima]
    assert sum(shares) == pytest.approx(1)
    assert found.smad_weighted == pytest.approx((1.05 * shares[0] + 0.95 * shares[1]) / 2)
    assert (found.window, found.resolution) == (((-2, 2), (-1, 1)), (41, 21))


def test_the_tree_joins_minima_at_saddles():
    found = topology(np.array([0.0, 3.0, 1.0, 2.0, 1.5]))
    nodes = {node.cell: node for node in found.tree}
    assert sorted(node.cell for node in found.tree if node.is_minimum) == [0, 2, 4]
    assert nodes[found.tree[nodes[4].parent].cell].cell == 3
    assert found.tree[nodes[2].parent].cell == 3
    assert found.tree[nodes[3].parent].cell == 1
    assert found.tree[nodes[0].parent].cell == 1
    assert nodes[1].parent == -1
    assert found.smad == pytest.approx((3.0 + 1.0 + 0.5) / 3)


def test_a_bowl_has_one_minimum_and_no_saddle():
    found = topology(plane_of(lambda x, y: x**2 + y**2, np.linspace(-1, 1, 9), np.linspace(-1, 1, 7)))
    assert len(found.minima) == len(found.tree) == 1
    assert np.isnan(found.smad)


@pytest.mark.parametrize("slope", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_minima_on_the_rim_are_flagged(slope):
    bent = plane_of(
        lambda x, y: slope[0] * x + slope[1] * y + 0.01 * (x**2 + y**2), np.linspace(-1, 1, 5), np.linspace(-1, 1, 7)
    )
    assert [m.boundary for m in topology(bent).minima] == [True]
    flat = plane_of(lambda x, y: x + 0 * y, np.linspace(0, 1, 4), np.linspace(0, 1, 3))
    assert len(topology(flat).minima) == 1  # a plateau along the rim is one minimum


def test_masked_cells_are_walls():
    values = np.array([[0.0, np.nan, 1.0], [2.0, np.inf, 3.0]])
    found = topology(values)
    assert [(m.value, m.persistence) for m in found.minima] == [(0.0, np.inf), (1.0, np.inf)]
    assert found.masked == 2
    assert basins(values).tolist() == [[0, -1, 2], [0, -1, 2]]


def test_shallow_minima_are_left_out_as_noise():
    values = np.array([0.0, 1.0, 0.9, 2.0, 0.5])
    assert [m.value for m in topology(values, min_persistence=0.2).minima] == [0.0, 0.5]
    assert topology(values, min_persistence=0.2).smad == pytest.approx((2.0 + 1.5) / 2)
    assert sum(m.basin_share for m in topology(values, min_persistence=0.2).minima) == pytest.approx(1)


def test_other_metrics_and_lines():
    found = Line(x=np.arange(3.0), values={"train/loss": np.zeros(3), "test/loss": np.array([1.0, 0.0, 1.0])})
    assert topology(found, dataset="test").minima[0].x == 1.0


def brute_force_pairs(values):
    """Components of each sublevel set, counted level by level."""
    flat = values.reshape(-1)
    out = {}
    for level in np.unique(flat):
        below = values <= level
        label = -np.ones(values.shape, int)
        for cell in np.argwhere(below):
            stack, mark = [tuple(cell)], int(np.ravel_multi_index(tuple(cell), values.shape))
            while stack:
                here = stack.pop()
                if label[here] >= 0 or not below[here]:
                    continue
                label[here] = mark
                for axis in range(values.ndim):
                    for step in (-1, 1):
                        there = list(here)
                        there[axis] += step
                        if 0 <= there[axis] < values.shape[axis]:
                            stack.append(tuple(there))
        out[level] = len(set(label[below].tolist()))
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(7,), (4, 5), (3, 3, 3)]), st.booleans())
def test_the_number_of_components_at_every_level_is_right(seed, shape, ties):
    values = np.random.default_rng(seed).random(shape)
    if ties:
        values = np.round(values * 4) / 4
    pairs = topology(values).pairs
    for level, count in brute_force_pairs(values).items():
        assert ((pairs[:, 0] <= level) & (pairs[:, 1] > level)).sum() == count
