"""Slices of the loss surface: directions, lines, planes and paths between solutions, and what can be read off them."""

from landscape.slices.adaptive import adaptive_plane
from landscape.slices.alignment import align
from landscape.slices.coordinates import log_coordinates
from landscape.slices.curves import connect
from landscape.slices.directions import (
    direction_between,
    eigen_directions,
    gradient_direction,
    plane_through,
    random_directions,
)
from landscape.slices.eigen_ratio import eigen_ratio
from landscape.slices.interpolation import barriers, interpolate
from landscape.slices.line import line
from landscape.slices.overlay import quadratic_overlay
from landscape.slices.plane import plane
from landscape.slices.projection import project
from landscape.slices.reading import read_slice
from landscape.slices.scale_curvature import scale_curvature
from landscape.slices.smoothness import smoothness
from landscape.slices.topology import basins, topology
from landscape.slices.trajectory import trajectory_plane
from landscape.slices.volume import volume

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
