"""Slices of the loss surface: directions, lines, planes and paths between solutions, and what can be read off them."""

from landscape.slices.adaptive import adaptive_plane
from landscape.slices.coordinates import log_coordinates
from landscape.slices.directions import (
    direction_between,
    eigen_directions,
    gradient_direction,
    plane_through,
    random_directions,
)
from landscape.slices.grid import line, plane, volume
from landscape.slices.paths.alignment import align
from landscape.slices.paths.curves import connect
from landscape.slices.paths.interpolation import barriers, interpolate
from landscape.slices.paths.trajectory import trajectory_plane
from landscape.slices.readings.eigen_ratio import eigen_ratio
from landscape.slices.readings.numbers import read_slice
from landscape.slices.readings.overlay import quadratic_overlay
from landscape.slices.readings.projection import project
from landscape.slices.readings.scale_curvature import scale_curvature
from landscape.slices.readings.smoothness import smoothness
from landscape.slices.readings.topology import basins, topology

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
