import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NumericalError
from landscape.operators import Operator
from landscape.spectra import by_layer

PLACES = {"stem": slice(0, 70), "body": [slice(70, 90), slice(150, 300)], "head": slice(90, 150)}


def index(places):
    places = [places] if isinstance(places, slice) else places
    return np.concatenate([np.arange(place.start, place.stop) for place in places])


def dense_blocks(matrix):
    return {name: matrix[np.ix_(index(place), index(place))] for name, place in PLACES.items()}


@pytest.fixture
def matrix(matrix_with):
    return matrix_with(np.concatenate([[30.0, -20.0, 10.0], np.linspace(-1, 2, 297)]))


def test_every_block_agrees_with_its_dense_eigenvalues(matrix):
    layers = by_layer(matrix, PLACES, tol=1e-6)
    assert layers.converged
    for row, (name, block) in zip(layers.rows, dense_blocks(matrix.numpy()).items(), strict=True):
        truth = np.linalg.eigvalsh(block)
        assert (row.name, row.parameters) == (name, len(block))
        assert row.lambda_max == pytest.approx(truth[-1], rel=1e-9)
        assert np.abs(truth - row.lambda_max).min() <= row.residual + 1e-12
        assert abs(row.trace - np.trace(block)) < 4 * row.trace_error


def test_standard_errors_cover_the_truth(matrix):
    blocks = dense_blocks(matrix.numpy())
    traces = np.array([np.trace(block) for block in blocks.values()])
    outside = matrix.numpy().copy()
    for name, place in PLACES.items():
        outside[np.ix_(index(place), index(place))] -= blocks[name]
    missed = np.linalg.norm(outside) / np.linalg.norm(matrix)
    scores = []
    for seed in range(60):
        layers = by_layer(matrix, PLACES, probes=16, missed_probes=16, seed=seed, max_steps=1)
        found = np.array([[row.trace, row.trace_error, row.share, row.share_error] for row in layers.rows]).T
        scores.append([*((found[0] - traces) / found[1]), *((found[2] - traces / traces.sum()) / found[3])])
        scores[-1].append((layers.missed - missed) / layers.missed_error)
    spread = np.sqrt(np.mean(np.square(scores), axis=0))
    assert np.all((spread > 0.7) & (spread < 1.5)), spread


def test_exact_when_the_probes_reach_the_size(matrix):
    layers = by_layer(matrix, PLACES, probes=300)
    blocks = dense_blocks(matrix.numpy())
    assert [row.trace for row in layers.rows] == pytest.approx([np.trace(block) for block in blocks.values()])
    assert sum(row.share for row in layers.rows) == pytest.approx(1)
    inside = sum(np.linalg.norm(block) ** 2 for block in blocks.values())
    whole = np.linalg.norm(matrix) ** 2
    assert layers.missed == pytest.approx((1 - inside / whole) ** 0.5)
    assert (layers.probes, layers.missed_error, layers.rows[0].trace_error, layers.rows[0].share_error) == (0, 0, 0, 0)


def test_costs_are_counted_and_finished_blocks_are_no_longer_multiplied(matrix, counting):
    operator = counting(matrix)
    passes = []
    multiply = type(operator).__matmul__

    class Watched(type(operator)):
        def __matmul__(self, other):
            passes.append(1 if other.ndim == 1 else other.shape[1])
            return multiply(self, other)

    operator.__class__ = Watched
    layers = by_layer(operator, PLACES, probes=20, missed_probes=2, tol=1e-3)
    assert (layers.matvecs, layers.passes) == (operator.count, len(passes))
    steps = [width for width in passes if width <= 3]
    assert steps[0] == 3
    assert min(steps) < 3


def test_the_only_layer_has_the_whole_trace_and_its_full_basis_is_restarted(matrix_with):
    matrix = matrix_with(np.linspace(0, 1, 400) ** 0.5)
    layers = by_layer(matrix, {"all": slice(0, 400)}, probes=2, missed_probes=1, tol=1e-5, max_steps=400)
    [row] = layers.rows
    assert layers.converged
    assert layers.passes > 70
    assert row.lambda_max == pytest.approx(1, rel=1e-8)
    assert row.trace_error > 0
    assert (row.share, row.share_error) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    assert layers.missed == pytest.approx(0, abs=1e-12)


def test_steps_that_run_out_are_told(matrix_with):
    layers = by_layer(matrix_with(np.linspace(0, 1, 400)), {"all": slice(0, 400)}, tol=1e-8, max_steps=5)
    assert not layers.converged
    assert "all" in layers.message
    assert "raise max_steps" in layers.message


def test_layers_of_a_network_from_its_hessian_and_from_its_block_diagonal():
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    objective = ls.Objective(net, (X, y), "cross_entropy", dtype=torch.float64, batch_size=10)
    H = ls.Hessian(objective)
    layers = by_layer(H, probes=8, tol=1e-6)
    assert [row.name for row in layers.rows] == ["0", "2"]
    for row in layers.rows:
        truth = np.linalg.eigvalsh(H.block(f"{row.name}.*").dense().numpy())[-1]
        assert row.lambda_max == pytest.approx(truth, rel=1e-9)
    again = by_layer(H.block_diagonal("parameter"), probes=8, tol=1e-6)
    assert [row.name for row in again.rows] == list(objective.names)
    assert again.provenance["parameters"] == layers.provenance["parameters"]


def test_round_trip_and_figure(tmp_path, matrix):
    layers = by_layer(matrix, PLACES, probes=4)
    layers.save(tmp_path / "study.h5", "sgd-0/top")
    back = ls.open_study(tmp_path / "study.h5")["sgd-0/top"]
    assert back.rows == layers.rows
    figure = layers.plot()
    assert [ax.get_xlabel() for ax in figure.axes] == ["largest eigenvalue", "trace", "share of the trace"]
    assert [bar.get_width() for bar in figure.axes[2].patches] == [row.share for row in layers.rows]
    assert "missed by the block diagonal" in repr(layers)


@pytest.mark.parametrize(
    ("blocks", "options", "told"),
    [
        (None, {}, "pass blocks="),
        ({"a": slice(0, 3)}, {}, "cover"),
        ({"a": slice(0, 3), "b": slice(2, 6)}, {}, "cover"),
        ({"a": slice(0, 6)}, {"probes": 1}, "at least 2 probes"),
        ({"a": slice(0, 6)}, {"missed_probes": 0}, "missed_probes"),
        ({"a": slice(0, 6)}, {"max_steps": 0}, "at least 1"),
        ({"a": slice(0, 6)}, {"tol": 0}, "tol"),
    ],
)
def test_wrong_requests_name_the_remedy(blocks, options, told):
    with pytest.raises(LandscapeError, match=told):
        by_layer(torch.eye(6, dtype=torch.float64), blocks, **options)


def test_products_that_are_not_finite_are_refused():
    class Broken(Operator):
        size, dtype, device, name = 100, torch.float64, torch.device("cpu"), "broken operator"

        def multiply(self, V):
            return V * float("nan")

    with pytest.raises(NumericalError, match="NaN"):
        by_layer(Broken(), {"a": slice(0, 100)})
