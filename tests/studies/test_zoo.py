"""The zoo: made in one call, opened again, and measured to the same numbers."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.studies.zoo import measure_zoo, shortened
from landscape.studies.zoo_networks import DATA, EXAMPLES, KINDS, NETWORKS, WEIGHTS, draw_of, split_of, zoo_networks

SCORES = ("adaptive-average", "trace", "margin", "weight-norm")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Networks of two cells and two seeds, and one cell whose step is too large."""
    path = tmp_path_factory.mktemp("zoo") / "zoo.h5"
    networks = partial(
        zoo_networks,
        ("mlp",),
        ("digits",),
        steps=(0.5, 1e9),
        momenta=(0.0,),
        noise=(0.0, 1.0),
        examples=(40,),
        seeds=(0, 1),
        slow=2,
    )
    measure_zoo(networks, scores=SCORES, kept=1, save=path)
    return path


def test_a_network_of_the_file_has_the_scores_of_its_row(file):
    zoo = ls.zoo(file)
    assert zoo.trials.met.tolist() == [True, True, False, False] * 2
    assert zoo.kept.tolist() == [0, 1]
    for row, again in zip(zoo.kept, zoo.measure(zoo.kept, [*SCORES, "loss"]), strict=True):
        for name in SCORES:
            np.testing.assert_allclose(again[name], zoo.trials.measures[name][row], rtol=1e-5)
        assert again["loss"] == pytest.approx(zoo.trials["train_loss"][row]) == pytest.approx(0.01, rel=0.02)
    checkpoint = zoo.checkpoint(1)
    assert (checkpoint.lr, checkpoint.step) == (0.5, int(zoo.trials["steps"][1]))
    assert 1 - checkpoint.objective("test").evaluate()["accuracy"] == zoo.trials["test_error"][1]


def test_every_network_has_draws_of_its_own():
    cells = list(product(NETWORKS, DATA, (*EXAMPLES, 40, 60), range(4), range(30)))
    assert len({draw_of(*cell) for cell in cells}) == len(cells)
    assert draw_of("resnet8-bn", "mnist1d", 1000, 2, 7) == 311107  # as shipped


def test_a_network_whose_kept_weights_have_another_loss_has_missed_it(file):
    trained = ls.open_study(file.with_name("zoo-networks.h5"))["zoo-networks"]
    weights = trained.arrays[WEIGHTS].copy()
    weights[0] *= 1.1
    moved = trained.replace(arrays={**trained.arrays, WEIGHTS: weights})
    zoo = measure_zoo(lambda **_: moved, scores=["weight-norm"])
    assert trained.met[:2].tolist() == [True, True]
    assert zoo.met[:2].tolist() == [False, True]
    assert np.isfinite(zoo["weight-norm"]).tolist() == zoo.met.tolist() == zoo.arrays[WEIGHTS].any(1).tolist()


def test_what_is_no_zoo_is_refused_in_a_line(file, tmp_path):
    trials = ls.open_study(file)["zoo"]
    trials.replace(settings={**trials.settings, "version": 7}).save(tmp_path / "other.h5", "zoo")
    trials.replace(arrays={}).save(tmp_path / "bare.h5", "zoo")
    for path, message in (
        (tmp_path / "none.h5", "no zoo at .*landscape experiment zoo"),
        (tmp_path / "other.h5", "a zoo of version 7, and this package reads version 1"),
        (tmp_path / "bare.h5", "holds no zoo"),
    ):
        with pytest.raises(LandscapeError, match=message) as refused:
            ls.zoo(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(LandscapeError, match="no weights of row 2"):
        ls.zoo(file).checkpoint(2)


def test_effects_pair_cells_that_differ_in_one_factor(file):
    """Noise 0 → 1: one pair of cells, since the larger step reached nothing."""
    (noise,) = {
        row.runs_a for row in ls.open_study(file)["zoo"].effects if row.factor == "label_noise" and row.b == "1"
    }
    assert noise == 1
    assert ls.open_study(file)["zoo"].finding("networks").text == "4 of 8 reached cross-entropy 0.01"


def test_every_architecture_takes_its_data():
    pytest.importorskip("mnist1d")
    for (network, data), kind in KINDS.items():
        X, _y = split_of(network, data).train
        assert kind.factory(seed=0)(X[:3]).shape == (3, 10)
        assert sum(p.numel() for p in kind.factory(seed=0).parameters()) < 5120


def test_weights_keep_eleven_digits_over_the_range_of_float32():
    theta = torch.randn(1000, generator=torch.Generator().manual_seed(0)).numpy() * np.float32(1e9)
    assert np.abs(shortened(theta) / theta - 1).max() <= 2**-11
    assert shortened(shortened(theta)).tolist() == shortened(theta).tolist()
