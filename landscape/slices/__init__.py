"""Slices of the loss surface: directions, lines, planes and paths between solutions."""

from landscape.slices.directions import (
    direction_between,
    eigen_directions,
    gradient_direction,
    plane_through,
    random_directions,
)
from landscape.slices.grid import log_coordinates
from landscape.slices.interpolation import barriers, interpolate
from landscape.slices.line import line
from landscape.slices.plane import plane

__all__ = [
    "barriers",
    "direction_between",
    "eigen_directions",
    "gradient_direction",
    "interpolate",
    "line",
    "log_coordinates",
    "plane",
    "plane_through",
    "random_directions",
]
