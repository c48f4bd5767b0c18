"""Planes as meshes for renderers (Wavefront OBJ)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from landscape.export.grids import check_plane, height_of, present
from landscape.results import Plane
from landscape.store.files import write_text


def obj(
    plane: Plane,
    path: str | os.PathLike[str],
    *,
    metric: str = "loss",
    dataset: str | None = None,
    limit: float | None = None,
    log: bool = False,
    scale: float = 1.0,
) -> Path:
    """Write a plane as a mesh of quadrilaterals whose height is a metric: one vertex a grid point, x fastest, z up.

    Points without a finite value are left out together with the faces that touch them.

    Args:
        plane: values (ny, nx).
        path: the file.
        metric: what the height is.
        dataset: of which data set; `None`: the plane's own.
        limit: the largest height, in units of the metric.
        log: common logarithm of the height.
        scale: factor on the height.

    Returns:
        The file.

    Raises:
        LandscapeError: no plane, no such metric, or a place that cannot be written.

    >>> import tempfile
    >>> x, y = np.linspace(-1, 1, 3), np.linspace(-1, 1, 2)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((2, 3)))
    >>> print(obj(bowl, Path(tempfile.mkdtemp()) / "bowl.obj").read_text())
    # train/loss over 3 x 2 points; x and y along the directions, z up
    v -1.0 -1.0 2.0
    v 0.0 -1.0 1.0
    v 1.0 -1.0 2.0
    v -1.0 1.0 2.0
    v 0.0 1.0 1.0
    v 1.0 1.0 2.0
    f 1 2 5 4
    f 2 3 6 5
    <BLANKLINE>
    """
    plane = check_plane(plane, "a mesh")
    height = scale * height_of(plane, metric, dataset, limit=limit, log=log)
    drawn = present(plane, metric, dataset)
    number = np.cumsum(drawn).reshape(drawn.shape)  # vertices count from 1, absent ones get none
    title = f"{dataset or plane.dataset}/{metric}{', log10' if log else ''}"
    lines = [f"# {title} over {len(plane.x)} x {len(plane.y)} points; x and y along the directions, z up"]
    for j, i in np.argwhere(drawn).tolist():
        lines.append(f"v {float(plane.x[i])!r} {float(plane.y[j])!r} {float(height[j, i])!r}")
    whole = drawn[:-1, :-1] & drawn[:-1, 1:] & drawn[1:, 1:] & drawn[1:, :-1]
    for j, i in np.argwhere(whole).tolist():
        corners = number[j, i], number[j, i + 1], number[j + 1, i + 1], number[j + 1, i]
        lines.append("f " + " ".join(map(str, corners)))
    return write_text(path, "\n".join(lines) + "\n")
