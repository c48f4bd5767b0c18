"""The figure of basins has a point a network that met the target."""

import pytest
from matplotlib.figure import Figure

from landscape.plots.basin_volume import basin_volume
from landscape.results import BasinRow, BasinVolume


@pytest.fixture
def result():
    rows = tuple(
        BasinRow(
            poison=poison, seed=seed, reached=(poison, seed) != (9, 2), train_loss=0.1, train_accuracy=1.0,
            test_accuracy=0.9 - 0.01 * poison, radius=0.1 + seed, log10_volume=-100.0 - poison, log10_volume_error=1.0,
            log10_mass=-50.0 - poison, kl_radius=0.1,
        )
        for poison in (0, 9)
        for seed in range(3)
    )  # fmt: skip
    return BasinVolume(rows=rows, differences=(), task="spirals", examples=40, parameters=9, target=0.1, directions=5)


def test_a_point_a_network_that_met_the_target(result):
    radius, volume, _ = basin_volume(result, Figure()).axes
    points = [line for line in radius.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in points] == [3, 2]
    assert radius.get_yscale() == "log"
    assert volume.lines[-1].get_ydata().tolist() == [-109.0, -109.0]


def test_a_figure_of_its_own_has_a_legend():
    empty = BasinVolume(rows=(), differences=(), task="spirals", examples=1, parameters=1, target=0.1, directions=5)
    assert not basin_volume(empty, Figure()).axes[0].lines
