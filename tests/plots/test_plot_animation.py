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


def run(steps=5):
    share = np.linspace(1, 0, steps)
    return Trajectory(
        directions=None, points=np.column_stack([share, 0.5 * share**2]), off_plane=0.1 * share,
        explained=np.array([0.9, 0.06]), values={"train/loss": share, "projected/loss": share},
    )  # fmt: skip


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
    with pytest.raises(LandscapeError, match=r"'\.avi' is no format of animations; expected one of \.gif, \.mp4"):
        plots.animate(run(), tmp_path / "run.avi")
    with pytest.raises(LandscapeError, match="holds no 'test/loss'; it holds train/loss"):
        plots.animate(run(), tmp_path / "run.gif", values=["test/loss"])
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(LandscapeError, match=r"ffmpeg is not installed.*or write a \.gif"):
        plots.animate(run(), tmp_path / "run.mp4")
    (tmp_path / "file").touch()
    with pytest.raises(LandscapeError, match="cannot write"):
        plots.animate(run(), tmp_path / "file" / "run.gif", dpi=30)
    assert os.listdir(tmp_path) == ["file"]
