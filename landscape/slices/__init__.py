"""Slices of the loss surface: directions, lines, planes and paths between solutions, and what can be read off them."""

from landscape.slices.adaptive import adaptive_plane
from landscape.slices.alignment import align
from landscape.slices.curvature import eigen_ratio, scale_curvature
from landscape.slices.directions import (
    direction_between,
    eigen_directions,
    gradient_direction,
    plane_through,
    random_directions,
)
from landscape.slices.grid import line, log_coordinates, plane, volume
from landscape.slices.minima import basins, topology
from landscape.slices.paths import barriers, connect, interpolate
from landscape.slices.reading import quadratic_overlay, read_slice
from landscape.slices.trajectory import project, smoothness, trajectory_plane

__all__ = [
    "adaptive_plane",
    "align",
    "barriers",
    "basins",
    "connect",
    "direction_between",
    "eigen_directions",
    "eigen_ratio",
    "gradient_direction",
    "interpolate",
    "line",
    "log_coordinates",
    "plane",
    "plane_through",
    "project",
    "quadratic_overlay",
    "random_directions",
    "read_slice",
    "scale_curvature",
    "smoothness",
    "topology",
    "trajectory_plane",
    "volume",
]
