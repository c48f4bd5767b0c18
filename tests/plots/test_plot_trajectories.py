"""Trajectories, still and moving."""

import itertools
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots.trajectories import FFMpegWriter
from landscape.results import Trajectory

POINTS = np.array([[-0.8, 0.5], [-0.2, 0.3], [0.1, 0.1], [0.5, 0.0]])


def named(ax):
    return {line.get_label(): line for line in ax.lines}


def test_the_path_and_its_ends():
    ax = plots.trajectory(POINTS)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), POINTS)
    np.testing.assert_array_equal(named(ax)["start"].get_xydata(), POINTS[:1])
    np.testing.assert_array_equal(named(ax)["end"].get_xydata(), POINTS[-1:])


def test_the_distance_from_the_plane_is_colour_and_size():
    ax = plots.trajectory(POINTS, off_plane=np.array([0.0, 2.0, 1.0, 0.0]))
    dots = ax.collections[0]
    np.testing.assert_array_equal(dots.get_array(), [0, 2, 1, 0])
    sizes = dots.get_sizes()
    assert sizes[0] == sizes[3] > sizes[2] > sizes[1]
    assert sizes[1] == pytest.approx(sizes[0] / 4)
    assert ax.figure.axes[1].get_ylabel() == "distance from the plane"
    plots.trajectory(POINTS, off_plane=np.zeros(4)).figure.canvas.draw()


def test_a_plane_lies_below_and_marks_are_ringed(valley):
    ax = plots.trajectory(POINTS, plane=valley, explained=(0.9, 0.05), marks=[1], limit=2.0)
    assert ax.get_xlim() == (-1.0, 1.5)
    assert ax.get_ylabel() == "principal component 2 (5.0 %)"
    np.testing.assert_array_equal(named(ax)["learning rate lowered"].get_xydata(), POINTS[1:2])


def run(steps=5):
    share = np.linspace(1, 0, steps)
    return Trajectory(
        directions=None, points=np.column_stack([share, 0.5 * share**2]), off_plane=0.1 * share,
        explained=np.array([0.9, 0.06]), values={"train/loss": share, "projected/loss": share},
    )  # fmt: skip


def test_a_trajectory_brings_its_distances_and_shares():
    ax = plots.plot(run())
    assert ax.get_xlabel() == "principal component 1 (90.0 %)"
    np.testing.assert_array_equal(ax.collections[0].get_array(), run().off_plane)


def pictures(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"), dtype=int)


def test_the_path_grows_and_the_last_picture_stays(valley, tmp_path):
    path = plots.animate(run(), tmp_path / "run.gif", plane=valley, seconds=2.5, dpi=50)
    frames = list(pictures(path))
    assert len(frames) >= 5
    changes = [np.abs(a - b).sum() for a, b in itertools.pairwise(frames[:5])]
    assert all(change > 0 for change in changes)
    assert os.listdir(tmp_path) == ["run.gif"]


def test_long_runs_are_thinned(tmp_path):
    with Image.open(plots.animate(run(200), tmp_path / "run.gif", seconds=4.0, most=4, dpi=30)) as image:
        assert 4 <= image.n_frames <= 5


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mp4_where_ffmpeg_is_installed(tmp_path):
    path = plots.animate(run(), tmp_path / "run.mp4", seconds=1.0, dpi=50)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"], check=True, timeout=60)


def test_wrong_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(LandscapeError, match=r"ffmpeg is not installed.*or write a \.gif"):
        plots.animate(run(), tmp_path / "run.mp4")
    (tmp_path / "file").touch()
    with pytest.raises(LandscapeError, match="cannot write"):
        plots.animate(run(), tmp_path / "file" / "run.gif", dpi=30)
    assert os.listdir(tmp_path) == ["file"]
